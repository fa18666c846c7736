"""Decision thresholds, chosen on validation images and kept in the task file."""

from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from medlora.errors import SettingsError
from medlora.evaluate.counts import ClassCounts
from medlora.evaluate.inputs import Bools, Floats, check_pair, check_single_label
from medlora.evaluate.metrics import decide
from medlora.evaluate.ranking import find_level_starts

Rule = Literal["fixed", "f1", "youden"]


def choose_thresholds(
    probabilities: npt.ArrayLike, targets: npt.ArrayLike, multi_label: bool, rule: Rule
) -> tuple[float, ...]:
    """One threshold for each class, for `metrics.decide`.

    "fixed" is 0.5 in a multi-label task and 1 / (number of classes) in a single-label one. "f1"
    maximises F1 and "youden" recall + specificity - 1, each class against the rest; the cut lies
    half way between two neighbouring scores, and of several equally good ones the nearest to the
    fixed threshold is taken. A class that no image has, or all have, keeps the fixed threshold.

    Single-label decisions compare classes with one another, so thresholds that are best against
    the rest need not be best together: where they do worse than the fixed ones on these images
    by the mean of the same measure, the fixed ones are given.

    Args:
        probabilities: (image, class), in [0, 1]; of validation images, never of test images.
        targets: (image, class).
        multi_label: Whether an image may have several classes, or none.
        rule: How to choose.

    Returns:
        Thresholds in (0, 1], in the order of the classes.

    Raises:
        SettingsError: There is no such rule.
        DataError: Shapes or values do not fit.

    Reference:
        Youden, Index for rating diagnostic tests, Cancer 1950.

    Example:
        >>> scores = [[0.2], [0.3], [0.4], [0.1]]
        >>> targets = np.array([[False], [True], [True], [False]])
        >>> choose_thresholds(scores, targets, multi_label=True, rule="f1")
        (0.25,)
    """
    if rule not in get_args(Rule):
        raise SettingsError(
            f"there is no threshold rule {rule!r}. Use one of {', '.join(get_args(Rule))}."
        )
    scores, truths = check_pair(probabilities, targets, 2)
    if not multi_label:
        check_single_label(truths)
    n_classes = scores.shape[1]
    fixed = 0.5 if multi_label else 1 / n_classes
    unchanged: tuple[float, ...] = (fixed,) * n_classes
    if rule == "fixed":
        return unchanged
    chosen = tuple(_choose_cut(scores[:, k], truths[:, k], rule, fixed) for k in range(n_classes))
    if multi_label:
        return chosen
    benefit = _sum_benefits(scores, truths, chosen, rule)
    return chosen if benefit >= _sum_benefits(scores, truths, unchanged, rule) else unchanged


def _choose_cut(scores: Floats, positive: Bools, rule: Rule, fixed: float) -> float:
    n_positive = int(positive.sum())
    n_negative = len(positive) - n_positive
    if not n_positive or not n_negative:
        return fixed
    order = np.argsort(scores, kind="stable")
    values = scores[order]
    starts = find_level_starts(values)
    levels = values[starts]
    flagged = len(values) - starts
    found = n_positive - np.append(0, np.cumsum(positive[order]))[starts]
    if rule == "f1":
        benefit = 2 * found / (flagged + n_positive)
    else:
        # Youden's index times both counts: whole numbers, so that equal ones compare as equal.
        benefit = (found * n_negative - (flagged - found) * n_positive).astype(np.float64)
    cuts = _halve_gaps(levels)
    # Nothing in (0, 1] lets a score of 0 through.
    benefit[levels == 0] = -np.inf
    if np.isinf(benefit.max()):
        return fixed
    candidates = cuts[benefit == benefit.max()]
    return float(candidates[np.abs(candidates - fixed).argmin()])


def _halve_gaps(levels: Floats) -> Floats:
    """Cuts just half way below each of the rising `levels`, the first one half way to 0."""
    below = np.append(0.0, levels[:-1])
    middle = below + (levels - below) / 2
    # Between two neighbouring floating-point numbers the middle rounds to one of them.
    return np.where(middle > below, middle, levels)


def _sum_benefits(
    scores: Floats, targets: Bools, thresholds: tuple[float, ...], rule: Rule
) -> float:
    decisions = decide(scores, thresholds, multi_label=False)
    counts = ClassCounts.of(decisions, targets, np.ones((len(scores), 1)))
    benefits = counts.f1() if rule == "f1" else counts.recall() + counts.specificity()
    return float(benefits[~np.isnan(benefits)].sum())
