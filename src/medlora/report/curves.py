"""ROC and precision-recall curves, with the figures that sum them up."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from medlora.evaluate.curves import precision_recall_curve, roc_curve
from medlora.report.svg import (
    BLUE,
    FONT_SIZE,
    FULL_WIDTH,
    HALF_WIDTH,
    INK,
    LINE_COLOURS,
    LINE_MARKERS,
    MUTED,
    RULE,
    SMALL_FONT_SIZE,
    add_panel,
    draw_svg,
    set_unit_ticks,
)
from medlora.report.wording import Interval, format_bounds, format_number, shorten_names

Floats = npt.NDArray[np.float64]
CurveKind = Literal["roc", "precision_recall"]

N_TOGETHER = len(LINE_COLOURS)
"""Up to this many classes share one panel; more get a small panel each."""
N_PANELS = 20
_N_COLUMNS = 5
_ROW_HEIGHT = 0.155
_SIDE = 2.45
_LEFT = 0.72
_WORDS = {
    "roc": ("1 − specificity", "sensitivity (recall)", "AUROC"),
    "precision_recall": ("recall", "precision", "average precision"),
}


@dataclass(frozen=True)
class Curve:
    """One class's curve.

    Attributes:
        name: Class.
        x: Horizontal values in [0, 1], empty where the curve is undefined.
        y: Vertical values in [0, 1].
        area: The measure that sums it up: AUROC or average precision.
        point: Where the decisions lie, or None where that is undefined.
        chance: Height of the curve of a model that guesses, for precision and recall.
    """

    name: str
    x: Floats
    y: Floats
    area: Interval
    point: tuple[float, float] | None
    chance: float


def trace_curve(
    kind: CurveKind,
    name: str,
    scores: Floats,
    positive: npt.NDArray[np.bool_],
    area: Interval,
    point: tuple[float | None, float | None],
) -> Curve:
    """Work out one class's curve, thinned to what the eye can tell apart.

    Args:
        kind: Which of the two curves.
        name: Class.
        scores: Predicted probability of the class (image,), in [0, 1].
        positive: True where the image belongs to the class (image,).
        area: AUROC or average precision with its interval.
        point: Horizontal and vertical place of the decisions.
    """
    n_positive = int(positive.sum())
    is_undefined = n_positive == 0 or (kind == "roc" and n_positive == len(positive))
    if is_undefined:
        x, y = np.empty(0), np.empty(0)
    elif kind == "roc":
        x, y = roc_curve(scores, positive)
    else:
        y, x = precision_recall_curve(scores, positive)
    dot = (point[0], point[1]) if point[0] is not None and point[1] is not None else None
    return Curve(name, *thin_curve(x, y), area, dot, n_positive / max(1, len(positive)))


def thin_curve(x: Floats, y: Floats, steps: int = 500) -> tuple[Floats, Floats]:
    """Drop the points of a polyline in [0, 1] that a drawing cannot show.

    Points are moved to a grid of `steps` by `steps`; those that repeat, or lie amid a level or
    upright stretch, go.

    Example:
        >>> x, y = thin_curve(np.array([0, 0, 0, 0.5, 1]), np.array([0, 0.2, 1, 1, 1]))
        >>> x.tolist(), y.tolist()
        ([0.0, 0.0, 1.0], [0.0, 1.0, 1.0])
    """
    grid = np.round(np.stack([x, y]) * steps)
    if grid.shape[1] < 3:
        return grid[0] / steps, grid[1] / steps
    moved = np.abs(np.diff(grid)).any(axis=0)
    grid = grid[:, np.concatenate([[True], moved])]
    step = np.diff(grid)
    same = np.sign(step[:, 1:]) == np.sign(step[:, :-1])
    amid = ((step[:, 1:] == 0) & (step[:, :-1] == 0) & same[::-1]).any(axis=0)
    keep = np.concatenate([[True], ~amid, [True]])[: grid.shape[1]]
    return grid[0, keep] / steps, grid[1, keep] / steps


def draw_curves(kind: CurveKind, curves: Sequence[Curve]) -> str:
    """Draw all classes' curves as SVG: in one panel, or in a panel each where there are many.

    Of more than 20 classes the 20 with the smallest area are drawn.
    """
    x_word, y_word, area_word = _WORDS[kind]
    described = ", ".join(f"{curve.name} {format_number(curve.area.value)}" for curve in curves)
    description = f"{y_word} against {x_word}; {area_word}: {described}"
    if len(curves) <= N_TOGETHER:
        height = 0.05 + _SIDE + 0.42 + _measure_legend(len(curves))
        return draw_svg(
            kind,
            HALF_WIDTH,
            height,
            lambda figure: _paint_together(figure, kind, curves),
            description,
        )
    shown = select_lowest(curves)
    n_rows = math.ceil(len(shown) / _N_COLUMNS)
    return draw_svg(
        kind,
        FULL_WIDTH,
        0.42 + 1.5 * n_rows,
        lambda figure: _paint_panels(figure, kind, shown),
        description,
    )


def select_lowest(curves: Sequence[Curve]) -> list[Curve]:
    """The curves with the smallest area, at most 20, in the order of the classes."""
    areas = [math.inf if curve.area.value is None else curve.area.value for curve in curves]
    lowest = sorted(range(len(curves)), key=lambda index: areas[index])[:N_PANELS]
    return [curves[index] for index in sorted(lowest)]


def _paint_together(figure: Figure, kind: CurveKind, curves: Sequence[Curve]) -> None:
    x_word, y_word, area_word = _WORDS[kind]
    legend_height = _measure_legend(len(curves))
    axes = add_panel(figure, _LEFT, legend_height + 0.42, _SIDE, _SIDE)
    set_unit_ticks(axes, margin=0.012)
    axes.set_xlabel(x_word)
    axes.set_ylabel(y_word)
    if kind == "roc":
        axes.plot([0, 1], [0, 1], color=RULE, linewidth=0.8, zorder=1)
    for index, curve in enumerate(curves):
        colour = LINE_COLOURS[index]
        if kind == "precision_recall":
            axes.axhline(curve.chance, color=colour, linewidth=0.5, alpha=0.55, dashes=(1, 2))
        axes.plot(curve.x, curve.y, color=colour, zorder=3)
        if curve.point is not None:
            axes.plot(
                *curve.point,
                LINE_MARKERS[index],
                color=colour,
                markersize=5,
                markeredgecolor="white",
                markeredgewidth=0.7,
                zorder=4,
                clip_on=False,
            )
    _write_legend(figure, area_word, curves, legend_height)


def _measure_legend(n_curves: int) -> float:
    """Height in inches of the legend: its heading and a row for each curve."""
    return 0.1 + _ROW_HEIGHT * (n_curves + 1)


def _write_legend(figure: Figure, area_word: str, curves: Sequence[Curve], height: float) -> None:
    """A row for each class below the axes, where it can never hide a curve."""
    axes = add_panel(figure, 0, 0, HALF_WIDTH, height)
    axes.set_axis_off()
    axes.set_xlim(0, HALF_WIDTH)
    axes.set_ylim(0, height)
    top = height - 0.14
    has_bounds = any(format_bounds(curve.area) for curve in curves)
    axes.text(
        HALF_WIDTH - 0.18,
        top,
        f"{area_word} (95 % interval)" if has_bounds else area_word,
        ha="right",
        color=MUTED,
        fontsize=SMALL_FONT_SIZE,
    )
    names = shorten_names([curve.name for curve in curves], 20)
    for index, (name, curve) in enumerate(zip(names, curves, strict=True)):
        y = top - _ROW_HEIGHT * (index + 1)
        axes.plot(
            [_LEFT, _LEFT + 0.15, _LEFT + 0.3],
            [y + 0.035] * 3,
            color=LINE_COLOURS[index],
            marker=LINE_MARKERS[index],
            markevery=[1],
            markersize=5,
            markeredgecolor="white",
            markeredgewidth=0.7,
        )
        axes.text(_LEFT + 0.37, y, name)
        axes.text(HALF_WIDTH - 0.18, y, summarise_area(curve.area), ha="right")


def _paint_panels(figure: Figure, kind: CurveKind, curves: Sequence[Curve]) -> None:
    height = float(figure.get_size_inches()[1])
    pitch = (FULL_WIDTH - 0.5) / _N_COLUMNS
    names = shorten_names([curve.name for curve in curves], 19)
    for index, (name, curve) in enumerate(zip(names, curves, strict=True)):
        row, column = divmod(index, _N_COLUMNS)
        axes = add_panel(figure, 0.5 + column * pitch, height - 1.46 - row * 1.5, 1.1, 1.1)
        set_unit_ticks(axes, margin=0.02)
        axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
        axes.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
        axes.tick_params(labelleft=column == 0, labelbottom=index + _N_COLUMNS >= len(curves))
        _paint_small_curve(axes, kind, curve)
        axes.text(
            0, 1.2, name, fontsize=SMALL_FONT_SIZE, fontweight="bold", transform=axes.transAxes
        )
        axes.text(
            0,
            1.06,
            summarise_area(curve.area),
            fontsize=SMALL_FONT_SIZE,
            color=MUTED,
            transform=axes.transAxes,
        )
    x_word, y_word, _ = _WORDS[kind]
    figure.text(0.5, 0.06 / height, x_word, ha="center", fontsize=FONT_SIZE)
    figure.text(0.012, 0.5, y_word, va="center", rotation=90, fontsize=FONT_SIZE)


def _paint_small_curve(axes: Axes, kind: CurveKind, curve: Curve) -> None:
    if not curve.x.size:
        axes.text(
            0.5,
            0.5,
            "undefined",
            ha="center",
            va="center",
            color=MUTED,
            fontsize=SMALL_FONT_SIZE,
            style="italic",
        )
        return
    chance = [0.0, 1.0] if kind == "roc" else [curve.chance] * 2
    axes.plot([0, 1], chance, color=MUTED, linewidth=0.6, dashes=(1.5, 1.5))
    axes.fill_between(curve.x, curve.y, color=BLUE, alpha=0.1, linewidth=0)
    axes.plot(curve.x, curve.y, color=BLUE, linewidth=1.1)
    if curve.point is not None:
        axes.plot(
            *curve.point,
            "o",
            color=INK,
            markersize=3.2,
            markeredgecolor="white",
            markeredgewidth=0.5,
            clip_on=False,
            zorder=4,
        )


def summarise_area(area: Interval) -> str:
    """An area with its interval in brackets, as the legends write it."""
    bounds = format_bounds(area, 2)
    return f"{format_number(area.value)} ({bounds})" if bounds else format_number(area.value)
