"""Where the head or chest lies in a picture, without borders, burnt-in text and markers."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from medlora.data.luminance import measure_luminance

_SEARCH_SIDE: Final = 256  # Longer side in pixels of the reduced picture in which it is searched.
_FLAT_STEP: Final = 3.0  # Grey levels about the median within which a border's pixels lie.
_FLAT_SHARE: Final = 0.97  # Share of a border line's pixels that do: some carry text or noise.
_MAX_BORDER: Final = 0.45  # Share of the side that one border can take.
_DARK: Final = 0.25  # Share of the brightest values below which a background counts as dark.
_CONTRAST: Final = 0.08  # Share of the range by which the body is brighter than the background.
_LETTER: Final = 0.02  # Share of the longer side: what is thinner, as letters are, is no body.
_SMALL: Final = 0.01  # Share of the picture up to which a thing apart from the body is a mark,
_WHITE: Final = 0.4  # if it is so bright: share of the range. Noise and vessels are darker.
_MARGIN: Final = 0.07  # Share of the body's longer side that is left around it,
_FILLED: Final = 0.95  # unless it fills its rectangle, and what surrounds it is a border.
_MIN_SHARE: Final = 0.05  # Share of the picture below which a body is not believed.


@dataclass(frozen=True)
class Body:
    """The body in a picture.

    Attributes:
        rows, columns: The rectangle to keep.
        marks: (height, width) of that rectangle, True where letters and other small things lie
            apart from the body.
        background: Brightness of what surrounds the body, 0 to 255.
    """

    rows: slice
    columns: slice
    marks: npt.NDArray[np.bool_]
    background: int


def cut_out(pixels: npt.NDArray[np.uint8], body: Body) -> npt.NDArray[np.uint8]:
    """The rectangle of a body, without the marks in it; a view where there are none."""
    cut = pixels[body.rows, body.columns]
    if not body.marks.any():
        return cut
    cleaned = cut.copy()
    cleaned[body.marks] = body.background
    return cleaned


def crop_to_body(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Cut borders off, then what lies far beyond the largest connected bright thing.

    A margin is left around it, and the cut is a square as far as the picture reaches.
    Letters and markers that still lie in the rectangle, but apart from the body, become as
    dark as the background. Those that lie on the body itself stay. Where the background is not
    dark, as in a photograph or a close-up, nothing but flat borders is cut off.

    Args:
        pixels: RGB values, shape (height, width, 3).

    Returns:
        RGB values, shape (at most height, at most width, 3), at least 1 pixel on each side.

    Example:
        >>> scan = np.zeros((60, 80, 3), dtype=np.uint8)
        >>> scan[10:50, 20:60] = 150
        >>> crop_to_body(scan).shape
        (40, 40, 3)
    """
    return cut_out(pixels, find_body(pixels))


