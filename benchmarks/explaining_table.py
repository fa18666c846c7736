"""Table of kind `explaining`: how often a heat map's largest value lies in the lesion."""

import math
from typing import Any

from benchmarks.result_fields import field, format_span, format_table, say_reached

_QUANTILE = 1.959964


def render_explaining(result: dict[str, Any]) -> str:
    """What was measured, a row for each network and method, and whether the aim is reached.

    Args:
        result: As benchmarks/README.md describes it.

    Raises:
        ResultError: A field is missing.
    """
    rows, aim = field(result, "rows"), field(result, "aim")
    setting = (
        f"{field(result, 'n_slices')} new drawn slices of each of three classes with a lesion, "
        "from a seed that no task was trained on. Maps of those that are classified correctly."
    )
    table = format_table(
        [
            "backbone",
            "trained",
            "method",
            "images",
            "largest value in the lesion",
            "by chance",
            "of the map in the lesion",
            "likeness to a random head's map",
        ],
        [_format_row(row) for row in rows],
    )
    parts = format_table(
        ["backbone", "method", *field(rows[0], "classes")],
        [
            [
                field(row, "backbone"),
                field(row, "method"),
                *(
                    f"{field(each, 'n_hits')} of {field(each, 'n_maps')}"
                    for each in field(row, "classes").values()
                ),
            ]
            for row in rows
        ],
    )
    verdicts = [_judge(row, aim) for row in rows if field(row, "is_chosen")]
    return "\n\n".join([setting, table, parts, *verdicts])


def _format_row(row: dict[str, Any]) -> list[str]:
    n_hits, n_maps = field(row, "n_hits"), field(row, "n_maps")
    chosen = " (chosen)" if field(row, "is_chosen") else ""
    return [
        field(row, "backbone"),
        field(row, "training"),
        field(row, "method") + chosen,
        f"{n_maps} of {field(row, 'n_lesions')}",
        format_span(n_hits / max(n_maps, 1), find_interval(n_hits, n_maps), end_digits=2),
        f"{field(row, 'lesion_share'):.3f}",
        f"{field(row, 'share_inside'):.2f}",
        f"{field(row, 'head_correlation'):.2f}",
    ]


def _judge(row: dict[str, Any], aim: float) -> str:
    share = field(row, "n_hits") / max(field(row, "n_maps"), 1)
    return (
        f"{field(row, 'backbone')}, {field(row, 'method')}: {share:.1%} (aim: at least {aim:.0%}, "
        f"{say_reached(share >= aim)})."
    )


def find_interval(n_hits: int, n_maps: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share; 0 to 1 where there is nothing.

    Reference:
        Wilson, Probable inference, the law of succession, and statistical inference, 1927.

    Example:
        >>> low, high = find_interval(8, 10)
        >>> f"{low:.3f} {high:.3f}"
        '0.490 0.943'
    """
    if not n_maps:
        return 0.0, 1.0
    share, square = n_hits / n_maps, _QUANTILE**2
    middle = (share + square / (2 * n_maps)) / (1 + square / n_maps)
    spread = math.sqrt(share * (1 - share) / n_maps + square / (4 * n_maps**2))
    reach = _QUANTILE * spread / (1 + square / n_maps)
    return max(middle - reach, 0.0), min(middle + reach, 1.0)
