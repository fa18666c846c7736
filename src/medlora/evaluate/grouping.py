"""Groups of images by a column of their manifest: its values, or ranges of its numbers."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from medlora.errors import DataError, SettingsError

MAX_GROUPS: Final = 20
"""Values of a column above which it names images or patients, and no groups."""

_OTHER_COLUMNS: Final = frozenset({"path", "patient", "label", "labels", "split", "sha256"})
# Ages in DICOM files end in a letter.
_YEARS = re.compile(r"0*(\d+)Y")


@dataclass(frozen=True)
class SubgroupColumn:
    """A column that divides images into groups.

    Attributes:
        name: The column.
        bounds: Ends of the ranges of its numbers, ascending; none where its values are the groups.

    Raises:
        SettingsError: There is one bound only, or they do not ascend.
    """

    name: str
    bounds: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Check the bounds."""
        ascend = all(low < high for low, high in zip(self.bounds, self.bounds[1:], strict=False))
        if len(self.bounds) == 1 or not ascend:
            shown = "-".join(f"{bound:g}" for bound in self.bounds)
            raise SettingsError(
                f"The bounds of '{self.name}' must be two or more ascending numbers such as "
                f"0-40-60-120, not {shown}."
            )


def parse_columns(text: str) -> tuple[SubgroupColumn, ...]:
    """Columns as a user names them.

    Args:
        text: Separated by commas; behind a colon the bounds of a column of numbers.

    Raises:
        SettingsError: A column is named twice, or its bounds are no numbers.

    Example:
        >>> [(column.name, column.bounds) for column in parse_columns("sex,age:0-40-120")]
        [('sex', ()), ('age', (0.0, 40.0, 120.0))]
    """
    columns = []
    for word in filter(None, (part.strip() for part in text.split(","))):
        name, colon, bounds = word.partition(":")
        try:
            numbers = tuple(float(bound) for bound in bounds.split("-")) if colon else ()
        except ValueError:
            raise SettingsError(
                f"The bounds of '{name}' must be numbers such as 0-40-60-120, not '{bounds}'."
            ) from None
        columns.append(SubgroupColumn(name.strip(), numbers))
    names = [column.name for column in columns]
    if len(set(names)) < len(names) or "" in names:
        raise SettingsError(f"--subgroups must name each column once, not '{text}'.")
    return tuple(columns)


def check_columns(columns: Sequence[SubgroupColumn], group_by: str | None = None) -> None:
    """Refuse columns whose values are no groups: patients, files, labels.

    Args:
        columns: The columns.
        group_by: The column that tells patients apart, where it is another than `patient`.

    Raises:
        SettingsError: One of them is such a column.
    """
    for column in columns:
        if column.name in {*_OTHER_COLUMNS, group_by}:
            raise SettingsError(
                f"'{column.name}' is no column of subgroups: it tells images or patients apart, or "
                "what they show. Name one such as sex, age or scanner."
            )


def name_groups(
    values: Sequence[str], column: SubgroupColumn
) -> tuple[list[str | None], tuple[str, ...]]:
    """The group of each image.

    A range holds its lower bound; the last one holds both.

    Args:
        values: (image,), what the column says; "" where it says nothing.
        column: The column.

    Returns:
        Each image's group, None where it has no value or one beyond the bounds; and the groups
        that have images, in order.

    Raises:
        DataError: A value is no number where there are bounds, or there are too many values.

    Example:
        >>> name_groups(["39", "40", "", "121", "120"], SubgroupColumn("age", (0.0, 40.0, 120.0)))
        (['0 to under 40', '40 to 120', None, None, '40 to 120'], ('0 to under 40', '40 to 120'))
    """
    if not column.bounds:
        return _name_values(values, column)
    ends = list(zip(column.bounds, column.bounds[1:], strict=False))
    names = [
        f"{low:g} to {'' if number == len(ends) else 'under '}{high:g}"
        for number, (low, high) in enumerate(ends, start=1)
    ]
    found: list[str | None] = []
    for place, value in enumerate(values, start=1):
        number = _read_number(value, place, column)
        inside = [low <= number < high or number == high == column.bounds[-1] for low, high in ends]
        found.append(names[inside.index(True)] if any(inside) else None)
    return found, tuple(name for name in names if name in found)


def _name_values(
    values: Sequence[str], column: SubgroupColumn
) -> tuple[list[str | None], tuple[str, ...]]:
    distinct = sorted({value for value in values if value})
    if len(distinct) > MAX_GROUPS:
        raise DataError(
            f"The column '{column.name}' has {len(distinct)} different values, which are too many "
            f"for groups (at most {MAX_GROUPS}). Name another column, or give bounds for its "
            f"numbers, such as {column.name}:0-40-60-120."
        )
    return [value or None for value in values], tuple(distinct)


def _read_number(value: str, place: int, column: SubgroupColumn) -> float:
    """A number; one that no range holds where nothing is given."""
    if not value:
        return math.nan
    years = _YEARS.fullmatch(value)
    try:
        return float(years[1] if years else value)
    except ValueError:
        # The value is not shown: it may tell of a patient.
        raise DataError(
            f"The column '{column.name}' has a value that is no number, at image {place}. Give "
            "numbers, or leave the bounds out."
        ) from None
