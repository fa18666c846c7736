"""ROC curves of several methods on the same images, a panel for each class."""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from medlora.evaluate.curves import roc_curve
from medlora.report.curves import thin_curve
from medlora.report.svg import (
    FONT_SIZE,
    FULL_WIDTH,
    LINE_COLOURS,
    RULE,
    SMALL_FONT_SIZE,
    add_panel,
    draw_svg,
    set_unit_ticks,
)
from medlora.report.wording import shorten_name

Floats = npt.NDArray[np.float64]

MAX_METHODS = len(LINE_COLOURS)
MAX_PANELS = 12
# Lines differ in their dashes as well, for readers and printers without colour.
_LINES: tuple[Literal["-"] | tuple[float, tuple[float, ...]], ...] = (
    "-",
    (0, (4, 1.5)),
    (0, (1.2, 1.2)),
    (0, (6, 1.5, 1.2, 1.5)),
    (0, (2, 2)),
    (0, (8, 2)),
)
_N_COLUMNS = 3
_GAP = 0.62
_LEFT = 0.6
_LEGEND_ROW = 0.19


def draw_overlaid_rocs(
    classes: Sequence[str],
    targets: npt.NDArray[np.bool_],
    probabilities: Mapping[str, Floats],
) -> str:
    """Draw the ROC curves of several methods as SVG.

    Of two classes that exclude one another the second alone is drawn: the other's curve is its
    mirror image. Of more than 12 classes the first 12 that can be drawn are.

    Args:
        classes: Names of the classes.
        targets: (image, class).
        probabilities: For each method, by its name, (image, class) in [0, 1]; six methods at most
            are drawn.
    """
    shown = list(probabilities.items())[:MAX_METHODS]
    columns = list_drawn_classes(targets)
    side = (FULL_WIDTH - _LEFT - (_N_COLUMNS - 1) * _GAP - 0.1) / _N_COLUMNS
    n_rows = -(-len(columns) // _N_COLUMNS)
    legend = 0.15 + _LEGEND_ROW * len(shown)
    height = legend + n_rows * (side + 0.72)

    def paint(figure: Figure) -> None:
        for place, column in enumerate(columns):
            row, position = divmod(place, _N_COLUMNS)
            left = _LEFT + position * (side + _GAP)
            bottom = height - 0.24 - side - row * (side + 0.72)
            axes = add_panel(figure, left, bottom, side, side)
            _paint_panel(axes, targets[:, column], [own[:, column] for _, own in shown])
            axes.set_title(shorten_name(classes[column], 26), fontsize=FONT_SIZE, pad=4)
        handles = [
            Line2D([], [], color=LINE_COLOURS[number], linestyle=_LINES[number])
            for number in range(len(shown))
        ]
        figure.legend(
            handles,
            [shorten_name(name, 60) for name, _ in shown],
            loc="lower left",
            bbox_to_anchor=(_LEFT / FULL_WIDTH, 0),
            frameon=False,
            fontsize=FONT_SIZE,
            borderpad=0.1,
        )

    names = ", ".join(name for name, _ in shown)
    drawn = ", ".join(classes[column] for column in columns)
    return draw_svg(
        "overlaid-roc", FULL_WIDTH, height, paint, f"ROC curves of {names}, for {drawn}"
    )


def list_drawn_classes(targets: npt.NDArray[np.bool_]) -> list[int]:
    """The classes, as columns, that have a curve and are drawn.

    Example:
        >>> list_drawn_classes(np.array([[True, False], [False, True]]))
        [1]
    """
    n_images, n_classes = targets.shape
    if n_classes == 2 and bool((targets.sum(axis=1) == 1).all()):
        return [1]
    counts = targets.sum(axis=0)
    return [column for column in range(n_classes) if 0 < counts[column] < n_images][:MAX_PANELS]


def _paint_panel(axes: Axes, positive: npt.NDArray[np.bool_], scores: Sequence[Floats]) -> None:
    set_unit_ticks(axes, margin=0.012)
    axes.plot([0, 1], [0, 1], color=RULE, linewidth=0.8, zorder=1)
    for number, own in enumerate(scores):
        x, y = thin_curve(*roc_curve(own, positive))
        axes.plot(x, y, color=LINE_COLOURS[number], linestyle=_LINES[number], linewidth=1.1)
    axes.set_xlabel("1 − specificity", fontsize=SMALL_FONT_SIZE)
    axes.set_ylabel("sensitivity", fontsize=SMALL_FONT_SIZE)
