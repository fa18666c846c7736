"""How results of MeLo's first experiment are laid out: columns, and means over seeds."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

# The paper's columns, and what they are called here.
COLUMNS = {"ACC": "accuracy", "SEN": "recall", "PRE": "precision", "F1S": "f1", "AUC": "auroc"}

# Where an image may have several labels, the paper counts it as right when all of them are.
_EXACT = "exact_match"


def read_column(metrics: Mapping[str, Any], column: str) -> Any:
    """The estimate that stands in one of the paper's columns.

    Args:
        metrics: Estimates by our name, of one run.
        column: A key of `COLUMNS`.

    Example:
        >>> read_column({"accuracy": 0.9, "exact_match": 0.4}, "ACC")
        0.4
        >>> read_column({"accuracy": 0.9}, "ACC")
        0.9
    """
    name = COLUMNS[column]
    return metrics[_EXACT if name == "accuracy" and _EXACT in metrics else name]


def average_estimates(
    estimates: Sequence[Mapping[str, Any]],
) -> tuple[float, float, float] | None:
    """The mean over some seeds of a value and of both bounds of its interval.

    Args:
        estimates: For each seed `value`, `low` and `high`; words where they are undefined.

    Returns:
        Value, low and high; None where there is no seed, or one is undefined.

    Example:
        >>> average_estimates([{"value": 0.5, "low": 0.25, "high": 1.0}])
        (0.5, 0.25, 1.0)
        >>> average_estimates([{"value": "undefined", "low": "undefined", "high": "undefined"}])
    """
    figures = [(each["value"], each["low"], each["high"]) for each in estimates]
    if not figures or any(isinstance(number, str) for each in figures for number in each):
        return None
    value, low, high = (fmean(column) for column in zip(*figures, strict=True))
    return value, low, high
