"""Decision curves: whether acting on a model's answers does more good than acting on none."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from medlora.errors import SettingsError
from medlora.evaluate.inputs import Bools, Floats, Integers, check_pair
from medlora.evaluate.means import CONFIDENCE
from medlora.evaluate.resampling import iterate_weights, number_groups

N_STEPS = 100


@dataclass(frozen=True)
class DecisionCurve:
    """Net benefit of treating whoever reaches a threshold probability.

    Attributes:
        threshold: (point,), in (0, 1), rising.
        net_benefit: (point,), of the model: true positives per image, less false positives per
            image weighted by threshold / (1 - threshold).
        low: (point,), lower end of the pointwise 95 % bootstrap interval; empty where there is
            none.
        high: (point,), upper end.
        treat_all: (point,), of treating everybody. Treating nobody has 0.
        prevalence: Share of the images that have the class.
    """

    threshold: Floats
    net_benefit: Floats
    low: Floats
    high: Floats
    treat_all: Floats
    prevalence: float

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        arrays = {name: getattr(self, name) for name in ("threshold", "net_benefit", "low", "high")}
        return {
            "prevalence": self.prevalence,
            **{name: [round(value, 6) for value in own.tolist()] for name, own in arrays.items()},
            "treat_all": [round(value, 6) for value in self.treat_all.tolist()],
        }


def list_thresholds() -> Floats:
    """The threshold probabilities of a curve: 0.01 to 0.99 by hundredths."""
    return np.arange(1, N_STEPS) / N_STEPS


def trace_net_benefit(
    scores: npt.ArrayLike,
    positive: npt.ArrayLike,
    *,
    thresholds: Floats | None = None,
    groups: Sequence[Hashable | None] | Integers | None = None,
    n_resamples: int = 1000,
    seed: int = 0,
) -> DecisionCurve:
    """The decision curve of one class against the rest.

    The threshold probability is where whoever decides holds treating and not treating for equally
    good: at 0.2 a missed case weighs as much as four needless treatments. A model is of use at a
    threshold where its net benefit is above that of treating all and above 0. That needs
    probabilities that mean what they say.

    Args:
        scores: (image,), probability of the class, in [0, 1].
        positive: (image,), whether the image has it.
        thresholds: (point,), in (0, 1), rising; `list_thresholds` where None.
        groups: (image,) each image's patient; None where unknown.
        n_resamples: Bootstrap resamples; with 0 there is no band.
        seed: Of the resampling.

    Raises:
        DataError: Shapes or values do not fit.
        SettingsError: A threshold is not in (0, 1), or they do not rise.

    Reference:
        Vickers and Elkin, Decision Curve Analysis, Medical Decision Making 2006.

    Example:
        >>> curve = trace_net_benefit(
        ...     [0.9, 0.6, 0.1], np.array([True, False, False]), thresholds=np.array([0.5])
        ... )
        >>> curve.net_benefit.round(3).tolist(), curve.treat_all.round(3).tolist()
        ([0.0], [-0.333])
    """
    values, truths = check_pair(scores, positive, 1)
    cuts = list_thresholds() if thresholds is None else thresholds
    if not (((cuts > 0) & (cuts < 1)).all() and (np.diff(cuts) > 0).all() and cuts.size):
        raise SettingsError(
            "The thresholds of a decision curve must rise and lie in (0, 1). Leave them out to "
            "have 0.01 to 0.99."
        )
    odds = cuts / (1 - cuts)
    # The number of thresholds that an image reaches decides at which of them it is treated.
    reached = np.searchsorted(cuts, values, side="right")
    ones = np.ones((len(values), 1))
    numbers = number_groups(groups, len(values))
    benefit = _weigh(ones, reached, truths, odds)[:, 0]
    low = high = np.empty(0)
    if n_resamples and int(numbers.max()) > 0:
        drawn = np.concatenate(
            [
                _weigh(weights, reached, truths, odds)
                for weights in iterate_weights(numbers, n_resamples, seed)
            ],
            axis=1,
        )
        ends = [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]
        low, high = np.quantile(drawn, ends, axis=1)
    prevalence = float(truths.mean())
    return DecisionCurve(cuts, benefit, low, high, prevalence - (1 - prevalence) * odds, prevalence)


def _weigh(weights: Floats, reached: Integers, truths: Bools, odds: Floats) -> Floats:
    """(point, resample) net benefit of images with `weights` (image, resample)."""
    n_points = len(odds)
    placed = np.zeros((2, n_points + 1, weights.shape[1]))
    for kind, own in enumerate((~truths, truths)):
        order = np.flatnonzero(own)
        order = order[np.argsort(reached[order], kind="stable")]
        if not len(order):
            continue
        levels, starts = np.unique(reached[order], return_index=True)
        placed[kind, levels] = np.add.reduceat(weights[order], starts, axis=0)
    # Treated at a threshold is who reaches it or a higher one.
    treated = placed[:, ::-1].cumsum(axis=1)[:, ::-1][:, 1:]
    benefit: Floats = (treated[1] - treated[0] * odds[:, None]) / weights.sum(axis=0)
    return benefit
