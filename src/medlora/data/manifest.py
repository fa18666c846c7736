"""A table file that lists images: CSV, or Parquet where pyarrow is installed."""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from medlora.data.listing import SPLIT_OF_WORD, Listing, expand_frames
from medlora.data.source import ArraySource, FolderSource, ImageSource
from medlora.errors import DataError


class Row(NamedTuple):
    """One line of a manifest: where it stands, and its values by column name."""

    place: str
    values: dict[str, str]


@dataclass(frozen=True)
class MixedSource:
    """Files below one folder, some of them arrays: "data.npz#train/17" is an image of one.

    Attributes:
        root: What relative locations are relative to.
    """

    root: Path
    _arrays: dict[str, ArraySource] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def read_bytes(self, location: str) -> bytes:
        """The encoded image at `location`.

        Raises:
            UnreadableImageError: There is nothing at the location, or it cannot be opened.
        """
        path, inner = _split_array(location)
        if not inner:
            return FolderSource(self.root).read_bytes(location)
        return self._arrays.setdefault(path, ArraySource(self.root / path)).read_bytes(inner)


def read_manifest(path: Path, group_by: str | None = None) -> Listing:
    """List the images of a manifest.

    Its columns are `path`, relative to the manifest's folder or absolute, and either `label` or
    `labels`, which are joined by a vertical bar and may be none. `patient` and `split` may be
    there. Others are left alone. A path to a multi-frame DICOM file stands for all its frames.

    Args:
        path: A CSV file in UTF-8 (separated by commas, semicolons or tabs) or a Parquet file.
        group_by: Column to take for `patient`.

    Raises:
        DataError: The file cannot be read, lacks a column, or has a row that makes no sense.
    """
    rows = list(_read_parquet(path) if path.suffix.lower() == ".parquet" else _read_csv(path))
    if not rows:
        raise DataError(f"{path} lists no images. Give it a row for each.")
    label_column, group_column = _find_columns(list(rows[0].values), path, group_by)
    multi_label = label_column == "labels"
    _check_unique(rows, path)
    is_mixed = any(_split_array(row.values["path"])[1] for row in rows)
    source: ImageSource = MixedSource(path.parent) if is_mixed else FolderSource(path.parent)
    locations: list[str] = []
    labels: list[tuple[str, ...]] = []
    splits: list[str | None] = []
    patients: list[str | None] = []
    for row in rows:
        frames = expand_frames(row.values["path"], source)
        locations += frames
        labels += [_read_labels(row, label_column, path)] * len(frames)
        splits += [_read_split(row, path)] * len(frames)
        patients += [row.values.get(group_column) or None] * len(frames)
    return Listing(
        locations=tuple(locations),
        labels=tuple(labels),
        splits=tuple(splits),
        patients=tuple(patients),
        multi_label=multi_label,
        source=source,
    )


def _split_array(location: str) -> tuple[str, str]:
    """An array file and the image in it; a file of its own and nothing."""
    path, _, inner = location.rpartition("#")
    return (path, inner) if path.lower().endswith(".npz") else (location, "")


def _read_csv(path: Path) -> Iterator[Row]:
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
                header = _check_header(cells, path)
                continue
            place = f"line {reader.line_num}"
            if len(cells) != len(header):
                raise DataError(
                    f"{path}, {place}, has {len(cells)} cells where its header has {len(header)}. "
                    "Put values that hold a separator into double quotes."
                )
            yield _clean_row(place, dict(zip(header, cells, strict=True)), path)
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}, is not valid CSV ({error}).") from error


def _read_parquet(path: Path) -> Iterator[Row]:
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
    header = _check_header(list(table.column_names), path)
    table = table.rename_columns(header)
    for number, values in enumerate(table.to_pylist(), start=1):
        plain = {name: _as_text(value) for name, value in values.items()}
        yield _clean_row(f"row {number}", plain, path)


def _as_text(value: object) -> str:
    if value is None:
        return ""
    return "|".join(map(str, value)) if isinstance(value, list) else str(value)


def _check_header(cells: list[str], path: Path) -> list[str]:
    header = [cell.strip() for cell in cells]
    repeated = sorted({name for name in header if header.count(name) > 1})
    if repeated:
        raise DataError(f"{path} has more than one column named {', '.join(repeated)}.")
    if "path" not in header:
        raise DataError(
            f"{path} has no column 'path'; its columns are {', '.join(header)}. "
            "Name the column of image files so."
        )
    return header


def _clean_row(place: str, values: dict[str, str], path: Path) -> Row:
    cleaned = {name: value.strip() for name, value in values.items()}
    if not cleaned["path"]:
        raise DataError(f"{path}, {place}, has an empty path.")
    # A manifest may have been written on Windows.
    cleaned["path"] = cleaned["path"].replace("\\", "/")
    return Row(place, cleaned)


def _find_columns(names: list[str], path: Path, group_by: str | None) -> tuple[str, str]:
    """The column of labels and the column of groups, which need not be there."""
    if "label" in names and "labels" in names:
        raise DataError(
            f"{path} has both a column 'label' and a column 'labels'. Keep 'label' for one class "
            "an image, 'labels' for none or several."
        )
    if "label" not in names and "labels" not in names:
        raise DataError(
            f"{path} has neither a column 'label' nor 'labels'; its columns are {', '.join(names)}."
        )
    if group_by is not None and group_by not in names:
        raise DataError(
            f"{path} has no column '{group_by}' to group by; its columns are {', '.join(names)}."
        )
    return "labels" if "labels" in names else "label", group_by or "patient"


def _check_unique(rows: list[Row], path: Path) -> None:
    first: dict[str, str] = {}
    for row in rows:
        location = row.values["path"]
        if location in first:
            raise DataError(
                f"{path} lists {location} twice ({first[location]} and {row.place}). Remove one."
            )
        first[location] = row.place


def _read_labels(row: Row, column: str, path: Path) -> tuple[str, ...]:
    cell = row.values[column]
    if column == "labels":
        return tuple(dict.fromkeys(name for part in cell.split("|") if (name := part.strip())))
    if not cell:
        raise DataError(
            f"{path}, {row.place}, has no label. Give one, or remove the row; where an image may "
            "belong to no class, name the column 'labels'."
        )
    return (cell,)


def _read_split(row: Row, path: Path) -> str | None:
    word = row.values.get("split", "").lower()
    if not word:
        return None
    if word not in SPLIT_OF_WORD:
        raise DataError(
            f"{path}, {row.place}, has the split '{word}'. It must be one of "
            f"{', '.join(SPLIT_OF_WORD)}, or empty."
        )
    return SPLIT_OF_WORD[word]
