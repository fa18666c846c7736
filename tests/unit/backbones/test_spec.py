from dataclasses import replace

import pytest
import torch
from torch import nn

from medlora.backbones.spec import (
    FAMILIES,
    choose_patterns,
    create_architecture,
    find_family,
    read_named_preprocessing,
    read_preprocessing,
)
from medlora.backbones.weights import load_backbone
from medlora.errors import BackboneError, TargetError
from medlora.lora.attach import find_targets
from medlora.preprocessing import Preprocessing

MODELS = {
    "vit": ("vit_tiny_patch16_224", "vit_base_patch16_clip_quickgelu_224.openai"),
    "swin": ("swin_tiny_patch4_window7_224",),
    "swinv2": ("swinv2_tiny_window8_256",),
    "convnext": ("convnext_atto", "convnext_tiny"),
    "vgg": ("vgg16", "vgg16_bn"),
    "resnet": ("resnet18", "resnet50"),
    "densenet": ("densenet121",),
    "efficientnet": ("tf_efficientnet_lite0", "efficientnet_b0"),
}
CASES = [(family, name) for family, names in MODELS.items() for name in names]


def create_on_meta(name: str) -> nn.Module:
    with torch.device("meta"):
        return create_architecture(name)


def test_every_family_is_tried() -> None:
    assert {family.name for family in FAMILIES} == set(MODELS)


@pytest.mark.parametrize(("family", "name"), CASES)
def test_a_model_is_known_by_its_family_and_all_its_sets_name_layers(
    family: str, name: str
) -> None:
    model = create_on_meta(name)
    rule = find_family(model)
    assert rule is not None
    assert rule.name == family
    # A plain EfficientNet's expansion has its own name; each set must name layers all the same.
    for target in rule.targets:
        assert find_targets(model, choose_patterns(model, [target]))


@pytest.mark.parametrize(
    ("name", "n_layers", "example", "parts"),
    [
        ("vit_tiny_patch16_224", 12, "blocks.0.attn.qkv", ("q", "v")),
        ("swin_tiny_patch4_window7_224", 12, "layers.3.blocks.1.attn.qkv", ("q", "v")),
        ("convnext_atto", 24, "stages.2.blocks.5.mlp.fc2", ()),
        ("vgg16", 13, "features.28", ()),
        ("resnet18", 16, "layer4.1.conv2", ()),
        ("resnet50", 48, "layer4.2.conv3", ()),
        ("densenet121", 116, "features.denseblock4.denselayer16.conv2", ()),
        ("tf_efficientnet_lite0", 31, "blocks.1.0.conv_pw", ()),
    ],
)
def test_default_targets(name: str, n_layers: int, example: str, parts: tuple[str, ...]) -> None:
    model = create_on_meta(name)
    layers = find_targets(model, choose_patterns(model, ["default"]))
    assert len(layers) == n_layers
    assert layers[example] == parts
    assert set(layers.values()) == {parts}


def test_sets_and_patterns_mix() -> None:
    model = create_on_meta("vit_tiny_patch16_224")
    assert choose_patterns(model, ["qv", "blocks.0.mlp.*", "mlp"]) == (
        "blocks.*.attn.qkv:qv",
        "blocks.0.mlp.*",
        "blocks.*.mlp.fc1",
        "blocks.*.mlp.fc2",
    )


def test_an_unknown_family_takes_patterns_only() -> None:
    model = create_on_meta("mobilenetv3_small_050")
    assert find_family(model) is None
    assert choose_patterns(model, ["blocks.*"]) == ("blocks.*",)
    with pytest.raises(TargetError, match=r"default targets for vit, .*none for MobileNetV3"):
        choose_patterns(model, ["default"])


def test_an_architecture_has_no_head() -> None:
    model = create_architecture("test_vit")
    assert isinstance(model.head, nn.Identity)
    assert model(torch.zeros(1, 3, 160, 160)).shape == (1, 64)


def test_preprocessing_is_the_model_s_own() -> None:
    assert read_preprocessing(create_on_meta("tf_efficientnet_lite0")) == Preprocessing(
        size=(224, 224),
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        interpolation="bicubic",
        crop_fraction=0.875,
    )
    resnet = read_preprocessing(create_on_meta("resnet18"))
    assert resnet.mean == (0.485, 0.456, 0.406)
    assert resnet.std == (0.229, 0.224, 0.225)
    clip = read_preprocessing(create_on_meta("vit_base_patch16_clip_quickgelu_224.openai"))
    assert clip.mean == (0.48145466, 0.4578275, 0.40821073)
    assert replace(clip, mean=resnet.mean, std=resnet.std).crop_fraction == 0.9


@pytest.mark.parametrize("channels", [(), ("path_t1", "path_t2")])
def test_preprocessing_by_name_is_that_of_the_backbone(channels: tuple[str, ...]) -> None:
    for name in ("test_vit", "test_convnext"):
        loaded = load_backbone(name, "random", channels=channels)
        assert read_named_preprocessing(name, channels) == loaded.preprocessing
    # Nobody has published weights for it.
    assert read_named_preprocessing("vgg16_seed.features").size == (224, 224)


def test_a_model_that_does_not_take_three_channels_is_refused() -> None:
    model = create_architecture("test_resnet")
    model.pretrained_cfg["input_size"] = (1, 160, 160)
    with pytest.raises(BackboneError, match="takes 1 channels; only 3 are supported"):
        read_preprocessing(model)


def test_an_unknown_model_is_named_with_those_near_it() -> None:
    with pytest.raises(BackboneError, match=r"no usable model 'resnet_18'.* Near it: .*resnet"):
        create_architecture("resnet_18")


def test_an_unknown_tag_is_named() -> None:
    with pytest.raises(BackboneError, match=r"no usable model 'resnet18\.nowhere'"):
        create_architecture("resnet18.nowhere")
