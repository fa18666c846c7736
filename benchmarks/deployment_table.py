"""Tables of kind `deployment`: ways of serving several tasks, measured within one run."""

from typing import Any

from benchmarks.result_fields import ResultError, field, format_span, format_table
from medlora.experiments.deployment_layout import MIXED, SWITCHED, group_rows

Row = dict[str, Any]


def render_deployment(result: Row) -> str:
    """What the aim was and whether it was reached, and then every backbone's figures.

    Args:
        result: `{"backbones": [...], "notes": [...]}` as benchmarks/README.md describes it.

    Raises:
        ResultError: A field is missing, or a strategy that is compared did not take part.
    """
    backbones = field(result, "backbones")
    parts = [_render_aims(backbones)]
    for measured in backbones:
        parts += _render_backbone(measured)
    parts += result.get("notes", [])
    return "\n\n".join(parts)


def _render_aims(backbones: list[Row]) -> str:
    lines = []
    for measured in backbones:
        aim = field(measured, "aim")
        for title, rows in group_rows(measured).items():
            ours, theirs = (field(_find(rows, name), "ratio") for name in (MIXED, SWITCHED))
            reached = "yes" if ours <= aim else "no"
            lines.append(
                [
                    f"{field(measured, 'backbone')}, {title}",
                    f"{ours:.3f}",
                    f"at most {aim:g}",
                    reached,
                    f"{theirs:.3f}",
                ]
            )
    header = ["IT, in multiples of one plain model's", "MedLoRA", "aim", "reached", "MeLo here"]
    return format_table(header, lines)


def _find(rows: list[Row], name: str) -> Row:
    for row in rows:
        if field(row, "strategy") == name:
            return row
    raise ResultError(f"the strategy {name!r} did not take part")


def _render_backbone(measured: Row) -> list[str]:
    threads = field(measured, "n_threads")
    setting = (
        f"**{field(measured, 'backbone')}**, {field(measured, 'precision')} on "
        f"{field(measured, 'device')}, {threads} thread{'s' if threads > 1 else ''}: "
        f"{field(measured, 'n_images')} images of {field(measured, 'n_tasks')} tasks, rank "
        f"{field(measured, 'rank')}, medians of {field(measured, 'n_rounds')} rounds."
    )
    figure = measured.get("figure")
    picture = [f"![{measured['backbone']}: seconds and ratios of each strategy]({figure})"]
    parts = [setting, *(picture if figure else []), _render_strategies(measured)]
    for title, rows in group_rows(measured).items():
        parts += [f"{title[0].upper()}{title[1:]}:", _render_rows(rows, measured)]
    return parts


def _render_strategies(measured: Row) -> str:
    header = ["strategy", "parameters held", "loading", "peak memory", "probabilities differ by"]
    lines = []
    for strategy in field(measured, "strategies"):
        difference = field(strategy, "largest_difference")
        lines.append(
            [
                field(strategy, "title"),
                f"{field(strategy, 'n_parameters'):,}",
                f"{field(strategy, 'loading_seconds'):.2f} s",
                f"{field(strategy, 'peak_memory_bytes') / 2**20:,.0f} MiB",
                "–" if difference is None else f"{difference:.1g}",
            ]
        )
    return format_table(header, lines)


def _render_rows(rows: list[Row], measured: Row) -> str:
    titles = {item["name"]: item["title"] for item in field(measured, "strategies")}
    what = "image" if rows[0]["batch_size"] == 1 else "batch"
    header = ["strategy", "IT", "ST", "A-ST", "TT", "IT ratio", f"p50 of one {what}", "p99"]
    lines = []
    for row in rows:
        switch = field(row, "switch_seconds")
        lines.append(
            [
                titles[field(row, "strategy")],
                f"{field(row, 'inference_seconds'):.2f} s",
                f"{field(row, 'switching_seconds'):.3f} s",
                "–" if switch is None else f"{switch * 1000:.2f} ms",
                f"{field(row, 'total_seconds'):.2f} s",
                _format_ratio(row),
                f"{field(row, 'p50_seconds') * 1000:.1f} ms",
                f"{field(row, 'p99_seconds') * 1000:.1f} ms",
            ]
        )
    return format_table(header, lines)


def _format_ratio(row: Row) -> str:
    return format_span(field(row, "ratio"), field(field(row, "rounds"), "ratio"))
