"""Fully connected layers behind a network's last map see where something is."""

import pytest
import torch
from torch import nn

from medlora.backbones.appended import (
    MapReader,
    append_connected,
    find_tail,
    list_appended,
)
from medlora.backbones.spec import create_architecture
from medlora.errors import BackboneError


def test_tokens_become_the_map_they_were_cut_from() -> None:
    grid = torch.arange(49.0).reshape(7, 7)
    tokens = torch.cat([torch.full((2,), -1.0), grid.flatten()])
    hidden = torch.stack([tokens, 100 + tokens], dim=-1)[None]
    maps = MapReader(2, n_prefix=2, grid=(7, 7))(hidden)
    assert torch.equal(maps[0], torch.stack([grid, 100 + grid]))


def test_a_map_that_ends_in_channels_is_turned() -> None:
    maps = torch.randn(3, 5, 7, 7)
    assert torch.equal(MapReader(5, ends_in_channels=True)(maps.movedim(1, -1)), maps)
    assert torch.equal(MapReader(5)(maps), maps)


def test_larger_maps_are_averaged() -> None:
    maps = torch.randn(1, 3, 14, 14)
    expected = maps.reshape(1, 3, 7, 2, 7, 2).mean(dim=(3, 5))
    assert torch.allclose(MapReader(3)(maps), expected, atol=1e-6)


@pytest.mark.parametrize("shape", [(2, 5), (2, 49, 5), (2, 4, 7, 7)])
def test_an_answer_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(BackboneError, match=r"where a map of 5 channels was expected.*lora or lin"):
        MapReader(5)(torch.zeros(shape))


@pytest.mark.parametrize(
    ("name", "place", "n_channels"),
    [
        ("vit_tiny_patch16_224", "head", 192),
        ("tf_efficientnet_lite0", "classifier", 1280),
        ("resnet50", "fc", 2048),
        ("convnext_atto", "head.fc", 320),
    ],
)
def test_the_layers_stand_where_the_classifier_would(
    name: str, place: str, n_channels: int
) -> None:
    with torch.device("meta"):
        network = create_architecture(name)
        images = torch.empty(2, 3, 224, 224)
    listed = list_appended(network)
    assert listed == {
        f"{place}.layers.fc1": (n_channels * 49, 4096),
        f"{place}.layers.fc2": (4096, 4096),
    }
    assert find_tail(network) is None
    assert append_connected(network) == 4096
    assert find_tail(network) == f"{place}.layers"
    for layer, (n_inputs, n_outputs) in listed.items():
        weight = network.get_parameter(f"{layer}.weight")
        assert (weight[0].numel(), len(weight)) == (n_inputs, n_outputs)
        assert weight.is_meta
    assert network.eval()(images).shape == (2, 4096)


class Silent(nn.Module):
    """Says nothing of itself."""


def test_a_network_that_says_nothing_of_itself_is_refused() -> None:
    for refused in (list_appended, append_connected):
        with pytest.raises(BackboneError, match="Silent does not say where one classifier stands"):
            refused(Silent())


def test_a_network_with_two_classifiers_is_refused() -> None:
    with torch.device("meta"):
        network = create_architecture("deit_tiny_distilled_patch16_224")
    with pytest.raises(BackboneError, match="does not say where one classifier stands"):
        list_appended(network)
