from typing import Any

import pytest
import torch
from torch import Tensor, nn

from medlora.errors import TargetError
from medlora.lora.conv import LoRAConv2d
from medlora.lora.linear import LoRALinear
from medlora.lora.packing import AdapterLayout
from medlora.lora.routed import RoutedNetwork
from medlora.lora.routing import RoutedLayer

CONVOLUTIONS: dict[str, dict[str, Any]] = {
    "3x3": {"kernel_size": 3, "padding": 1},
    "strided": {"kernel_size": 3, "stride": 2, "padding": 1},
    "dilated": {"kernel_size": 3, "dilation": 2, "padding": "same"},
    "reflected": {"kernel_size": 3, "padding": 1, "padding_mode": "reflect"},
    "1x1": {"kernel_size": 1},
    "1x1 strided": {"kernel_size": 1, "stride": 2},
    "1x1 padded": {"kernel_size": 1, "padding": 1},
    "grouped": {"kernel_size": 3, "groups": 2},
    "depthwise": {"kernel_size": 3, "groups": 4},
}


class Residual(nn.Module):
    """A block whose input goes round its layer, as in a transformer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer = nn.Linear(width, width)

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs + self.layer(inputs)


def draw_network(width: int = 6, n_blocks: int = 3) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(*[Residual(width) for _ in range(n_blocks)]).requires_grad_(False)


def draw_matrices(layers: dict[str, int], rank: int, seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        f"{name}.{letter}": torch.randn(
            (rank, width) if letter == "A" else (width, rank), generator=generator
        )
        for name, width in layers.items()
        for letter in "AB"
    }


def apply_apart(
    network: nn.Sequential, matrices: dict[str, Tensor], scale: float, inputs: Tensor
) -> Tensor:
    """What a network answers whose weights were changed by hand."""
    for name, block in network.named_children():
        layer = block.layer
        weight = layer.weight
        if f"{name}.layer.A" in matrices:
            delta = matrices[f"{name}.layer.B"] @ matrices[f"{name}.layer.A"]
            weight = weight + scale * delta
        inputs = inputs + nn.functional.linear(inputs, weight, layer.bias)
    return inputs


def compute_merged(routed: RoutedNetwork, images: Tensor, merged: dict[str, Tensor]) -> Tensor:
    rows = torch.arange(len(images))
    return routed.compute_observed(images, rows, {}, (), torch.clone, merged=merged)[0]


@pytest.mark.parametrize("repeated", [False, True], ids=["own images", "one image"])
@torch.no_grad()
def test_every_row_gets_its_own_update_or_none(repeated: bool) -> None:
    plain = draw_network()
    routed = RoutedNetwork(draw_network(), chain=("0", "1", "2"))
    first = {"1.layer": 6, "2.layer": 6}
    second = {"2.layer": 6}
    one, two = draw_matrices(first, 2, seed=1), draw_matrices(first, 2, seed=2)
    three = draw_matrices(second, 3, seed=3)
    wide = routed.lay_out(dict.fromkeys(first, ()), rank=2)
    late = routed.lay_out(dict.fromkeys(second, ()), rank=3)
    packed = torch.stack([wide.pack(each, 0.5, torch.float32) for each in (one, two)])
    updates: dict[str, list[Any]] = {}
    for name, update in wide.read(packed, slice(0, 2)).items():
        updates.setdefault(name, []).append(update)
    for name, update in late.read(late.pack(three, 2.0, torch.float32)[None], slice(2, 4)).items():
        updates.setdefault(name, []).append(update)
    images = torch.randn(1 if repeated else 5, 4, 6)
    rows = torch.zeros(5, dtype=torch.int64) if repeated else torch.arange(5)
    found = routed.compute(images, rows, updates)
    asked = [(one, 0.5), (two, 0.5), (three, 2.0), (three, 2.0), ({}, 1.0)]
    for row, (matrices, scale) in enumerate(asked):
        expected = apply_apart(plain, matrices, scale, images[rows[row]])
        assert torch.allclose(found[row], expected, atol=1e-5), row


def test_images_become_rows_at_the_block_of_the_first_adapted_layer() -> None:
    routed = RoutedNetwork(draw_network(), chain=("0", "1", "2"))
    layout = routed.lay_out({"1.layer": ()}, rank=2)
    seen: dict[str, int] = {}
    for name, block in routed.network.named_children():
        block.layer.register_forward_pre_hook(
            lambda _, inputs, name=name: seen.update({name: len(inputs[0])})
        )
    packed = layout.pack(draw_matrices({"1.layer": 6}, 2, seed=0), 1.0, torch.float32)
    updates = {"1.layer": [layout.read(packed[None], slice(0, 1))["1.layer"]]}
    routed.compute(torch.randn(1, 4, 6), torch.zeros(3, dtype=torch.int64), updates)
    assert seen == {"0": 1, "1": 3, "2": 3}
    assert routed.find_repeat(["2.layer", "1.layer"]) == "1"


def test_without_updates_images_are_computed_once() -> None:
    routed = RoutedNetwork(draw_network(), chain=("0",))
    images = torch.randn(2, 4, 6)
    rows = torch.tensor([1, 0, 1])
    expected = draw_network()(images)[rows]
    assert routed.compute(images, rows, {}).equal(expected)


def test_outside_the_chain_rows_are_made_before_the_network() -> None:
    routed = RoutedNetwork(draw_network(), chain=("1",))
    assert routed.find_repeat(["0.layer", "1.layer"]) is None


@pytest.mark.parametrize("kind", CONVOLUTIONS)
@torch.no_grad()
def test_a_convolution_gives_each_row_what_its_own_layer_gives(kind: str) -> None:
    settings = CONVOLUTIONS[kind]
    torch.manual_seed(0)
    base = nn.Conv2d(4, 8, **settings)
    routed = RoutedNetwork(nn.Sequential(base).requires_grad_(False))
    layout = routed.lay_out({"0": ()}, rank=2)
    images = torch.randn(3, 4, 9, 9)
    layers = [LoRAConv2d(base, rank=2, alpha=1.0) for _ in range(3)]
    for layer in layers:
        torch.nn.init.normal_(layer.lora_B)
    packed = torch.stack(
        [
            layout.pack({"0.A": layer.lora_A, "0.B": layer.lora_B}, layer.scale, torch.float32)
            for layer in layers
        ]
    )
    updates = {"0": [layout.read(packed, slice(0, 3))["0"]]}
    found = routed.compute(images, torch.arange(3), updates)
    shared = {"0": [layout.read(packed[:1], slice(1, 3))["0"]]}
    of_one = routed.compute(images, torch.arange(3), shared)
    for row, layer in enumerate(layers):
        assert torch.allclose(found[row], layer(images[row : row + 1])[0], atol=1e-4)
        expected = layers[0] if row else base
        assert torch.allclose(of_one[row], expected(images[row : row + 1])[0], atol=1e-4)
    assert not layout.can_merge
    with pytest.raises(TargetError, match="Layer '0' is a Conv2d: its update is added"):
        routed.merge(layout, packed[0])


@torch.no_grad()
def test_parts_of_a_fused_layer_are_updated_and_the_others_stay_bit_for_bit() -> None:
    torch.manual_seed(0)
    base = nn.Linear(6, 18)
    layer = LoRALinear(base, rank=2, alpha=3.0, parts=("q", "v"))
    routed = RoutedNetwork(nn.Sequential(base).requires_grad_(False))
    layout = routed.lay_out({"0": ("q", "v")}, rank=2)
    matrices = {}
    for part in ("q", "v"):
        torch.nn.init.normal_(layer.lora_B[part])
        matrices |= {f"0.{part}.A": layer.lora_A[part], f"0.{part}.B": layer.lora_B[part]}
    packed = layout.pack(matrices, layer.scale, torch.float32)
    inputs = torch.randn(2, 5, 6)
    updates = {"0": [layout.read(packed[None], slice(0, 2))["0"]]}
    found = routed.compute(inputs, torch.arange(2), updates)
    assert torch.allclose(found, layer(inputs), atol=1e-5)
    assert found[..., 6:12].equal(base(inputs)[..., 6:12])
    assert layout.can_merge
    before = base.weight.clone()
    merged = routed.merge(layout, packed)
    apart = compute_merged(routed, inputs, merged)
    assert torch.allclose(apart, layer(inputs), atol=1e-5)
    assert merged["0"][6:12].equal(base.weight[6:12])
    assert base.weight.equal(before)


def test_a_layer_that_is_never_called_is_an_error_not_a_silence() -> None:
    class Bypass(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(6, 6)

        def forward(self, inputs: Tensor) -> Tensor:
            return nn.functional.linear(inputs, self.layer.weight, self.layer.bias)

    routed = RoutedNetwork(Bypass().requires_grad_(False))
    layout = routed.lay_out({"layer": ()}, rank=1)
    packed = layout.pack(draw_matrices({"layer": 6}, 1, seed=0), 1.0, torch.float32)
    updates = {"layer": [layout.read(packed[None], slice(0, 1))["layer"]]}
    with pytest.raises(TargetError, match="'layer' without calling the layer"):
        routed.compute(torch.randn(1, 2, 6), torch.arange(1), updates)
    with pytest.raises(TargetError, match="'layer' without calling the layer"):
        compute_merged(routed, torch.randn(1, 2, 6), routed.merge(layout, packed))


def test_a_wrapped_layer_alone_is_its_base() -> None:
    base = nn.Linear(3, 3)
    layer = RoutedLayer(base, "any")
    inputs = torch.randn(2, 3)
    assert layer(inputs).equal(base(inputs))
    assert layer.weight is base.weight
    assert layer.bias is base.bias


def test_layouts_of_the_same_kind_are_one_object() -> None:
    routed = RoutedNetwork(draw_network())
    one = routed.lay_out({"0.layer": (), "1.layer": ()}, rank=2)
    assert routed.lay_out({"1.layer": (), "0.layer": ()}, rank=2) is one
    assert routed.lay_out({"0.layer": (), "1.layer": ()}, rank=3) is not one


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ({"9.layer": ()}, "no layer '9.layer'"),
        ({"0": ()}, "Residual cannot be adapted"),
        ({"0.layer": ("x",)}, "q, k and v"),
    ],
)
def test_layers_that_cannot_be_adapted_are_refused(layers: Any, message: str) -> None:
    with pytest.raises(TargetError, match=message):
        AdapterLayout(draw_network(), layers, rank=1)


def test_matrices_have_to_be_exactly_those_of_the_layout() -> None:
    layout = AdapterLayout(draw_network(), {"0.layer": ()}, rank=2)
    good = draw_matrices({"0.layer": 6}, 2, seed=0)
    with pytest.raises(TargetError, match=r"lacks the matrix '0\.layer\.B'"):
        layout.pack({"0.layer.A": good["0.layer.A"]}, 1.0, torch.float32)
    with pytest.raises(TargetError, match=r"odd matrix '1\.layer\.A'"):
        layout.pack(good | {"1.layer.A": good["0.layer.A"]}, 1.0, torch.float32)
    with pytest.raises(TargetError, match=r"shape \(6, 2\); this network needs \(2, 6\)"):
        layout.pack(good | {"0.layer.A": good["0.layer.B"]}, 1.0, torch.float32)
