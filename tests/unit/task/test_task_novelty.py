"""What a task file keeps of its training images: the card's part, shapes, types and size."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from medlora.errors import TaskFileError
from medlora.task.card import TaskCard
from medlora.task.container import TensorEntry
from medlora.task.file import Task, convert_task, pack_task, unpack_task
from medlora.task.novelty import (
    MAX_BYTES,
    NoveltySettings,
    count_bytes,
    list_entries,
)
from tests.unit.task.task_samples import make_card, make_novel_task, make_task, same_task

VALUES: dict[str, Any] = {
    "place": "blocks.4",
    "n_values": 384,
    "n_directions": 32,
    "limit": 1.5,
    "false_alarms": 0.01,
    "n_train": 500,
    "n_val": 99,
}


def test_a_record_comes_back() -> None:
    settings = NoveltySettings(**VALUES)
    assert NoveltySettings.from_dict(settings.to_dict()) == settings
    card = make_card(novelty=settings)
    assert TaskCard.from_dict(card.to_dict()) == card


def test_patients_are_named_where_they_are_known_alone() -> None:
    settings = NoveltySettings(**VALUES)
    assert "n_val_groups" not in settings.to_dict()
    assert settings.n_units == 99
    grouped = NoveltySettings(**VALUES, n_val_groups=30)
    assert NoveltySettings.from_dict(grouped.to_dict()) == grouped
    assert grouped.n_units == 30


def test_a_card_without_says_nothing_of_it() -> None:
    assert "novelty" not in make_card().to_dict()
    assert list_entries(None) == {}


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"place": "blocks 4"}, r"'novelty.place' must be a path like 'blocks.4', not"),
        ({"n_values": 0}, "'novelty.n_values' must be a whole number from 1"),
        ({"n_directions": 384}, r"'novelty.n_directions' must be .* to 383"),
        ({"n_directions": -1}, "'novelty.n_directions' must be"),
        ({"limit": 0.0}, "'novelty.limit' must be above 0"),
        ({"limit": "1"}, "'novelty.limit' must be a finite number"),
        ({"false_alarms": 1.0}, r"'novelty.false_alarms' must be in \(0, 1\)"),
        ({"n_val": 0}, "'novelty.n_val' must be a whole number from 1"),
        ({"n_val_groups": 100}, r"'novelty.n_val_groups' must be a whole number from 1 to 99"),
        ({"n_values": 2048}, "'novelty' must be at most 100000 bytes of numbers"),
        ({"more": 1}, "'novelty.more' is unknown"),
    ],
)
def test_a_record_that_breaks_a_rule_is_refused(change: dict[str, Any], fault: str) -> None:
    with pytest.raises(TaskFileError, match=fault):
        NoveltySettings.from_dict(VALUES | change)


def test_the_numbers_take_the_bytes_that_are_counted() -> None:
    settings = NoveltySettings(**VALUES)
    # Twice float32 for each value, float16 for each direction's, float32 for each variance.
    assert count_bytes(384, 32) == 8 * 384 + 2 * 32 * 384 + 4 * 33 == 27_780
    entries = list_entries(settings)
    assert sum(entry.n_bytes for entry in entries.values()) == 27_780 < MAX_BYTES
    assert entries["novelty.variances"] == TensorEntry("F32", (33,))
    assert "novelty.directions" not in list_entries(replace(settings, n_directions=0))


def test_a_task_that_keeps_them_is_read_as_it_was_saved() -> None:
    task = make_novel_task()
    content = pack_task(task)
    loaded = unpack_task(content, "x")
    assert same_task(loaded, task)
    assert pack_task(loaded) == content


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_their_types_stay_whatever_the_file_is_saved_in(dtype: Any) -> None:
    task = make_novel_task()
    converted = convert_task(task, dtype)
    assert converted.tensors["head.weight"].dtype == getattr(torch, dtype)
    for name in list_entries(task.card.novelty):
        assert converted.tensors[name] is task.tensors[name]
    assert same_task(unpack_task(pack_task(converted), "x"), converted)


def drop(tensors: dict[str, Tensor]) -> None:
    del tensors["novelty.mean"]


def widen(tensors: dict[str, Tensor]) -> None:
    tensors["novelty.directions"] = tensors["novelty.directions"].float()


def lengthen(tensors: dict[str, Tensor]) -> None:
    tensors["novelty.mean"] = torch.zeros(7)


def add(tensors: dict[str, Tensor]) -> None:
    tensors["novelty.more"] = torch.zeros(1)


@pytest.mark.parametrize(
    ("edit", "fault"),
    [
        (drop, "'novelty.mean' is missing"),
        (widen, "'novelty.directions' must be of type F16, not F32"),
        (lengthen, r"'novelty.mean' has the wrong shape: it must be \(6,\) by its card"),
        (add, "'novelty.more' is unexpected"),
    ],
)
def test_other_tensors_than_the_card_implies_are_refused(
    edit: Callable[[dict[str, Tensor]], None], fault: str
) -> None:
    task = make_novel_task()
    edit(task.tensors)
    with pytest.raises(TaskFileError, match=fault):
        pack_task(task)


def test_tensors_without_the_card_are_refused() -> None:
    novel, plain = make_novel_task(), make_task()
    name = "novelty.mean"
    tensors = plain.tensors | {name: novel.tensors[name]}
    with pytest.raises(TaskFileError, match=f"{name!r} is unexpected"):
        pack_task(Task(plain.card, tensors))
