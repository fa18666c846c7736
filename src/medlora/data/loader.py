"""Rows of a table to batches of images, in an order that can be taken up again anywhere."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from medlora.errors import DataError, SettingsError
from medlora.progress import Progress

Rows = npt.NDArray[np.int64]


@runtime_checkable
class ImageReader(Protocol):
    """Gives the prepared images of some rows; `medlora.data.cache.PreparedImages` is one."""

    def read(self, rows: Sequence[int]) -> Tensor:
        """The images of `rows` in that order, uint8 (image, 3, height, width)."""


@dataclass(frozen=True)
class Batch:
    """Some images with their reference labels.

    Attributes:
        images: (image, 3, height, width), uint8, prepared but not normalised.
        targets: (image, class), float32, 1 where the image belongs to the class.
        rows: (image,), int64, each image's row in the table.
    """

    images: Tensor
    targets: Tensor
    rows: Tensor


def count_batches(n_rows: int, batch_size: int, n_processes: int = 1) -> int:
    """How many batches each process gets from one epoch.

    Args:
        n_rows: Rows of the epoch, over all processes.
        batch_size: Images in a batch of one process.
        n_processes: Processes that share the epoch.

    Example:
        >>> count_batches(100, 32), count_batches(97, 32), count_batches(1, 32)
        (4, 3, 1)
    """
    _check_sizes(batch_size, n_processes)
    n_own = -(-n_rows // n_processes)
    n_batches = -(-n_own // batch_size)
    # Batch statistics of one image are no statistics, and its gradient would be all noise.
    drops_last = n_own % batch_size == 1 and batch_size > 1 and n_batches > 1
    return n_batches - drops_last


def plan_epoch(
    rows: Rows,
    *,
    batch_size: int,
    seed: int,
    epoch: int,
    sample_weights: npt.NDArray[np.float64] | None = None,
    process_index: int = 0,
    n_processes: int = 1,
) -> list[Rows]:
    """The rows of each batch of one epoch: a pure function of its arguments.

    Every process draws the same order and takes every `n_processes`-th row of it, so that all
    have as many batches of the same sizes; the order is continued from its start where it does
    not divide evenly. A short last batch is kept, unless it holds one image and others exist.

    Args:
        rows: (row,) rows of the table to go through.
        batch_size: Images in a batch of one process, at least 1.
        seed: Seed of the run, at least 0.
        epoch: Number of the epoch, at least 0.
        sample_weights: (row,) weights, at least 0, by which as many rows are drawn with
            replacement; each row is taken once where none are given.
        process_index: Which of the processes this is, from 0.
        n_processes: Processes that share the epoch.

    Raises:
        SettingsError: A number is outside its range.
        DataError: There are no rows, or the weights do not fit them.
    """
    n_batches = count_batches(len(rows), batch_size, n_processes)
    if len(rows) == 0:
        raise DataError("There are no images to make batches of. Check the split's rows.")
    if not 0 <= process_index < n_processes:
        raise SettingsError(
            f"process_index must be in [0, {n_processes - 1}], not {process_index}."
        )
    if seed < 0 or epoch < 0:
        raise SettingsError(f"Seed and epoch must be at least 0, not {seed} and {epoch}.")
    rng = np.random.default_rng((seed, epoch))
    if sample_weights is None:
        order = rng.permutation(len(rows))
    else:
        chances = _as_chances(sample_weights, len(rows))
        order = rng.choice(len(rows), size=len(rows), p=chances)
    n_own = -(-len(rows) // n_processes)
    own = np.resize(order, n_own * n_processes)[process_index::n_processes]
    return [
        rows[own[step * batch_size : (step + 1) * batch_size]].astype(np.int64)
        for step in range(n_batches)
    ]


def training_batches(
    images: ImageReader,
    targets: npt.NDArray[np.bool_],
    rows: Rows,
    *,
    batch_size: int,
    seed: int,
    epoch: int,
    start_step: int = 0,
    sample_weights: npt.NDArray[np.float64] | None = None,
    process_index: int = 0,
    n_processes: int = 1,
    prefetch: int = 2,
) -> Iterator[Batch]:
    """The batches of one epoch in their random order, from `start_step` on.

    See `plan_epoch` for the order and for the arguments that are not described here.

    Args:
        images: Where prepared images come from.
        targets: (image, class) reference labels of the whole table.
        rows: (row,) rows of the table to go through.
        batch_size: Images in a batch of one process.
        seed: Seed of the run.
        epoch: Number of the epoch.
        start_step: The first batch to give; the ones before it are not read. Those after it
            are the same as when starting from 0.
        sample_weights: (row,) weights of drawing with replacement.
        process_index: Which of the processes this is.
        n_processes: Processes that share the epoch.
        prefetch: Batches that a thread reads ahead; 0 reads each when it is asked for.

    Raises:
        SettingsError: A number is outside its range.
        DataError: There are no rows, or the weights do not fit them.
        UnreadableImageError: While iterating, an image cannot be read.
    """
    plan = plan_epoch(
        rows,
        batch_size=batch_size,
        seed=seed,
        epoch=epoch,
        sample_weights=sample_weights,
        process_index=process_index,
        n_processes=n_processes,
    )
    if not 0 <= start_step <= len(plan):
        raise SettingsError(f"start_step must be in [0, {len(plan)}], not {start_step}.")
    if prefetch < 0:
        raise SettingsError(f"prefetch must be at least 0, not {prefetch}.")
    return _read_ahead(images, targets, plan[start_step:], prefetch)


def iterate_rows(
    rows: Sequence[int] | Rows, batch_size: int, progress: Progress, stage: str
) -> Iterator[list[int]]:
    """Rows a batch at a time and in their order, as answers are asked for.

    Args:
        rows: (row,) rows of the table.
        batch_size: Rows in a batch.
        progress: Told after every batch, when the one behind it is asked for.
        stage: What to call the work.

    Example:
        >>> from medlora.progress import silent
        >>> list(iterate_rows([5, 3, 4], 2, silent, "counting"))
        [[5, 3], [4]]
    """
    order = [int(row) for row in rows]
    for start in range(0, len(order), batch_size):
        some = order[start : start + batch_size]
        yield some
        progress(stage, start + len(some), len(order))


def _read_ahead(
    images: ImageReader, targets: npt.NDArray[np.bool_], plan: list[Rows], prefetch: int
) -> Iterator[Batch]:
    """The planned batches, up to `prefetch` of them read ahead by one thread."""

    def read(rows: Rows) -> Batch:
        return Batch(
            images=images.read(rows.tolist()),
            targets=torch.from_numpy(targets[rows].astype(np.float32)),
            rows=torch.from_numpy(rows),
        )

    if prefetch == 0:
        yield from map(read, plan)
        return
    reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="medlora-batches")
    waiting: deque[Future[Batch]] = deque()
    try:
        for rows in plan:
            waiting.append(reader.submit(read, rows))
            if len(waiting) > prefetch:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        # Also reached when the caller stops early: nothing more is read for nobody.
        reader.shutdown(wait=True, cancel_futures=True)


def _as_chances(weights: npt.NDArray[np.float64], n_rows: int) -> npt.NDArray[np.float64]:
    """Weights as probabilities that add up to one."""
    values = np.asarray(weights, dtype=np.float64)
    if values.shape != (n_rows,):
        raise DataError(
            f"There must be one sample weight for each of the {n_rows} rows, "
            f"not weights of shape {values.shape}."
        )
    if not np.isfinite(values).all() or (values < 0).any() or values.sum() <= 0:
        raise DataError("Sample weights must be finite, at least 0 and not all 0.")
    chances: npt.NDArray[np.float64] = values / values.sum()
    return chances


def _check_sizes(batch_size: int, n_processes: int) -> None:
    if batch_size < 1:
        raise SettingsError(f"Batch size must be at least 1, not {batch_size}.")
    if n_processes < 1:
        raise SettingsError(f"n_processes must be at least 1, not {n_processes}.")
