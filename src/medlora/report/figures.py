"""Learning curves and the reliability diagram."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from medlora.evaluate.calibration import ReliabilityCurve, assign_bins, reliability_curve
from medlora.report.svg import (
    BLUE,
    FONT_SIZE,
    FULL_WIDTH,
    HALF_WIDTH,
    LINE_COLOURS,
    MUTED,
    RULE,
    SMALL_FONT_SIZE,
    add_panel,
    draw_svg,
    set_unit_ticks,
)
from medlora.report.wording import (
    MEASURE_NAMES,
    Interval,
    format_bounds,
    format_number,
    name_measure,
    read_number,
    shorten_count,
    shorten_name,
)

Floats = npt.NDArray[np.float64]

_N_BINS = 15
_RELIABILITY_HEIGHT = 4.08
_N_MEASURES = 5


def draw_learning_curves(
    history: Sequence[Mapping[str, Any]], best_epoch: int | None = None
) -> str:
    """Draw losses on the left, and the validation measures on the right, as SVG.

    Args:
        history: One record for each epoch, as `ReportContent` describes them; at least one.
        best_epoch: The epoch whose weights were kept, marked by an upright line.
    """
    epochs = np.array([_read_value(record, "epoch") for record in history])
    losses = collect_series(history, ("train_loss", "val_loss"))
    given = {key for record in history for key in record if key.startswith("val_")}
    known = [f"val_{measure}" for measure in MEASURE_NAMES if f"val_{measure}" in given]
    keys = known + sorted(given - {"val_loss", *known})
    measures = collect_series(history, keys[:_N_MEASURES])
    words = ", ".join(f"{name} {values[-1]:.3f}" for name, values in (losses | measures).items())
    return draw_svg(
        "learning",
        FULL_WIDTH,
        2.3,
        lambda figure: _paint_learning(figure, epochs, losses, measures, best_epoch),
        f"Learning curves over {len(history)} epochs, which end at: {words}",
    )


def collect_series(history: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> dict[str, Floats]:
    """Each key's values over the epochs (epoch,), NaN where there is none, by readable name."""
    series: dict[str, Floats] = {}
    for key in keys:
        values = np.array([_read_value(record, key) for record in history])
        if np.isfinite(values).any():
            measure = key.removeprefix("val_")
            name = {"train_loss": "training", "val_loss": "validation"}.get(key)
            series[name or name_measure(measure).partition(" (")[0]] = values
    return series


def _read_value(record: Mapping[str, Any], key: str) -> float:
    value = read_number(record.get(key))
    return math.nan if value is None else value


def _paint_learning(
    figure: Figure,
    epochs: Floats,
    losses: Mapping[str, Floats],
    measures: Mapping[str, Floats],
    best_epoch: int | None,
) -> None:
    panel_width = 2.15 if measures else 5.5
    panels = [(0.55, "loss", losses), (4.05, "validation measure", measures)]
    for left, word, series in panels:
        if not series:
            continue
        axes = add_panel(figure, left, 0.45, panel_width if word == "loss" else 1.9, 1.65)
        for index, values in enumerate(series.values()):
            axes.plot(
                epochs,
                values,
                color=LINE_COLOURS[index],
                marker="o",
                markersize=2.6 if len(epochs) <= 40 else 0,
            )
        axes.set_xlabel("epoch")
        axes.set_ylabel(word)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]))
        if len(epochs) == 1:
            axes.set_xticks(epochs)
        axes.margins(y=0.08)
        if best_epoch is not None and best_epoch in epochs:
            axes.axvline(best_epoch, color=MUTED, linewidth=0.6, dashes=(2, 2), zorder=1)
            axes.text(
                best_epoch,
                1.02,
                f"epoch {best_epoch}, kept",
                ha="center",
                color=MUTED,
                fontsize=SMALL_FONT_SIZE,
                transform=axes.get_xaxis_transform(),
            )
        _label_ends(axes, series)


def _label_ends(axes: Axes, series: Mapping[str, Floats]) -> None:
    """Name and last value beside each line's end, moved apart where they would collide."""
    low, high = axes.get_ylim()
    ends = [float(values[np.isfinite(values)][-1]) for values in series.values()]
    places = spread_labels([(end - low) / (high - low) for end in ends], gap=0.15)
    for index, (name, end, place) in enumerate(zip(series, ends, places, strict=True)):
        axes.text(
            1.04,
            place + 0.005,
            shorten_name(name, 18),
            color=LINE_COLOURS[index],
            fontsize=SMALL_FONT_SIZE,
            va="bottom",
            transform=axes.transAxes,
        )
        axes.text(
            1.04,
            place - 0.005,
            f"{end:.3f}",
            color=MUTED,
            fontsize=SMALL_FONT_SIZE,
            va="top",
            transform=axes.transAxes,
        )