def find_body(pixels: npt.NDArray[np.uint8]) -> Body:
    """The rectangle that holds the head or chest, and the marks in it.

    Args:
        pixels: RGB values, shape (height, width, 3).

    Returns:
        The whole picture without flat borders where no body is found that can be believed.
    """
    luminance = measure_luminance(pixels)
    # A dark border is left to the search for the body: without it, there would be no margin.
    rows, columns = _trim_borders(luminance, _DARK * float(np.quantile(luminance, 0.99)))
    inner = luminance[rows, columns]
    step = max(-(-max(inner.shape) // _SEARCH_SIDE), 1)
    small = _reduce(inner, step)
    found = _find_parts(small)
    if found is None:
        rows, columns = _trim_borders(luminance, -1.0)
        return Body(rows, columns, np.zeros(luminance[rows, columns].shape, dtype=bool), 0)
    body, marks, background = found
    (top, bottom), (left, right) = _find_box(body, step, inner.shape)
    wide = marks.repeat(step, axis=0).repeat(step, axis=1)
    return Body(
        slice(rows.start + top, rows.start + bottom),
        slice(columns.start + left, columns.start + right),
        np.ascontiguousarray(wide[top:bottom, left:right]),
        background,
    )


def _trim_borders(luminance: npt.NDArray[np.float64], dark: float) -> tuple[slice, slice]:
    """The picture without the flat lines at its four edges that are brighter than `dark`."""
    kept = []
    for axis in (0, 1):
        lines = luminance if axis == 0 else luminance.T
        # A few hundred values tell whether a line is flat; medians of whole films take seconds.
        lines = lines[:, :: max(lines.shape[1] // _SEARCH_SIDE, 1)]
        levels = np.median(lines, axis=1, keepdims=True)
        near = np.abs(lines - levels) <= _FLAT_STEP
        is_flat = (near.mean(axis=1) >= _FLAT_SHARE) & (levels[:, 0] > dark)
        if is_flat.all():
            kept.append(slice(0, len(lines)))
            continue
        limit = int(_MAX_BORDER * len(lines))
        first = min(int(np.argmin(is_flat)), limit)
        last = min(int(np.argmin(is_flat[::-1])), limit)
        kept.append(slice(first, len(lines) - last))
    return kept[0], kept[1]


def _reduce(luminance: npt.NDArray[np.float64], step: int) -> npt.NDArray[np.float64]:
    """Means of squares of `step` pixels; the last ones repeat the edge."""
    if step == 1:
        return luminance
    rest = [(0, -side % step) for side in luminance.shape]
    padded = np.pad(luminance, rest, mode="edge")
    height, width = (side // step for side in padded.shape)
    means: npt.NDArray[np.float64] = padded.reshape(height, step, width, step).mean(axis=(1, 3))
    return means


def _find_parts(
    luminance: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_], int] | None:
    """Masks of the body and of the marks, and the background's brightness.

    None where there is no dark background, or nothing on it that is large enough.
    """
    edge = np.concatenate([luminance[0], luminance[-1], luminance[:, 0], luminance[:, -1]])
    background = float(np.quantile(edge, 0.05))
    brightest = float(np.quantile(luminance, 0.99))
    if background > _DARK * brightest:
        return None
    bright = luminance > background + _CONTRAST * (brightest - background)
    solid = ndimage.binary_fill_holes(bright)
    width = max(round(_LETTER * max(luminance.shape)), 1)
    # What lies beyond the edge belongs to the body, so that opening does not eat it there.
    framed = np.pad(solid, width, mode="edge")
    opened = ndimage.binary_opening(framed, np.ones((width, width), dtype=bool))
    opened = opened[width:-width, width:-width]
    labels, n_parts = ndimage.label(opened)
    if n_parts == 0:
        return None
    areas = np.bincount(labels.ravel())[1:]
    core = labels == 1 + int(areas.argmax())
    if core.mean() < _MIN_SHARE:
        return None
    white = background + _WHITE * (brightest - background)
    return core, _find_marks(luminance, solid, core, white), round(background)


def _find_marks(
    luminance: npt.NDArray[np.float64],
    solid: npt.NDArray[np.bool_],
    core: npt.NDArray[np.bool_],
    white: float,
) -> npt.NDArray[np.bool_]:
    """Small bright things that lie apart from the body, not in one of its bays, with a rim."""
    # Imported here because most preprocessing does without it, and it takes long.
    from skimage.morphology import convex_hull_image

    pieces, n_pieces = ndimage.label(solid, np.ones((3, 3), dtype=bool))
    numbers = np.arange(n_pieces + 1)
    is_mark = np.bincount(pieces.ravel(), minlength=n_pieces + 1) <= _SMALL * luminance.size
    is_mark &= np.asarray(ndimage.maximum(luminance, pieces, numbers)) >= white
    is_mark[np.unique(pieces[convex_hull_image(core)])] = False
    is_mark[0] = False
    if not is_mark.any():
        return np.zeros(core.shape, dtype=bool)
    # Letters have a soft rim that is darker than the threshold.
    marks: npt.NDArray[np.bool_] = ndimage.binary_dilation(is_mark[pieces], iterations=2) & ~core
    return marks


def _find_box(
    body: npt.NDArray[np.bool_], step: int, shape: tuple[int, ...]
) -> list[tuple[int, int]]:
    """First pixel and end of the body along both axes, with a margin, as a square if there is room.

    A backbone that takes the middle of the picture then loses the margin, not the body.
    """
    extents = [np.flatnonzero(body.any(axis=axis))[[0, -1]] + [0, 1] for axis in (1, 0)]
    (top, bottom), (left, right) = extents
    is_filled = body[top:bottom, left:right].mean() >= _FILLED
    lengths = [int(end - first) * step for first, end in extents]
    target = 0 if is_filled else round((1 + 2 * _MARGIN) * max(lengths))
    box = []
    for (first, _), length, side in zip(extents, lengths, shape, strict=True):
        start, wanted = int(first) * step, min(max(target, length), side)
        start = min(max(start - (wanted - length) // 2, 0), side - wanted)
        box.append((start, start + wanted))
    return box
