"""Groups of images that show the same picture: as files, as pixels, or nearly."""

from collections.abc import Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from medlora.audit.alignment import PictureAligner
from medlora.audit.neighbours import (
    Pairs,
    find_close_hashes,
    find_nearest,
    merge_pairs,
    pair_neighbours,
)
from medlora.audit.perceptual_hash import hash_pictures
from medlora.progress import Progress, silent

Likeness = Literal["bytes", "pixels", "near"]

# Chosen by measurement: benchmarks/audit.py. Fine structure of two patients' chest films agrees by
# .85 at most; that of slices of one head that lie side by side by up to .94.
MAX_HASH_DISTANCE: Final = 12
N_HASH_PAIRS: Final = 8
N_NEAREST: Final = 4
MIN_WHOLE: Final = 0.9
MIN_DETAIL: Final = 0.88
# Tiny pictures have little fine structure, of which compression takes much, and differ more.
TINY_SIDE: Final = 48
MIN_DETAIL_TINY: Final = 0.8
_BATCH: Final = 1024


@dataclass(frozen=True, eq=False)
class DuplicatePairs:
    """Pairs of images that show the same picture.

    Attributes:
        rows: (pair, 2), the smaller row first, ascending, each pair once.
        likeness: (pair,) words: how far the two are the same: `bytes`, `pixels` or `near`.
        detail: (pair,) correlation of their fine structure, 1 where the pixels are the same.
        orientations: (pair,) orientation in which the second lies as the first does; 0 where
            they lie alike.
    """

    rows: Pairs
    likeness: npt.NDArray[Any]
    detail: npt.NDArray[np.float32]
    orientations: npt.NDArray[np.int64]

    def select(self, chosen: npt.NDArray[np.bool_]) -> "DuplicatePairs":
        """Some of the pairs."""
        return DuplicatePairs(
            self.rows[chosen],
            self.likeness[chosen],
            self.detail[chosen],
            self.orientations[chosen],
        )


@dataclass(frozen=True)
class DuplicateGroup:
    """Images that are linked by pairs which show the same picture.

    Attributes:
        rows: Rows of the table, ascending.
        likeness: The weakest link that it takes: `bytes` where all files are the same.
        splits: The splits that they lie in, in their order.
        crosses_splits: Whether these are several.
        differs_in_labels: Whether two of them have other labels.
        n_patients: How many different patients or groups are named; 0 where none is.
    """

    rows: tuple[int, ...]
    likeness: Likeness
    splits: tuple[str, ...]
    crosses_splits: bool
    differs_in_labels: bool
    n_patients: int


def find_near_pairs(
    small: npt.NDArray[np.uint8],
    sides: npt.NDArray[np.float64],
    features: npt.NDArray[np.float32] | None,
    rows: npt.NDArray[np.int64],
    *,
    n_threads: int = 2,
    progress: Progress = silent,
) -> DuplicatePairs:
    """Pairs of different pictures that show the same, in any of the eight orientations.

    Candidates are pictures with close perceptual hashes and the nearest ones by features. Each
    candidate is laid onto the other, and counts where fine structure agrees.

    Args:
        small: (image, side, side), brightness; perhaps larger than memory.
        sides: (image,) shorter side of each image in pixels.
        features: (image, feature) of length 1 each; None to go by hashes alone.
        rows: Rows to compare; one of each set of pictures that are known to be the same.
        n_threads: Parts that are compared at the same time.
        progress: Told as the comparisons go on.
    """
    hashes = np.concatenate(
        [hash_pictures(small[part]) for part in _batch(rows)] or [np.empty((0, 8), np.uint64)]
    )
    parts = [
        find_close_hashes(
            hashes, MAX_HASH_DISTANCE, n_most=N_HASH_PAIRS, n_threads=n_threads, progress=progress
        )
    ]
    if features is not None and len(rows) > 1:
        own = features[rows]
        nearest = find_nearest(own, N_NEAREST, n_threads=n_threads, progress=progress)
        parts.append(pair_neighbours(nearest))
    candidates = rows[merge_pairs(parts)]
    return verify_pairs(small, sides, candidates, n_threads=n_threads, progress=progress)


