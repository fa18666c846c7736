"""The cut at which images reach a wanted sensitivity or specificity."""

from typing import Literal

import numpy as np

from medlora.evaluate.inputs import Bools, Floats

Measure = Literal["sensitivity", "specificity"]

# Cuts as close to 0 or 1 as a threshold may come.
_EDGE = 1e-9
_TOLERANCE = 1e-12


def rank_images(scores: Floats, positives: Bools, multi_label: bool) -> Floats:
    """What an image's threshold acts on, (image,) in [0, 1].

    Args:
        scores: (image, class) probabilities.
        positives: (class,) which classes count as positive.
        multi_label: Whether an image may have several classes, or none.
    """
    highest: Floats = scores[:, positives].max(axis=1)
    if multi_label:
        return highest
    other = scores[:, ~positives].max(axis=1)
    total = highest + other
    return np.where(total > 0, highest / np.where(total > 0, total, 1.0), 0.5)


def find_cut(ranks: Floats, is_positive: Bools, measure: Measure, value: float) -> float:
    """The best cut that reaches a point: a high one for sensitivity, a low one for specificity.

    Half way between two scores, so that rounding in a decision cannot matter.

    Args:
        ranks: (image,) as `rank_images` gives them.
        is_positive: (image,).
        measure: `sensitivity` or `specificity`.
        value: What it is to be at least, in (0, 1].
    """
    levels = np.unique(ranks)
    middles = (levels[:-1] + levels[1:]) / 2
    cuts = np.concatenate([[levels[0] / 2], middles, [(levels[-1] + 1) / 2]])
    cuts = np.clip(cuts, _EDGE, 1 - _EDGE)
    if measure == "sensitivity":
        reaching = np.flatnonzero(_share_from(ranks[is_positive], cuts) >= value - _TOLERANCE)
        return float(cuts[reaching[-1]]) if len(reaching) else float(cuts[0])
    shares = 1 - _share_from(ranks[~is_positive], cuts)
    reaching = np.flatnonzero(shares >= value - _TOLERANCE)
    return float(cuts[reaching[0]]) if len(reaching) else float(cuts[-1])


def _share_from(ranks: Floats, cuts: Floats) -> Floats:
    """(cut,) share of the ranks that reach each cut."""
    below = np.searchsorted(np.sort(ranks), cuts, side="left")
    shares: Floats = 1 - below / len(ranks)
    return shares
