"""Table of kind `training-speed`: ways of training one backbone, measured within one run."""

from statistics import median
from typing import Any

from benchmarks.result_fields import ResultError, field, format_span, format_table

Row = dict[str, Any]


def render_training_speed(result: Row) -> str:
    """What was measured, the contenders, the ratios between them, and what is to be added.

    The ratios are computed here from the rows, so that they cannot contradict them.

    Args:
        result: `{"setting": ..., "rows": [...], "ratios": [...], "data": {...}, "notes": [...]}`
            as benchmarks/README.md describes it.

    Raises:
        ResultError: A field is missing, or a ratio names no row or no measure.
    """
    rows = field(result, "rows")
    parts = [_render_rows(rows)]
    if result.get("setting"):
        parts.insert(0, str(result["setting"]))
    if result.get("ratios"):
        parts.append(_render_ratios(result["ratios"], rows))
    if result.get("data"):
        parts.append(_describe_data(result["data"]))
    parts += result.get("notes", [])
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
    return format_span(speed, row.get("repeats") or [], 1 if speed < 100 else 0)


def _format_memory(n_bytes: float | None) -> str:
    return "–" if n_bytes is None else f"{n_bytes / 2**30:.2f} GiB"


def _render_ratios(ratios: list[Row], rows: list[Row]) -> str:
    named = {field(row, "name"): row for row in rows}
    lines = []
    for ratio in ratios:
        measure = field(ratio, "measure")
        value = _compare(*(_find_row(named, field(ratio, side)) for side in ("of", "to")), measure)
        aim, reached = _judge(ratio, value)
        label = f"{ratio['of']} to {ratio['to']}: {measure.replace('_', ' ')}"
        lines.append([label, f"{value:.2f}", aim, reached])
    return format_table(["ratio", "measured", "aim", "reached"], lines)


def _find_row(named: dict[str, Row], name: str) -> Row:
    if name not in named:
        raise ResultError(f"a ratio names {name!r}, and the rows are {sorted(named)}")
    return named[name]


def _compare(top: Row, bottom: Row, measure: str) -> float:
    """The ratio; of speeds, where both rows tell of the same rounds, the median over these."""
    rounds = [row.get("repeats") or [] for row in (top, bottom)]
    if measure == "images_per_second" and rounds[0] and len(rounds[0]) == len(rounds[1]):
        pairs = zip(*rounds, strict=True)
    else:
        pairs = iter([(field(top, measure), field(bottom, measure))])
    ratios = []
    for pair in pairs:
        for row, value in zip((top, bottom), pair, strict=True):
            if value <= 0:
                raise ResultError(
                    f"{measure} of {row['name']!r} is {float(value)}, "
                    "and a ratio needs a positive one"
                )
        ratios.append(float(pair[0]) / float(pair[1]))
    return median(ratios)


def _describe_data(data: Row) -> str:
    return (
        f"Reading from the cache and augmentation take {100 * field(data, 'share'):.1f} % of the "
        f"time of a step (aim: under 5 %), and {100 * field(data, 'share_with_decoding'):.1f} % "
        f"where the decoding of the first of {field(data, 'epochs')} epochs is counted in."
    )


def _judge(ratio: Row, value: float) -> tuple[str, str]:
    if "at_least" in ratio:
        return f"at least {ratio['at_least']:g}", "yes" if value >= ratio["at_least"] else "no"
    if "at_most" in ratio:
        return f"at most {ratio['at_most']:g}", "yes" if value <= ratio["at_most"] else "no"
    return "–", "–"
