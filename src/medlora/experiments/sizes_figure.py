"""What an adapter trains, and how good it is, against the size of its backbone."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from medlora.experiments.size_scores import RunScore
from medlora.experiments.sizes import BackboneSize
from medlora.report.figure_file import render_figure
from medlora.report.svg import BLUE, INK, LINE_COLOURS, LINE_MARKERS, MUTED

_SMALL = 7.5
_PANEL_HEIGHT = 2.6


def draw_sizes(sizes: Sequence[BackboneSize], scores: Sequence[RunScore], path: Path) -> bytes:
    """The figure, as the content of a file: counts below, and scores above where there are any.

    Args:
        sizes: The backbones, among them all that a score is about.
        scores: Scores of runs, all of one measure.
        path: The file's name, which tells the format.
    """
    n_panels = 2 if scores else 1
    n_parameters = {size.backbone: size.n_parameters for size in sizes}

    def paint(figure: Figure) -> None:
        panels = figure.subplots(n_panels, 1, squeeze=False, sharex=True)[:, 0]
        if scores:
            _paint_scores(panels[0], scores, n_parameters)
        _paint_counts(panels[-1], sizes)
        panels[-1].set_xscale("log")
        panels[-1].set_xlabel("parameters of the backbone", fontsize=_SMALL)
        for axes in panels:
            axes.spines[["top", "right"]].set_visible(False)
            axes.tick_params(labelsize=_SMALL)

    return render_figure(path.suffix.lower(), 6.4, _PANEL_HEIGHT * n_panels + 0.3, paint)


def _paint_counts(axes: Axes, sizes: Sequence[BackboneSize]) -> None:
    ordered = sorted(sizes, key=lambda size: size.n_parameters)
    families: dict[str, list[BackboneSize]] = {}
    for size in ordered:
        families.setdefault(size.backbone.partition("_")[0], []).append(size)
    for family in families.values():
        backbones = [size.n_parameters for size in family]
        axes.plot(backbones, [size.n_trainable for size in family], "o-", color=BLUE, markersize=4)
    for number, size in enumerate(ordered):
        # Neighbours lie close together on a logarithmic axis.
        is_above = number % 2 == 1
        axes.annotate(
            f"{_shorten(size.backbone)}\n{100 * size.share:.2f} %",
            (size.n_parameters, size.n_trainable),
            xytext=(0, 5 if is_above else -5),
            textcoords="offset points",
            ha="center",
            va="bottom" if is_above else "top",
            fontsize=_SMALL - 1.5,
            color=MUTED,
        )
    axes.set_yscale("log")
    axes.margins(x=0.08, y=0.3)
    axes.set_ylabel("trained parameters", fontsize=_SMALL)


def _paint_scores(axes: Axes, scores: Sequence[RunScore], n_parameters: Mapping[str, int]) -> None:
    series: dict[tuple[str, str], list[RunScore]] = {}
    for score in scores:
        series.setdefault((score.data, score.method), []).append(score)
    for number, ((data, method), group) in enumerate(series.items()):
        colour = LINE_COLOURS[number % len(LINE_COLOURS)]
        marker = LINE_MARKERS[number % len(LINE_MARKERS)]
        means = _average(group, n_parameters)
        axes.plot([place for place, _ in means], [mean for _, mean in means], color=colour, lw=1)
        for score in group:
            place = n_parameters[score.backbone]
            if score.low is not None and score.high is not None:
                axes.plot([place, place], [score.low, score.high], color=colour, lw=0.8, alpha=0.6)
            axes.plot([place], [score.value], marker, color=colour, markersize=4)
        axes.plot([], [], f"{marker}-", color=colour, label=f"{data}, {method}", markersize=4)
    axes.margins(x=0.08)
    axes.set_ylabel(scores[0].measure.replace("_", " "), fontsize=_SMALL, color=INK)
    axes.legend(fontsize=_SMALL - 1, frameon=False)


def _average(group: Sequence[RunScore], n_parameters: Mapping[str, int]) -> list[tuple[int, float]]:
    """The mean score of each backbone's runs, from the smallest backbone to the largest."""
    values: dict[int, list[float]] = {}
    for score in group:
        values.setdefault(n_parameters[score.backbone], []).append(score.value)
    return [(place, sum(some) / len(some)) for place, some in sorted(values.items())]


def _shorten(backbone: str) -> str:
    """A name that fits below a point.

    Example:
        >>> _shorten("vit_gigantic_patch14_clip_224")
        'vit gigantic'
    """
    return " ".join(backbone.partition(".")[0].split("_")[:2])
