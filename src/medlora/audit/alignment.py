"""Whether two small pictures show the same once one is laid onto the other.

Medical pictures of different patients look alike, so that neither hash nor features tell a copy.
What tells it is fine structure: after the pictures have been aligned, that of copies agrees, and
that of two patients does not.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from medlora.audit.orientation import N_ORIENTATIONS, orient

Floats = npt.NDArray[np.float32]

_COARSE: Final = 16
_CHUNK: Final = 128
# Alignments beyond these are no copies: how far the middle may move, as a share of the side, and
# how far the picture may be stretched, shrunk, sheared or turned.
_MAX_SHIFT: Final = 0.25
_MAX_CHANGE: Final = 0.4
_MIN_OVERLAP: Final = 0.6
# Chosen by measurement: benchmarks/audit.py.
MIN_COARSE: Final = 0.6
MIN_MIDDLE: Final = 0.7


@dataclass(frozen=True)
class _Level:
    """Pixels of a side, how strongly pictures are blurred, and steps of the alignment.

    First pictures are turned, scaled and moved only: with all six numbers of a warp free at once,
    blobs are laid onto other blobs.
    """

    side: int
    blur: float
    n_rigid: int
    n_affine: int


_LEVELS: Final = (_Level(32, 1.0, 8, 0), _Level(64, 0.8, 4, 3))
_RIGID: Final = np.array(
    [[1, 0, 0, 0, 1, 0], [0, -1, 0, 1, 0, 0], [0, 0, 1, 0, 0, 0], [0, 0, 0, 0, 0, 1]],
    dtype=np.float32,
)
_AFFINE: Final = np.eye(6, dtype=np.float32)


@dataclass(frozen=True, eq=False)
class Agreement:
    """How well pairs of pictures agree when laid onto one another.

    Attributes:
        whole: (pair,) correlation of their brightness, -1 to 1; -1 where no alignment was found.
        detail: (pair,) correlation of their fine structure, -1 to 1, likewise.
        orientations: (pair,) orientation in which the second lies as the first does.
    """

    whole: Floats
    detail: Floats
    orientations: npt.NDArray[np.int64]


class PictureAligner:
    """Compares pairs of some small pictures.

    Args:
        small: (image, side, side), brightness 0 to 255; perhaps larger than memory.
        min_coarse: Correlation at 16 pixels that a pair must have in its best orientation to be
            looked at more closely.
        min_middle: Correlation of fine structure at 32 pixels that it must have to be looked at
            in full; what does not reach it keeps the figures of 32 pixels.
    """

    def __init__(
        self,
        small: npt.NDArray[np.uint8],
        min_coarse: float = MIN_COARSE,
        min_middle: float = MIN_MIDDLE,
    ) -> None:
        self._small = small
        self._min_coarse = min_coarse
        self._min_middle = min_middle

    def compare(self, pairs: npt.NDArray[np.int64]) -> Agreement:
        """How well the pictures of each pair (pair, 2) agree."""
        parts = [
            self._compare_chunk(pairs[start : start + _CHUNK])
            for start in range(0, len(pairs), _CHUNK)
        ]
        if not parts:
            none = np.empty(0, dtype=np.float32)
            return Agreement(none, none, np.empty(0, dtype=np.int64))
        return Agreement(
            np.concatenate([part.whole for part in parts]),
            np.concatenate([part.detail for part in parts]),
            np.concatenate([part.orientations for part in parts]),
        )

    def _compare_chunk(self, pairs: npt.NDArray[np.int64]) -> Agreement:
        rows, places = np.unique(pairs, return_inverse=True)
        places = places.reshape(pairs.shape)
        pictures = np.asarray(self._small[rows], dtype=np.float32)
        coarse, orientations = _choose_orientations(pictures, places)
        whole = np.full(len(pairs), -1, dtype=np.float32)
        detail = whole.copy()
        left = np.flatnonzero(coarse >= self._min_coarse)
        warps = np.broadcast_to(np.eye(2, 3, dtype=np.float32), (len(pairs), 2, 3)).copy()
        for level in _LEVELS:
            if not len(left):
                break
            # Each level costs several times as much as the one before it.
            whole[left], detail[left], warps[left] = _measure_agreement(
                pictures, places[left], orientations[left], warps[left], level
            )
            left = left[detail[left] >= self._min_middle]
        return Agreement(whole, detail, orientations)


def _choose_orientations(
    pictures: Floats, places: npt.NDArray[np.int64]
) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Best correlation of coarse versions over the orientations, and the orientation."""
    coarse = _normalise(_blur(_reduce(pictures, _COARSE), 0.7))
    likeness = np.empty((N_ORIENTATIONS, len(places)), dtype=np.float32)
    first = coarse[places[:, 0]]
    for orientation in range(N_ORIENTATIONS):
        second = orient(coarse, orientation)[places[:, 1]]
        likeness[orientation] = np.einsum("pij,pij->p", first, second)
    orientations = likeness.argmax(axis=0).astype(np.int64)
    return likeness.max(axis=0), orientations


