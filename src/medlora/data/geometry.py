"""Which part of a decoded picture the backbone sees, and how large: forwards, and back again."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from medlora.data.body import find_body
from medlora.preprocessing import Preprocessing


@dataclass(frozen=True)
class Placement:
    """Where the backbone's input lies in a decoded picture.

    Attributes:
        picture: Height and width of the picture in pixels.
        box: First row and column, then height and width, of what a step cut out of it.
        resized: Height and width of that cut after resizing.
        start: Row and column of the resized cut at which the input begins; negative where a
            border was added.
        size: Height and width of the input.
    """

    picture: tuple[int, int]
    box: tuple[int, int, int, int]
    resized: tuple[int, int]
    start: tuple[int, int]
    size: tuple[int, int]

    def lay_out(self, values: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float32]:
        """Values of the input's pixels, over the whole picture.

        Args:
            values: Shape (height, width) of the input, or of a coarser grid over all of it.

        Returns:
            Shape of the picture, by a cubic spline through the middles of the grid's cells, so that
            a maximum may lie between them; as large as the grid's at most, and nowhere below its
            smallest value; 0 where the backbone sees nothing.

        Example:
            >>> placement = Placement((2, 4), (0, 0, 2, 4), (2, 4), (0, 1), (2, 2))
            >>> placement.lay_out(np.ones((2, 2)))
            array([[0., 1., 1., 0.],
                   [0., 1., 1., 0.]], dtype=float32)
        """
        top, left, *extent = self.box
        places, inside = [], []
        for axis, length in enumerate(extent):
            # Middles of the picture's pixels, in pixels of the input.
            middles = (np.arange(length) + 0.5) * self.resized[axis] / length - self.start[axis]
            inside.append((middles > 0) & (middles < self.size[axis]))
            places.append(middles * values.shape[axis] / self.size[axis] - 0.5)
        grid = np.meshgrid(*places, indexing="ij")
        sampled = ndimage.map_coordinates(
            np.asarray(values, np.float32), grid, order=3, mode="nearest"
        )
        # A spline swings beyond what it goes through.
        sampled = np.maximum(sampled, values.min())
        sampled *= min(1.0, float(values.max()) / max(float(sampled.max()), 1e-30))
        sampled[~np.logical_and.outer(*inside)] = 0
        result = np.zeros(self.picture, np.float32)
        result[top : top + extent[0], left : left + extent[1]] = sampled
        return result


def cover_input(height: int, width: int) -> Placement:
    """The placement of a picture that is the backbone's input itself."""
    size = (height, width)
    return Placement(size, (0, 0, height, width), size, (0, 0), size)


def trace_placement(pixels: npt.NDArray[np.uint8], preprocessing: Preprocessing) -> Placement:
    """Where `medlora.data.image.prepare_image` takes the backbone's input from.

    Args:
        pixels: The decoded picture, RGB, shape (height, width, 3), or (series, height, width, 3).
        preprocessing: Steps and geometry.
    """
    height, width = pixels.shape[-3:-1]
    box = (0, 0, height, width)
    if "crop" in preprocessing.steps:
        shown = np.mean(pixels, axis=0).round().astype(np.uint8) if pixels.ndim == 4 else pixels
        body = find_body(shown)
        rows, columns = body.rows, body.columns
        box = (rows.start, columns.start, rows.stop - rows.start, columns.stop - columns.start)
    resized = find_resized_size(box[2:], preprocessing)
    starts = [_find_start(own, size) for own, size in zip(resized, preprocessing.size, strict=True)]
    return Placement((height, width), box, resized, (starts[0], starts[1]), preprocessing.size)


def find_resized_size(size: tuple[int, int], preprocessing: Preprocessing) -> tuple[int, int]:
    """Height and width before the crop; the roundings are those of timm and torchvision.

    Args:
        size: Height and width of the picture.
        preprocessing: The geometry.
    """
    height, width = size
    target_height, target_width = (
        math.floor(side / preprocessing.crop_fraction) for side in preprocessing.size
    )
    if preprocessing.crop_mode == "squash":
        return target_height, target_width
    if preprocessing.crop_mode == "center" and target_height == target_width:
        if width <= height:
            return int(target_height * height / width), target_width
        return target_height, int(target_height * width / height)
    ratios = (height / target_height, width / target_width)
    ratio = max(ratios) if preprocessing.crop_mode == "border" else min(ratios)
    return max(round(height / ratio), 1), max(round(width / ratio), 1)


def crop_or_pad(
    pixels: npt.NDArray[np.uint8], size: tuple[int, int], fill: tuple[int, ...]
) -> npt.NDArray[np.uint8]:
    """The middle of a picture, with a border around it where it is too small.

    Args:
        pixels: Shape (height, width, 3).
        size: Height and width of the result.
        fill: Value of each channel of the border.
    """
    result = np.empty((*size, 3), dtype=np.uint8)
    result[:] = fill
    taken, placed = [], []
    for side, target in zip(pixels.shape[:2], size, strict=True):
        start = _find_start(side, target)
        length = min(side, target)
        taken.append(slice(max(start, 0), max(start, 0) + length))
        placed.append(slice(max(-start, 0), max(-start, 0) + length))
    result[tuple(placed)] = pixels[tuple(taken)]
    return result


def _find_start(side: int, target: int) -> int:
    """Where the middle begins: in the picture, or before it by what is added."""
    return round((side - target) / 2) if side > target else -((target - side) // 2)
