"""MeLo's layer as published computes the same function as this project's."""

import pytest
import torch
from torch import nn

from medlora.experiments.published_layer import PublishedLinear, publish_layers
from medlora.lora.attach import attach_adapters
from medlora.lora.conv import LoRAConv2d
from medlora.lora.linear import LoRALinear


def make_layer(parts: tuple[str, ...]) -> LoRALinear:
    torch.manual_seed(0)
    layer = LoRALinear(nn.Linear(6, 12), rank=2, alpha=3.0, parts=parts)
    with torch.no_grad():
        for matrix in layer.lora_B.values():
            matrix.normal_()
    return layer


@pytest.mark.parametrize("parts", [(), ("q", "v"), ("v",), ("q", "k", "v")])
def test_it_answers_as_the_layer_that_it_replaces(parts) -> None:
    layer = make_layer(parts)
    inputs = torch.randn(2, 5, 6)
    with torch.inference_mode():
        published, expected = PublishedLinear(layer)(inputs), layer(inputs)
        plain = layer.base(inputs)
    torch.testing.assert_close(published, expected)
    assert not torch.allclose(published, plain, atol=1e-2)


def test_convolutions_stay_as_they_are() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten(), nn.Linear(4, 2))
    attach_adapters(network, {"0": (), "2": ()}, rank=1, alpha=1.0)
    publish_layers(network)
    assert isinstance(network[0], LoRAConv2d)
    assert isinstance(network[2], PublishedLinear)
    assert network[2].weight.shape == (2, 4)
