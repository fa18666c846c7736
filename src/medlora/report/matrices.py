"""Confusion matrices with counts and the share of each row."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from medlora.report.svg import (
    BLUE,
    FONT_SIZE,
    FULL_WIDTH,
    HALF_WIDTH,
    INK,
    MUTED,
    OCHRE,
    SMALL_FONT_SIZE,
    add_panel,
    draw_svg,
)
from medlora.report.wording import measure_text, shorten_names

Counts = npt.NDArray[np.int64]

N_HALF_WIDTH = 5
"""Up to this many classes the matrix takes half the page's width."""
N_WRITTEN = 16
"""Up to this many classes the numbers are written into the cells."""
_N_COLUMNS = 5
_RIGHT = LinearSegmentedColormap.from_list("right", ["#f7f9fb", "#a9c2d9", BLUE, "#1d4468"])
_WRONG = LinearSegmentedColormap.from_list("wrong", ["#f9f9f8", "#efc4a8", OCHRE, "#8e3c0f"])


def draw_confusion(confusion: Counts, classes: Sequence[str]) -> str:
    """Draw a confusion matrix as SVG: a row for each true class, a column for each decision.

    Blue are right decisions and ochre wrong ones, the darker the larger their share of the
    row. Above 16 classes only the shades are drawn.

    Args:
        confusion: Number of images (true class, decided class).
        classes: Names in that order.
    """
    n_classes = len(classes)
    width = HALF_WIDTH if n_classes <= N_HALF_WIDTH else FULL_WIDTH
    names = shorten_names(classes, 20)
    longest = max(measure_text(name) for name in names)
    cell = min((width - 0.15 - 0.055 * longest - 0.38) / n_classes, 0.9)
    is_slanted = longest * 0.058 > cell
    foot = 0.36 + (0.036 * longest if is_slanted else 0.1)
    right = int(np.trace(confusion))
    return draw_svg(
        "confusion",
        width,
        cell * n_classes + foot + 0.2,
        lambda figure: _paint_confusion(figure, confusion, names, cell, foot, is_slanted),
        f"Confusion matrix: {right} of {int(confusion.sum())} images on the diagonal",
    )


def _paint_confusion(
    figure: Figure, confusion: Counts, names: list[str], cell: float, foot: float, slanted: bool
) -> None:
    n_classes = len(names)
    side = cell * n_classes
    left = float(figure.get_size_inches()[0]) - side - 0.36
    axes = add_panel(figure, left, foot, side, side)
    _fill_cells(axes, confusion, is_written=n_classes <= N_WRITTEN, cell=cell)
    axes.set_yticks(np.arange(n_classes), names)
    axes.set_xticks(
        np.arange(n_classes),
        names,
        rotation=40 if slanted else 0,
        rotation_mode="anchor",
        ha="right" if slanted else "center",
        va="top",
    )
    axes.tick_params(labelsize=min(SMALL_FONT_SIZE, cell * 58))
    figure.text(
        (left + side / 2) / float(figure.get_size_inches()[0]),
        0.02,
        "decided class",
        ha="center",
        fontsize=FONT_SIZE,
    )
    axes.text(-0.5 - 0.06 / cell, -0.5 - 0.06 / cell, "true class", ha="right", fontsize=FONT_SIZE)
    for row, total in enumerate(confusion.sum(axis=1)):
        axes.text(
            n_classes - 0.5 + 0.06 / cell,
            row,
            str(total),
            va="center",
            color=MUTED,
            fontsize=min(SMALL_FONT_SIZE, cell * 60),
        )
    axes.text(
        n_classes - 0.5 + 0.06 / cell,
        -0.5 - 0.06 / cell,
        "n",
        color=MUTED,
        style="italic",
        fontsize=SMALL_FONT_SIZE,
    )


def draw_label_confusions(confusions: Counts, classes: Sequence[str]) -> str:
    """Draw a small 2 by 2 matrix for each label as SVG.

    Args:
        confusions: Number of images (label, truly absent or present, decided absent or
            present).
        classes: Names of the labels.
    """
    n_rows = math.ceil(len(classes) / _N_COLUMNS)
    return draw_svg(
        "confusion",
        FULL_WIDTH,
        0.3 + 1.36 * n_rows,
        lambda figure: _paint_label_confusions(figure, confusions, classes),
        f"Decisions for {len(classes)} labels, each a matrix of two rows and two columns",
    )


def _paint_label_confusions(figure: Figure, confusions: Counts, classes: Sequence[str]) -> None:
    height = float(figure.get_size_inches()[1])
    pitch = (FULL_WIDTH - 0.6) / _N_COLUMNS
    for index, name in enumerate(shorten_names(classes, 19)):
        row, column = divmod(index, _N_COLUMNS)
        axes = add_panel(figure, 0.6 + column * pitch, height - 1.3 - row * 1.36, 1.08, 1.08)
        # Present comes first: the upper left cell holds the findings that were found.
        _fill_cells(axes, confusions[index][::-1, ::-1], is_written=True, cell=0.54)
        axes.set_xticks([0, 1], ["decided +", "decided −"])
        axes.set_yticks([0, 1], ["true +", "true −"])
        axes.tick_params(labelleft=column == 0, labelbottom=index + _N_COLUMNS >= len(classes))
        axes.text(
            0, 1.06, name, fontsize=SMALL_FONT_SIZE, fontweight="bold", transform=axes.transAxes
        )


def _fill_cells(axes: Axes, confusion: Counts, *, is_written: bool, cell: float) -> None:
    """Shade each cell by its share of the row, and write count and percentage into it."""
    totals = confusion.sum(axis=1, keepdims=True)
    shares = confusion / np.maximum(totals, 1)
    n_classes = len(confusion)
    for row, column in np.ndindex(n_classes, n_classes):
        share, count = float(shares[row, column]), int(confusion[row, column])
        shades = _RIGHT if row == column else _WRONG
        axes.add_patch(
            Rectangle(
                (column - 0.5, row - 0.5),
                1,
                1,
                facecolor=shades(share),
                edgecolor="white",
                linewidth=min(1.2, cell * 3),
            )
        )
        if is_written and totals[row, 0]:
            colour = "white" if share > 0.5 else INK if count else MUTED
            size = min(FONT_SIZE + 1, cell * 22)
            axes.text(
                column,
                row - 0.03,
                str(count),
                ha="center",
                va="bottom",
                color=colour,
                fontsize=size,
            )
            axes.text(
                column,
                row + 0.07,
                f"{share:.0%}",
                ha="center",
                va="top",
                color=colour,
                fontsize=max(4.5, size * 0.76),
            )
    axes.set_xlim(-0.5, n_classes - 0.5)
    axes.set_ylim(n_classes - 0.5, -0.5)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(length=0)
