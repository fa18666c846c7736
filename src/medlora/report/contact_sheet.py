"""A sheet of pictures: an image in each row, what becomes of it from left to right."""

import textwrap
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from medlora.report.svg import INK, MUTED

_CELL_INCHES = 1.5
_LABEL_INCHES = 1.1
_TITLE_INCHES = 0.35
_LABEL_WIDTH = 16  # Characters of a line.


def measure_sheet(n_rows: int, n_columns: int) -> tuple[float, float]:
    """Width and height of a sheet in inches."""
    width = _LABEL_INCHES + n_columns * _CELL_INCHES
    return width, _TITLE_INCHES + n_rows * _CELL_INCHES


def paint_sheet(
    figure: Figure,
    titles: Sequence[str],
    labels: Sequence[str],
    pictures: Sequence[Sequence[npt.NDArray[np.uint8]]],
) -> None:
    """Paint pictures in rows and columns onto an empty figure.

    Args:
        figure: Of the size that `measure_sheet` gives.
        titles: What each column shows.
        labels: What each row shows.
        pictures: For each row one picture for each column, RGB, (height, width, 3).
    """
    # Fixed places: a layout that is computed takes longer than everything else.
    figure.set_layout_engine("none")
    width, height = figure.get_size_inches()
    gap = 0.04
    for row, (label, images) in enumerate(zip(labels, pictures, strict=True)):
        bottom = height - _TITLE_INCHES - (row + 1) * _CELL_INCHES
        lines = [textwrap.shorten(line, 48, placeholder="…") for line in label.splitlines()]
        wrapped = [part for line in lines for part in textwrap.wrap(line, _LABEL_WIDTH)]
        figure.text(
            0.95 * _LABEL_INCHES / width,
            (bottom + _CELL_INCHES / 2) / height,
            "\n".join(wrapped),
            ha="right",
            va="center",
            fontsize=7,
            color=INK,
            parse_math=False,
        )
        for column, image in enumerate(images):
            left = _LABEL_INCHES + column * _CELL_INCHES
            side = _CELL_INCHES - gap
            axes = figure.add_axes((left / width, bottom / height, side / width, side / height))
            axes.imshow(image, interpolation="antialiased")
            axes.set_axis_off()
    for column, title in enumerate(titles):
        left = _LABEL_INCHES + column * _CELL_INCHES + (_CELL_INCHES - gap) / 2
        y = (height - 0.6 * _TITLE_INCHES) / height
        figure.text(left / width, y, title, ha="center", va="center", fontsize=8, color=MUTED)
