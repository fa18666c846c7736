import pytest
import torch
from timm.layers import ScaledStdConv2d
from torch import Tensor, nn

from medlora.errors import TargetError
from medlora.lora.attach import (
    attach_adapters,
    collect_matrices,
    count_parameters,
    detach_adapters,
    find_adapters,
    find_targets,
    merge_adapters,
)
from medlora.lora.conv import LoRAConv2d
from medlora.lora.linear import LoRALinear


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.norm = nn.LayerNorm(4)
        self.qkv = nn.Linear(4, 12)
        self.proj = nn.Linear(12, 4)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.conv(images).movedim(1, -1)
        return torch.as_tensor(self.proj(self.qkv(self.norm(tokens)))).movedim(-1, 1)


def make_model() -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(Block(), Block(), ScaledStdConv2d(4, 4, 1))


def adapt(model: nn.Module, *patterns: str) -> None:
    attach_adapters(model, find_targets(model, patterns), rank=2, alpha=2.0)


def randomise(model: nn.Module) -> None:
    torch.manual_seed(4)
    with torch.no_grad():
        for matrix in collect_matrices(model).values():
            matrix.normal_()


def draw_images() -> Tensor:
    return torch.randn(2, 4, 5, 5, generator=torch.Generator().manual_seed(0))


def test_patterns_name_layers_in_the_model_s_order() -> None:
    found = find_targets(make_model(), ["*.proj", "0.qkv:vq", "1.conv"])
    assert list(found.items()) == [
        ("0.qkv", ("v", "q")),
        ("0.proj", ()),
        ("1.conv", ()),
        ("1.proj", ()),
    ]


def test_patterns_match_whole_names_and_no_normalisation() -> None:
    assert list(find_targets(make_model(), ["0.*"])) == ["0.conv", "0.qkv", "0.proj"]
    with pytest.raises(TargetError, match=r"Target 'proj' names no linear or convolutional layer"):
        find_targets(make_model(), ["proj"])


def test_the_last_pattern_that_names_a_layer_chooses_its_parts() -> None:
    assert find_targets(make_model(), ["*.qkv", "1.qkv:q"]) == {"0.qkv": (), "1.qkv": ("q",)}


def test_a_pattern_without_a_layer_shows_what_layers_are_called() -> None:
    with pytest.raises(TargetError, match=r"for example: 0\.conv, 0\.qkv, 0\.proj, 1\.proj, 2\."):
        find_targets(make_model(), ["0.qkv", "blocks.*"])


def test_letters_that_are_no_parts_are_refused() -> None:
    with pytest.raises(TargetError, match=r"Target '\*\.qkv:qx': .* not 'qx'"):
        find_targets(make_model(), ["*.qkv:qx"])


def test_attached_layers_stand_in_the_model_over_their_own_base() -> None:
    model = make_model()
    bases = {"0.conv": model[0].conv, "1.qkv": model[1].qkv}
    adapted = attach_adapters(
        model,
        {"0.conv": (), "1.qkv": ("q", "v")},
        rank=2,
        alpha=1.0,
        scaling="alpha/sqrt(rank)",
        dropout=0.25,
    )
    assert find_adapters(model) == adapted
    assert {name: layer.base for name, layer in adapted.items()} == bases
    assert isinstance(model[0].conv, LoRAConv2d)
    assert isinstance(model[1].qkv, LoRALinear)
    for layer in adapted.values():
        assert (layer.rank, layer.alpha, layer.scaling) == (2, 1.0, "alpha/sqrt(rank)")
        assert isinstance(layer.dropout, nn.Dropout)
        assert layer.dropout.p == 0.25


@pytest.mark.parametrize(
    ("layer", "parts", "message"),
    [
        ("0.norm", (), "Layer '0.norm': A LayerNorm cannot be adapted"),
        ("1.conv", ("q",), "Layer '1.conv': A Conv2d cannot be adapted"),
        ("1.proj", ("q",), "Layer '1.proj': A layer with 4 outputs holds no fused"),
        ("2", (), "Layer '2': A ScaledStdConv2d cannot carry"),
        ("0.fc", (), "The model has no layer '0.fc'"),
    ],
)
def test_an_impossible_layer_is_named_and_nothing_attached(
    layer: str, parts: tuple[str, ...], message: str
) -> None:
    model = make_model()
    with pytest.raises(TargetError, match=message):
        attach_adapters(model, {"0.qkv": (), layer: parts}, rank=2, alpha=1.0)
    assert not find_adapters(model)


def test_a_layer_is_adapted_once() -> None:
    model = make_model()
    adapt(model, "0.qkv")
    with pytest.raises(TargetError, match=r"Layer '0\.qkv': A LoRALinear cannot be adapted"):
        attach_adapters(model, {"0.qkv": ()}, rank=2, alpha=1.0)


def test_detaching_brings_the_model_back() -> None:
    model = make_model()
    modules, expected = dict(model.named_modules()), model(draw_images())
    adapt(model, "0.*", "1.qkv:v")
    randomise(model)
    assert not model(draw_images()).equal(expected)
    detach_adapters(model)
    assert dict(model.named_modules()) == modules
    assert model(draw_images()).equal(expected)


def test_merging_gives_a_plain_copy_and_leaves_the_model() -> None:
    model = make_model()
    adapt(model, "0.*", "1.qkv:v")
    randomise(model)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    expected = model(draw_images())
    merged = merge_adapters(model)
    assert not find_adapters(merged)
    assert merged.state_dict().keys() == make_model().state_dict().keys()
    difference = merged(draw_images()) - expected
    assert difference.norm() <= 1e-5 * expected.norm()
    assert len(find_adapters(model)) == 4
    assert all(tensor.equal(before[name]) for name, tensor in model.state_dict().items())
    with torch.no_grad():
        merged[0].qkv.weight.zero_()  # type: ignore[index, union-attr]
    assert model(draw_images()).equal(expected)


def test_matrices_are_named_by_layer_and_part() -> None:
    model = make_model()
    adapt(model, "0.conv", "0.proj", "1.qkv:qv")
    matrices = collect_matrices(model)
    assert {name: tuple(matrix.shape) for name, matrix in matrices.items()} == {
        "0.conv.A": (2, 4, 3, 3),
        "0.conv.B": (4, 2, 1, 1),
        "0.proj.A": (2, 12),
        "0.proj.B": (4, 2),
        "1.qkv.q.A": (2, 4),
        "1.qkv.q.B": (4, 2),
        "1.qkv.v.A": (2, 4),
        "1.qkv.v.B": (4, 2),
    }
    assert count_parameters(matrices) == 72 + 8 + 24 + 8 + 4 * 8
    assert isinstance(model[1].qkv, LoRALinear)
    assert matrices["1.qkv.v.B"] is model[1].qkv.lora_B["v"]
    assert all(matrix.requires_grad for matrix in matrices.values())
