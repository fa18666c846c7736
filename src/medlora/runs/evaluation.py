"""Score a task file on labelled images."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from medlora.data.cache import ImageCache, NoCache
from medlora.data.table import ImageTable, read_table
from medlora.errors import DataError
from medlora.evaluate.answers import answer_rows
from medlora.evaluate.grouping import SubgroupColumn, check_columns
from medlora.evaluate.novelty import is_unlike
from medlora.evaluate.novelty_limit import bound_false_alarms
from medlora.evaluate.operating import OperatingPoint
from medlora.evaluate.predict import convert_logits
from medlora.evaluate.subgroups import SubgroupScores, score_subgroups
from medlora.progress import Progress, silent
from medlora.runs.opened import OpenedTask
from medlora.runs.overlap import find_overlap
from medlora.runs.preparing import PreparedData, prepare_table
from medlora.runs.scoring import Scores, score_rows
from medlora.runs.trust import measure_trust
from medlora.task.card import TaskCard


@dataclass(frozen=True)
class TaskEvaluation:
    """A task's scores, with the images that they are about.

    Attributes:
        data: The images.
        scores: The scores of one split, or of all.
        split: Which.
        subgroups: The scores of the groups that each column divides them into.
        novelty: (row,) how unlike the training images each scored image is; None where the task
            keeps nothing of them.
    """

    data: PreparedData
    scores: Scores
    split: str
    subgroups: tuple[SubgroupScores, ...] = ()
    novelty: npt.NDArray[np.float64] | None = None

    def describe_novelty(self, card: TaskCard) -> dict[str, float] | None:
        """How many images are unlike the training images, and how many false alarms to expect.

        Args:
            card: The task's card.

        Returns:
            `n_unlike`, `share`, and of images like those of validation `false_alarms`, the share
            that the limit lets pass for unlike at most, on average, and `most_false_alarms`, what
            that stays below with a confidence of .95. None where the task keeps nothing.
        """
        if self.novelty is None or card.novelty is None:
            return None
        n_unlike = sum(map(is_unlike, self.novelty.tolist()))
        return {
            "n_unlike": n_unlike,
            "share": n_unlike / max(1, len(self.novelty)),
            "false_alarms": card.novelty.false_alarms,
            "most_false_alarms": bound_false_alarms(
                card.novelty.false_alarms, card.novelty.n_units
            ),
        }


def evaluate_task(
    task: OpenedTask,
    path: Path,
    *,
    split: str,
    cache: ImageCache | NoCache,
    group_by: str | None = None,
    skip_unreadable: bool = False,
    batch_size: int = 32,
    n_resamples: int = 1000,
    subgroups: Sequence[SubgroupColumn] = (),
    progress: Progress = silent,
) -> TaskEvaluation:
    """Score a task on the images of one split, or on all.

    Images of the data's own training or validation split, and those with the same bytes, are
    counted, and the scores without them stand beside the others. Where the data are those that
    the task was trained on, a warning says so.

    Args:
        task: The task.
        path: Labelled images; a run's `split.csv` is such a table too.
        split: `train`, `val`, `test`, or `all`.
        cache: Where decoded images are kept.
        group_by: Manifest column of groups that the bootstrap resamples.
        skip_unreadable: Leave unreadable images out.
        batch_size: Images at a time.
        n_resamples: Bootstrap resamples.
        subgroups: Manifest columns; each divides the images into groups that are scored apart.
        progress: Told of every step.

    Raises:
        DataError: The split is empty, the data have a class that the task does not know, or lack
            a column.
    """
    card = task.card
    check_columns(subgroups, group_by)
    data, rows = prepare_labelled(
        card,
        path,
        split=split,
        cache=cache,
        group_by=group_by,
        columns=[column.name for column in subgroups],
        skip_unreadable=skip_unreadable,
        progress=progress,
    )
    table = data.table
    answers = answer_rows(
        task.model,
        data.images,
        rows,
        card.preprocessing,
        measures=task.measures,
        batch_size=batch_size,
        progress=progress,
    )
    logits = answers.logits
    overlap = find_overlap(card, data, rows)
    scores = score_rows(
        table,
        rows,
        convert_logits(logits, multi_label=card.multi_label),
        thresholds=card.thresholds,
        seen=overlap.seen,
        n_resamples=n_resamples,
        operating_point=read_point(card),
    )
    trust = measure_trust(card, table, rows, logits, scores.decisions, n_resamples=n_resamples)
    scores = overlap.mark(replace(scores, trust=trust))
    groups = [score_groups(table, scores, column, n_resamples) for column in subgroups]
    return TaskEvaluation(data, scores, split, tuple(groups), answers.novelty)


def prepare_labelled(
    card: TaskCard,
    path: Path,
    *,
    split: str,
    cache: ImageCache | NoCache,
    group_by: str | None = None,
    columns: Sequence[str] = (),
    skip_unreadable: bool = False,
    progress: Progress = silent,
) -> tuple[PreparedData, npt.NDArray[np.int64]]:
    """Labelled images as a task sees them, and the rows of one split, or all.

    Args:
        card: The task's card; else as `evaluate_task`.
        path: Labelled images.
        split: `train`, `val`, `test`, or `all`.
        cache: Where decoded images are kept.
        group_by: Manifest column of groups.
        columns: Further manifest columns to keep.
        skip_unreadable: Leave unreadable images out.
        progress: Told of every image.

    Raises:
        DataError: The split is empty, or the data are not of the task's classes or kind.
    """
    table = read_table(
        path,
        group_by=group_by,
        classes=card.classes,
        channels=card.preprocessing.channels,
        columns=columns,
    )
    _check_split(table, split, path)
    if table.multi_label != card.multi_label:
        kinds = {True: "any number of labels", False: "one label"}
        raise DataError(
            f"{table.name} gives each image {kinds[table.multi_label]}, task {card.name!r} gives "
            f"{kinds[card.multi_label]}. Evaluate it on data of its own kind."
        )
    data = prepare_table(
        table, card.preprocessing, cache, skip_unreadable=skip_unreadable, progress=progress
    )
    table = data.table
    return data, np.arange(table.n_images) if split == "all" else table.rows_in(split)


def score_groups(
    table: ImageTable, scores: Scores, column: SubgroupColumn, n_resamples: int = 1000
) -> SubgroupScores:
    """Score the groups that a column divides a table's answered images into.

    Args:
        table: The images, with the column among its columns.
        scores: Answers to some of its rows.
        column: The column.
        n_resamples: Bootstrap resamples of patients.

    Raises:
        DataError: The column gives no groups.
    """
    values = table.columns[column.name]
    return score_subgroups(
        scores.probabilities,
        table.targets[scores.rows],
        scores.decisions,
        [values[row] for row in scores.rows],
        column,
        classes=table.classes,
        multi_label=table.multi_label,
        patients=[table.patients[row] for row in scores.rows],
        n_resamples=n_resamples,
    )


def read_point(card: TaskCard) -> OperatingPoint | None:
    """What the card's thresholds were chosen for, if they were chosen for an operating point."""
    text = card.training.get("operating_point")
    return OperatingPoint.parse(text) if isinstance(text, str) else None


def _check_split(table: ImageTable, split: str, path: Path) -> None:
    """Refuse a split that the data do not have, before any image is decoded."""
    if split == "all" or len(table.rows_in(split)):
        return
    found = sorted({own for own in table.splits if own})
    if not found:
        raise DataError(
            f"{path} has no {split} images, since it gives no image a split. Give the split.csv of "
            "the task's run, which says what was kept for testing; or, of images that the task was "
            "not trained on, all: --split all."
        )
    raise DataError(
        f"{path} has no {split} images; its splits: {', '.join(found)}. Choose one of them "
        "with --split, or all."
    )
