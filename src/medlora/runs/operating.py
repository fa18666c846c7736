"""Thresholds, and what the images that they were chosen on allow to be said of them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from medlora.data.table import ImageTable
from medlora.evaluate.operating import OperatingPoint, bound_cuts, set_thresholds
from medlora.evaluate.thresholds import choose_thresholds
from medlora.runs.scoring import Scores
from medlora.train.settings import ThresholdRule


def settle_thresholds(
    answers: npt.NDArray[np.float64],
    targets: npt.NDArray[np.bool_],
    rule: ThresholdRule,
    point: OperatingPoint | None,
    *,
    classes: Sequence[str],
    multi_label: bool,
) -> tuple[float, ...]:
    """(class,) thresholds by a rule, moved to an operating point where one is asked for.

    Args:
        answers: (image, class) probabilities on images that were not trained on.
        targets: (image, class).
        rule: How thresholds are chosen.
        point: What they are to reach in place of that.
        classes: Names in the order of the columns.
        multi_label: Whether an image may have several classes, or none.
    """
    thresholds = choose_thresholds(answers, targets, multi_label, rule)
    if point is None:
        return thresholds
    return set_thresholds(
        answers,
        targets,
        point,
        classes=classes,
        multi_label=multi_label,
        thresholds=thresholds,
    )


def bound_point(
    point: OperatingPoint | None,
    scores: Scores,
    table: ImageTable,
    answers: npt.NDArray[np.float64],
    *,
    seed: int = 0,
) -> dict[str, Any] | None:
    """An operating point on the images that it was chosen on; None where none was asked for.

    Args:
        point: What was asked for.
        scores: Of these images, at the thresholds that were chosen by them.
        table: The labelled images.
        answers: (row, class) of the images that were scored.
        seed: Of the bootstrap.

    Returns:
        `wanted` and `reached`, as `measure_point` gives them, with the `threshold` of each set of
        positive classes; all with 95 % intervals.
    """
    if point is None or scores.operating_point is None:
        return None
    cuts = bound_cuts(
        answers,
        table.targets[scores.rows],
        point,
        classes=table.classes,
        multi_label=table.multi_label,
        groups=[table.patients[row] for row in scores.rows],
        seed=seed,
    )
    reached = zip(scores.operating_point["reached"], cuts, strict=True)
    return {
        "wanted": scores.operating_point["wanted"],
        "reached": [{**each, "threshold": cut["threshold"]} for each, cut in reached],
    }
