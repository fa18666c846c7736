"""Curves over all thresholds: what is gained and what is lost by a lower one."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from medlora.errors import UndefinedMetricError
from medlora.evaluate.inputs import Floats, check_pair
from medlora.evaluate.ranking import find_level_starts


class RocCurve(NamedTuple):
    """Both (point,), rising from 0 to 1.

    Attributes:
        false_positive_rate: Share of the images without the class at or above the threshold.
        true_positive_rate: Share of the images with the class at or above the threshold.
    """

    false_positive_rate: Floats
    true_positive_rate: Floats


class PrecisionRecallCurve(NamedTuple):
    """Both (point,), from the lowest threshold (recall 1) to none at all (precision 1, recall 0).

    Attributes:
        precision: Of the images at or above the threshold, the share that has the class.
        recall: Of the images that have the class, the share at or above the threshold.
    """

    precision: Floats
    recall: Floats


def roc_curve(scores: npt.ArrayLike, positive: npt.ArrayLike) -> RocCurve:
    """One point for each distinct score, and the origin.

    The area under it by trapezoids is `metrics.auroc`.

    Args:
        scores: (image,), probability of the class, in [0, 1].
        positive: (image,), whether the image has it.

    Raises:
        UndefinedMetricError: All images have the class, or none has.
        DataError: Shapes or values do not fit.

    Example:
        >>> curve = roc_curve([0.9, 0.4, 0.1], np.array([True, False, False]))
        >>> curve.false_positive_rate.tolist(), curve.true_positive_rate.tolist()
        ([0.0, 0.0, 0.5, 1.0], [0.0, 1.0, 1.0, 1.0])
    """
    found, flagged = _count_flagged(scores, positive)
    false = flagged - found
    if not found[-1] or not false[-1]:
        raise UndefinedMetricError(
            "a ROC curve needs images with and without the class; there is none of one kind. "
            "Score a larger set of images."
        )
    return RocCurve(np.append(0.0, false / false[-1]), np.append(0.0, found / found[-1]))


def precision_recall_curve(scores: npt.ArrayLike, positive: npt.ArrayLike) -> PrecisionRecallCurve:
    """One point for each distinct score, and the end (precision 1, recall 0).

    Args:
        scores: (image,), probability of the class, in [0, 1].
        positive: (image,), whether the image has it.

    Raises:
        UndefinedMetricError: No image has the class.
        DataError: Shapes or values do not fit.

    Example:
        >>> curve = precision_recall_curve([0.9, 0.4, 0.1], np.array([True, False, True]))
        >>> curve.precision.round(2).tolist(), curve.recall.tolist()
        ([0.67, 0.5, 1.0, 1.0], [1.0, 0.5, 0.5, 0.0])
    """
    found, flagged = _count_flagged(scores, positive)
    if not found[-1]:
        raise UndefinedMetricError(
            "a precision-recall curve needs an image with the class; there is none. "
            "Score a larger set of images."
        )
    return PrecisionRecallCurve(
        np.append((found / flagged)[::-1], 1.0), np.append((found / found[-1])[::-1], 0.0)
    )


def _count_flagged(scores: npt.ArrayLike, positive: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Positive and all images at or above each distinct score, from the highest down."""
    values, truths = check_pair(scores, positive, 1)
    order = np.argsort(-values, kind="stable")
    ends = np.append(find_level_starts(values[order])[1:], len(values))
    found = np.cumsum(truths[order])[ends - 1]
    return found.astype(np.float64), ends.astype(np.float64)
