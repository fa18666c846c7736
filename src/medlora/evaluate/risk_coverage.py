"""What is gained by not answering: the error among the surest answers, for every share of them."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from medlora.evaluate.evaluation import Estimate
from medlora.evaluate.inputs import Bools, Floats, Integers, check_decisions, check_pair
from medlora.evaluate.means import CONFIDENCE
from medlora.evaluate.ranking import find_level_starts
from medlora.evaluate.resampling import iterate_weights, number_groups, percentile_interval

N_POINTS = 100


@dataclass(frozen=True)
class RiskCoverage:
    """Error among the answered images against the share of images that is answered.

    Answers of one confidence are given or withheld together.

    Attributes:
        coverage: (point,), share of the answers that are given, rising to 1.
        risk: (point,), share of these that are wrong.
        confidence: (point,), the least confidence that is answered.
        area: The mean of the risk over all shares (AURC), with a 95 % bootstrap interval over
            groups. 0 is best; it cannot be below what the number of wrong answers allows.
    """

    coverage: Floats
    risk: Floats
    confidence: Floats
    area: Estimate

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values, with at most 101 points, an even part of all."""
        places = np.arange(len(self.coverage))
        if len(places) > N_POINTS:
            places = np.unique(
                np.searchsorted(self.coverage, np.arange(1, N_POINTS + 1) / N_POINTS)
            )
            places = np.minimum(places, len(self.coverage) - 1)
        return {
            "aurc": self.area.to_dict(),
            "coverage": _round(self.coverage[places]),
            "risk": _round(self.risk[places]),
            "confidence": _round(self.confidence[places]),
        }


def select_answers(
    probabilities: Floats, decisions: Bools, targets: Bools, *, multi_label: bool
) -> tuple[Floats, Bools]:
    """How sure each answer was, and whether it was wrong, both (image, answer).

    A single-label task gives one answer for each image, and its confidence is the probability of
    the class that was decided for. A multi-label task gives one for each label: present, with the
    label's probability, or absent, with one minus that.

    Args:
        probabilities: (image, class), in [0, 1].
        decisions: (image, class), as taken.
        targets: (image, class).
        multi_label: Whether an image may have several classes, or none.

    Raises:
        DataError: Shapes or values do not fit.
    """
    scores, truths = check_pair(probabilities, targets, 2)
    taken, _ = check_decisions(decisions, truths, 2)
    if multi_label:
        return np.where(taken, scores, 1 - scores), taken != truths
    confidence = np.where(taken, scores, 0.0).max(axis=1, keepdims=True)
    return confidence, (taken != truths).any(axis=1, keepdims=True)


def trace_risk(
    confidence: Floats,
    wrong: Bools,
    *,
    groups: Sequence[Hashable | None] | Integers | None = None,
    n_resamples: int = 1000,
    seed: int = 0,
) -> RiskCoverage:
    """The risk-coverage curve of answers.

    Args:
        confidence: (image, answer), in [0, 1], as `select_answers` gives it.
        wrong: (image, answer).
        groups: (image,) each image's patient; None where unknown.
        n_resamples: Bootstrap resamples; with 0 there is no interval.
        seed: Of the resampling.

    Reference:
        Geifman, Uziel and El-Yaniv, Bias-Reduced Uncertainty Estimation for Deep Neural
        Classifiers, ICLR 2019.

    Example:
        >>> wrong = np.array([[False], [False], [True]])
        >>> curve = trace_risk(np.array([[0.9], [0.8], [0.6]]), wrong)
        >>> curve.coverage.round(2).tolist(), curve.risk.round(2).tolist()
        ([0.33, 0.67, 1.0], [0.0, 0.0, 0.33])
    """
    n_answers = confidence.shape[1]
    order = np.argsort(-confidence.ravel(), kind="stable")
    sorted_confidence = confidence.ravel()[order]
    starts = find_level_starts(sorted_confidence)
    failed = wrong.ravel()[order].astype(np.float64)
    ends = np.append(starts[1:], len(order)) - 1
    coverage = (ends + 1) / len(order)
    risk = failed.cumsum()[ends] / (ends + 1)
    numbers = number_groups(groups, len(confidence))
    rows = order // n_answers
    areas = [np.empty(0)]
    for weights in iterate_weights(numbers, n_resamples, seed):
        areas.append(_measure_areas(weights, rows, failed, starts))
    interval = None
    if int(numbers.max()) > 0:
        interval = percentile_interval(np.concatenate(areas), CONFIDENCE)
    value = float((np.diff(coverage, prepend=0.0) * risk).sum())
    area = Estimate(value, *(interval or (None, None)))
    return RiskCoverage(coverage, risk, sorted_confidence[starts], area)


def _measure_areas(weights: Floats, rows: Integers, failed: Floats, starts: Integers) -> Floats:
    """(resample,) area under the curve of each resample.

    Args:
        weights: (image, resample).
        rows: (answer,) image of each answer, the surest first.
        failed: (answer,), 1 where it is wrong.
        starts: (level,), first answer of each level of confidence.
    """
    answered = weights[rows]
    counts = np.add.reduceat(answered, starts, axis=0)
    errors = np.add.reduceat(answered * failed[:, None], starts, axis=0)
    given, wrong = counts.cumsum(axis=0), errors.cumsum(axis=0)
    risk = np.zeros(given.shape)
    np.divide(wrong, given, out=risk, where=given > 0)
    areas: Floats = (counts * risk).sum(axis=0) / given[-1]
    return areas


def _round(values: Floats) -> list[float]:
    return [round(value, 6) for value in values.tolist()]
