"""Table of kind `training-speed`: ways of training one backbone, measured within one run."""

from typing import Any

from benchmarks.result_fields import ResultError, field, format_table

Row = dict[str, Any]


def render_training_speed(result: Row) -> str:
    """What was measured, the contenders, and the ratios between them.

    The ratios are computed here from the rows, so that they cannot contradict them.

    Args:
        result: `{"setting": ..., "rows": [...], "ratios": [...]}` as benchmarks/README.md
            describes it.

    Raises:
        ResultError: A field is missing, or a ratio names no row or no measure.
    """
    rows = field(result, "rows")
    parts = [_render_rows(rows)]
    if result.get("setting"):
        parts.insert(0, str(result["setting"]))
    if result.get("ratios"):
        parts.append(_render_ratios(result["ratios"], rows))
    return "\n\n".join(parts)


def _render_rows(rows: list[Row]) -> str:
    header = ["way of training", "precision", "images/s", "peak memory", "how it is called"]
    return format_table(
        header,
        [
            [
                field(row, "name"),
                field(row, "precision"),
                _format_speed(row),
                _format_memory(row.get("peak_memory_bytes")),
                row.get("how", "–"),
            ]
            for row in rows
        ],
    )


def _format_speed(row: Row) -> str:
    speed = field(row, "images_per_second")
    digits = 1 if speed < 100 else 0
    repeats = row.get("repeats") or []
    span = f" ({min(repeats):.{digits}f} to {max(repeats):.{digits}f})" if repeats else ""
    return f"{speed:.{digits}f}{span}"


def _format_memory(n_bytes: float | None) -> str:
    return "–" if n_bytes is None else f"{n_bytes / 2**30:.2f} GiB"


def _render_ratios(ratios: list[Row], rows: list[Row]) -> str:
    named = {field(row, "name"): row for row in rows}
    lines = []
    for ratio in ratios:
        measure = field(ratio, "measure")
        top, bottom = (_measured(named, field(ratio, side), measure) for side in ("of", "to"))
        value = top / bottom
        aim, reached = _judge(ratio, value)
        label = f"{ratio['of']} to {ratio['to']}: {measure.replace('_', ' ')}"
        lines.append([label, f"{value:.2f}", aim, reached])
    return format_table(["ratio", "measured", "aim", "reached"], lines)


def _measured(named: dict[str, Row], name: str, measure: str) -> float:
    if name not in named:
        raise ResultError(f"a ratio names {name!r}, and the rows are {sorted(named)}")
    value = float(field(named[name], measure))
    if value <= 0:
        raise ResultError(f"{measure} of {name!r} is {value}, and a ratio needs a positive one")
    return value


def _judge(ratio: Row, value: float) -> tuple[str, str]:
    if "at_least" in ratio:
        return f"at least {ratio['at_least']:g}", "yes" if value >= ratio["at_least"] else "no"
    if "at_most" in ratio:
        return f"at most {ratio['at_most']:g}", "yes" if value <= ratio["at_most"] else "no"
    return "–", "–"
