"""Reading the fields of a result file, and writing them as cells of a Markdown table."""

from collections.abc import Iterable, Sequence
from typing import Any


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
