"""From probabilities and diagnoses to an evaluation with an interval on every number."""

from collections.abc import Hashable, Sequence

import numpy as np
import numpy.typing as npt

from medlora.errors import DataError
from medlora.evaluate.evaluation import Confusion, Estimate, Evaluation
from medlora.evaluate.inputs import (
    Bools,
    Floats,
    Integers,
    check_decisions,
    check_pair,
    check_single_label,
)
from medlora.evaluate.metrics import confusion_matrix, decide
from medlora.evaluate.resampling import iterate_weights, number_groups, percentile_interval
from medlora.evaluate.scoresheet import CLASS_MEASURES, Measures, ScoreSheet

__all__ = ["OVERALL_MEASURES", "Estimate", "Evaluation", "score"]

CONFIDENCE = 0.95
OVERALL_MEASURES = (
    "accuracy",
    "balanced_accuracy",
    "recall",
    "precision",
    "f1",
    "specificity",
    "auroc",
    "average_precision",
    "brier_score",
    "calibration_error",
    "exact_match",
)
# Measures that need images with the class, and those that need images without it.
NEED_POSITIVES = frozenset(CLASS_MEASURES) - {"specificity"}
NEED_NEGATIVES = frozenset({"specificity", "auroc"})


def score(
    probabilities: npt.ArrayLike,
    targets: npt.ArrayLike,
    *,
    classes: Sequence[str],
    multi_label: bool,
    thresholds: Sequence[float],
    groups: Sequence[Hashable | None] | Integers | None = None,
    n_resamples: int = 1000,
    seed: int = 0,
    decisions: npt.ArrayLike | None = None,
) -> Evaluation:
    """Score a task's answers, with 95 % bootstrap intervals that resample patients.

    A class that no image has gets no measure at all and is left out of the means. A resample
    without a class is treated alike; a class's interval is over the resamples which hold it, and
    is undefined where fewer than two groups do, since the draw of one group tells nothing of how
    groups differ.

    Args:
        probabilities: (image, class), in [0, 1]; rows of a single-label task sum to 1.
        targets: (image, class), booleans; exactly one true in each row of a single-label task.
        classes: Names in the order of the columns.
        multi_label: Whether an image may have several classes, or none.
        thresholds: One for each class, in (0, 1], as `metrics.decide` takes them.
        groups: (image,), each image's patient, None where unknown; None if none is known.
        n_resamples: Bootstrap resamples; with 0 there are no intervals.
        seed: Of the resampling; the same seed gives the same numbers.
        decisions: (image, class), where they were not all taken at the same thresholds; those
            given are then only told.

    Raises:
        DataError: Arrays, classes or groups do not fit one another.
        SettingsError: The thresholds, `n_resamples` or `seed` are out of range.

    Example:
        >>> evaluation = score(
        ...     [[0.9, 0.1], [0.6, 0.4], [0.3, 0.7]],
        ...     np.array([[True, False], [False, True], [False, True]]),
        ...     classes=("benign", "malignant"), multi_label=False, thresholds=(0.5, 0.5),
        ... )
        >>> round(evaluation.overall["accuracy"].value, 3)
        0.667
    """
    scores, truths = check_pair(probabilities, targets, 2)
    names = _check_classes(classes, scores.shape[1])
    if not multi_label:
        check_single_label(truths, scores)
    taken = decide(scores, thresholds, multi_label)
    if decisions is not None:
        taken, _ = check_decisions(decisions, truths, 2)
    group_numbers = number_groups(groups, len(truths))
    sheet = ScoreSheet.of(scores, truths, taken, multi_label)
    as_given = sheet.weigh(np.ones((len(truths), 1)))
    resamples = [sheet.weigh(chunk) for chunk in iterate_weights(group_numbers, n_resamples, seed)]
    counts = tuple(truths.sum(axis=0).tolist())
    return Evaluation(
        n_images=len(truths),
        n_groups=int(group_numbers.max()) + 1,
        classes=names,
        multi_label=multi_label,
        counts=counts,
        thresholds=tuple(float(threshold) for threshold in thresholds),
        overall=_estimate_overall(as_given, resamples, group_numbers),
        per_class=_estimate_per_class(as_given, resamples, names, truths, group_numbers),
        confusion=_freeze_confusion(confusion_matrix(taken, truths, multi_label)),
        undefined=tuple(name for name, count in zip(names, counts, strict=True) if not count),
        n_resamples=n_resamples,
        seed=seed,
        confidence=CONFIDENCE,
    )


def _check_classes(classes: Sequence[str], n_classes: int) -> tuple[str, ...]:
    names = tuple(classes)
    if len(names) != n_classes:
        raise DataError(
            f"there are {len(names)} class names for {n_classes} columns of probabilities. "
            "Give one for each, in the same order."
        )
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"a class is named more than once: {', '.join(twice)}. Rename one.")
    return names


def _estimate(value: float, resampled: Floats, enough: bool) -> Estimate:
    if np.isnan(value):
        return Estimate(None)
    interval = percentile_interval(resampled, CONFIDENCE) if enough else None
    return Estimate(float(value), *(interval or (None, None)))


def _estimate_overall(
    as_given: Measures, resamples: list[Measures], group_numbers: Integers
) -> dict[str, Estimate]:
    enough = int(group_numbers.max()) > 0
    estimates = {}
    for name in OVERALL_MEASURES:
        if name in as_given.overall:
            resampled = [np.empty(0), *(measures.overall[name] for measures in resamples)]
            value = as_given.overall[name][0]
            estimates[name] = _estimate(value, np.concatenate(resampled), enough)
    return estimates


def _estimate_per_class(
    as_given: Measures,
    resamples: list[Measures],
    names: tuple[str, ...],
    targets: Bools,
    group_numbers: Integers,
) -> dict[str, dict[str, Estimate]]:
    estimates: dict[str, dict[str, Estimate]] = {name: {} for name in names}
    for measure in CLASS_MEASURES:
        nothing = np.empty((0, len(names)))
        parts = [nothing, *(measures.per_class[measure] for measures in resamples)]
        resampled = np.concatenate(parts)
        for number, name in enumerate(names):
            value = as_given.per_class[measure][0, number]
            enough = _has_enough_groups(measure, targets[:, number], group_numbers)
            estimates[name][measure] = _estimate(value, resampled[:, number], enough)
    return estimates


def _has_enough_groups(measure: str, positive: Bools, group_numbers: Integers) -> bool:
    """Whether the images that a class's measure rests on come from at least two groups."""
    kinds = []
    if measure in NEED_POSITIVES:
        kinds.append(group_numbers[positive])
    if measure in NEED_NEGATIVES:
        kinds.append(group_numbers[~positive])
    return all(kind.size > 0 and bool(kind.min() != kind.max()) for kind in kinds)


def _freeze_confusion(matrix: Integers) -> Confusion:
    rows = matrix.tolist()
    if matrix.ndim == 2:
        return tuple(tuple(row) for row in rows)
    return tuple(tuple(tuple(cells) for cells in table) for table in rows)
