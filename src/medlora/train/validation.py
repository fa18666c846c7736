"""How good a model is on validation images, in the few figures that choose an epoch."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from medlora.errors import UndefinedMetricError
from medlora.evaluate import metrics
from medlora.evaluate.thresholds import choose_thresholds
from medlora.train.settings import SELECTION_MEASURES

# Keeps the logarithm finite where a probability is exactly 0.
_TINY = 1e-12


def measure_validation(
    probabilities: npt.NDArray[np.float64], targets: npt.NDArray[np.bool_], *, multi_label: bool
) -> dict[str, float]:
    """Loss and scores on validation images; a score that has no value there is left out.

    Args:
        probabilities: (image, class), in [0, 1].
        targets: (image, class) reference labels.
        multi_label: Whether an image may have several classes.

    Returns:
        Measure to value: `loss`, macro `auroc`, `average_precision` and `f1`, `accuracy`,
        `balanced_accuracy`.
    """
    thresholds = choose_thresholds(probabilities, targets, multi_label, "fixed")
    decisions = metrics.decide(probabilities, thresholds, multi_label)
    figures = {
        "loss": _log_loss(probabilities, targets, multi_label),
        "accuracy": metrics.accuracy(decisions, targets, multi_label),
    }
    by_label = list(zip(probabilities.T, decisions.T, targets.T, strict=True))
    averaged = {
        "auroc": [_attempt(metrics.auroc, p, t) for p, _, t in by_label],
        "average_precision": [_attempt(metrics.average_precision, p, t) for p, _, t in by_label],
        "f1": [_attempt(metrics.f1, d, t) for _, d, t in by_label],
        "balanced_accuracy": [_attempt(metrics.balanced_accuracy, decisions, targets, multi_label)],
    }
    for measure, values in averaged.items():
        defined = [value for value in values if value is not None]
        if defined:
            figures[measure] = float(np.mean(defined))
    return figures


def rank_epoch(figures: dict[str, float], select_by: str) -> tuple[float, float]:
    """What epochs are compared by: the chosen measure, then the loss; larger is better.

    Raises:
        UndefinedMetricError: The measure has no value on the validation images.
    """
    if select_by not in figures:
        raise UndefinedMetricError(
            f"{select_by} has no value on the validation images: a class is missing there, or "
            "all of them have it. Choose another select_by or a larger validation split."
        )
    sign = 1.0 if SELECTION_MEASURES[select_by] else -1.0
    return sign * figures[select_by], -figures["loss"]


def _attempt(measure: Callable[..., float], *arguments: Any) -> float | None:
    try:
        return measure(*arguments)
    except UndefinedMetricError:
        return None


def _log_loss(
    probabilities: npt.NDArray[np.float64], targets: npt.NDArray[np.bool_], multi_label: bool
) -> float:
    chosen = -np.log(np.maximum(np.where(targets, probabilities, 1 - probabilities), _TINY))
    if multi_label:
        return float(chosen.mean())
    return float(chosen[targets].mean())