def _orient_each(pictures: Floats, orientations: npt.NDArray[np.int64]) -> Floats:
    turned = pictures.copy()
    for orientation in range(1, N_ORIENTATIONS):
        chosen = orientations == orientation
        turned[chosen] = orient(pictures[chosen], orientation)
    return turned


def _measure_agreement(
    pictures: Floats,
    places: npt.NDArray[np.int64],
    orientations: npt.NDArray[np.int64],
    warps: Floats,
    level: _Level,
) -> tuple[Floats, Floats, Floats]:
    """Align the second pictures to the first; correlate brightness and fine structure.

    Also gives the warps by which they were aligned.
    """
    used, own = np.unique(places, return_inverse=True)
    own = own.reshape(places.shape)
    small = _reduce(pictures[used], level.side)
    plain, fine = _blur(small, level.blur), _extract_detail(small)
    first, second = plain[own[:, 0]], _orient_each(plain[own[:, 1]], orientations)
    warps = _align(first, second, warps, level.n_rigid, _RIGID)
    warps = _align(first, second, warps, level.n_affine, _AFFINE)
    change = np.abs(warps[:, :, :2] - np.eye(2, dtype=np.float32)).max(axis=(1, 2))
    shift = np.abs(warps[:, :, 2]).max(axis=1) / 2
    laid, inside = _warp(second, warps)
    laid_fine, _ = _warp(_orient_each(fine[own[:, 1]], orientations), warps)
    inside &= _inner(level.side)
    weights = inside.astype(np.float32)
    whole = _correlate(first, laid, weights)
    detail = _correlate(fine[own[:, 0]], laid_fine, weights)
    lost = (change > _MAX_CHANGE) | (shift > _MAX_SHIFT)
    lost |= weights.mean(axis=(1, 2)) < _MIN_OVERLAP
    whole[lost] = -1
    detail[lost] = -1
    return whole, detail, warps


def _align(first: Floats, second: Floats, warps: Floats, n_steps: int, basis: Floats) -> Floats:
    """Refine affine warps so that the second pictures, sampled by them, look like the first.

    Coordinates run from -1 to 1. Gain and offset are left out of the comparison. The rows of
    `basis` are the changes of a warp's six numbers that are allowed.

    Reference:
        Baker and Matthews, Lucas-Kanade 20 Years On, IJCV 2004, section 3.2 (inverse
        compositional), with the template's own part and the mean projected out.
    """
    if not n_steps:
        return warps
    n_pairs, side = first.shape[:2]
    template = _normalise(first)
    slope_y, slope_x = np.gradient(template, axis=(1, 2))
    y, x = _grid(side)
    scale = np.float32((side - 1) / 2)
    slope_x, slope_y = slope_x * scale, slope_y * scale
    flat = template.reshape(n_pairs, 1, -1)
    steepest = np.stack(
        [slope_x * x, slope_x * y, slope_x, slope_y * x, slope_y * y, slope_y], axis=1
    ).reshape(n_pairs, 6, -1)
    steepest = basis @ steepest
    steepest -= steepest.mean(axis=2, keepdims=True)
    steepest -= (steepest @ flat.swapaxes(1, 2)) * flat
    hessian = (steepest @ steepest.swapaxes(1, 2)).astype(np.float64)
    # Of a picture without structure nothing follows; the ridge keeps it where it is.
    n_free = len(basis)
    ridge = 1e-3 * np.trace(hessian, axis1=1, axis2=2) / n_free + 1e-9
    hessian += ridge[:, np.newaxis, np.newaxis] * np.eye(n_free)
    solver = np.linalg.inv(hessian)
    for _ in range(n_steps):
        laid, inside = _warp(second, warps)
        weights = inside.astype(np.float32)
        error = (_normalise(laid, weights) - template) * weights
        slopes = steepest @ error.reshape(n_pairs, -1, 1)
        change = (solver @ slopes.astype(np.float64))[:, :, 0] @ basis
        warps = _compose_inverse(warps, change)
    return warps


