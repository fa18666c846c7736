"""One strategy's turns: some batches, with the time that answering and switching took."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from medlora.experiments.strategies import Strategy
from medlora.experiments.workload import Order, Workload, cut_turns, group_tasks


@dataclass(frozen=True)
class Turn:
    """Which batches of which pass over all images.

    Attributes:
        order: How the images come.
        batch_size: How many at a time.
        number: Number of the turn in its pass; the pass begins with turn 0.
    """

    order: Order
    batch_size: int
    number: int


@dataclass
class TurnFigures:
    """What a turn took, or several turns together.

    Attributes:
        inference_seconds: Of all answers, from pixels to probabilities.
        switching_seconds: Of all switches.
        n_switches: How many.
        batch_seconds: Of each batch, switches included.
        answers: Probabilities by the image's number.
        turn_seconds: Of all answers of each turn, where several are together.
    """

    inference_seconds: float = 0.0
    switching_seconds: float = 0.0
    n_switches: int = 0
    batch_seconds: list[float] = field(default_factory=list)
    answers: dict[int, tuple[float, ...]] = field(default_factory=dict)
    turn_seconds: list[float] = field(default_factory=list)


class TurnTaker:
    """Lets a strategy answer the images of a workload, a turn at a time.

    Args:
        strategy: The strategy.
        workload: The images.
        pixels: Uint8 (image, 3, height, width).
        device: Where the strategy computes.
    """

    def __init__(
        self, strategy: Strategy, workload: Workload, pixels: Tensor, device: torch.device
    ) -> None:
        self.strategy = strategy
        self.workload = workload
        self.images = list(pixels)
        self.device = device
        self.active: int | None = None

    def take(self, turn: Turn) -> TurnFigures:
        """Answer the batches of a turn."""
        batches = self.workload.cut_batches(turn.order, turn.batch_size)
        if turn.number == 0:
            self.active = None
        figures = TurnFigures()
        for batch in batches[cut_turns(len(batches))[turn.number]]:
            before = figures.inference_seconds + figures.switching_seconds
            self._answer(batch, figures)
            after = figures.inference_seconds + figures.switching_seconds
            figures.batch_seconds.append(after - before)
        return figures

    def warm_up(self, batch_sizes: Sequence[int]) -> None:
        """Answer a batch of each size, and an image of each task, without looking at the time."""
        tasks = self.workload.tasks
        first = [tasks.index(task) for task in range(self.workload.n_tasks)]
        for batch in [tuple(first), *self._cut_first(batch_sizes)]:
            self._answer(batch, TurnFigures())

    def _cut_first(self, batch_sizes: Sequence[int]) -> list[tuple[int, ...]]:
        return [self.workload.cut_batches("task", size)[0] for size in batch_sizes]

    def _answer(self, batch: Sequence[int], figures: TurnFigures) -> None:
        asked = [self.workload.tasks[image] for image in batch]
        if not self.strategy.needs_switch:
            self._infer(batch, asked, figures)
            return
        for task, places in group_tasks(asked, self.active).items():
            if task != self.active:
                started = self._read_clock()
                self.strategy.switch(task)
                figures.switching_seconds += self._read_clock() - started
                figures.n_switches += 1
                self.active = task
            self._infer([batch[place] for place in places], [task] * len(places), figures)

    def _infer(self, batch: Sequence[int], tasks: Sequence[int], figures: TurnFigures) -> None:
        images = [self.images[image] for image in batch]
        started = self._read_clock()
        answers = self.strategy.answer(images, tasks)
        figures.inference_seconds += self._read_clock() - started
        figures.answers.update(zip(batch, answers, strict=True))

    def _read_clock(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()
