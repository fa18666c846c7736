"""Measures that depend on the order of the scores, for many weightings of the images at once.

Sorting is what they cost. A bootstrap resample holds the same images in other numbers, so the
images are sorted once and only the weights are summed anew.
"""

from dataclasses import dataclass

import numpy as np

from medlora.evaluate.inputs import Bools, Floats, Integers


@dataclass(frozen=True)
class LevelWeights:
    """Weights at each distinct score that a positive image has, from low to high.

    Attributes:
        below: (level, resample), of all images that score less.
        level: (level, resample), of all images with this score.
        positive: (level, resample), of the positive images with this score.
        total: (resample,), of all images.
    """

    below: Floats
    level: Floats
    positive: Floats
    total: Floats

    def auroc(self) -> Floats:
        """(resample,), NaN where positive or negative images have no weight.

        Reference:
            Hanley and McNeil, Radiology 1982, equation 1.
        """
        n_positive = self.positive.sum(axis=0)
        n_negative = self.total - n_positive
        # Twice the pairs that are in order, ties as one half. Pairs of two positives are counted
        # too; by symmetry they come to n_positive**2. With whole weights all of this is exact.
        doubled = (self.positive * (2 * self.below + self.level)).sum(axis=0) - n_positive**2
        return divide(doubled, 2 * n_positive * n_negative)

    def average_precision(self) -> Floats:
        """(resample,), NaN where positive images have no weight: sum of precision x recall step."""
        caught = np.cumsum(self.positive[::-1], axis=0)[::-1]
        flagged = self.total - self.below
        precision = np.divide(caught, flagged, out=np.zeros_like(caught), where=flagged > 0)
        return divide((self.positive * precision).sum(axis=0), self.positive.sum(axis=0))


@dataclass(frozen=True)
class Ranking:
    """One class's images in the order of their scores.

    Attributes:
        order: (image,), image numbers by rising score.
        starts: (segment,), positions in `order` between which weights are summed; every distinct
            score that a positive image has is one segment, and so is what lies between two.
        levels: (level,), the segments that are such scores.
        positives: (positive,), numbers of the positive images by rising score.
        positive_starts: (level,), where in `positives` each such score begins.
    """

    order: Integers
    starts: Integers
    levels: Integers
    positives: Integers
    positive_starts: Integers

    @classmethod
    def of(cls, scores: Floats, positive: Bools) -> "Ranking":
        """Sort `scores` (image,), of which those of `positive` (image,) images are to rank high."""
        order = np.argsort(scores, kind="stable")
        values = scores[order]
        starts = find_level_starts(values)
        ends = np.append(starts[1:], len(values))
        is_positive = positive[order]
        positives = order[is_positive]
        positive_starts = find_level_starts(values[is_positive])
        held = np.searchsorted(values[starts], values[is_positive][positive_starts])
        edges = np.unique(np.concatenate([[0], starts[held], ends[held]]))
        edges = edges[edges < len(values)]
        levels = np.searchsorted(edges, starts[held])
        return cls(order, edges, levels, positives, positive_starts)

    def weigh(self, weights: Floats) -> LevelWeights:
        """Sum `weights`, (image, resample), at each level."""
        if not len(self.positives):
            nothing = np.zeros((0, weights.shape[1]))
            return LevelWeights(nothing, nothing, nothing, weights.sum(axis=0))
        segments = np.add.reduceat(weights[self.order], self.starts, axis=0)
        up_to = np.cumsum(segments, axis=0)
        level = segments[self.levels]
        positive = np.add.reduceat(weights[self.positives], self.positive_starts, axis=0)
        return LevelWeights(up_to[self.levels] - level, level, positive, up_to[-1])


def find_level_starts(values: Floats) -> Integers:
    """Positions in the sorted `values` at which a value differs from the one before it."""
    changed = np.ones(len(values), dtype=np.bool_)
    changed[1:] = values[1:] != values[:-1]
    return np.flatnonzero(changed)


def divide(numerator: Floats, denominator: Floats) -> Floats:
    """`numerator / denominator`, NaN where the denominator is 0."""
    shape = np.broadcast_shapes(numerator.shape, denominator.shape)
    quotient: Floats = np.full(shape, np.nan)
    np.divide(numerator, denominator, out=quotient, where=denominator != 0)
    return quotient
