"""How numbers, names and measures are written in a report."""

import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

MEASURE_NAMES = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "exact_match": "Exact match",
    "recall": "Recall (sensitivity)",
    "precision": "Precision",
    "f1": "F1 score",
    "specificity": "Specificity",
    "auroc": "AUROC",
    "average_precision": "Average precision",
    "brier_score": "Brier score",
    "calibration_error": "Calibration error",
}
LOWER_IS_BETTER = frozenset({"brier_score", "calibration_error"})
# Control characters but for white space, surrogates, non-characters, overrides of direction.
_UNFIT = re.compile(
    r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff\u202a-\u202e\u2066-\u2069]"
)
MACRO_MEASURES = frozenset(
    {"recall", "precision", "f1", "specificity", "auroc", "average_precision"}
)


class Interval(NamedTuple):
    """A value with its 95 % interval; None stands for undefined."""

    value: float | None
    low: float | None
    high: float | None


def read_interval(estimate: Any) -> Interval:
    """An estimate as `Evaluation.to_dict` writes it; anything that is no number is undefined.

    Example:
        >>> read_interval({"value": 0.5, "low": 0.25, "high": "undefined"})
        Interval(value=0.5, low=0.25, high=None)
    """
    if not isinstance(estimate, Mapping):
        return Interval(read_number(estimate), None, None)
    return Interval(*(read_number(estimate.get(key)) for key in ("value", "low", "high")))


def read_number(value: Any) -> float | None:
    """The value where it is a finite number, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def format_number(value: float | None, digits: int = 3) -> str:
    """The number with a fixed count of decimals, or the word "undefined"."""
    return "undefined" if value is None else f"{value:.{digits}f}"


def format_bounds(interval: Interval, digits: int = 3) -> str:
    """The two bounds joined by an en dash, or "" where there are none.

    Example:
        >>> format_bounds(Interval(0.8, 0.75, 0.85))
        '0.750–0.850'
    """
    if interval.low is None or interval.high is None:
        return ""
    return f"{interval.low:.{digits}f}–{interval.high:.{digits}f}"


def format_count(count: int) -> str:
    """A count with thin spaces between thousands: it reads the same in every country."""
    return f"{count:,}".replace(",", "\u202f")


def shorten_count(count: int) -> str:
    """A count in at most four characters, for a narrow bar.

    Example:
        >>> shorten_count(987), shorten_count(1234), shorten_count(25_600)
        ('987', '1.2k', '26k')
    """
    if count < 1000:
        return str(count)
    if count < 9950:
        return f"{count / 1000:.1f}k"
    return f"{count / 1000:.0f}k" if count < 999_500 else f"{count / 1e6:.0f}M"


def name_measure(key: str) -> str:
    """The name of a measure in prose; an unknown one is spelt from its key."""
    return MEASURE_NAMES.get(key, key.replace("_", " ").capitalize())


def clean_text(text: str) -> str:
    r"""One line of text without what HTML and SVG cannot hold, or what turns its direction round.

    Example:
        >>> clean_text("two\n  lines")
        'two lines'
    """
    return re.sub(r"\s+", " ", _UNFIT.sub("\ufffd", text)).strip()


def measure_text(text: str) -> int:
    """Columns that the text takes in a fixed-width font: ideographs take two."""
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def shorten_name(name: str, columns: int) -> str:
    """The name in at most `columns` columns: its beginning, an ellipsis, its end.

    Example:
        >>> shorten_name("anaplastic astrocytoma", 12)
        'anaplast…oma'
    """
    name = clean_text(name)
    if measure_text(name) <= columns:
        return name
    n_end = max(0, (columns - 1) // 3)
    end = ""
    for char in reversed(name):
        if measure_text(char + end) > n_end:
            break
        end = char + end
    start = ""
    for char in name:
        if measure_text(start + char) > columns - 1 - measure_text(end):
            break
        start += char
    return f"{start}…{end}"


def shorten_names(names: Sequence[str], columns: int) -> list[str]:
    """All names in at most `columns` columns; those that would look alike get their number."""
    short = [shorten_name(name, columns) for name in names]
    return [
        f"{shorten_name(name, columns - 4)} ({index + 1})" if short.count(label) > 1 else label
        for index, (name, label) in enumerate(zip(names, short, strict=True))
    ]
