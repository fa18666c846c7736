"""A deployment as a picture: seconds for all images above, multiples of one plain model below."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from medlora.experiments.deployment_layout import PLAIN, group_rows
from medlora.report.figure_file import render_figure
from medlora.report.svg import BLUE, INK, MUTED, OCHRE, RULE

_SMALL = 7.5
_PANEL_WIDTH = 2.0
_LABEL_WIDTH = 1.4
# Beyond it a bar is cut off: a model loaded for nearly every image leaves nothing else to see.
_MAX_SHOWN = 8.0


def draw_deployment(result: dict[str, Any], path: Path) -> bytes:
    """The figure of a measured deployment, as the content of a file.

    Args:
        result: As `medlora.experiments.deployment_layout` describes it.
        path: The file's name, which tells the format.
    """
    columns = group_rows(result)

    def paint(figure: Figure) -> None:
        panels = figure.subplots(2, len(columns), squeeze=False, sharey=True, sharex="row")
        for number, (title, rows) in enumerate(columns.items()):
            _paint_seconds(panels[0][number], rows, _find_limit(result["rows"]))
            _paint_ratios(panels[1][number], rows, result)
            panels[0][number].set_title(title, fontsize=_SMALL + 1)
        titles = [strategy["title"] for strategy in result["strategies"]]
        for axes in panels[:, 0]:
            axes.set_yticks(range(len(titles)), titles, fontsize=_SMALL)
            axes.set_ylim(len(titles) - 0.4, -0.6)
        handles = [
            artist for axes in panels[:, 0] for artist in axes.get_legend_handles_labels()[0]
        ]
        figure.legend(
            handles=handles,
            loc="outside lower center",
            ncols=len(handles),
            fontsize=_SMALL,
            frameon=False,
        )
        figure.suptitle(_describe(result), fontsize=_SMALL + 1.5, color=INK)

    return render_figure(
        path.suffix.lower(), _LABEL_WIDTH + _PANEL_WIDTH * len(columns), 4.6, paint
    )


def _find_limit(rows: Sequence[dict[str, Any]]) -> float:
    """Where the axis of seconds ends."""
    totals = [row["inference_seconds"] + row["switching_seconds"] for row in rows]
    plain = [row["inference_seconds"] for row in rows if row["strategy"] == PLAIN]
    return 1.25 * float(min(max(totals), _MAX_SHOWN * max(plain)))


def _describe(result: dict[str, Any]) -> str:
    return (
        f"{result['backbone']}: {result['n_images']} images of {result['n_tasks']} tasks, "
        f"{result['precision']} on {result['device']}"
    )


def _paint_seconds(axes: Axes, rows: Sequence[dict[str, Any]], limit: float) -> None:
    places = range(len(rows))
    inference = [row["inference_seconds"] for row in rows]
    switching = [row["switching_seconds"] for row in rows]
    axes.barh(places, inference, color=BLUE, height=0.62, label="answering (IT)")
    axes.barh(places, switching, left=inference, color=OCHRE, height=0.62, label="switching (ST)")
    totals = [one + other for one, other in zip(inference, switching, strict=True)]
    for place, total in zip(places, totals, strict=True):
        axes.annotate(
            f"{total:.3g}",
            (min(total, limit), place),
            xytext=(3 if total < limit else -3, 0),
            textcoords="offset points",
            ha="left" if total < limit else "right",
            va="center",
            fontsize=_SMALL - 1,
            color=INK if total < limit else "white",
        )
    axes.set_xlim(0, limit)
    axes.set_xlabel("seconds for all images", fontsize=_SMALL)
    _plain_axes(axes)


def _paint_ratios(axes: Axes, rows: Sequence[dict[str, Any]], result: dict[str, Any]) -> None:
    axes.axvline(1, color=RULE, linewidth=1)
    axes.axvline(result["aim"], color=OCHRE, linewidth=1, linestyle="--", label="aim", zorder=0)
    axes.axvline(
        result["published"], color=MUTED, linewidth=1, linestyle=":", label="MeLo's own", zorder=0
    )
    for place, row in enumerate(rows):
        rounds = row["rounds"]["ratio"]
        axes.plot([min(rounds), max(rounds)], [place, place], color=BLUE, linewidth=1.5)
        axes.plot([row["ratio"]], [place], "o", color=BLUE, markersize=4)
    axes.set_xlabel("IT / IT of one plain model", fontsize=_SMALL)
    _plain_axes(axes)


def _plain_axes(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=_SMALL)
