"""What the images that a threshold was chosen on allow to be said of it."""

from typing import Any

import numpy as np
import numpy.typing as npt

from medlora.data.table import ImageTable
from medlora.evaluate.operating import OperatingPoint, bound_cuts
from medlora.runs.scoring import Scores


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
