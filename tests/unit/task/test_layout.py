import math
import re
from typing import Any

import pytest

from medlora.errors import TaskFileError
from medlora.task.card import TaskCard
from medlora.task.container import TensorEntry
from medlora.task.layout import check_layout, count_values
from tests.unit.task.task_samples import (
    make_adapter,
    make_card,
    make_factorised_task,
    make_tensors,
)

QKV = "adapter.blocks.0.attn.qkv"


def describe_tensors(**changes: Any) -> dict[str, TensorEntry]:
    return {name: TensorEntry("F32", tuple(t.shape)) for name, t in make_tensors().items()}


def check(changes: dict[str, Any], card: TaskCard | None = None) -> None:
    """Check the sample's tensors with some replaced, added, or (None) taken away."""
    entries: dict[str, Any] = describe_tensors()
    for name, shape in changes.items():
        entries[name] = TensorEntry("F32", shape) if isinstance(shape, tuple) else shape
    kept = {name: entry for name, entry in entries.items() if entry is not None}
    check_layout(card or make_card(), kept, "tb.safetensors")


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_the_implied_tensors_pass(dtype: str) -> None:
    entries = {name: TensorEntry(dtype, e.shape) for name, e in describe_tensors().items()}
    check_layout(make_card(), entries, "tb.safetensors")


def test_trained_tensors_pass_with_any_method() -> None:
    check({"trained.norm.weight": (7,), "trained.norm.n": TensorEntry("I64", ())})
    head = {name: e for name, e in describe_tensors().items() if name.startswith("head.")}
    linear = make_card(method="linear", adapter=None)
    check_layout(linear, head, "x")
    check_layout(linear, head | {"trained.bn.bias": TensorEntry("F32", (3,))}, "x")


@pytest.mark.parametrize("name", sorted(describe_tensors()))
def test_missing_tensor_is_named(name: str) -> None:
    with pytest.raises(TaskFileError, match=f"^tb.safetensors: the tensor '{name}' is missing"):
        check({name: None})


@pytest.mark.parametrize(
    "name",
    [
        "adapter.blocks.0.attn.qkv.k.A",
        "adapter.blocks.1.attn.qkv.q.A",
        "adapter.fc.C",
        "head.scale",
        "optimizer.step",
        "trained.",
        "trained..x",
        "trained.x y",
        "",
        "__metadata__2",
    ],
)
def test_unexpected_tensor_is_named(name: str) -> None:
    with pytest.raises(TaskFileError, match=f"tensor '{name}' is unexpected: .*'lora'"):
        check({name: (2, 6)})


def test_method_linear_has_no_adapter() -> None:
    with pytest.raises(TaskFileError, match=r"'adapter.+A' is unexpected: .*'linear'"):
        check({}, make_card(method="linear", adapter=None))


def test_method_full_has_a_trained_backbone() -> None:
    card = make_card(method="full", adapter=None)
    head = {name: e for name, e in describe_tensors().items() if name.startswith("head.")}
    with pytest.raises(TaskFileError, match=r"trained\.<name> is missing: the method 'full'"):
        check_layout(card, head, "tb.safetensors")
    with pytest.raises(TaskFileError, match=r"'adapter.+A' is unexpected: .*'full'"):
        check({"trained.x": (1,)}, card)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("head.weight", (3, 5), "must be (2, features) for the card's 2 classes, not (3, 5)"),
        ("head.weight", (10,), "must be (2, features) for the card's 2 classes, not (10,)"),
        ("head.bias", (3,), "must be (2,) for the card's 2 classes, not (3,)"),
        ("head.bias", (2, 1), "must be (2,) for the card's 2 classes, not (2, 1)"),
        (f"{QKV}.q.A", (3, 6), "must be (2, inputs) for rank 2, not (3, 6)"),
        (f"{QKV}.q.A", (12,), "must be (2, inputs) for rank 2, not (12,)"),
        (f"{QKV}.q.A", (2, 6, 1, 1), "must be (2, inputs) for rank 2, not (2, 6, 1, 1)"),
        (f"{QKV}.v.B", (6, 3), "must be (outputs, 2) for rank 2, not (6, 3)"),
        ("adapter.fc.B", (7, 2, 1, 1), "must be (outputs, 2) for rank 2, not (7, 2, 1, 1)"),
        ("adapter.conv.A", (3, 2, 3, 3), "must be (2 * groups, inputs / groups, height, width)"),
        ("adapter.conv.A", (1, 2, 3, 3), "must be (2 * groups, inputs / groups, height, width)"),
        ("adapter.conv.B", (8, 2), "must be (outputs, 2, 1, 1) with outputs in 2 group(s)"),
        ("adapter.conv.B", (8, 2, 3, 3), "must be (outputs, 2, 1, 1) with outputs in 2 group(s)"),
        ("adapter.conv.B", (8, 4, 1, 1), "must be (outputs, 2, 1, 1) with outputs in 2 group(s)"),
        ("adapter.conv.B", (7, 2, 1, 1), "must be (outputs, 2, 1, 1) with outputs in 2 group(s)"),
    ],
)
def test_wrong_shape_is_named(name: str, shape: tuple[int, ...], message: str) -> None:
    start = f"tb.safetensors: the tensor '{name}' has the wrong shape: it "
    with pytest.raises(TaskFileError, match=f"^{re.escape(start + message)}"):
        check({name: shape})


