"""Figures of an audit: histograms of the images' properties, and what a label can be told from."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from medlora.report.audit_content import IntervalRow
from medlora.report.svg import (
    BLUE,
    FULL_WIDTH,
    HALF_WIDTH,
    INK,
    LINE_COLOURS,
    MUTED,
    OCHRE,
    RULE,
    SMALL_FONT_SIZE,
    add_panel,
    draw_svg,
)

Floats = npt.NDArray[np.float64]

_N_BINS = 30
_ROW_INCHES = 0.2


def draw_histogram(name: str, values: Mapping[str, Floats]) -> str:
    """Draw how a property is distributed in each split, as SVG.

    Args:
        name: The property, with its unit.
        values: (image,) of each split, by its name.
    """
    described = ", ".join(
        f"{split}: median {np.median(own):.4g}" for split, own in values.items() if len(own)
    )
    return draw_svg(
        f"histogram-{name.replace(' ', '-')}",
        HALF_WIDTH,
        1.75,
        lambda figure: _paint_histogram(figure, name, values),
        f"Histogram of {name}. {described}",
    )


def _paint_histogram(figure: Figure, name: str, values: Mapping[str, Floats]) -> None:
    axes = add_panel(figure, 0.5, 0.4, 2.7, 1.15)
    together = np.concatenate(list(values.values()))
    low, high = float(together.min()), float(together.max())
    edges = np.linspace(low, high if high > low else low + 1, _N_BINS + 1)
    for number, (split, own) in enumerate(values.items()):
        # Shares, so that a small split can be compared with a large one.
        share = np.histogram(own, edges)[0] / max(1, len(own))
        colour = LINE_COLOURS[number % len(LINE_COLOURS)]
        axes.stairs(share, edges, color=colour, linewidth=1.1)
        axes.text(
            1.0,
            1.04 + 0.11 * (len(values) - 1 - number),
            f"{split or 'all images'} ({len(own):,})",
            color=colour,
            fontsize=SMALL_FONT_SIZE,
            ha="right",
            va="bottom",
            transform=axes.transAxes,
        )
    axes.set_xlabel(name)
    axes.set_ylabel("share of images")
    axes.set_ylim(bottom=0)
    axes.locator_params(axis="x", nbins=6)
    axes.locator_params(axis="y", nbins=4)


def draw_intervals(rows: Sequence[IntervalRow]) -> str:
    """Draw AUROCs with their intervals, one below the other, as SVG.

    Args:
        rows: At least one.
    """
    described = ", ".join(f"{row.name} {row.value:.2f}" for row in rows)
    return draw_svg(
        "shortcuts",
        FULL_WIDTH,
        0.55 + _ROW_INCHES * len(rows),
        lambda figure: _paint_intervals(figure, rows),
        f"AUROC of the label from facts about the files: {described}",
    )


def _paint_intervals(figure: Figure, rows: Sequence[IntervalRow]) -> None:
    axes = add_panel(figure, 1.6, 0.42, 3.6, _ROW_INCHES * len(rows))
    axes.axvline(0.5, color=RULE, linewidth=0.8)
    for place, row in enumerate(rows):
        colour = OCHRE if row.is_marked else BLUE
        y = len(rows) - 1 - place
        if row.low is not None and row.high is not None:
            axes.hlines(y, row.low, row.high, color=colour, linewidth=1.2)
        axes.plot([row.value], [y], marker="o", markersize=3.6, color=colour)
        interval = "" if row.low is None or row.high is None else f" ({row.low:.2f}–{row.high:.2f})"
        axes.text(-0.02, y, row.name, ha="right", va="center", color=INK, transform=_at_left(axes))
        axes.text(
            1.02,
            y,
            f"{row.value:.2f}{interval}",
            va="center",
            color=OCHRE if row.is_marked else MUTED,
            transform=_at_left(axes),
        )
    lowest = min([0.45, *[row.low if row.low is not None else row.value for row in rows]])
    axes.set_xlim(max(0.0, lowest - 0.02), 1.005)
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("AUROC, cross-validated")


def _at_left(axes: object) -> object:
    """Sideways in shares of the panel, upwards in its values."""
    return axes.get_yaxis_transform()  # type: ignore[attr-defined]
