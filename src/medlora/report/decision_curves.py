"""Decision curves: net benefit of acting on the answers, against acting on all and on none."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from medlora.report.svg import (
    BLUE,
    FULL_WIDTH,
    MUTED,
    SMALL_FONT_SIZE,
    add_panel,
    draw_svg,
)
from medlora.report.wording import shorten_names

N_PANELS = 12
_N_COLUMNS = 3
_PANEL_WIDTH = 1.72
_PANEL_HEIGHT = 1.35
_COLUMN = 2.22
_ROW = 2.05
_LEFT = 0.5
_NAME_WIDTH = 26


def draw_decision_curves(curves: Mapping[str, Mapping[str, Any]]) -> str:
    """Draw a panel for each class, at most 12 of them, as SVG.

    Args:
        curves: Class to what `DecisionCurve.to_dict` writes.
    """
    shown = dict(list(curves.items())[:N_PANELS])
    n_rows = math.ceil(len(shown) / _N_COLUMNS)
    names = shorten_names(list(shown), _NAME_WIDTH)
    height = _ROW * n_rows + 0.1

    def paint(figure: Figure) -> None:
        for place, (name, curve) in enumerate(zip(names, shown.values(), strict=True)):
            row, column = divmod(place, _N_COLUMNS)
            bottom = height - _ROW * (row + 1) + 0.42
            left = _LEFT + column * _COLUMN
            axes = add_panel(figure, left, bottom, _PANEL_WIDTH, _PANEL_HEIGHT)
            _paint_panel(axes, name, curve, has_key=place == 0)

    described = "; ".join(
        f"{name}: a prevalence of {curve['prevalence']:.3f}"
        for name, curve in zip(names, shown.values(), strict=True)
    )
    return draw_svg("decision", FULL_WIDTH, height, paint, f"Decision curves. {described}")


def _paint_panel(axes: Axes, name: str, curve: Mapping[str, Any], *, has_key: bool) -> None:
    threshold = np.array(curve["threshold"])
    if curve["low"]:
        axes.fill_between(threshold, curve["low"], curve["high"], color=BLUE, alpha=0.18, lw=0)
    axes.axhline(0, color=MUTED, linewidth=0.7, linestyle=(0, (1, 2)), label="nobody")
    axes.plot(
        threshold, curve["treat_all"], color=MUTED, linewidth=0.8, linestyle="--", label="everybody"
    )
    axes.plot(threshold, curve["net_benefit"], color=BLUE, label="by the answer")
    top = max(float(curve["prevalence"]), 0.01)
    axes.set_xlim(0, 1)
    axes.set_ylim(-0.25 * top, 1.12 * top)
    axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    axes.set_title(name, loc="left")
    axes.set_xlabel("threshold probability")
    if has_key:
        axes.set_ylabel("net benefit")
        axes.legend(fontsize=SMALL_FONT_SIZE, frameon=False, handlelength=1.4, loc="upper right")