def verify_pairs(
    small: npt.NDArray[np.uint8],
    sides: npt.NDArray[np.float64],
    candidates: Pairs,
    *,
    n_threads: int = 2,
    progress: Progress = silent,
) -> DuplicatePairs:
    """The candidates (pair, 2) whose pictures agree when laid onto one another.

    The other arguments are those of `find_near_pairs`.
    """
    aligner = PictureAligner(small)
    parts = _batch(candidates)
    rows, detail, orientations = [np.empty((0, 2), dtype=np.int64)], [], []
    pool = ThreadPoolExecutor(n_threads, thread_name_prefix="medlora-audit")
    try:
        done = 0
        for part, found in zip(parts, pool.map(aligner.compare, parts), strict=True):
            is_tiny = sides[part].min(axis=1) < TINY_SIDE
            enough = np.where(is_tiny, MIN_DETAIL_TINY, MIN_DETAIL)
            same = (found.whole >= MIN_WHOLE) & (found.detail >= enough)
            rows.append(part[same])
            detail.append(found.detail[same])
            orientations.append(found.orientations[same])
            done += len(part)
            progress("comparing pictures", done, len(candidates))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    together = np.concatenate(rows)
    return DuplicatePairs(
        together,
        np.full(len(together), "near"),
        np.concatenate([np.empty(0, dtype=np.float32), *detail]),
        np.concatenate([np.empty(0, dtype=np.int64), *orientations]),
    )


def find_same(keys: Sequence[Hashable]) -> Pairs:
    """Each row with the first one of the same key, (pair, 2); "" and None are no keys."""
    first: dict[Hashable, int] = {}
    pairs = [
        (first[key], row)
        for row, key in enumerate(keys)
        if key and first.setdefault(key, row) != row
    ]
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def join_pairs(same_bytes: Pairs, same_pixels: Pairs, near: DuplicatePairs) -> DuplicatePairs:
    """All pairs, each under the closest likeness that it has."""
    known = {tuple(pair) for pair in same_bytes.tolist()}
    other = np.array(
        [pair for pair in same_pixels.tolist() if tuple(pair) not in known], dtype=np.int64
    ).reshape(-1, 2)
    n_same = len(same_bytes) + len(other)
    rows = np.concatenate([same_bytes, other, near.rows])
    words = ["bytes"] * len(same_bytes) + ["pixels"] * len(other) + near.likeness.tolist()
    order = np.lexsort((rows[:, 1], rows[:, 0]))
    return DuplicatePairs(
        rows[order],
        np.array(words, dtype=np.str_)[order],
        np.concatenate([np.ones(n_same, dtype=np.float32), near.detail])[order],
        np.concatenate([np.zeros(n_same, dtype=np.int64), near.orientations])[order],
    )


def link_rows(pairs: Pairs, n_images: int) -> npt.NDArray[np.int64]:
    """Number of each image's group (image,): images that pairs link have one number."""
    ones = np.ones(len(pairs))
    graph = coo_array((ones, (pairs[:, 0], pairs[:, 1])), shape=(n_images, n_images))
    _, numbers = connected_components(graph, directed=False)
    return np.asarray(numbers, dtype=np.int64)


def group_duplicates(
    pairs: DuplicatePairs,
    targets: npt.NDArray[np.bool_],
    splits: Sequence[str | None],
    patients: Sequence[Hashable | None],
) -> tuple[DuplicateGroup, ...]:
    """The groups of images that pairs link.

    Args:
        pairs: As `join_pairs` gives them.
        targets: (image, class).
        splits: (image,) each image's split.
        patients: (image,) each image's patient.

    Returns:
        Those across splits first, then those whose labels differ, then by their first row.
    """
    n_images = len(targets)
    numbers = link_rows(pairs.rows, n_images)
    weakest: dict[int, Likeness] = {}
    order: tuple[Likeness, ...] = ("near", "pixels", "bytes")
    for word in reversed(order):
        for row in pairs.rows[pairs.likeness == word, 0].tolist():
            weakest[int(numbers[row])] = word
    members: dict[int, list[int]] = {}
    for row, number in enumerate(numbers.tolist()):
        if number in weakest:
            members.setdefault(number, []).append(row)
    groups = [
        _describe_group(rows, weakest[number], targets, splits, patients)
        for number, rows in members.items()
    ]
    return tuple(
        sorted(
            groups,
            key=lambda group: (not group.crosses_splits, not group.differs_in_labels, group.rows),
        )
    )


def _describe_group(
    rows: list[int],
    likeness: Likeness,
    targets: npt.NDArray[np.bool_],
    splits: Sequence[str | None],
    patients: Sequence[Hashable | None],
) -> DuplicateGroup:
    own = {splits[row] for row in rows}
    named = tuple(split for split in ("train", "val", "test") if split in own)
    return DuplicateGroup(
        rows=tuple(rows),
        likeness=likeness,
        splits=named,
        crosses_splits=len(named) > 1,
        differs_in_labels=bool((targets[rows] != targets[rows[0]]).any()),
        n_patients=len({patients[row] for row in rows} - {None}),
    )


def _batch(rows: npt.NDArray[np.int64]) -> list[npt.NDArray[np.int64]]:
    return [rows[start : start + _BATCH] for start in range(0, len(rows), _BATCH)]
