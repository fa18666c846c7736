"""Pairs of images that may be copies: found by hash and by features, a block at a time."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from medlora.progress import Progress, silent

Pairs = npt.NDArray[np.int64]
# Cells of one block of comparisons; some megabytes, which stay close to the processor.
_BLOCK_CELLS: Final = 2**21
_ROWS: Final = 256
_FIT_ROWS: Final = 4096


def find_close_hashes(
    hashes: npt.NDArray[np.uint64],
    max_distance: int,
    *,
    n_most: int,
    n_threads: int = 2,
    progress: Progress = silent,
) -> Pairs:
    """Pairs of images whose hashes are close in one of the orientations.

    Every image is compared with every other; memory does not grow with their number.

    Args:
        hashes: (image, orientation), the first of them as the image lies.
        max_distance: Bits of the hash that may differ.
        n_most: Pairs that an image may have with images behind it, the closest first.
        n_threads: Blocks that are compared at the same time.
        progress: Told after every block.

    Returns:
        (pair, 2), the smaller row first, ascending.
    """
    n_images = len(hashes)
    starts = list(range(0, n_images, _ROWS))
    width = max(1, _BLOCK_CELLS // _ROWS)

    def compare(start: int) -> Pairs:
        rows = hashes[start : start + _ROWS, :1]
        found: list[Pairs] = []
        distances: list[npt.NDArray[np.uint8]] = []
        for left in range(start, n_images, width):
            block = hashes[left : left + width]
            closest = np.bitwise_count(rows ^ block[:, 0])
            for orientation in range(1, hashes.shape[1]):
                np.minimum(closest, np.bitwise_count(rows ^ block[:, orientation]), out=closest)
            one, other = np.nonzero(closest <= max_distance)
            behind = other + left > one + start
            one, other = one[behind], other[behind]
            found.append(np.column_stack([one + start, other + left]))
            distances.append(closest[one, other])
        return _keep_closest(np.concatenate(found), np.concatenate(distances), n_most)

    return _gather(compare, starts, n_threads, "comparing hashes", n_images, progress)


def find_nearest(
    features: npt.NDArray[np.float32],
    n_nearest: int,
    *,
    n_threads: int = 2,
    progress: Progress = silent,
) -> npt.NDArray[np.int64]:
    """The nearest images of each image by the angle between their features.

    Args:
        features: (image, feature), each row of length 1, as `shorten_features` gives them.
        n_nearest: How many, fewer where there are not so many others.
        n_threads: Blocks that are compared at the same time.
        progress: Told after every block.

    Returns:
        (image, neighbour), the nearest first; no image is its own neighbour.
    """
    n_images = len(features)
    n_kept = min(n_nearest, n_images - 1)
    starts = list(range(0, n_images, _ROWS))
    width = max(n_kept + 1, _BLOCK_CELLS // _ROWS)

    def search(start: int) -> Pairs:
        rows = features[start : start + _ROWS]
        places = np.arange(start, start + len(rows))
        best = np.full((len(rows), n_kept), -np.inf, dtype=np.float32)
        names = np.zeros((len(rows), n_kept), dtype=np.int64)
        for left in range(0, n_images, width):
            block = np.asarray(features[left : left + width])
            likeness = rows @ block.T
            own = (places >= left) & (places < left + len(block))
            likeness[np.flatnonzero(own), places[own] - left] = -np.inf
            together = np.concatenate([best, likeness], axis=1)
            numbers = np.broadcast_to(np.arange(left, left + len(block)), likeness.shape)
            all_names = np.concatenate([names, numbers], axis=1)
            chosen = np.argpartition(together, -n_kept, axis=1)[:, -n_kept:]
            best = np.take_along_axis(together, chosen, axis=1)
            names = np.take_along_axis(all_names, chosen, axis=1)
        order = np.argsort(-best, axis=1, kind="stable")
        return np.asarray(np.take_along_axis(names, order, axis=1))

    return _gather(search, starts, n_threads, "comparing features", n_images, progress)


def shorten_features(
    features: npt.NDArray[Any], n_components: int = 128, *, seed: int = 0
) -> npt.NDArray[np.float32]:
    """Features as directions in fewer dimensions: standardised, principal components, length 1.

    Args:
        features: (image, feature), perhaps larger than memory.
        n_components: Dimensions to keep, at most.
        seed: Which images the components are taken from, where there are more than 4,096.

    Returns:
        (image, component).
    """
    n_images = len(features)
    sample = np.arange(n_images)
    if n_images > _FIT_ROWS:
        sample = np.sort(np.random.default_rng(seed).choice(n_images, _FIT_ROWS, replace=False))
    known = np.asarray(features[sample], dtype=np.float64)
    mean, deviation = known.mean(axis=0), known.std(axis=0)
    deviation[deviation < 1e-6] = 1.0
    known = (known - mean) / deviation
    n_kept = min(n_components, *known.shape)
    _, axes = np.linalg.eigh(known.T @ known)
    axes = axes[:, ::-1][:, :n_kept]
    shortened = np.empty((n_images, n_kept), dtype=np.float32)
    for start in range(0, n_images, _FIT_ROWS):
        part = np.asarray(features[start : start + _FIT_ROWS], dtype=np.float64)
        placed = ((part - mean) / deviation) @ axes
        length = np.linalg.norm(placed, axis=1, keepdims=True)
        shortened[start : start + len(part)] = placed / np.maximum(length, 1e-12)
    return shortened


def pair_neighbours(neighbours: npt.NDArray[np.int64]) -> Pairs:
    """Each image with each of its neighbours, (pair, 2), the smaller row first, each pair once."""
    rows = np.repeat(np.arange(len(neighbours)), neighbours.shape[1])
    return merge_pairs([np.column_stack([rows, neighbours.reshape(-1)])])


def merge_pairs(parts: Sequence[Pairs]) -> Pairs:
    """Pairs of several searches, (pair, 2), the smaller row first, each once, ascending."""
    together = np.concatenate([np.empty((0, 2), dtype=np.int64), *parts])
    together = together[together[:, 0] != together[:, 1]]
    merged: Pairs = np.unique(np.sort(together, axis=1), axis=0)
    return merged


def _keep_closest(pairs: Pairs, distances: npt.NDArray[np.uint8], n_most: int) -> Pairs:
    """Of each first row's pairs the closest ones."""
    order = np.lexsort((pairs[:, 1], distances, pairs[:, 0]))
    pairs = pairs[order]
    first = np.searchsorted(pairs[:, 0], pairs[:, 0])
    kept: Pairs = pairs[np.arange(len(pairs)) - first < n_most]
    return kept[np.lexsort((kept[:, 1], kept[:, 0]))]


def _gather(
    work: Any, starts: list[int], n_threads: int, stage: str, n_images: int, progress: Progress
) -> Pairs:
    """Carry out blocks of work in several threads, in order."""
    parts: list[Pairs] = []
    # What waits is dropped when the user interrupts.
    pool = ThreadPoolExecutor(n_threads, thread_name_prefix="medlora-audit")
    try:
        for start, part in zip(starts, pool.map(work, starts), strict=True):
            parts.append(part)
            progress(stage, min(start + _ROWS, n_images), n_images)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return np.concatenate(parts) if parts else np.empty((0, 2), dtype=np.int64)