def spread_labels(places: Sequence[float], gap: float) -> list[float]:
    """Move places apart until neighbours are at least `gap` from each other, order kept.

    Groups that collide are centred on where their members wanted to be.

    Example:
        >>> [round(place, 3) for place in spread_labels([0.5, 0.52, 0.9], gap=0.1)]
        [0.46, 0.56, 0.9]
    """
    groups: list[tuple[float, list[int]]] = []
    for index in sorted(range(len(places)), key=lambda position: places[position]):
        centre, members = places[index], [index]
        while groups:
            last_centre, last_members = groups[-1]
            if centre - last_centre >= gap * (len(members) + len(last_members)) / 2 - 1e-12:
                break
            members = last_members + members
            centre = sum(places[member] for member in members) / len(members)
            groups.pop()
        groups.append((centre, members))
    spread = [0.0] * len(places)
    for centre, members in groups:
        for rank, member in enumerate(members):
            spread[member] = centre + (rank - (len(members) - 1) / 2) * gap
    return spread


def draw_reliability(
    probabilities: Floats,
    targets: npt.NDArray[np.bool_],
    multi_label: bool,
    calibration_error: Interval,
    brier_score: Interval,
    *,
    name: str = "reliability",
) -> str:
    """Draw how often the model is right against how sure it is, with the counts, as SVG.

    Args:
        probabilities: Predicted probabilities (image, class), in [0, 1].
        targets: Reference (image, class).
        multi_label: Whether each label is a question of its own.
        calibration_error: Expected calibration error with its interval.
        brier_score: Brier score with its interval.
        name: Unique on the page, as `draw_svg` wants it.
    """
    curve = reliability_curve(probabilities, targets, multi_label, n_bins=_N_BINS)
    figures = {"calibration error": calibration_error, "Brier score": brier_score}
    described = ", ".join(f"{key} {format_number(each.value)}" for key, each in figures.items())
    return draw_svg(
        name,
        HALF_WIDTH,
        _RELIABILITY_HEIGHT,
        lambda figure: _paint_reliability(figure, curve, figures, multi_label=multi_label),
        f"Reliability diagram: {described}",
    )


def _paint_reliability(
    figure: Figure,
    curve: ReliabilityCurve,
    figures: Mapping[str, Interval],
    *,
    multi_label: bool,
) -> None:
    axes = add_panel(figure, 0.72, 1.56, 2.45, 2.45)
    set_unit_ticks(axes, margin=0.012)
    axes.tick_params(labelbottom=False)
    axes.plot([0, 1], [0, 1], color=RULE, linewidth=0.8, zorder=1)
    low, high = bound_share(curve.accuracy, curve.count)
    axes.vlines(curve.confidence, low, high, color=BLUE, linewidth=0.8, alpha=0.6)
    axes.plot(
        curve.confidence,
        curve.accuracy,
        color=BLUE,
        marker="o",
        markersize=3.8,
        linewidth=1,
        markeredgecolor="white",
        markeredgewidth=0.6,
        clip_on=False,
    )
    axes.set_ylabel("share with the label" if multi_label else "share right")
    _paint_counts(figure, curve, multi_label=multi_label)
    for row, (name, interval) in enumerate(figures.items()):
        y = (0.24 - 0.155 * row) / _RELIABILITY_HEIGHT
        figure.text(0.72 / HALF_WIDTH, y, name, fontsize=FONT_SIZE)
        bounds = format_bounds(interval)
        value = format_number(interval.value) + (f" ({bounds})" if bounds else "")
        figure.text(1 - 0.18 / HALF_WIDTH, y, value, ha="right", fontsize=FONT_SIZE)


def _paint_counts(figure: Figure, curve: ReliabilityCurve, *, multi_label: bool) -> None:
    """Bars below the diagram: a rate from three images should not look like one from 300."""
    axes = add_panel(figure, 0.72, 0.82, 2.45, 0.58)
    places = (assign_bins(curve.confidence, _N_BINS) + 0.5) / _N_BINS
    axes.bar(places, curve.count, width=0.8 / _N_BINS, color="#b9c9d8", linewidth=0)
    for place, number in zip(places, curve.count, strict=True):
        axes.text(
            place,
            number,
            shorten_count(int(number)),
            ha="center",
            va="bottom",
            fontsize=5.2,
            color=MUTED,
        )
    set_unit_ticks(axes, margin=0.012)
    axes.set_ylim(0, 1.22 * max(1, int(curve.count.max())))
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_ylabel("answers" if multi_label else "images", labelpad=21)
    axes.set_xlabel(
        "predicted probability" if multi_label else "probability of the likeliest class"
    )


def bound_share(share: Floats, count: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
    """95 % bounds of a share, for each of several bins.

    Args:
        share: Observed shares (bin,), in [0, 1].
        count: Number of observations (bin,), at least 1.

    Reference:
        Wilson, Journal of the American Statistical Association 1927.

    Example:
        >>> low, high = bound_share(np.array([0.5]), np.array([10]))
        >>> round(float(low[0]), 3), round(float(high[0]), 3)
        (0.237, 0.763)
    """
    z = 1.959964
    scale = 1 + z**2 / count
    centre = (share + z**2 / (2 * count)) / scale
    spread = z / scale * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return centre - spread, centre + spread
