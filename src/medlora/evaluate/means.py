"""Means over images, with bootstrap intervals over patients."""

from collections.abc import Hashable, Sequence

import numpy as np

from medlora.evaluate.evaluation import Estimate
from medlora.evaluate.inputs import Bools, Floats, Integers
from medlora.evaluate.ranking import divide
from medlora.evaluate.resampling import iterate_weights, number_groups, percentile_interval

CONFIDENCE = 0.95


def estimate_means(
    values: Floats,
    counted: Bools | None = None,
    *,
    groups: Sequence[Hashable | None] | Integers | None = None,
    n_resamples: int = 1000,
    seed: int = 0,
) -> list[Estimate]:
    """The mean of each column over the images that count in it, with 95 % intervals.

    Args:
        values: (image, column), any numbers.
        counted: (image, column), which images count; all where None.
        groups: (image,) each image's patient; None where unknown.
        n_resamples: Bootstrap resamples; with 0 there are no intervals.
        seed: Of the resampling.

    Returns:
        One for each column; undefined where no image counts. There is no interval where the
        images that count come from one group alone.

    Example:
        >>> estimate_means(np.array([[1.0], [0.0], [1.0], [1.0]]), n_resamples=0)[0].value
        0.75
    """
    kept = np.ones(values.shape) if counted is None else counted.astype(np.float64)
    return estimate_ratios(values * kept, kept, groups=groups, n_resamples=n_resamples, seed=seed)


def estimate_ratios(
    sums: Floats,
    counts: Floats,
    *,
    groups: Sequence[Hashable | None] | Integers | None = None,
    n_resamples: int = 1000,
    seed: int = 0,
) -> list[Estimate]:
    """The sum of one column over that of another, with 95 % intervals.

    For answers of which an image has several: the sum of what counts, by how many count.

    Args:
        sums: (image, column).
        counts: (image, column), not negative.
        groups: (image,) each image's patient; None where unknown.
        n_resamples: Bootstrap resamples; with 0 there are no intervals.
        seed: Of the resampling.

    Returns:
        One for each column; see `estimate_means`.
    """
    numbers = number_groups(groups, len(sums))
    resampled = [np.empty((0, sums.shape[1]))]
    for weights in iterate_weights(numbers, n_resamples, seed):
        resampled.append(divide(weights.T @ sums, weights.T @ counts))
    drawn = np.concatenate(resampled)
    found = []
    for column in range(sums.shape[1]):
        own = numbers[counts[:, column] > 0]
        if not len(own):
            found.append(Estimate(None))
            continue
        value = float(sums[:, column].sum() / counts[:, column].sum())
        several = bool(own.min() != own.max())
        interval = percentile_interval(drawn[:, column], CONFIDENCE) if several else None
        found.append(Estimate(value, *(interval or (None, None))))
    return found
