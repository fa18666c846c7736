"""Which image asks which task, in which order they come, and how they fall into batches."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from medlora.errors import SettingsError

Order = Literal["task", "shuffled"]
ORDERS: tuple[Order, ...] = get_args(Order)
# A pass is cut into so many turns, between which the other strategies have theirs.
N_TURNS = 5


@dataclass(frozen=True)
class Workload:
    """Images of several tasks, equally many of each but for a remainder.

    Attributes:
        n_tasks: Number of tasks.
        n_images: Number of images, at least one for each task.
        seed: Seed of the shuffled order and of the pixels.

    Raises:
        SettingsError: A number is out of range.
    """

    n_tasks: int = 4
    n_images: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the numbers."""
        if self.n_tasks < 1:
            raise SettingsError(f"The number of tasks must be 1 or more, not {self.n_tasks}.")
        if self.n_images < self.n_tasks:
            raise SettingsError(
                f"{self.n_images} images are too few for {self.n_tasks} tasks: give each one at "
                "least."
            )
        if self.seed < 0:
            raise SettingsError(f"A seed is 0 or more, not {self.seed}.")

    @property
    def tasks(self) -> tuple[int, ...]:
        """The task that each image asks, images of one task side by side.

        Example:
            >>> Workload(n_tasks=2, n_images=5).tasks
            (0, 0, 0, 1, 1)
        """
        return tuple(image * self.n_tasks // self.n_images for image in range(self.n_images))

    def arrange(self, order: Order) -> tuple[int, ...]:
        """Numbers of the images as they come: task after task, or all tasks mixed."""
        numbers = np.arange(self.n_images)
        if order == "shuffled":
            np.random.default_rng(self.seed).shuffle(numbers)
        return tuple(numbers.tolist())

    def cut_batches(self, order: Order, batch_size: int) -> list[tuple[int, ...]]:
        """Numbers of the images of each batch, the last one perhaps smaller.

        Example:
            >>> Workload(n_tasks=2, n_images=5).cut_batches("task", 2)
            [(0, 1), (2, 3), (4,)]
        """
        images = self.arrange(order)
        starts = range(0, len(images), batch_size)
        return [images[start : start + batch_size] for start in starts]

    def draw_pixels(self, size: tuple[int, int]) -> Tensor:
        """Random pixels, uint8 (image, 3, height, width)."""
        generator = torch.Generator().manual_seed(self.seed)
        shape = (self.n_images, 3, *size)
        return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)


def group_tasks(tasks: Sequence[int], active: int | None) -> dict[int, list[int]]:
    """The places of a batch by the task they ask, the active task first.

    A strategy that can answer one task at a time so gets by with as few switches as possible.

    Args:
        tasks: The task of each image of the batch.
        active: The task that can be answered without a switch.

    Example:
        >>> group_tasks([2, 0, 2, 1], active=1)
        {1: [3], 2: [0, 2], 0: [1]}
    """
    groups: dict[int, list[int]] = {} if active not in tasks or active is None else {active: []}
    for place, task in enumerate(tasks):
        groups.setdefault(task, []).append(place)
    return groups


def cut_turns(n_batches: int, n_turns: int = N_TURNS) -> list[slice]:
    """Runs of batches, as even as can be; fewer where there are not enough batches.

    Example:
        >>> cut_turns(7, 3)
        [slice(0, 2, None), slice(2, 4, None), slice(4, 7, None)]
    """
    n_turns = min(n_turns, n_batches)
    ends = [n_batches * number // n_turns for number in range(n_turns + 1)]
    return [slice(start, stop) for start, stop in pairwise(ends)]
