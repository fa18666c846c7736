"""A forest plot: differences one below the other, with their intervals and a margin."""

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from medlora.report.svg import (
    BLUE,
    FONT_SIZE,
    FULL_WIDTH,
    INK,
    MUTED,
    PALE,
    RULE,
    SMALL_FONT_SIZE,
    add_panel,
    draw_svg,
)
from medlora.report.wording import shorten_name

_LABEL_WIDTH = 2.45
_VALUE_WIDTH = 1.65
_ROW_HEIGHT = 0.27
_BOTTOM = 0.62
_TOP = 0.12


class ForestRow(NamedTuple):
    """One difference.

    Attributes:
        name: What is compared.
        value: The difference.
        low: Lower end of its 95 % interval; None where it is undefined.
        high: Upper end.
    """

    name: str
    value: float
    low: float | None
    high: float | None


def draw_forest(
    name: str, rows: Sequence[ForestRow], axis: str, margin: float | None = None
) -> str:
    """Draw differences with their intervals as SVG.

    Args:
        name: Short name, unique on the page.
        rows: From top to bottom; one at least.
        axis: What the horizontal axis shows.
        margin: Loss up to which the first counts as not worse; drawn as a band from minus the
            margin to 0. None for none.
    """
    height = _TOP + _ROW_HEIGHT * len(rows) + _BOTTOM
    described = "; ".join(f"{row.name}: {write_difference(row)}" for row in rows)
    return draw_svg(
        name,
        FULL_WIDTH,
        height,
        lambda figure: _paint_forest(figure, rows, axis, margin),
        f"Differences with 95 % intervals: {described}",
    )


def write_difference(row: ForestRow) -> str:
    """A difference and its interval in words.

    Example:
        >>> write_difference(ForestRow("a", 0.01, -0.02, 0.04))
        '+0.010 (-0.020 to +0.040)'
    """
    bounds = "" if row.low is None or row.high is None else f" ({row.low:+.3f} to {row.high:+.3f})"
    return f"{row.value:+.3f}{bounds}"


def _paint_forest(
    figure: Figure, rows: Sequence[ForestRow], axis: str, margin: float | None
) -> None:
    width = FULL_WIDTH - _LABEL_WIDTH - _VALUE_WIDTH
    axes = add_panel(figure, _LABEL_WIDTH, _BOTTOM, width, _ROW_HEIGHT * len(rows))
    axes.set_ylim(len(rows) - 0.5, -0.5)
    _set_reach(axes, rows, margin)
    if margin is not None:
        axes.axvspan(-margin, 0, color=PALE, linewidth=0, zorder=0)
        axes.axvline(-margin, color=MUTED, linewidth=0.7, dashes=(3, 2), zorder=1)
    axes.axvline(0, color=INK, linewidth=0.7, zorder=1)
    for place, row in enumerate(rows):
        if row.low is not None and row.high is not None:
            axes.hlines(place, row.low, row.high, color=BLUE, linewidth=1.3, zorder=2)
            axes.vlines([row.low, row.high], place - 0.14, place + 0.14, color=BLUE, linewidth=1)
        axes.plot(row.value, place, marker="s", color=BLUE, markersize=4.2, zorder=3)
        transform = axes.get_yaxis_transform()
        label = shorten_name(row.name, 44)
        axes.text(
            -0.04, place, label, ha="right", va="center", transform=transform, fontsize=FONT_SIZE
        )
        axes.text(
            1.04, place, write_difference(row), va="center", transform=transform, fontsize=FONT_SIZE
        )
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.spines["bottom"].set_color(RULE)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]))
    axes.set_xlabel(axis)
    if margin is not None:
        axes.text(
            -margin,
            -0.62,
            f"margin {margin:g}",
            ha="center",
            va="bottom",
            fontsize=SMALL_FONT_SIZE,
            color=MUTED,
        )


def _set_reach(axes: Axes, rows: Sequence[ForestRow], margin: float | None) -> None:
    """From the least to the largest that is drawn, with 0 inside."""
    ends = [end for row in rows for end in (row.value, row.low, row.high) if end is not None]
    ends += [0.0] if margin is None else [0.0, -margin]
    low, high = min(ends), max(ends)
    spare = 0.06 * max(high - low, 1e-3)
    axes.set_xlim(low - spare, high + spare)
