"""Tables of kind `melo`: three methods on four tasks, beside the published figures."""

from typing import Any

from benchmarks.result_fields import field, format_seeds, format_table
from medlora.experiments.melo_layout import COLUMNS, read_column

NAMES = {"linear": "linear probe", "lora": "adapter", "full": "full fine-tuning"}
NOTE = (
    "SEN, PRE, F1S and AUC are means over the classes; ACC of several labels counts images with "
    "all labels right, at the thresholds of the task. In brackets the 95 % bootstrap interval over "
    "patients; with several seeds, value and bounds are means over them."
)
Row = dict[str, Any]


def render_melo(result: Row) -> str:
    """One table for each task, the paper's figures in it, and its verdict.

    Args:
        result: What `medlora.experiments.melo.read_melo` gives; a task that an earlier record had
            may have its `origin`.

    Raises:
        ResultError: A field is missing.
    """
    total = int(field(field(result, "backbone"), "parameters"))
    parts = [_render_task(task, total) for task in field(result, "tasks")]
    return "\n\n".join([*parts, NOTE])


def _render_task(task: Row, total: int) -> str:
    rows = field(task, "rows")
    name = f"**{field(task, 'name')}**, for the paper's {field(task, 'stands_for')}"
    lines = []
    for method in dict.fromkeys(field(row, "method") for row in rows):
        own = [row for row in rows if row["method"] == method]
        trained = int(field(own[0], "trainable_parameters"))
        lines.append(
            [
                NAMES[method],
                f"{trained:,} ({100 * trained / total:.2f} %)",
                str(len(own)),
                *[
                    format_seeds([read_column(field(row, "metrics"), key) for row in own])
                    for key in COLUMNS
                ],
            ]
        )
    for method, figures in field(task, "published").items():
        lines.append([f"published: {NAMES[method]}", "", "", *[f"{each:.3f}" for each in figures]])
    table = format_table(["method", "trained parameters", "seeds", *COLUMNS], lines)
    missing = [NAMES[method] for method in field(task, "not_run")]
    not_run = f" Not run yet: {', '.join(missing)}." if missing else ""
    origin = f" {task['origin']}." if "origin" in task else ""
    trained = f" Rates chosen on validation: {_describe_rates(rows)}." if rows else ""
    verdict = field(task, "verdict") + not_run + trained
    return f"{name}\n\n{table}\n\n{verdict} Limits: {field(task, 'limits')}{origin}"


def _describe_rates(rows: list[Row]) -> str:
    """Which learning rate each method took, of which, and for how many epochs."""
    parts = {}
    for row in rows:
        tried = [f"{field(each, 'learning_rate'):g}" for each in field(row, "tried")]
        epochs = int(field(field(row, "training"), "epochs"))
        rate = f"{field(row, 'learning_rate'):g}"
        parts[row["method"]] = (
            f"{NAMES[row['method']]} {rate} of {'/'.join(tried) or rate} "
            f"({epochs} epoch{'s' if epochs > 1 else ''})"
        )
    return "; ".join(parts.values())
