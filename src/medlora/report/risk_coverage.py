"""The risk-coverage curve: the error among the surest answers, for every share of them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from medlora.report.svg import (
    BLUE,
    FONT_SIZE,
    HALF_WIDTH,
    MUTED,
    OCHRE,
    RULE,
    SMALL_FONT_SIZE,
    add_panel,
    draw_svg,
)
from medlora.report.wording import format_bounds, format_number, read_interval

_HEIGHT = 3.05
_LEFT = 0.72
_HEADROOM = 1.15
_LEAST_HEIGHT = 0.02


def draw_risk_coverage(curve: Mapping[str, Any], answered: Mapping[str, Any] | None = None) -> str:
    """Draw the error among the answers against the share of images answered, as SVG.

    Args:
        curve: As `RiskCoverage.to_dict` writes it.
        answered: What the task's own rule of abstaining reaches, as `measure_answered` gives it;
            marked where it withholds anything.
    """
    area = read_interval(curve["aurc"])
    mark = _read_mark(answered)
    described = f"Risk-coverage curve, area {format_number(area.value)}"
    if mark is not None:
        described += (
            f"; the task answers {mark[0]:.3f} of the images with an error of {mark[1]:.3f}"
        )
    return draw_svg(
        "risk-coverage",
        HALF_WIDTH,
        _HEIGHT,
        lambda figure: _paint(figure, curve, mark),
        described,
    )


def _read_mark(answered: Mapping[str, Any] | None) -> tuple[float, float] | None:
    if answered is None or not answered["n_abstained"]:
        return None
    share, error = read_interval(answered["answered"]).value, read_interval(answered["error"]).value
    return None if share is None or error is None else (share, error)


def _paint(figure: Figure, curve: Mapping[str, Any], mark: tuple[float, float] | None) -> None:
    axes = add_panel(figure, _LEFT, 0.82, 2.45, 2.15)
    coverage, risk = np.array(curve["coverage"]), np.array(curve["risk"])
    overall = float(risk[-1])
    axes.axhline(overall, color=RULE, linewidth=0.8, zorder=1)
    # An answer is given or withheld as a whole: between two shares the error is that of the larger.
    axes.step(np.append(0.0, coverage), np.append(risk[:1], risk), where="pre", color=BLUE)
    highest = max(float(risk.max()), mark[1] if mark else 0.0, _LEAST_HEIGHT)
    if mark is not None:
        axes.plot(*mark, marker="o", markersize=5, color=OCHRE, linestyle="none", clip_on=False)
        axes.annotate(
            "the task's own rule",
            mark,
            xytext=(-5, 5),
            textcoords="offset points",
            ha="right",
            va="bottom",
            fontsize=SMALL_FONT_SIZE,
            color=OCHRE,
        )
    axes.set_xlim(0, 1.01)
    axes.set_ylim(0, highest * _HEADROOM)
    axes.set_xlabel("share of the answers that is given")
    axes.set_ylabel("error among these")
    area = read_interval(curve["aurc"])
    bounds = format_bounds(area)
    rows = {
        "area under the curve": format_number(area.value) + (f" ({bounds})" if bounds else ""),
        "error of all answers": format_number(overall),
    }
    for row, (name, value) in enumerate(rows.items()):
        y = (0.24 - 0.155 * row) / _HEIGHT
        figure.text(_LEFT / HALF_WIDTH, y, name, fontsize=FONT_SIZE, color=MUTED)
        figure.text(1 - 0.18 / HALF_WIDTH, y, value, ha="right", fontsize=FONT_SIZE)
