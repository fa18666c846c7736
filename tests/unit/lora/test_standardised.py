"""Factorised layers that are trained on standardised inputs become plain ones that answer alike."""

import pytest
import torch
from torch import Tensor, nn

from medlora.lora.factorised import FactorisedLayer


def make_layer(*, normalises: bool = False) -> FactorisedLayer:
    torch.manual_seed(0)
    layer = FactorisedLayer(nn.Conv2d(3, 16, 2), rank=2, normalises=normalises)
    with torch.no_grad():
        layer.bias.normal_()
    return layer.eval()


def draw_maps(n_images: int = 50) -> tuple[Tensor, Tensor, Tensor]:
    """Maps whose channels have other means and deviations, and these."""
    generator = torch.Generator().manual_seed(1)
    mean, deviation = torch.tensor([100.0, -3.0, 0.0]), torch.tensor([0.1, 20.0, 1.0])
    maps = torch.randn(n_images, 3, 2, 2, generator=generator)
    return maps * deviation[:, None, None] + mean[:, None, None], mean, deviation


def test_inputs_are_shifted_and_scaled_by_channel() -> None:
    maps, mean, deviation = draw_maps()
    layer, plain = make_layer(), make_layer()
    layer.standardise(mean, deviation)
    expected = plain((maps - mean[:, None, None]) / deviation[:, None, None])
    assert torch.allclose(layer(maps), expected, atol=1e-4)
    assert not torch.allclose(plain(maps), expected, atol=0.1)


@pytest.mark.parametrize("normalises", [False, True])
def test_folded_it_answers_alike_and_is_plain(normalises: bool) -> None:
    maps, mean, deviation = draw_maps()
    layer = make_layer(normalises=normalises)
    scale = maps.square().mean(dim=(1, 2, 3)).sqrt().mean() if normalises else 1.0
    layer.standardise(mean / scale, deviation / scale)
    expected = layer(maps)
    layer.fold()
    assert layer.shift is None and layer.factor is None
    assert torch.allclose(layer(maps), expected, atol=1e-3)
    again = layer.U.clone()
    layer.fold()
    assert torch.equal(layer.U, again), "folded twice"


def test_merged_it_answers_alike() -> None:
    maps, mean, deviation = draw_maps()
    layer = make_layer()
    layer.standardise(mean, deviation)
    assert torch.allclose(layer.merged()(maps), layer(maps), atol=1e-3)
    assert layer.shift is not None, "the layer itself has changed"


def test_shift_and_scale_are_no_part_of_what_is_kept() -> None:
    layer = make_layer()
    layer.standardise(*draw_maps()[1:])
    assert set(layer.state_dict()) == {"U", "V", "bias"}
