"""Figure of kind `mixed-tasks`: speed against the bare backbone, and the cost of strategies.

python -m benchmarks.mixed_tasks_figure    # draws it anew from docs/results/mixed-tasks.json
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.mixed_tasks_table import compare_rows, list_batch_sizes
from benchmarks.record import RESULTS, ROOT
from benchmarks.result_fields import field
from medlora.report.svg import (
    FULL_WIDTH,
    LINE_COLOURS,
    LINE_MARKERS,
    MUTED,
    RULE,
    SMALL_FONT_SIZE,
    add_panel,
    draw_svg,
)
from medlora.storage import write_atomically

HEIGHT = 2.75
MELO = 25.9 / 34.0
# As benchmarks/mixed_contestants.py calls them, which imports far more than a figure needs.
OURS = "MedLoRA's bank"
PEERS = ("PEFT, mixed batch", "PEFT, `set_adapter`", "Merged models")
_DESCRIPTION = (
    "Left: images per second of batches in which every image asks a random task, divided by those "
    "of the bare backbone, against the number of tasks held. Right: what ways of computing the "
    "updates of one layer add to the layer's own time, against the number of different tasks."
)


def write_figure(result: dict[str, Any], path: Path) -> None:
    """Draw the figure of a result into an SVG file.

    Args:
        result: As benchmarks/README.md describes it; its first network is shown.
        path: The file.

    Raises:
        ResultError: A field is missing.
        StorageError: The file cannot be written.
    """
    markup = draw_svg("mixed-tasks", FULL_WIDTH, HEIGHT, lambda f: _paint(f, result), _DESCRIPTION)
    # A file of its own has to say what it is, and is read on pages of any colour.
    head = '<svg xmlns="http://www.w3.org/2000/svg" '
    opening, _, rest = markup.replace("<svg ", head, 1).partition(">")
    ground = '<rect width="100%" height="100%" fill="#ffffff"/>'
    write_atomically(path, f"{opening}>{ground}{rest}\n".encode())


def _paint(figure: Figure, result: dict[str, Any]) -> None:
    width = (FULL_WIDTH - 1.2) / 2
    left = add_panel(figure, 0.5, 0.95, width, HEIGHT - 1.2)
    _paint_speeds(left, field(result, "networks")[0])
    right = add_panel(figure, FULL_WIDTH - width - 0.1, 0.95, width, HEIGHT - 1.2)
    _paint_strategies(right, field(result, "strategies"))


def _paint_speeds(axes: Axes, network: dict[str, Any]) -> None:
    sizes = list_batch_sizes(network)
    series: dict[str, list[tuple[int, float]]] = {}
    for row in field(network, "rows"):
        kind, n_tasks = field(row, "kind"), field(row, "n_tasks")
        for size in _choose_sizes(kind, sizes):
            ratio = compare_rows(network, field(row, "name"), field(network, "reference"), size)
            label = f"{kind.replace('`', '')}, batches of {size}"
            series.setdefault(label, []).append((n_tasks, ratio))
    counts = sorted({n_tasks for points in series.values() for n_tasks, _ in points})
    places = {n_tasks: place for place, n_tasks in enumerate(counts)}
    for number, (label, points) in enumerate(series.items()):
        _draw_series(axes, number, label, [(places[n], ratio) for n, ratio in points])
    axes.axhline(1, color=MUTED, linewidth=0.8)
    for level, text in ((0.97, "aim 0.97"), (MELO, f"MeLo {MELO:.2f}")):
        axes.axhline(level, color=RULE, linewidth=0.8, linestyle="--", zorder=0)
        axes.annotate(
            text,
            (1, level),
            (0, -2),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            ha="right",
            va="top",
            color=MUTED,
            fontsize=SMALL_FONT_SIZE,
        )
    axes.set_ylim(bottom=min(axes.get_ylim()[0], MELO - 0.1))
    _finish(axes, [f"{count:,}" for count in counts], "tasks held")
    axes.set_ylabel("speed to the bare backbone")
    axes.set_title("the whole network", loc="left")


def _paint_strategies(axes: Axes, strategies: list[dict[str, Any]]) -> None:
    largest = max(field(row, "batch_size") for row in strategies)
    rows = [row for row in strategies if row["batch_size"] == largest]
    for number, name in enumerate(field(rows[0], "extra")):
        points = [(place, 100 * field(row, "extra")[name]) for place, row in enumerate(rows)]
        _draw_series(axes, number, name, points)
    axes.axhline(0, color=MUTED, linewidth=0.8)
    _finish(axes, [str(field(row, "n_distinct")) for row in rows], "different tasks in the batch")
    axes.set_ylabel("added time, %")
    axes.set_title(f"one layer, {largest} images", loc="left")


def _draw_series(axes: Axes, number: int, label: str, points: list[tuple[int, float]]) -> None:
    axes.plot(
        [place for place, _ in points],
        [value for _, value in points],
        label=label,
        color=LINE_COLOURS[number % len(LINE_COLOURS)],
        marker=LINE_MARKERS[number % len(LINE_MARKERS)],
        markersize=4,
    )


def _finish(axes: Axes, ticks: list[str], label: str) -> None:
    axes.set_xticks(range(len(ticks)), ticks)
    axes.set_xlim(-0.3, len(ticks) - 0.7)
    axes.set_xlabel(label)
    axes.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, -0.22),
        ncols=2,
        frameon=False,
        fontsize=SMALL_FONT_SIZE,
    )


def _choose_sizes(kind: str, sizes: Sequence[int]) -> Sequence[int]:
    """The batch sizes that are shown of a contestant."""
    if kind == OURS:
        return sizes
    return sizes[-1:] if kind in PEERS else ()


def main() -> int:
    """Draw the recorded result."""
    record = json.loads((RESULTS / "mixed-tasks.json").read_text(encoding="utf-8"))
    result = field(record, "result")
    write_figure(result, ROOT / "docs" / field(result, "figure"))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
