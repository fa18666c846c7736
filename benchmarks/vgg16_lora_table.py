"""Tables of kind `vgg16-lora`: the paper's runs, the grid, and what each choice is worth."""

from typing import Any

from benchmarks.result_fields import field, format_seeds, format_table
from medlora.experiments.melo_layout import average_estimates

MEASURES = {"accuracy": "accuracy", "recall": "recall", "precision": "precision", "auroc": "AUROC"}
NOTE = (
    "Recall, precision and AUROC are means over the classes; in brackets the 95 % bootstrap "
    "interval, with several seeds the mean of value and bounds."
)
N_SHOWN = 5
Row = dict[str, Any]


def render_vgg16_lora(result: Row) -> str:
    """The table of a part, the paper's figures in it, or the best settings of the grid.

    Args:
        result: What `medlora.experiments.vgg16_lora.read_part` gives; rows that an earlier record
            had may have its `origin`.

    Raises:
        ResultError: A field is missing.
    """
    grid = field(result, "grid")
    words = [_render_grid(grid)] if grid is not None else []
    if field(result, "rows"):
        words += [_render_part(result), NOTE]
    words += _tell_origins([*result["rows"], *field(result, "failed")])
    if field(result, "not_run"):
        words.append(f"Not run yet: {', '.join(result['not_run'])}.")
    return "\n\n".join(words)


def _render_part(part: Row) -> str:
    rows = field(part, "rows")
    has_published = any(field(row, "published") for row in rows)
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((field(row, "name"), field(row, "test_images")), []).append(row)
    lines = []
    for (name, images), own in groups.items():
        seeds = f" ({len(own)} seeds)" if len(own) > 1 else ""
        cells = [f"{name}{seeds}", f"{images} ({field(own[0], 'n_images')})"]
        cells += [own[0]["published"]] * has_published
        cells.append(f"{int(field(own[0], 'trainable_parameters')):,}")
        cells += [format_seeds([field(row, "metrics")[key] for row in own]) for key in MEASURES]
        cells.append(", ".join(f"{_recall(own, kind)}" for kind in field(own[0], "recalls")))
        lines.append(cells)
    kinds = ", ".join(field(rows[0], "recalls"))
    header = ["trial", "scored on", *["published"] * has_published, "trained"]
    table = format_table([*header, *MEASURES.values(), f"recall of {kinds}"], lines)
    words = [f"**{field(part, 'title')}**", table]
    constants = [f"- {row['name']}: {row['constant']}" for row in rows if field(row, "constant")]
    if constants:
        words.append("\n".join(dict.fromkeys(constants)))
    failed = [f"- {row['name']}: {row['error']}" for row in field(part, "failed")]
    if failed:
        words.append("\n".join(failed))
    return "\n\n".join(words)


def _tell_origins(rows: list[Row]) -> list[str]:
    """Where what was recorded before was measured, a sentence for each record."""
    names: dict[str, list[str]] = {}
    for row in rows:
        if "origin" in row:
            names.setdefault(row["origin"], []).append(row["name"])
    return [f"{'; '.join(dict.fromkeys(own))}: {origin}." for origin, own in names.items()]


def _render_grid(grid: Row) -> str:
    trials = sorted(field(grid, "trials"), key=lambda row: -(row["score"] or 0.0))
    names = list(field(trials[0], "values"))
    lines = [
        [str(row["values"][name]) for name in names] + [f"{row['score']:.4f}"]
        for row in trials[:N_SHOWN]
        if row["score"] is not None
    ]
    best = field(grid, "best")
    scores = [
        f"{words}: accuracy {format_seeds([best[key]['overall']['accuracy']])}, AUROC "
        f"{format_seeds([best[key]['overall']['auroc']])}"
        for key, words in (("all", "all test images"), ("unseen", "those not in training"))
        if best[key] is not None
    ]
    return "\n\n".join(
        [
            f"**The paper's grid on pretrained convolutions, by validation AUROC: the best "
            f"{len(lines)} of {len(trials)}**",
            format_table([*(name.replace("_", " ") for name in names), "validation AUROC"], lines),
            f"The first of them on {'; '.join(scores)}.",
        ]
    )


def _recall(rows: list[Row], kind: str) -> str:
    mean = average_estimates([row["recalls"][kind] for row in rows])
    return f"{mean[0]:.2f}" if mean else "undefined"
