from dataclasses import replace

import pytest
import torch
from torch import nn

from medlora.errors import TaskFileError
from medlora.lora.conv import LoRAConv2d
from medlora.lora.linear import LoRALinear
from medlora.task.comparison import (
    FieldDifference,
    TensorDifference,
    UpdateDifference,
    compare_tasks,
    compare_values,
)
from medlora.task.file import Task, pack_task, unpack_task
from tests.unit.task.task_samples import (
    draw_tensor,
    make_adapter,
    make_card,
    make_full_task,
    make_task,
    make_tensors,
)


@pytest.mark.parametrize("task", [make_task(), make_full_task()], ids=["lora", "full"])
def test_a_task_and_its_reloaded_copy_are_the_same(task) -> None:
    found = compare_tasks(task, unpack_task(pack_task(task), "x"))
    assert found.same
    assert (found.fields, found.tensors) == ((), ())
    assert found.n_tensors_alike == len(task.tensors)
    assert [update.difference for update in found.updates] == [0.0] * len(found.updates)
    assert all(update.first == update.second > 0 for update in found.updates)
    assert len(found.updates) == (4 if task.card.adapter else 0)


def test_every_kind_of_difference_between_values_is_told() -> None:
    first = {"same": [1, {"x": None}], "n": 1, "gone": {"a": 2}, "list": [1, 2, 3], "deep": [[1]]}
    second = {"same": [1, {"x": None}], "n": 1.0, "list": [1, 2], "deep": [[2]], "new": None}
    assert list(compare_values(first, second)) == [
        FieldDifference("n", 1, 1.0),
        FieldDifference("gone", {"a": 2}, None, in_second=False),
        FieldDifference("list", [1, 2, 3], [1, 2]),
        FieldDifference("deep[0][0]", 1, 2),
        FieldDifference("new", None, None, in_first=False),
    ]


def test_true_is_not_one() -> None:
    assert len(list(compare_values({"a": True}, {"a": 1}))) == 1


def test_only_the_name_differs() -> None:
    task = make_task()
    found = compare_tasks(task, Task(replace(task.card, name="other"), task.tensors))
    assert not found.same
    assert found.fields == (FieldDifference("name", "tb-cxr", "other"),)
    assert found.tensors == ()


def test_fields_are_named_by_their_place() -> None:
    adapter = make_adapter(layers={"blocks.0.attn.qkv": ("q",), "fc": (), "conv": ()})
    card = make_card(metrics={"val": {"auroc": 0.5}}, adapter=adapter)
    tensors = {name: t for name, t in make_tensors().items() if ".v." not in name}
    found = compare_tasks(make_task(), Task(card, tensors))
    assert {item.field for item in found.fields} == {
        "adapter.layers.blocks.0.attn.qkv",
        "metrics.val.auroc",
        "metrics.val.note",
    }
    assert found.tensors == (
        TensorDifference("adapter.blocks.0.attn.qkv.v.A", "2 x 6 float32", None, None),
        TensorDifference("adapter.blocks.0.attn.qkv.v.B", "6 x 2 float32", None, None),
    )
    assert [update.layer for update in found.updates] == ["blocks.0.attn.qkv.q", "conv", "fc"]


def test_a_tensor_that_differs_is_told_with_its_largest_difference() -> None:
    changed = make_tensors()
    changed["head.bias"] = changed["head.bias"] + torch.tensor([0.25, -0.5])
    changed["head.weight"] = draw_tensor(2, 9)
    found = compare_tasks(make_task(), Task(make_card(), changed))
    assert found.tensors == (
        TensorDifference("head.bias", "2 float32", "2 float32", pytest.approx(0.5)),
        TensorDifference("head.weight", "2 x 5 float32", "2 x 9 float32", None),
    )
    assert found.n_tensors_alike == len(changed) - 2


