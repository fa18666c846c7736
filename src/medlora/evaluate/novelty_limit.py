"""From which distance on an image is unlike the training images, and what that promises."""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import betaincinv, stdtrit

from medlora.errors import TrainingError
from medlora.evaluate.inputs import Floats
from medlora.evaluate.resampling import number_groups

# Share of images like those of validation that may be called unlike the training images.
FALSE_ALARMS = 0.01
# Of one alone, nothing tells how distances vary.
MIN_UNITS = 2
LEAST_DISTANCE = 1e-6
_MOST_LOG = 60.0


@dataclass(frozen=True)
class NoveltyLimit:
    """From which distance on an image is unlike the training images.

    Attributes:
        distance: The largest one that is not yet unlike them, above 0.
        false_alarms: Share of images like those it was chosen by that lie above it, at most, on
            average over all that might have been drawn in their place.
        n_images: How many it was chosen by.
        n_groups: Patients that these are of; None where each counts for itself.
    """

    distance: float
    false_alarms: float
    n_images: int
    n_groups: int | None = None


def choose_limit(
    distances: Floats,
    rate: float = FALSE_ALARMS,
    *,
    groups: Sequence[Hashable | None] | None = None,
) -> NoveltyLimit:
    """The limit that at most a given share of images like these pass.

    An image that is drawn like the given ones, and independently of them, passes the k-th
    smallest of their n distances with a chance of at most 1 - k / (n + 1). Images of one patient
    share the weight of one, and the promise is about an image of another patient.

    Fewer than 1 / rate - 1 images, or patients, cannot promise the rate, whatever is done with
    them: their largest distance promises 1 / (n + 1). The limit is then moved outwards, to where
    it would have the rate if logarithms of distances were normally distributed. The promise is
    that of the largest distance all the same, and holds without that assumption.

    Args:
        distances: (image,) of images that nothing was learnt from.
        rate: Share of false alarms, (0, 1).
        groups: (image,) each image's patient; None where unknown.

    Raises:
        TrainingError: There are fewer than two images, or patients.

    Reference:
        Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World, 2005, section 2.2;
        Lee, Barber and Willett, Distribution-free inference with hierarchical data, 2023, for
        several images of a patient; Hahn and Meeker, Statistical Intervals, 1991, section 4.7, for
        the next value of a normal distribution.

    Example:
        >>> choose_limit(np.arange(1.0, 200.0))
        NoveltyLimit(distance=198.0, false_alarms=0.01, n_images=199, n_groups=None)
        >>> limit = choose_limit(np.arange(1.0, 20.0))
        >>> limit.false_alarms, limit.distance > 19
        (0.05, True)
    """
    n_images = len(distances)
    numbers = number_groups(groups, n_images)
    sizes = np.bincount(numbers)
    n_groups = len(sizes)
    if n_groups < MIN_UNITS:
        raise TrainingError(
            f"{n_images} image(s) of {n_groups} patient(s) are too few to choose a limit of "
            f"novelty by; at least {MIN_UNITS} patients, or images of unknown ones, are needed. "
            "Answers will come without a score of novelty."
        )
    order = np.argsort(distances, kind="stable")
    below = np.cumsum(1 / sizes[numbers[order]])
    # A little less, since 0.99 * 200 may come out above 198, and thirds do not add up to 1.
    wanted = (n_groups + 1) * (1 - rate) - 1e-6
    place = min(n_images - 1, int(np.searchsorted(below, wanted)))
    promised = (n_groups + 1 - float(below[place])) / (n_groups + 1)
    distance = float(distances[order[place]])
    if promised > rate + 1e-6:
        distance = max(distance, _extrapolate(distances, 1 / sizes[numbers], rate))
    return NoveltyLimit(
        max(distance, LEAST_DISTANCE),
        min(max(promised, 1 / (n_groups + 1)), n_groups / (n_groups + 1)),
        n_images,
        n_groups if n_groups < n_images else None,
    )


def _extrapolate(distances: Floats, weights: Floats, rate: float) -> float:
    """What another distance passes with a chance of `rate` where their logarithms are normal."""
    logs = np.log(np.maximum(distances, LEAST_DISTANCE))
    n_units = float(weights.sum())
    mean = float(weights @ logs) / n_units
    spread = math.sqrt(float(weights @ (logs - mean) ** 2) / (n_units - 1))
    reach = float(stdtrit(n_units - 1, 1 - rate)) * math.sqrt(1 + 1 / n_units)
    return math.exp(min(mean + reach * spread, _MOST_LOG))


def bound_false_alarms(false_alarms: float, n_units: int, confidence: float = 0.95) -> float:
    """What the share of false alarms stays below, whichever images a limit was chosen by.

    The promised share is an average over the images that might have been drawn to choose the
    limit. Those that were drawn may be unlucky: of n the share above the k-th smallest distance
    is Beta distributed.

    Args:
        false_alarms: The promised share, in (0, 1).
        n_units: Images that the limit was chosen by, or patients of whom each counts as one.
        confidence: How sure the bound is, (0, 1).

    Reference:
        Vovk, Conditional validity of inductive conformal predictors, ACML 2012.

    Example:
        >>> f"{bound_false_alarms(1 / 56, 55):.3f} {bound_false_alarms(0.01, 999):.3f}"
        '0.053 0.016'
    """
    above = min(max(false_alarms * (n_units + 1), 1e-6), float(n_units))
    return float(betaincinv(above, n_units + 1 - above, confidence))
