"""What one image adds to an AUROC, and so how sure an AUROC or a difference of two is."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, rankdata

from medlora.errors import UndefinedMetricError
from medlora.evaluate.inputs import Bools, Floats, Integers, check_pair


@dataclass(frozen=True)
class AurocInfluence:
    """A mean AUROC, and how far each image moves it.

    Attributes:
        value: Mean of the one-against-rest AUROCs of the classes that have one, in [0, 1].
        images: (image,), the influence of each image; they sum to 0 up to a factor close to 1,
            and their squares to DeLong's variance of the value.
        n_classes: Over how many classes the mean is.
    """

    value: float
    images: Floats
    n_classes: int


def trace_auroc(
    probabilities: Floats, targets: Bools, group_numbers: Integers | None = None
) -> AurocInfluence:
    """The mean AUROC over the classes with the influence of each image.

    Args:
        probabilities: (image, class), in [0, 1].
        targets: (image, class), booleans.
        group_numbers: (image,), each image's patient as a number; each image its own where None.

    Raises:
        DataError: The arrays do not fit one another.
        UndefinedMetricError: No class has images with it and without it from two groups each.

    Reference:
        DeLong, DeLong and Clarke-Pearson, Biometrics 1988; Obuchowski, Biometrics 1997, for
        several images of one patient.

    Example:
        >>> truth = np.array([[True], [True], [False], [False]])
        >>> traced = trace_auroc(np.array([[0.9], [0.4], [0.5], [0.1]]), truth)
        >>> traced.value, round(estimate_variance(traced.images), 3)
        (0.75, 0.125)
    """
    scores, truths = check_pair(probabilities, targets, 2)
    numbers = np.arange(len(truths)) if group_numbers is None else group_numbers
    traced = [
        _trace_class(scores[:, k], truths[:, k], numbers)
        for k in range(truths.shape[1])
        if _has_groups(truths[:, k], numbers)
    ]
    if not traced:
        raise UndefinedMetricError(
            "The AUROC needs images with a class and without it, from two patients each; no class "
            "has them. Compare on a larger set of images."
        )
    value = float(np.mean([value for value, _ in traced]))
    images = np.mean([images for _, images in traced], axis=0)
    return AurocInfluence(value, images, len(traced))


def estimate_variance(influence: Floats, group_numbers: Integers | None = None) -> float:
    """The variance of what the influences (image,) belong to; those of one group move together."""
    if group_numbers is None:
        return float(np.square(influence).sum())
    return float(np.square(np.bincount(group_numbers, weights=influence)).sum())


def logit_interval(value: float, variance: float, confidence: float) -> tuple[float, float] | None:
    """An interval of an AUROC that stays within [0, 1]; None where its variance is 0.

    Reference:
        Pepe, The statistical evaluation of medical tests, 2003, section 5.2.5.

    Example:
        >>> low, high = logit_interval(0.9, 0.001, 0.95)
        >>> f"{low:.3f} {high:.3f}"
        '0.819 0.947'
    """
    if not 0 < value < 1 or variance <= 0:
        return None
    centre = np.log(value / (1 - value))
    reach = norm.ppf((1 + confidence) / 2) * np.sqrt(variance) / (value * (1 - value))
    low, high = 1 / (1 + np.exp(-np.array([centre - reach, centre + reach])))
    return float(low), float(high)


def _has_groups(positive: Bools, numbers: Integers) -> bool:
    kinds = (numbers[positive], numbers[~positive])
    return all(kind.size > 0 and bool(kind.min() != kind.max()) for kind in kinds)


def _trace_class(scores: Floats, positive: Bools, numbers: Integers) -> tuple[float, Floats]:
    """The AUROC of one class and each image's influence on it."""
    n_positive, n_negative = int(positive.sum()), int((~positive).sum())
    # Ranks among all less ranks among one's own kind count the pairs with the other kind.
    among_all = rankdata(scores)
    placed = np.empty(len(scores))
    placed[positive] = (among_all[positive] - rankdata(scores[positive])) / n_negative
    below = (among_all[~positive] - rankdata(scores[~positive])) / n_positive
    placed[~positive] = 1 - below
    value = float(placed[positive].mean())
    influence = np.empty(len(scores))
    for kind, n_images in ((positive, n_positive), (~positive, n_negative)):
        n_groups = len(np.unique(numbers[kind]))
        factor = np.sqrt(n_groups / (n_groups - 1))
        influence[kind] = factor * (placed[kind] - value) / n_images
    return value, influence
