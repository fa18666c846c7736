"""Which of the images that a task is scored on it has learnt from."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from medlora.data.table import ImageTable
from medlora.errors import MedLoRAError
from medlora.runs.preparing import PreparedData, divide_data, find_seen
from medlora.runs.scoring import Scores
from medlora.task.card import TaskCard

# What a run learns from: the weights by the one, epoch and thresholds by the other.
_LEARNT = ("train", "val")
_SPLIT_SETTINGS = ("val_fraction", "test_fraction", "seed")


@dataclass(frozen=True)
class Overlap:
    """What scored images have in common with those that a task has learnt from.

    Attributes:
        seen: (row,) whether an image is a training or validation image of its data, or byte for
            byte the same as one.
        n_seen: How many the task has learnt from, also where it is not known which.
        warnings: What the task's own card says of that.
    """

    seen: npt.NDArray[np.bool_]
    n_seen: int
    warnings: tuple[str, ...]

    def mark(self, scores: Scores) -> Scores:
        """Scores that say as much of the images as is known."""
        warnings = tuple(dict.fromkeys([*self.warnings, *scores.warnings]))
        return replace(scores, n_seen=self.n_seen, warnings=warnings)


def find_overlap(card: TaskCard, data: PreparedData, rows: npt.NDArray[np.int64]) -> Overlap:
    """Find images that a task has learnt from among those that it is scored on.

    The data's own splits say which they are. Where the data are, by their digest, those of the
    task's run, but split otherwise or not at all, the card says at least how many there are.

    Args:
        card: The task's card.
        data: Labelled images.
        rows: Those that are scored.
    """
    table = data.table
    inside = _list_learnt(table)
    seen = inside[rows] | find_seen(data, rows)
    n_seen = int(seen.sum())
    digest = card.data.get("sha256")
    if digest not in (data.digest, _digest_pool(card, data)):
        return Overlap(seen, n_seen, ())
    n_rows, n_learnt = f"{len(rows):,}", _count_learnt(card, table)
    if n_learnt == int(inside.sum()):
        told = f"Task {card.name!r} was trained on these data: it has learnt from {n_seen:,} of "
        told += f"these {n_rows} images."
        return Overlap(seen, n_seen, (told,) if n_seen else ())
    cure = "Score the split.csv of its run with --split test."
    start = f"Task {card.name!r} was trained on these data, with another split"
    if len(rows) == table.n_images:
        told = f"{start}: it has learnt from {n_learnt:,} of these {n_rows} images, so that the "
        return Overlap(seen, n_learnt, (f"{told}score flatters. {cure}",))
    told = f"{start}: it may have learnt from any of these {n_rows} images. {cure}"
    return Overlap(seen, n_seen, (told,))


def _digest_pool(card: TaskCard, data: PreparedData) -> str:
    """Digest of data without a split, less the test images that a cross-validation sets apart.

    Returns:
        The digest; "" where the data have splits, or the card does not say how its
        run has split.
    """
    if set(data.table.splits) != {None}:
        return ""
    try:
        said: dict[str, Any] = {key: card.training[key] for key in _SPLIT_SETTINGS}
        table = divide_data(data, **said, allow_patient_overlap=True).table
    except (MedLoRAError, TypeError, KeyError):
        # Nothing that a run could have been made of: these are not its images.
        return ""
    others = [row for row, split in enumerate(table.splits) if split != "test"]
    return data.select(np.array(others, dtype=np.int64)).digest


def _list_learnt(table: ImageTable) -> npt.NDArray[np.bool_]:
    return np.array([split in _LEARNT for split in table.splits], dtype=bool)


def _count_learnt(card: TaskCard, table: ImageTable) -> int:
    """How many images the card says were learnt from; all, where it does not say."""
    counts = card.data.get("n_images")
    if not isinstance(counts, dict):
        return table.n_images
    found = [counts.get(split, 0) for split in _LEARNT]
    known = [count for count in found if isinstance(count, int)]
    return sum(known) if len(known) == len(found) else table.n_images
