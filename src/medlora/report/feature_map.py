"""Images as points, coloured by class, marked by split."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from medlora.report.svg import INK, LINE_COLOURS, MUTED

MAP_INCHES = (6.8, 4.8)
_SMALL = 7.5
_LABEL_LENGTH = 28
_MARKERS = {"train": "o", "val": "^", "test": "D", "": "o"}
# Points of the test split are drawn last and with an edge: they are few, and matter most.
_EDGES = {"train": "none", "val": "white", "test": INK, "": "none"}


def paint_map(
    figure: Figure,
    points: npt.NDArray[np.float64],
    axes_names: Sequence[str],
    groups: Sequence[str],
    splits: Sequence[str],
    title: str,
) -> None:
    """Paint points onto an empty figure.

    Args:
        figure: Of `MAP_INCHES`, with a constrained layout.
        points: (image, 2).
        axes_names: What the axes are.
        groups: (image,) what decides each point's colour.
        splits: (image,) what decides its marker: `train`, `val`, `test` or "".
        title: What is shown.
    """
    axes = figure.subplots()
    names = sorted(set(groups))
    colours = dict(zip(names, choose_colours(len(names)), strict=True))
    present = [split for split in _MARKERS if split in splits]
    own_group, own_split = np.array(groups), np.array(splits)
    for split in present:
        rows = np.flatnonzero(own_split == split)
        # Classes mixed, so that the one drawn last does not hide the others.
        rows = np.random.default_rng(0).permutation(rows)
        axes.scatter(
            points[rows, 0],
            points[rows, 1],
            c=[colours[name] for name in own_group[rows]],
            marker=_MARKERS[split],
            s=14 if split == "test" else 9,
            linewidths=0.5,
            edgecolors=_EDGES[split],
            alpha=0.75,
        )
    handles = [
        Line2D([], [], linestyle="", marker="o", color=colours[name], label=_label(name, groups))
        for name in names
    ]
    if present != [""]:
        handles += [
            Line2D(
                [],
                [],
                linestyle="",
                marker=_MARKERS[split],
                markerfacecolor=MUTED,
                markeredgecolor=MUTED if _EDGES[split] == "none" else _EDGES[split],
                label=_label(split, splits) if split else "no split",
            )
            for split in present
        ]
    figure.legend(handles=handles, loc="outside right upper", fontsize=_SMALL, frameon=False)
    axes.set_title(title, fontsize=9, color=INK, loc="left", parse_math=False)
    axes.set_xlabel(axes_names[0], fontsize=_SMALL)
    axes.set_ylabel(axes_names[1], fontsize=_SMALL)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[["top", "right"]].set_visible(False)


def choose_colours(n_colours: int) -> list[str]:
    """Colours that can be told apart, at most 20 different ones."""
    if n_colours <= len(LINE_COLOURS):
        return list(LINE_COLOURS[:n_colours])
    many = [to_hex(colour) for colour in colormaps["tab20"].colors]  # type: ignore[attr-defined]
    return [many[number % len(many)] for number in range(n_colours)]


def _label(name: str, all_names: Sequence[str]) -> str:
    """A name as the legend shows it, with the number of its images."""
    shown = name if len(name) <= _LABEL_LENGTH else f"{name[: _LABEL_LENGTH - 1]}…"
    # Matplotlib takes what lies between two dollar signs for a formula.
    return f"{shown} ({all_names.count(name):,})".replace("$", r"\$")
