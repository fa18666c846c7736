"""A backbone for another number of channels."""

import pytest
import timm
import torch
from torch import nn

from medlora.backbones.channels import adapt_first_layer
from medlora.backbones.weights import load_backbone
from medlora.errors import BackboneError


@pytest.mark.parametrize("name", ["test_vit", "test_resnet", "test_efficientnet"])
@pytest.mark.parametrize("n_channels", [1, 2, 4])
def test_it_is_timms_own_adaptation(name: str, n_channels: int, tmp_path) -> None:
    names = tuple(f"path_{number}" for number in range(n_channels))
    colour = load_backbone(name, "random", seed=3)
    adapted = load_backbone(name, "random", seed=3, channels=names)
    path = tmp_path / "colour.pth"
    torch.save(colour.model.state_dict(), path)
    expected = timm.create_model(
        name,
        num_classes=0,
        in_chans=n_channels,
        pretrained=True,
        pretrained_cfg_overlay={"file": str(path), "num_classes": 0, "classifier": ()},
    ).eval()
    images = torch.randn(2, n_channels, *adapted.preprocessing.size)
    with torch.no_grad():
        torch.testing.assert_close(adapted.model(images), expected(images))
    assert adapted.preprocessing.channels == names
    assert len(adapted.preprocessing.mean) == n_channels
    assert adapted.fingerprint != colour.fingerprint


def test_one_channel_answers_as_three_that_are_alike() -> None:
    colour = load_backbone("test_resnet", "random")
    grey = load_backbone("test_resnet", "random", channels=("path",))
    image = torch.randn(1, 1, 160, 160)
    with torch.no_grad():
        torch.testing.assert_close(
            grey.model(image), colour.model(image.expand(1, 3, 160, 160)), rtol=1e-4, atol=1e-5
        )


def test_a_model_that_does_not_tell_its_first_layer_is_refused() -> None:
    with pytest.raises(BackboneError, match="does not tell which its first layer is"):
        adapt_first_layer(nn.Sequential(nn.Conv2d(3, 8, 3)), 2)
