"""Answers on labelled images become scores, warnings, a table and the mistakes worth seeing."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from medlora.data.loader import ImageReader
from medlora.data.table import ImageTable
from medlora.evaluate.evaluation import Evaluation
from medlora.evaluate.metrics import decide
from medlora.evaluate.operating import OperatingPoint, measure_point
from medlora.evaluate.score import score
from medlora.report.content import Mistake, thumbnail
from medlora.runs.trust import TrustScores
from medlora.storage import format_csv
from medlora.train.sentinels import find_constant_answer

N_MISTAKES = 12


@dataclass(frozen=True)
class Scores:
    """What a task's answers on some rows of a table are worth.

    Attributes:
        rows: The rows that were scored.
        probabilities: (row, class), in [0, 1].
        decisions: (row, class).
        overall: Scores of all of them.
        unseen: Scores of those whose bytes are in no training or validation image; None
            where that is all of them, or none.
        n_seen: How many are training or validation images, or byte for byte the same as one.
        warnings: What a reader has to know before believing the scores.
        operating_point: What `measure_point` found of the one that was asked for; None where
            none was.
        trust: Calibration, prediction sets, abstaining and net benefit on the same images; None
            where they were not measured.
    """

    rows: npt.NDArray[np.int64]
    probabilities: npt.NDArray[np.float64]
    decisions: npt.NDArray[np.bool_]
    overall: Evaluation
    unseen: Evaluation | None
    n_seen: int
    warnings: tuple[str, ...]
    operating_point: dict[str, Any] | None = None
    trust: TrustScores | None = None

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values, without the single answers."""
        content = {
            "all": self.overall.to_dict(),
            "unseen": None if self.unseen is None else self.unseen.to_dict(),
            "n_seen_in_training": self.n_seen,
            "warnings": list(self.warnings),
        }
        if self.operating_point is not None:
            content["operating_point"] = self.operating_point
        return content | (self.trust.to_dict() if self.trust is not None else {})


def score_rows(
    table: ImageTable,
    rows: npt.NDArray[np.int64],
    probabilities: npt.NDArray[np.float64],
    *,
    thresholds: Sequence[float],
    seen: npt.NDArray[np.bool_],
    n_resamples: int = 1000,
    seed: int = 0,
    decisions: npt.NDArray[np.bool_] | None = None,
    operating_point: OperatingPoint | None = None,
) -> Scores:
    """Score answers, once on all rows and once without those that training has seen.

    Args:
        table: The labelled images.
        rows: The rows that were answered.
        probabilities: (row, class), in [0, 1].
        thresholds: (class,) decision thresholds.
        seen: (row,) whether the image, or another one with the same bytes, is in training or
            validation.
        n_resamples: Bootstrap resamples.
        seed: Seed of the bootstrap.
        decisions: (row, class), where they were not all taken at the same thresholds.
        operating_point: What the thresholds were chosen for, to see what is reached of it.
    """
    targets = table.targets[rows]
    if decisions is None:
        decisions = decide(probabilities, thresholds, table.multi_label)
    patients = [table.patients[row] for row in rows]

    def measure(chosen: npt.NDArray[np.bool_]) -> Evaluation:
        return score(
            probabilities[chosen],
            targets[chosen],
            classes=table.classes,
            multi_label=table.multi_label,
            thresholds=thresholds,
            groups=[patient for patient, keep in zip(patients, chosen, strict=True) if keep],
            n_resamples=n_resamples,
            seed=seed,
            decisions=decisions[chosen],
        )

    n_seen = int(seen.sum())
    overall = measure(np.ones(len(rows), dtype=bool))
    unseen = measure(~seen) if 0 < n_seen < len(rows) else None
    warnings = []
    if n_seen:
        others = "the score on the others stands beside it" if unseen else "there are no others"
        warnings.append(
            f"{n_seen} of the {len(rows)} images are in the data's training or validation split, "
            "or byte for byte the same as one there: the score on all of them flatters a task that "
            f"has learnt from those; {others}."
        )
    constant = find_constant_answer(decisions, targets, table.classes)
    if constant:
        warnings.append(constant)
    warnings += [
        f"No image of class {name!r}: its scores are undefined." for name in overall.undefined
    ]
    reached = None
    if operating_point is not None:
        reached = measure_point(
            decisions,
            targets,
            operating_point,
            classes=table.classes,
            multi_label=table.multi_label,
            groups=patients,
            n_resamples=n_resamples,
            seed=seed,
        )
    return Scores(rows, probabilities, decisions, overall, unseen, n_seen, tuple(warnings), reached)


def format_predictions(
    table: ImageTable,
    scores: Scores,
    *,
    part: str = "split",
    novelty: npt.NDArray[np.float64] | None = None,
) -> bytes:
    """A CSV table of the answers: path, split, label, decision, a probability for each class.

    Reading a probability gives the very number that was scored.

    Args:
        table: The labelled images.
        scores: The answers.
        part: Heading of the second column, where the table's splits are something else.
        novelty: (row,) how unlike the training images each image is, for a last column; None
            for no such column.
    """
    probabilities = [f"p_{name}" for name in table.classes]
    last = [] if novelty is None else ["novelty"]
    rows = [["path", part, "label", "decision", *probabilities, *last]]
    for place, row in enumerate(scores.rows):
        rows.append(
            [
                table.locations[row],
                table.splits[row] or "",
                join_names(table.classes, table.targets[row]),
                join_names(table.classes, scores.decisions[place]),
                # All digits: where they are rounded, confident answers fall together unordered.
                *[repr(value) for value in scores.probabilities[place].tolist()],
                *([] if novelty is None else [f"{novelty[place]:.3f}"]),
            ]
        )
    # As medlora predict spells a file name that is not UTF-8.
    return format_csv(rows).encode("utf-8", "backslashreplace")


def pick_mistakes(
    table: ImageTable, scores: Scores, images: ImageReader, n_mistakes: int = N_MISTAKES
) -> list[Mistake]:
    """The images that were decided wrongly with the most confidence, worst first."""
    targets = table.targets[scores.rows]
    wrong = scores.decisions != targets
    # How sure the model was of the class, or labels, that it got wrong.
    sureness = np.where(scores.decisions, scores.probabilities, 1 - scores.probabilities)
    if table.multi_label:
        confidence = np.where(wrong, sureness, 0).max(axis=1)
    else:
        confidence = np.where(scores.decisions, scores.probabilities, 0).max(axis=1)
    order = [place for place in np.argsort(-confidence, kind="stable") if wrong[place].any()]
    mistakes = []
    for place in order[:n_mistakes]:
        row = int(scores.rows[place])
        mistakes.append(
            Mistake(
                thumbnail(show_pixels(images.read([row])[0].numpy())),
                join_names(table.classes, targets[place]),
                join_names(table.classes, scores.decisions[place]),
                float(confidence[place]),
                table.locations[row],
            )
        )
    return mistakes


def show_pixels(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """An image in colours; of several series, which have none, the first in grey."""
    return pixels if len(pixels) == 3 else np.repeat(pixels[:1], 3, axis=0)


def join_names(classes: Sequence[str], chosen: npt.NDArray[np.bool_]) -> str:
    """Names of the chosen classes, joined by a vertical bar."""
    return "|".join(name for name, is_chosen in zip(classes, chosen, strict=True) if is_chosen)
