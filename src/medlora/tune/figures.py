"""Which settings matter, and which of their values go with good scores, as figures."""

import math
from collections.abc import Mapping, Sequence

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from medlora.report.figure_file import render_figure
from medlora.report.svg import BLUE, INK, MUTED, RULE
from medlora.tune.space import Choice, Dimension, Value

_SMALL = 7.5
_COLOURS = "viridis"
_MAX_WRITTEN = 16


def draw_importance(importances: Mapping[str, float], file_format: str) -> bytes:
    """A bar for each setting, the most important at the top.

    Args:
        importances: Setting to its share, adding up to 1.
        file_format: `.svg` or `.png`.
    """
    names = list(importances)[::-1]
    shares = [importances[name] for name in names]

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        axes.barh(range(len(names)), shares, color=BLUE, height=0.62)
        for place, share in enumerate(shares):
            axes.text(share + 0.01, place, f"{share:.2f}", va="center", fontsize=_SMALL, color=INK)
        axes.set_yticks(range(len(names)), names)
        axes.set_xlim(0, max([*shares, 0.1]) * 1.15)
        axes.set_xlabel("share of what the score owes to the settings", fontsize=_SMALL)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(labelsize=_SMALL, left=False)

    return render_figure(file_format, 5.6, 0.7 + 0.28 * len(names), paint)


def draw_parallel(
    rows: Sequence[tuple[Mapping[str, Value], float]],
    dimensions: Mapping[str, Dimension],
    measure: str,
    file_format: str,
) -> bytes:
    """A line for each trial over an upright axis for each setting, to its score at the right.

    Args:
        rows: Values and score of each trial; the last ones lie on top.
        dimensions: The settings, in the order of the axes.
        measure: Name of the score.
        file_format: `.svg` or `.png`.
    """
    scores = [score for _, score in rows]
    low, high = min(scores), max(scores)
    shade = Normalize(low, high if high > low else low + 1)
    colours = colormaps[_COLOURS]
    names = list(dimensions)

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        for number, (values, score) in enumerate(rows):
            heights = [_place_value(dimensions[name], values.get(name)) for name in names]
            heights.append(float(shade(score)))
            # Trials of one value would hide one another.
            shift = 0.012 * math.sin(2.4 * number)
            heights = [height + shift for height in heights[:-1]] + heights[-1:]
            axes.plot(range(len(heights)), heights, color=colours(shade(score)), lw=1, alpha=0.8)
        for place, name in enumerate(names):
            _paint_axis(axes, place, name, dimensions[name])
        _paint_scores(axes, len(names), measure, shade)
        axes.set_xlim(-0.25, len(names) + 0.45)
        axes.set_ylim(-0.2, 1.08)
        axes.set_axis_off()

    return render_figure(file_format, 1.3 + 1.25 * len(names), 3.4, paint)


def _place_value(dimension: Dimension, value: Value) -> float:
    """A value's height on its axis, in [0, 1]."""
    if isinstance(dimension, Choice):
        options = list(dimension.options)
        return options.index(value) / max(1, len(options) - 1) if value in options else 0.5
    if not isinstance(value, int | float):
        return 0.5
    if dimension.is_log:
        return math.log(value / dimension.low) / math.log(dimension.high / dimension.low)
    return (value - dimension.low) / (dimension.high - dimension.low)


def _paint_axis(axes: Axes, place: int, name: str, dimension: Dimension) -> None:
    axes.plot([place, place], [0, 1], color=RULE, lw=1, zorder=0)
    heading = name.replace("augmentation.", "").replace("_", "\n", 1)
    axes.text(place, -0.06, heading, ha="center", va="top", fontsize=_SMALL, color=INK)
    if isinstance(dimension, Choice):
        marks: Sequence[Value] = dimension.options[:_MAX_WRITTEN]
    else:
        middle = (
            math.sqrt(dimension.low * dimension.high)
            if dimension.is_log
            else (dimension.low + dimension.high) / 2
        )
        marks = (dimension.low, round(middle) if dimension.is_whole else middle, dimension.high)
    for mark in marks:
        height = _place_value(dimension, mark)
        axes.plot([place - 0.02, place], [height, height], color=MUTED, lw=0.7)
        axes.text(
            place - 0.04,
            height,
            _spell(mark),
            ha="right",
            va="center",
            fontsize=_SMALL - 1,
            color=INK,
            # Lines pass behind it.
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.8},
            zorder=5,
        )


def _paint_scores(axes: Axes, place: int, measure: str, shade: Normalize) -> None:
    axes.plot([place, place], [0, 1], color=INK, lw=1, zorder=0)
    title = measure.replace("_", " ")
    axes.text(place, -0.06, title, ha="center", va="top", fontsize=_SMALL, fontweight="bold")
    low, high = float(shade.vmin or 0), float(shade.vmax or 0)
    for share in (0.0, 0.5, 1.0):
        text = f"{low + share * (high - low):.3f}"
        axes.text(place + 0.05, share, text, va="center", fontsize=_SMALL - 1, color=INK)


def _spell(value: Value) -> str:
    """A value in few letters.

    Example:
        >>> _spell(0.0010000000001), _spell(None), _spell("tf_efficientnet_lite0.in1k_and_more")
        ('0.001', 'own', 'tf_efficientnet_lit…')
    """
    if value is None:
        return "own"
    text = f"{value:.3g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 20 else f"{text[:19]}…"
