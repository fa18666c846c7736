"""Measures that need only counts of decisions, for many weightings of the images at once."""

from dataclasses import dataclass

import numpy as np

from medlora.evaluate.inputs import Bools, Floats
from medlora.evaluate.ranking import divide


@dataclass(frozen=True)
class ClassCounts:
    """Images by what was decided and what is true; a resample may hold an image many times.

    Every measure is NaN where it is undefined.

    Attributes:
        hits: (resample, class), has the class and was given it (true positives).
        decided: (resample, class), was given it.
        actual: (resample, class), has it.
        total: (resample, 1), all.
    """

    hits: Floats
    decided: Floats
    actual: Floats
    total: Floats

    @classmethod
    def of(cls, decisions: Bools, targets: Bools, weights: Floats) -> "ClassCounts":
        """From decisions and targets, (image, class), and weights, (image, resample)."""
        rows = weights.T
        return cls(
            rows @ (decisions & targets).astype(np.float64),
            rows @ decisions.astype(np.float64),
            rows @ targets.astype(np.float64),
            weights.sum(axis=0)[:, None],
        )

    def agreed(self) -> Floats:
        """Images about which decision and truth agree, class by class: hits + true negatives."""
        return self.total - self.decided - self.actual + 2 * self.hits

    def recall(self) -> Floats:
        """Of the images with the class, the share that was given it."""
        return divide(self.hits, self.actual)

    def precision(self) -> Floats:
        """Of the images that were given the class, the share that has it.

        0 where the class is there and was never given: scikit-learn's convention, and the only
        one under which ignoring a class cannot raise the mean. Undefined where it is absent.
        """
        share = divide(self.hits, self.decided)
        return np.where(self.actual > 0, np.where(self.decided > 0, share, 0.0), np.nan)

    def f1(self) -> Floats:
        """Harmonic mean of recall and precision; undefined where the class is absent."""
        share = divide(2 * self.hits, self.decided + self.actual)
        return np.where(self.actual > 0, share, np.nan)

    def specificity(self) -> Floats:
        """Of the images without the class, the share that was not given it."""
        without = self.total - self.actual
        return divide(without - (self.decided - self.hits), without)


def mean_defined(values: Floats) -> Floats:
    """Mean over the classes (resample,) of values (resample, class), NaN left out.

    NaN where no class has a value.
    """
    known = ~np.isnan(values)
    n_known = known.sum(axis=1)
    sums = np.where(known, values, 0.0).sum(axis=1)
    return np.where(n_known > 0, sums / np.maximum(n_known, 1), np.nan)
