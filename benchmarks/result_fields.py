"""Reading the fields of a result file, and writing them as cells of a Markdown table."""

from collections.abc import Iterable, Sequence
from typing import Any

from medlora.experiments.melo_layout import average_estimates


class ResultError(Exception):
    """A result file or a document's markers do not have the layout that is asked for."""


def field(values: Any, name: str) -> Any:
    """The value of a required field.

    Raises:
        ResultError: `values` is no JSON object, or has no such field.

    Example:
        >>> field({"rows": 3}, "rows")
        3
    """
    if not isinstance(values, dict):
        raise ResultError(f"an object with the field {name!r} is needed, not {values!r}")
    if name not in values:
        raise ResultError(f"the field {name!r} is missing among {sorted(values)}")
    return values[name]


def format_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; every column but the first is set flush right.

    Example:
        >>> print(format_table(["method", "AUROC"], [["lora", "0.960"]]))
        | method | AUROC |
        |---|---:|
        | lora | 0.960 |
    """
    rule = ["---", *("---:" for _ in header[1:])]
    lines = [f"| {' | '.join(header)} |", f"|{'|'.join(rule)}|"]
    # A bar inside a cell would end it.
    lines += [f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |" for row in rows]
    return "\n".join(lines)


def format_span(
    value: float, ends: Sequence[Any], digits: int = 3, end_digits: int | None = None
) -> str:
    """A value, and in brackets from where to where it may lie; alone where an end is no number.

    Args:
        value: The value.
        ends: Numbers, of which the least and the largest are shown; none shows none.
        digits: Behind the point.
        end_digits: The same for the ends; as many as of the value if not given.

    Example:
        >>> format_span(0.9, (0.85, 0.9375), end_digits=2), format_span(0.9, (None, None), 1)
        ('0.900 (0.85 to 0.94)', '0.9')
    """
    if not ends or not all(isinstance(end, int | float) for end in ends):
        return f"{value:.{digits}f}"
    fewer = digits if end_digits is None else end_digits
    return f"{value:.{digits}f} ({min(ends):.{fewer}f} to {max(ends):.{fewer}f})"


def format_seeds(estimates: Sequence[dict[str, Any]]) -> str:
    """The mean of several seeds' estimates, with the means of their intervals' bounds."""
    mean = average_estimates(estimates)
    return format_span(mean[0], mean[1:], end_digits=2) if mean else "undefined"


def say_reached(is_reached: bool) -> str:
    """Whether an aim is reached, in words."""
    return "reached" if is_reached else "not reached"
