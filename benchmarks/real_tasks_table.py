"""Table of kind `real-tasks`: scores on the test images of real data sets."""

from statistics import fmean, stdev
from typing import Any

from benchmarks.result_fields import ResultError, field, format_table

METRICS = {
    "accuracy": "accuracy",
    "recall": "recall",
    "precision": "precision",
    "f1": "F1",
    "auroc": "AUROC",
}
NOTE = (
    "Recall, precision, F1 and AUROC are means over the classes. In brackets the 95 % bootstrap "
    "interval. Where there are several seeds, a cell gives the mean over them, ± their standard "
    "deviation, and the mean of their intervals' bounds."
)
Row = dict[str, Any]


def render_real_tasks(result: Row) -> str:
    """The scores, and what they say of every two methods.

    Args:
        result: As `render_real_scores` takes it, with `comparisons` where there are any.

    Raises:
        ResultError: A field is missing, or two rows tell of the same run.
    """
    verdicts = [_render_verdicts(each) for each in result.get("comparisons", [])]
    return "\n\n".join([render_real_scores(result), *verdicts])


def render_real_scores(result: Row) -> str:
    """One table for each data set and each set of test images, in the order of the rows.

    Args:
        result: `{"rows": [...]}` as benchmarks/README.md describes it.

    Raises:
        ResultError: A field is missing, or two rows tell of the same run.
    """
    rows = field(result, "rows")
    tables: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        tables.setdefault((field(row, "data"), field(row, "test_images")), []).append(row)
    parts = [
        f"**{data}, {test_images} ({_count_images(members)})**\n\n{_render_table(members)}"
        for (data, test_images), members in tables.items()
    ]
    return "\n\n".join([*parts, NOTE, *_tell_origins(rows)])


def _tell_origins(rows: list[Row]) -> list[str]:
    """One sentence for each other machine or commit that some rows are from."""
    arms: dict[str, dict[str, None]] = {}
    for row in rows:
        if "origin" in row:
            name = f"{field(row, 'method')} on {field(row, 'backbone')}"
            arms.setdefault(row["origin"], {})[name] = None
    return [f"Of before are {'; '.join(names)}. {origin}." for origin, names in arms.items()]


def _render_verdicts(comparison: Row) -> str:
    lines = [f"- {field(pair, 'verdict')}" for pair in field(comparison, "pairs")]
    words = field(comparison, "test_images")
    before = f" {comparison['origin']}." if "origin" in comparison else ""
    return "\n".join([f"{words}, the same for every method (AUROC, DeLong):{before}\n", *lines])


def _count_images(rows: list[Row]) -> str:
    counts = {int(field(row, "n_images")) for row in rows}
    if len(counts) != 1:
        raise ResultError(f"rows on the same test images count {sorted(counts)} of them")
    return f"{counts.pop():,}"


def _render_table(rows: list[Row]) -> str:
    runs: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        runs.setdefault((field(row, "backbone"), field(row, "method")), []).append(row)
    header = ["backbone", "method", "trained parameters", "learning rate", "seeds"]
    lines = []
    for (backbone, method), seeds in runs.items():
        numbers = [field(row, "seed") for row in seeds]
        if len(set(numbers)) != len(numbers):
            raise ResultError(f"{method} on {backbone} has two rows with one seed: {numbers}")
        scores = [_format_metric(seeds, metric) for metric in METRICS]
        settings = [
            _join(f"{value:,}" for value in _values(seeds, "trainable_parameters")),
            _join(f"{value:g}" for value in _values(seeds, "learning_rate")),
        ]
        lines.append([backbone, method, *settings, str(len(seeds)), *scores])
    return format_table([*header, *METRICS.values()], lines)


def _values(rows: list[Row], name: str) -> list[Any]:
    return sorted({row[name] for row in rows if row.get(name) is not None})


def _join(words: Any) -> str:
    return ", ".join(words) or "–"


def _format_metric(rows: list[Row], metric: str) -> str:
    estimates = [field(row, "metrics").get(metric) for row in rows]
    if any(estimate is None for estimate in estimates):
        return "–"
    if not all(isinstance(estimate, dict) for estimate in estimates):
        return "undefined"
    values = [field(estimate, "value") for estimate in estimates]
    if not all(isinstance(value, int | float) for value in values):
        return "undefined"
    spread = f" ± {stdev(values):.3f}" if len(values) > 1 else ""
    return f"{fmean(values):.3f}{spread}{_format_interval(estimates)}"


def _format_interval(estimates: list[Row]) -> str:
    bounds = [(estimate.get("low"), estimate.get("high")) for estimate in estimates]
    if not all(isinstance(bound, int | float) for pair in bounds for bound in pair):
        return ""
    low, high = (fmean(side) for side in zip(*bounds, strict=True))
    return f" [{low:.3f}, {high:.3f}]"