@pytest.mark.parametrize("name", ["head.weight", "adapter.fc.A"])
def test_wrong_type_is_named(name: str) -> None:
    with pytest.raises(TaskFileError, match=f"'{name}' must be of type F32, F16 or BF16, not F64"):
        check({name: TensorEntry("F64", describe_tensors()[name].shape)})


def test_layer_and_part_cannot_share_a_name() -> None:
    card = make_card(adapter=make_adapter(layers={"a": ("b",), "a.b": ()}))
    with pytest.raises(TaskFileError, match=r"'adapter.layers' names 'a\.b' twice"):
        check({}, card)


FACTORS = {
    "factorised.pre_logits.fc1.U": (6, 2),
    "factorised.pre_logits.fc1.V": (2, 5),
    "factorised.pre_logits.fc1.bias": (5,),
}


def check_factorised(changes: dict[str, Any]) -> None:
    shapes: dict[str, Any] = {"head.weight": (2, 5), "head.bias": (2,)} | FACTORS | changes
    entries = {n: TensorEntry("F32", s) for n, s in shapes.items() if s is not None}
    check_layout(make_factorised_task().card, entries, "tb.safetensors")


def test_factorised_layers_imply_three_tensors_each() -> None:
    check_factorised({})
    check_factorised({"trained.features.0.bias": (7,)})


@pytest.mark.parametrize("name", FACTORS)
def test_a_factor_that_is_missing_is_named(name: str) -> None:
    with pytest.raises(TaskFileError, match=f"the tensor '{name}' is missing"):
        check_factorised({name: None})


@pytest.mark.parametrize(
    "name",
    [
        "factorised.pre_logits.fc1.W",
        "factorised.pre_logits.fc2.U",
        "factorised.pre_logits.fc1",
        "adapter.pre_logits.fc1.A",
    ],
)
def test_a_factor_that_the_card_does_not_imply_is_named(name: str) -> None:
    with pytest.raises(TaskFileError, match=f"'{name}' is unexpected: .*'factorised'"):
        check_factorised({name: (6, 2)})


@pytest.mark.parametrize(
    ("name", "shape", "rule"),
    [
        ("U", (2, 6), "(6, 2) by its card, not (2, 6)"),
        ("U", (6, 3), "(6, 2) by its card, not (6, 3)"),
        ("V", (2, 5, 1, 1), "(2, 5) by its card, not (2, 5, 1, 1)"),
        ("bias", (5, 1), "(5,) by its card, not (5, 1)"),
    ],
)
def test_a_factor_of_another_shape_is_named(name: str, shape: Any, rule: str) -> None:
    name = f"factorised.pre_logits.fc1.{name}"
    start = f"tb.safetensors: the tensor '{name}' has the wrong shape: it must be {rule}"
    with pytest.raises(TaskFileError, match=f"^{re.escape(start)}"):
        check_factorised({name: shape})


def test_values_are_counted_by_what_they_are_for() -> None:
    shapes = {name: tuple(tensor.shape) for name, tensor in make_tensors().items()}
    n_adapter = sum(math.prod(s) for name, s in shapes.items() if name.startswith("adapter"))
    assert count_values(shapes) == {"adapter": n_adapter, "head": 2 * 5 + 2}
    assert count_values(FACTORS | {"trained.x": ()}) == {
        "U and V": 6 * 2 + 2 * 5,
        "biases": 5,
        "backbone": 1,
    }
