"""Tables of kind `model-zoo`: the shipped task files and their scores."""

from typing import Any

from benchmarks.result_fields import field, format_seeds, format_table

MEASURES = {"accuracy": "accuracy", "recall": "recall", "auroc": "AUROC"}
NOTE = (
    "Recall and AUROC are means over the classes. In brackets the 95 % bootstrap interval over "
    "patients, where they are known. All were trained alike, with settings fixed beforehand."
)
Row = dict[str, Any]


def render_model_zoo(result: Row) -> str:
    """One table of scores, and what is known of each task's limits.

    Args:
        result: `rows` of `medlora.experiments.arms.ArmRuns.read`, each with `task`, `source` and
            `limits`.

    Raises:
        ResultError: A field is missing.
    """
    rows = field(result, "rows")
    lines = []
    for row in rows:
        name = field(row, "task")
        link = f"[`{name}`](../model_zoo/{name}.safetensors)"
        lines.append(
            [
                link,
                f"{int(field(row, 'task_file_bytes')) / 1e6:.2f} MB",
                ", ".join(field(row, "counts")),
                f"{field(row, 'test_images')} ({int(field(row, 'n_images')):,})",
                *[format_seeds([field(row, "metrics")[key]]) for key in MEASURES],
            ]
        )
    header = ["task", "file", "classes", "scored on", *MEASURES.values()]
    known = dict.fromkeys((row["task"], field(row, "source"), field(row, "limits")) for row in rows)
    limits = [f"- `{task}`: images of {source}. {words}" for task, source, words in known]
    return "\n\n".join([format_table(header, lines), NOTE, "\n".join(limits)])
