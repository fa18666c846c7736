"""Parting groups of images so that every part has its share of every class."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

_N_TRIES = 20
# A group that takes up more than this share of the smallest part is placed before the others.
_LARGE_SHARE = 0.25


def partition_groups(
    groups: npt.NDArray[np.int64],
    targets: npt.NDArray[np.bool_],
    fractions: Sequence[float],
    rng: np.random.Generator,
) -> npt.NDArray[np.int64]:
    """Give every group to one part, so that each part has about its fraction of each class.

    First each part, in order, gets one group of each class, rarest class first. Every other
    group then goes to the part that still lacks most images of the group's rarest class. Groups
    come in random order, apart from those too large to be left to the end.

    Args:
        groups: (image,) number of each image's group, 0 to n_groups - 1.
        targets: (image, class) class membership, any number of classes an image.
        fractions: Share of the images that each part is to get, above 0, adding up to 1.
        rng: Where the randomness comes from.

    Returns:
        (image,) number of each image's part. Of several random tries it is the one that leaves
        the fewest parts without a class, the first of them where several do equally well.

    Reference:
        The choice of a part follows Sechidis, Tsoumakas and Vlahavas, On the Stratification of
        Multi-label Data, ECML PKDD 2011, with groups in place of single examples.
    """
    # Images of no class are shared out too, as if that were one.
    strata = np.column_stack([targets, ~targets.any(axis=1)])
    strata = strata[:, strata.any(axis=0)]
    counts = np.zeros((groups.max() + 1, strata.shape[1] + 1))
    np.add.at(counts, groups, np.column_stack([strata, np.ones(len(strata))]))
    n_parts = len(fractions)
    n_groups_with = (counts > 0).sum(axis=0)
    n_empty_at_least = int(np.maximum(n_parts - n_groups_with, 0).sum())
    best, n_empty_best = np.zeros(len(counts), dtype=np.int64), counts.size * n_parts
    for _ in range(_N_TRIES):
        parts = _place_groups(counts, np.asarray(fractions), rng)
        filled = np.stack([counts[parts == part].sum(axis=0) for part in range(n_parts)])
        n_empty = int((filled == 0).sum())
        if n_empty < n_empty_best:
            best, n_empty_best = parts, n_empty
        if n_empty == n_empty_at_least:
            break
    return best[groups]


def _place_groups(
    counts: npt.NDArray[np.float64], fractions: npt.NDArray[np.float64], rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """The part of each group; `counts` is (group, class), and each group's size comes last."""
    totals = counts.sum(axis=0)
    wanted = np.outer(fractions, totals)
    parts = np.full(len(counts), -1, dtype=np.int64)
    order = _order_groups(counts, fractions, rng)
    rarest_first = np.argsort(totals[:-1], kind="stable")
    for stratum in rarest_first:
        # From the end of the order, where the groups are not among the large ones.
        holders = order[::-1][counts[order[::-1], stratum] > 0]
        for part in range(len(fractions)):
            free = holders[parts[holders] < 0]
            if len(free) and not (parts[holders] == part).any():
                parts[free[0]] = part
                wanted[part] -= counts[free[0]]
    rank_of_rarest = np.argmax(counts[:, rarest_first] > 0, axis=1)
    for group in order:
        if parts[group] < 0:
            stratum = rarest_first[rank_of_rarest[group]]
            # The total decides between parts that lack as much of the class.
            lacking = np.lexsort((wanted[:, -1], wanted[:, stratum]))
            parts[group] = lacking[-1]
            wanted[parts[group]] -= counts[group]
    return parts


def _order_groups(
    counts: npt.NDArray[np.float64], fractions: npt.NDArray[np.float64], rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Large groups by size, then the others at random.

    Sorting all of them by size would leave the patients with few images to the small parts.
    """
    order = rng.permutation(len(counts))
    sizes = counts[order, -1]
    is_large = sizes > _LARGE_SHARE * fractions.min() * counts[:, -1].sum()
    return order[np.argsort(np.where(is_large, -sizes, 0), kind="stable")]
