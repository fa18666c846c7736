"""A strategy's turns: what is switched when, and which time is counted as what."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from deployment_samples import CPU
from medlora.experiments import turns
from medlora.experiments.turns import Turn, TurnTaker
from medlora.experiments.workload import Workload, cut_turns

WORKLOAD = Workload(n_tasks=4, n_images=20)
PIXELS = torch.arange(20, dtype=torch.uint8).view(20, 1, 1, 1).expand(20, 3, 1, 1)


class Recorder:
    """A strategy that writes down what it is told, on a clock that it moves on itself."""

    fixed_task = None
    n_parameters = 0

    def __init__(self, needs_switch: bool) -> None:
        self.needs_switch = needs_switch
        self.switches: list[int] = []
        self.batches: list[tuple[list[int], list[int]]] = []
        self.now = 0.0

    def switch(self, task: int) -> None:
        self.switches.append(task)
        self.now += 10.0

    def answer(self, images: Sequence[Tensor], tasks: Sequence[int]) -> list[tuple[float, ...]]:
        numbers = [int(image[0, 0, 0]) for image in images]
        self.batches.append((numbers, list(tasks)))
        self.now += 1.0
        return [(number / 100,) for number in numbers]


def take_pass(taker: TurnTaker, order, batch_size: int):
    n_turns = len(cut_turns(-(-WORKLOAD.n_images // batch_size)))
    return [taker.take(Turn(order, batch_size, number)) for number in range(n_turns)]


@pytest.fixture
def make_taker(monkeypatch):
    def make(needs_switch: bool) -> tuple[Recorder, TurnTaker]:
        strategy = Recorder(needs_switch)
        monkeypatch.setattr(turns.time, "perf_counter", lambda: strategy.now)
        return strategy, TurnTaker(strategy, WORKLOAD, PIXELS, CPU)  # type: ignore[arg-type]

    return make


@pytest.mark.parametrize("order", ["task", "shuffled"])
def test_one_at_a_time_it_is_switched_where_the_task_changes(make_taker, order) -> None:
    strategy, taker = make_taker(True)
    figures = take_pass(taker, order, 1)
    asked = [WORKLOAD.tasks[image] for image in WORKLOAD.arrange(order)]
    changes = [task for before, task in zip([None, *asked], asked, strict=False) if task != before]
    assert strategy.switches == changes
    assert sum(turn.n_switches for turn in figures) == len(changes)
    assert sum(turn.switching_seconds for turn in figures) == 10.0 * len(changes)
    assert sum(turn.inference_seconds for turn in figures) == 20.0
    seconds = [second for turn in figures for second in turn.batch_seconds]
    assert seconds == [
        11.0 if task != before else 1.0 for before, task in zip([None, *asked], asked, strict=False)
    ]


def test_a_batch_of_several_tasks_is_answered_task_by_task(make_taker) -> None:
    strategy, taker = make_taker(True)
    take_pass(taker, "task", 8)
    assert strategy.batches == [
        ([0, 1, 2, 3, 4], [0] * 5),
        ([5, 6, 7], [1] * 3),
        ([8, 9], [1] * 2),
        ([10, 11, 12, 13, 14], [2] * 5),
        ([15], [3]),
        ([16, 17, 18, 19], [3] * 4),
    ]
    assert strategy.switches == [0, 1, 2, 3]


def test_in_a_mixed_batch_the_active_task_is_answered_first(make_taker) -> None:
    strategy, taker = make_taker(True)
    take_pass(taker, "shuffled", 8)
    last = None
    for batch in WORKLOAD.cut_batches("shuffled", 8):
        asked = {WORKLOAD.tasks[image] for image in batch}
        n_groups = len(asked)
        mine, strategy.batches = strategy.batches[:n_groups], strategy.batches[n_groups:]
        assert sorted(image for images, _ in mine for image in images) == sorted(batch)
        if last in asked:
            assert mine[0][1][0] == last
        last = mine[-1][1][0]
    assert not strategy.batches


def test_without_switches_a_batch_is_answered_whole(make_taker) -> None:
    strategy, taker = make_taker(False)
    figures = take_pass(taker, "shuffled", 8)
    assert [tuple(images) for images, _ in strategy.batches] == WORKLOAD.cut_batches("shuffled", 8)
    assert all(
        tasks == [WORKLOAD.tasks[image] for image in images] for images, tasks in strategy.batches
    )
    assert strategy.switches == []
    assert sum(turn.n_switches for turn in figures) == 0


def test_answers_are_told_by_the_images_number(make_taker) -> None:
    _, taker = make_taker(True)
    answers: dict[int, tuple[float, ...]] = {}
    for turn in take_pass(taker, "shuffled", 3):
        answers |= turn.answers
    assert answers == {image: (image / 100,) for image in range(20)}


def test_every_pass_begins_without_an_active_task(make_taker) -> None:
    strategy, taker = make_taker(True)
    take_pass(taker, "task", 20)
    assert taker.active == 3
    strategy.switches.clear()
    take_pass(taker, "task", 20)
    assert strategy.switches == [0, 1, 2, 3]


def test_warming_up_visits_every_task_and_batch_size(make_taker) -> None:
    strategy, taker = make_taker(False)
    taker.warm_up((1, 16))
    assert [len(images) for images, _ in strategy.batches] == [4, 1, 16]
    assert strategy.batches[0][1] == [0, 1, 2, 3]
