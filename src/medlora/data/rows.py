"""The lines of a table file that lists images: CSV, or Parquet where pyarrow is installed."""

import csv
import io
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from medlora.data.series import join_places
from medlora.errors import DataError

_KNOWN_COLUMNS: Final = frozenset({"path", "label", "labels", "patient", "split", "task", "tasks"})
# What pandas writes for a value that is missing, once it has been made a text.
_MISSING: Final = frozenset({"nan", "<na>"})


class Row(NamedTuple):
    """One line of a table file: where it stands, and its values by column name."""

    place: str
    values: dict[str, str]


def read_rows(path: Path, channels: Sequence[str] = ()) -> list[Row]:
    """The lines of a table that has a column `path`; values without spaces around them.

    Columns that mean something here are found in whatever case they are written, and are named in
    lower case: `Split` is `split`. A value that is missing is empty: null and NaN in Parquet, the
    words nan and <NA> in other columns than those of files. A Parquet column of floating-point
    numbers that are all whole is read as whole numbers.

    Args:
        path: A CSV file in UTF-8 (separated by commas, semicolons or tabs) or a Parquet file.
        channels: Columns of the series of a case, which stand in place of `path`; they are
            joined to a value `path`.

    Raises:
        DataError: The file cannot be read, holds no line, or a line has no path.
    """
    read = _read_parquet if path.suffix.lower() == ".parquet" else _read_csv
    rows = list(read(path, tuple(channels)))
    if not rows:
        raise DataError(f"{path} lists no images. Give it a row for each.")
    return rows


def spell_column(name: str) -> str:
    """A column's name as `read_rows` gives it: in lower case where it means something here.

    Example:
        >>> spell_column(" Patient "), spell_column("Age")
        ('patient', 'Age')
    """
    plain = name.strip()
    return plain.lower() if plain.lower() in _KNOWN_COLUMNS else plain


def is_missing(value: str) -> bool:
    """Whether a text is what is left of a value that was missing."""
    return value.strip().lower() in _MISSING


def _read_csv(path: Path, channels: tuple[str, ...]) -> Iterator[Row]:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error}).") from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not encoded as UTF-8 (byte {error.start}). Save it as CSV UTF-8."
        ) from error
    first_line = text.partition("\n")[0]
    delimiter = max(",;\t", key=first_line.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if header is None:
                header = _check_header(cells, path, channels)
                continue
            place = f"line {reader.line_num}"
            if len(cells) != len(header):
                raise DataError(
                    f"{path}, {place}, has {len(cells)} cells where its header has {len(header)}. "
                    "Put values that hold a separator into double quotes."
                )
            yield _clean_row(place, dict(zip(header, cells, strict=True)), path, channels)
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}, is not valid CSV ({error}).") from error


def _read_parquet(path: Path, channels: tuple[str, ...]) -> Iterator[Row]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise DataError(
            f"{path} is a Parquet file, which takes the package pyarrow. Install it with "
            "pip install 'medlora[parquet]', or save the manifest as CSV."
        ) from error
    try:
        # Opened here: given a path, pyarrow would take it for one part of a larger data set.
        with path.open("rb") as stream:
            table = parquet.read_table(stream)
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(f"{path} cannot be read as Parquet ({error}).") from error
    header = _check_header(list(table.column_names), path, channels)
    columns = [_as_texts(column.to_pylist()) for column in table.columns]
    for number, cells in enumerate(zip(*columns, strict=True), start=1):
        yield _clean_row(f"row {number}", dict(zip(header, cells, strict=True)), path, channels)


def _as_texts(values: list[object]) -> list[str]:
    """A column as text; lists are joined by a vertical bar."""
    lists = [value if isinstance(value, list) else [value] for value in values]
    numbers = [part for parts in lists for part in parts if isinstance(part, float)]
    # Whole numbers become floating-point ones in pandas as soon as one of them is missing.
    is_whole = all(number.is_integer() for number in numbers if not math.isnan(number))

    def spell(part: object) -> str:
        return str(int(part)) if is_whole and isinstance(part, float) else str(part)

    return ["|".join(spell(part) for part in parts if not _is_null(part)) for parts in lists]


def _is_null(part: object) -> bool:
    return part is None or (isinstance(part, float) and math.isnan(part))


def _check_header(cells: list[str], path: Path, channels: tuple[str, ...]) -> list[str]:
    header = [spell_column(cell) for cell in cells]
    repeated = sorted({name for name in header if header.count(name) > 1})
    if repeated:
        raise DataError(
            f"{path} has more than one column named {', '.join(repeated)}, in whatever case. Keep "
            "one of them."
        )
    lacking = [name for name in channels if spell_column(name) not in header]
    if lacking:
        raise DataError(
            f"{path} has no column {', '.join(lacking)} for the series of that name; its columns "
            f"are {', '.join(header)}."
        )
    if not channels and "path" not in header:
        raise DataError(
            f"{path} has no column 'path'; its columns are {', '.join(header)}. "
            "Name the column of image files so."
        )
    return header


def _clean_row(place: str, values: dict[str, str], path: Path, channels: tuple[str, ...]) -> Row:
    cleaned = {name: value.strip() for name, value in values.items()}
    of_files = [spell_column(name) for name in channels or ("path",)]
    for name, value in cleaned.items():
        if name not in of_files and is_missing(value):
            cleaned[name] = ""
    if channels:
        places = [cleaned[name].replace("\\", "/") for name in of_files]
        cleaned["path"] = join_places(places, f"{path}, {place}")
        return Row(place, cleaned)
    if not cleaned["path"]:
        raise DataError(f"{path}, {place}, has an empty path.")
    # A manifest may have been written on Windows.
    cleaned["path"] = cleaned["path"].replace("\\", "/")
    return Row(place, cleaned)