def test_another_type_or_sign_of_nought_is_a_difference() -> None:
    first, second = make_full_task(), make_full_task()
    first.tensors["head.bias"] = torch.tensor([0.0, 1.0])
    second.tensors["head.bias"] = torch.tensor([-0.0, 1.0])
    second.tensors["trained.short"] = second.tensors["trained.short"].int()
    found = compare_tasks(first, second)
    assert not found.same
    assert found.fields == ()
    assert found.tensors == (
        TensorDifference("head.bias", "2 float32", "2 float32", 0.0),
        TensorDifference("trained.short", "2 int16", "2 int32", 0.0),
    )


def test_a_single_number_and_truth_values_are_compared() -> None:
    first, second = make_full_task(), make_full_task()
    second.tensors["trained.bn.num_batches_tracked"] = torch.tensor(20)
    second.tensors["trained.mask"] = torch.tensor([True, True, True])
    assert compare_tasks(first, second).tensors == (
        TensorDifference("trained.bn.num_batches_tracked", "1 int64", "1 int64", 3.0),
        TensorDifference("trained.mask", "3 bool", "3 bool", 1.0),
    )


def draw_layer(kind: str, rank: int, seed: int) -> LoRALinear | LoRAConv2d:
    torch.manual_seed(0)
    layer: LoRALinear | LoRAConv2d
    if kind == "linear":
        layer = LoRALinear(nn.Linear(5, 7), rank=rank, alpha=3.0)
    else:
        layer = LoRAConv2d(nn.Conv2d(4, 8, 3, groups=2), rank=rank, alpha=3.0)
    for index, parameter in enumerate(p for p in layer.parameters() if p.requires_grad):
        parameter.data = draw_tensor(*parameter.shape, seed=seed + index)
    return layer


def make_layer_task(layer: LoRALinear | LoRAConv2d) -> Task:
    A, B = [p.detach() for p in layer.parameters() if p.requires_grad]
    adapter = make_adapter(rank=layer.rank, alpha=3.0, layers={"layer": ()})
    tensors = make_tensors()
    head = {name: tensors[name] for name in ("head.weight", "head.bias")}
    return Task(make_card(adapter=adapter), {"adapter.layer.A": A, "adapter.layer.B": B, **head})


@pytest.mark.parametrize("kind", ["linear", "convolution"])
@pytest.mark.parametrize("ranks", [(2, 2), (1, 3)])
def test_updates_are_those_that_the_layers_compute(kind, ranks) -> None:
    layers = [draw_layer(kind, rank, seed=10 * index) for index, rank in enumerate(ranks)]
    (found,) = compare_tasks(*map(make_layer_task, layers)).updates
    deltas = [layer.delta_weight().detach() for layer in layers]
    expected = [float(values.norm()) for values in (*deltas, deltas[0] - deltas[1])]
    assert found.layer == "layer"
    assert [found.first, found.second, found.difference] == pytest.approx(expected, rel=1e-5)
    assert found.relative == pytest.approx(expected[2] / max(expected[:2]), rel=1e-5)


def test_the_strength_of_an_update_counts() -> None:
    task = make_task()
    doubled = replace(task.card, adapter=make_adapter(alpha=8.0))
    found = compare_tasks(task, Task(doubled, task.tensors))
    assert found.tensors == ()
    assert [update.relative for update in found.updates] == pytest.approx([0.5] * 4)


def test_updates_of_other_shapes_are_left_to_the_tensors() -> None:
    first = make_layer_task(draw_layer("linear", 2, seed=0))
    second = make_layer_task(draw_layer("convolution", 2, seed=0))
    found = compare_tasks(first, second)
    assert found.updates == ()
    assert {item.name for item in found.tensors} == {"adapter.layer.A", "adapter.layer.B"}


def test_two_updates_that_do_nothing_are_alike() -> None:
    assert UpdateDifference("x", 0.0, 0.0, 0.0).relative == 0.0
    assert UpdateDifference("x", 0.0, 2.0, 2.0).relative == 1.0


def test_a_task_that_cannot_be_saved_is_refused() -> None:
    broken = Task(make_card(), {})
    with pytest.raises(TaskFileError, match=r"the tensor .* is missing"):
        compare_tasks(broken, broken)
