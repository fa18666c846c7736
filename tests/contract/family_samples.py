"""Small backbones of every family, for the tests of what each family owes."""

from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from medlora.backbones import weights
from medlora.backbones.connected import create_convolutions, is_convolutional
from medlora.backbones.weights import Backbone, load_backbone
from medlora.task.model import TaskModel

SIDE = 64
# timm's own models, at a small input. Those that would take most of the time are narrower:
# VGG's two connected layers alone hold half a gigabyte.
NARROW_SWIN = {"img_size": SIDE, "embed_dim": 24}
SETTINGS: dict[str, dict[str, Any]] = {
    "vit_tiny_patch16_224": {"img_size": SIDE},
    "vgg11": {"mlp_ratio": 0.01},
    "resnet18": {},
    "densenet121": {},
    "tf_efficientnet_lite0": {},
    "convnext_atto": {},
    "swin_tiny_patch4_window7_224": NARROW_SWIN,
    "swinv2_tiny_window8_256": NARROW_SWIN,
}
each_family = pytest.mark.parametrize("name", SETTINGS)
# Networks that a family's tests need beside its smallest one.
MORE_SETTINGS: dict[str, dict[str, Any]] = {
    "vgg16": {"mlp_ratio": 0.01},
    "vgg16_seed": {"mlp_ratio": 0.01},
    "resnet50": {},
    "efficientnet_b0": {},
}


def create_small(name: str) -> nn.Module:
    if is_convolutional(name):
        model = create_convolutions(name)
    else:
        settings = (SETTINGS | MORE_SETTINGS)[name]
        model = timm.create_model(name, pretrained=False, num_classes=0, **settings)
    # Untrained normalisations are ones and noughts, which would hide much: ResNet's and
    # ConvNeXt's blocks, for example, start as the identity.
    generator = torch.Generator().manual_seed(0)
    for key, value in model.state_dict().items():
        if value.is_floating_point() and value.dim() == 1:
            noise = torch.rand(value.shape, generator=generator)
            value.mul_(0.5).add_(noise if key.endswith(("weight", "var", "gamma")) else noise / 5)
    return model


@cache
def draw_backbone(name: str) -> Backbone:
    """Shared by all tests: each one that could change it looks at its fingerprint afterwards."""
    # Whichever test comes first, its tensors must be of use to those that train.
    with torch.inference_mode(False), pytest.MonkeyPatch.context() as patch:
        patch.setattr(weights, "create_architecture", create_small)
        backbone = load_backbone(name, "random", seed=1)
    return replace(backbone, preprocessing=replace(backbone.preprocessing, size=(SIDE, SIDE)))


def randomise(model: TaskModel) -> TaskModel:
    """Move what is trained, as training would, so that an adapter does something."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.named_trainable().values():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return model


def draw_images() -> Tensor:
    return torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(4))