def _compose_inverse(warps: Floats, change: npt.NDArray[np.float64]) -> Floats:
    """The warps behind the inverse of small changes (pair, 6)."""
    whole = np.zeros((len(warps), 3, 3))
    step = whole.copy()
    whole[:, :2] = warps
    step[:, :2] = np.clip(change, -0.2, 0.2).reshape(-1, 2, 3) + np.eye(2, 3)
    whole[:, 2, 2] = step[:, 2, 2] = 1
    composed: Floats = (whole @ np.linalg.inv(step))[:, :2].astype(np.float32)
    # What has run away stays where no picture is, and counts as lost.
    return np.clip(np.nan_to_num(composed, nan=5.0), -5, 5)


def _warp(pictures: Floats, warps: Floats) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Pictures sampled linearly at warped places, and which of these lie inside."""
    n_pairs, side = pictures.shape[:2]
    y, x = (axis.reshape(-1) for axis in _grid(side))
    grid = np.stack([x, y, np.ones_like(x)])
    places = warps @ grid
    scaled = (places + 1) * np.float32((side - 1) / 2)
    inside = ((scaled >= -0.5) & (scaled <= side - 0.5)).all(axis=1)
    scaled = np.clip(scaled, 0, side - 1.001)
    corner = scaled.astype(np.int32)
    part = scaled - corner.astype(np.float32)
    start = corner[:, 1] * side + corner[:, 0]
    flat = pictures.reshape(n_pairs, -1)
    right, down = part[:, 0], part[:, 1]
    top = _take(flat, start) * (1 - right) + _take(flat, start + 1) * right
    low = _take(flat, start + side) * (1 - right) + _take(flat, start + side + 1) * right
    sampled = top * (1 - down) + low * down
    return sampled.reshape(pictures.shape), inside.reshape(pictures.shape)


def _take(flat: Floats, places: npt.NDArray[Any]) -> Floats:
    return np.take_along_axis(flat, places, axis=1)


def _grid(side: int) -> tuple[Floats, Floats]:
    axis = np.linspace(-1, 1, side, dtype=np.float32)
    return np.broadcast_to(axis[:, None], (side, side)), np.broadcast_to(axis, (side, side))


def _inner(side: int) -> npt.NDArray[np.bool_]:
    """All but the outermost pixels, whose fine structure comes from beyond the picture."""
    inner = np.zeros((side, side), dtype=bool)
    inner[2:-2, 2:-2] = True
    return inner


def _extract_detail(pictures: Floats) -> Floats:
    """Structure of two to six pixels, evened out so that strong edges do not drown the rest."""
    band = _blur(pictures, 0.8) - _blur(pictures, 3.0)
    strength = np.sqrt(_blur(band * band, 4.0))
    floor = 0.25 * np.sqrt((band * band).mean(axis=(1, 2), keepdims=True)) + 0.5
    return np.asarray(band / (strength + floor), dtype=np.float32)


def _blur(pictures: Floats, sigma: float) -> Floats:
    blurred: Floats = gaussian_filter(pictures, (0, sigma, sigma), mode="nearest", truncate=3.0)
    return blurred


def _reduce(pictures: Floats, side: int) -> Floats:
    """Means of blocks."""
    n_images, own = pictures.shape[:2]
    factor = own // side
    blocks = pictures.reshape(n_images, side, factor, side, factor)
    return np.asarray(blocks.mean(axis=(2, 4)), dtype=np.float32)


def _normalise(pictures: Floats, weights: Floats | None = None) -> Floats:
    """Mean 0 and length 1, each picture for itself, over the pixels with a weight."""
    if weights is None:
        centred = pictures - pictures.mean(axis=(1, 2), keepdims=True)
        length = np.sqrt((centred * centred).sum(axis=(1, 2), keepdims=True))
    else:
        total = np.maximum(weights.sum(axis=(1, 2), keepdims=True), 1)
        centred = pictures - (pictures * weights).sum(axis=(1, 2), keepdims=True) / total
        length = np.sqrt((centred * centred * weights).sum(axis=(1, 2), keepdims=True))
        # As if the rest of the picture had as much structure.
        length *= np.sqrt(weights[0].size / total)
    return np.asarray(centred / np.maximum(length, 1e-6), dtype=np.float32)


def _correlate(first: Floats, second: Floats, weights: Floats) -> Floats:
    total = np.maximum(weights.sum(axis=(1, 2), keepdims=True), 1)
    one = (first - (first * weights).sum(axis=(1, 2), keepdims=True) / total) * weights
    other = (second - (second * weights).sum(axis=(1, 2), keepdims=True) / total) * weights
    norms = np.sqrt((one * one).sum(axis=(1, 2)) * (other * other).sum(axis=(1, 2)))
    found: Floats = (one * other).sum(axis=(1, 2)) / np.maximum(norms, 1e-6)
    return found
