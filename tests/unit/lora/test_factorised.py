import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from medlora.errors import TargetError
from medlora.lora.factorised import (
    FactorisedLayer,
    attach_factorised,
    collect_factors,
    find_factorised,
    merge_factorised,
)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def make_layer(kernel: tuple[int, int] = (3, 2), **changes: Any) -> FactorisedLayer:
    torch.manual_seed(1)
    layer = FactorisedLayer(nn.Conv2d(4, 6, kernel), **({"rank": 2} | changes))
    with torch.no_grad():
        layer.bias.copy_(draw(6, seed=9))
    return layer


def test_it_multiplies_by_u_and_v_and_adds_the_bias() -> None:
    layer, maps = make_layer(), draw(5, 4, 3, 2)
    U, V, bias = (tensor.tolist() for tensor in (layer.U, layer.V, layer.bias))
    expected = torch.zeros(5, 6)
    for image in range(5):
        values = [
            float(maps[image, channel, row, column])
            for channel in range(4)
            for row in range(3)
            for column in range(2)
        ]
        for output in range(6):
            weights = [sum(row[k] * V[k][output] for k in range(2)) for row in U]
            total = sum(v * w for v, w in zip(values, weights, strict=True))
            expected[image, output] = total + bias[output]
    assert layer(maps).shape == (5, 6, 1, 1)
    assert torch.allclose(layer(maps)[:, :, 0, 0], expected, atol=1e-5)


@pytest.mark.parametrize("size", [(3, 2), (5, 4)])
def test_merged_is_a_plain_convolution_with_the_same_answers(size: tuple[int, int]) -> None:
    layer, maps = make_layer(), draw(3, 4, *size)
    merged = layer.merged()
    assert type(merged) is nn.Conv2d
    assert torch.allclose(merged(maps), layer(maps), atol=1e-5)
    assert not any(parameter.requires_grad for parameter in merged.parameters())
    rank = torch.linalg.matrix_rank(merged.weight.reshape(6, -1))
    assert rank == 2


@pytest.mark.parametrize("size", [(3, 2), (5, 4)])
def test_normalised_inputs_have_no_scale(size: tuple[int, int]) -> None:
    layer, maps = make_layer(normalises=True), draw(3, 4, *size)
    scales = torch.tensor([0.1, 1.0, 30.0])[:, None, None, None]
    assert torch.allclose(layer(maps * scales), layer(maps), atol=1e-5)
    root = maps.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
    plain = make_layer(normalises=False)
    plain.load_state_dict(layer.state_dict())
    assert torch.allclose(layer(maps), plain(maps / root), atol=1e-5)
    assert bool(layer(torch.zeros_like(maps)).isfinite().all())


def test_a_layer_that_normalises_is_not_merged() -> None:
    with pytest.raises(TargetError, match="has no plain layer that answers alike"):
        make_layer(normalises=True).merged()


def test_half_precision_inputs_are_computed_in_full() -> None:
    layer, maps = make_layer(), draw(2, 4, 3, 2).bfloat16()
    assert layer(maps).dtype == torch.float32
    assert layer(maps).equal(layer(maps.float()))


def test_memory_formats_give_one_answer() -> None:
    layer, maps = make_layer(), draw(2, 4, 3, 2)
    assert layer(maps.to(memory_format=torch.channels_last)).equal(layer(maps))


def test_every_tensor_gets_a_gradient() -> None:
    layer = make_layer()
    layer(draw(2, 4, 3, 2)).square().sum().backward()
    assert all(bool(parameter.grad.any()) for parameter in layer.parameters())
    assert {name for name, _ in layer.named_parameters()} == {"U", "V", "bias"}


@pytest.mark.parametrize("rank", [1, 8, 64])
@pytest.mark.parametrize("gain", [1.0, 0.25])
@torch.no_grad()
def test_the_start_keeps_the_scale_of_activations_whatever_the_rank(rank: int, gain: float) -> None:
    torch.manual_seed(3)
    scales = []
    for _ in range(12):
        layer = FactorisedLayer(nn.Conv2d(256, 512, 3), rank=rank, gain=gain)
        inputs = functional.relu(draw(64, 256, 3, 3, seed=len(scales)))
        outputs = functional.relu(layer(inputs))
        scales.append(float(outputs.square().mean() / inputs.square().mean()))
    # Rank 1 leaves one random factor for all outputs; its mean is still the formula's.
    assert math.isclose(sum(scales) / 12, gain**2, rel_tol=0.9 if rank == 1 else 0.25)


def test_dropout_is_on_the_inputs_in_training_alone() -> None:
    layer, maps = make_layer(dropout=0.5), draw(2, 4, 3, 2)
    plain = make_layer()(maps)
    assert layer.eval()(maps).equal(plain)
    torch.manual_seed(0)
    assert not layer.train()(maps).equal(plain)


def test_both_factors_start_with_the_same_norm() -> None:
    torch.manual_seed(3)
    layer = FactorisedLayer(nn.Conv2d(128, 64, 3), rank=16)
    assert math.isclose(float(layer.U.detach().norm() / layer.V.detach().norm()), 1, rel_tol=0.1)


@pytest.mark.parametrize(
    "settings", [{"stride": 2}, {"padding": 1}, {"dilation": 2}, {"groups": 2}, {"bias": False}]
)
def test_a_layer_that_does_more_than_multiply_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(TargetError, match=r"is no fully connected layer, so it cannot be fac"):
        FactorisedLayer(nn.Conv2d(4, 6, 3, **settings), rank=2)


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(3, 4, 3)
        with torch.device("meta"):
            self.fc1 = nn.Conv2d(4, 6, (3, 2))
            self.fc2 = nn.Conv2d(6, 5, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc2(functional.relu(self.fc1(self.features(images))))


SHAPES = {"fc1": (24, 6), "fc2": (6, 5)}


def test_layers_take_the_places_of_layers_without_values() -> None:
    network = Network()
    placed = attach_factorised(network, SHAPES, rank=3)
    assert find_factorised(network) == placed
    shapes = {name: tuple(value.shape) for name, value in collect_factors(network).items()}
    assert shapes == {
        "fc1.U": (24, 3),
        "fc1.V": (3, 6),
        "fc1.bias": (6,),
        "fc2.U": (6, 3),
        "fc2.V": (3, 5),
        "fc2.bias": (5,),
    }
    images = draw(2, 3, 5, 4)
    answers = network(images)
    merge_factorised(network)
    assert not find_factorised(network)
    assert {name for name, _ in network.named_parameters()} >= {"fc1.weight", "fc2.bias"}
    assert torch.allclose(network(images), answers, atol=1e-5)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ({"fc3": (6, 5)}, r"no fully connected layer 'fc3'"),
        ({"": (6, 5)}, r"no fully connected layer ''"),
        ({"fc2": (5, 6)}, r"Layer 'fc2' maps 6 values to 5, not 5 to 6"),
    ],
)
def test_what_does_not_fit_is_named(layers: dict[str, Any], message: str) -> None:
    network = Network()
    with pytest.raises(TargetError, match=message):
        attach_factorised(network, {"fc1": (24, 6)} | layers, rank=2)
    assert not find_factorised(network), "the model was changed"
