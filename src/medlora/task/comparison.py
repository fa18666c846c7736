"""In what two tasks differ: their cards field by field, their tensors, their updates."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from medlora.lora.scaling import compute_scale
from medlora.task.file import Task, pack_task
from medlora.task.layout import name_adapter_tensors
from medlora.task.records import AdapterSettings
from medlora.task.strict_json import format_json


@dataclass(frozen=True)
class FieldDifference:
    """A field in which two cards differ.

    Attributes:
        field: Its place in the card, parts joined by dots: `metrics.val.auroc`.
        first: The first card's value, plain JSON; None where the card has no such field.
        second: The second card's value, likewise.
        in_first: Whether the first card has the field.
        in_second: Whether the second card has it.
    """

    field: str
    first: Any
    second: Any
    in_first: bool = True
    in_second: bool = True


@dataclass(frozen=True)
class TensorDifference:
    """A tensor in which two tasks differ.

    Attributes:
        name: Its name.
        first: Shape and type in the first task, such as `4 x 192 float32`; None where there
            is no such tensor.
        second: The same in the second task.
        largest: Largest absolute difference of a value, at least 0; None where shapes differ.
    """

    name: str
    first: str | None
    second: str | None
    largest: float | None


@dataclass(frozen=True)
class UpdateDifference:
    """How far apart two low-rank updates of one layer are, as matrices `scale * B A`.

    Attributes:
        layer: The adapted layer, or part of a layer.
        first: Frobenius norm of the first task's update.
        second: Frobenius norm of the second task's update.
        difference: Frobenius norm of their difference.
    """

    layer: str
    first: float
    second: float
    difference: float

    @property
    def relative(self) -> float:
        """The difference divided by the larger of both norms, in [0, 2]; 0 if both are 0.

        Updates that have nothing to do with one another are near the square root of 2 where
        their norms are alike.
        """
        larger = max(self.first, self.second)
        return self.difference / larger if larger else 0.0


@dataclass(frozen=True)
class TaskComparison:
    """In what two tasks differ.

    Attributes:
        same: Whether they are one task: their files are equal byte by byte.
        fields: The fields of the cards that differ.
        tensors: The tensors that differ, in the order of their names.
        n_tensors_alike: How many tensors are equal to the bit.
        updates: Every layer that both adapt and whose updates have one shape, whatever their
            ranks. Layers that one of them alone adapts are among `tensors`.
    """

    same: bool
    fields: tuple[FieldDifference, ...]
    tensors: tuple[TensorDifference, ...]
    n_tensors_alike: int
    updates: tuple[UpdateDifference, ...]


def compare_tasks(first: Task, second: Task) -> TaskComparison:
    """Compare two tasks; neither needs its backbone.

    Raises:
        TaskFileError: One of them could not be saved as it is.
    """
    tensors = tuple(_compare_tensors(first.tensors, second.tensors))
    return TaskComparison(
        same=pack_task(first) == pack_task(second),
        fields=tuple(compare_values(first.card.to_dict(), second.card.to_dict())),
        tensors=tensors,
        n_tensors_alike=len(first.tensors.keys() | second.tensors.keys()) - len(tensors),
        updates=tuple(_compare_updates(first, second)),
    )


def compare_values(first: Any, second: Any, field: str = "") -> Iterator[FieldDifference]:
    """The places at which two JSON values are not written alike.

    Objects are compared key by key, lists of one length item by item, and others as a whole.

    Args:
        first: A plain JSON value.
        second: Another.
        field: The place of both in what they are taken from.

    Example:
        >>> found = compare_values({"a": {"b": [1, 2]}, "c": 0}, {"a": {"b": [1, 3]}})
        >>> [(item.field, item.first, item.second, item.in_second) for item in found]
        [('a.b[1]', 2, 3, True), ('c', 0, None, False)]
    """
    if isinstance(first, dict) and isinstance(second, dict):
        for key in {**first, **second}:
            place = f"{field}.{key}" if field else key
            if key in first and key in second:
                yield from compare_values(first[key], second[key], place)
            else:
                yield FieldDifference(
                    place, first.get(key), second.get(key), key in first, key in second
                )
    elif isinstance(first, list) and isinstance(second, list) and len(first) == len(second):
        for index, pair in enumerate(zip(first, second, strict=True)):
            yield from compare_values(*pair, f"{field}[{index}]")
    elif format_json(first) != format_json(second):
        yield FieldDifference(field, first, second)


def _compare_tensors(
    first: dict[str, Tensor], second: dict[str, Tensor]
) -> Iterator[TensorDifference]:
    for name in sorted(first.keys() | second.keys()):
        one, other = first.get(name), second.get(name)
        if one is None or other is None:
            yield TensorDifference(name, _describe_tensor(one), _describe_tensor(other), None)
        elif not _have_same_bits(one, other):
            largest = None
            if one.shape == other.shape:
                largest = float((one.double() - other.double()).abs().max())
            yield TensorDifference(name, _describe_tensor(one), _describe_tensor(other), largest)


def _describe_tensor(tensor: Tensor | None) -> str | None:
    if tensor is None:
        return None
    sides = " x ".join(str(side) for side in tensor.shape) or "1"
    return f"{sides} {str(tensor.dtype).removeprefix('torch.')}"


def _have_same_bits(one: Tensor, other: Tensor) -> bool:
    if (one.shape, one.dtype) != (other.shape, other.dtype):
        return False
    # Equal values may still be 0 and -0.
    views = [tensor.contiguous().reshape(-1).view(torch.uint8) for tensor in (one, other)]
    return views[0].equal(views[1])


def _compare_updates(first: Task, second: Task) -> Iterator[UpdateDifference]:
    settings = first.card.adapter, second.card.adapter
    if settings[0] is None or settings[1] is None:
        return
    in_second = set(name_adapter_tensors(settings[1]))
    for names in name_adapter_tensors(settings[0]):
        if names not in in_second:
            continue
        one = _compute_update(first, settings[0], *names[:2])
        other = _compute_update(second, settings[1], *names[:2])
        if one.shape == other.shape:
            layer = names[0].removeprefix("adapter.").removesuffix(".A")
            norms = (float(values.norm()) for values in (one, other, one - other))
            yield UpdateDifference(layer, *norms)


def _compute_update(task: Task, adapter: AdapterSettings, down: str, up: str) -> Tensor:
    """`scale * B A`, float64 (output, input), or a kernel (output, input / groups, h, w)."""
    scale = compute_scale(adapter.rank, adapter.alpha, adapter.scaling)
    A, B = task.tensors[down].double(), task.tensors[up].double()
    # A convolution has one A and one B for each group, stacked; a linear layer is one group.
    n_groups = A.shape[0] // adapter.rank
    product = torch.bmm(
        B.reshape(n_groups, -1, adapter.rank), A.reshape(n_groups, adapter.rank, -1)
    )
    return scale * product.reshape(B.shape[0], *A.shape[1:])
