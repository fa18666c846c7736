"""A table file that lists labelled images."""

import os
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medlora.data.listing import SPLIT_OF_WORD, Listing, expand_frames
from medlora.data.rows import Row, read_rows, spell_column
from medlora.data.series import SEPARATOR, SeriesSource
from medlora.data.source import ArraySource, FolderSource, ImageSource, split_frame
from medlora.errors import DataError


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


def read_manifest(
    path: Path,
    group_by: str | None = None,
    channels: Sequence[str] = (),
    columns: Sequence[str] = (),
) -> Listing:
    """List the images of a manifest.

    Its columns are `path`, relative to the manifest's folder or absolute, and either `label` or
    `labels`, which are joined by a vertical bar and may be none. `patient` and `split` may be
    there. The case of these names does not matter; other columns are left alone. A path to a
    multi-frame DICOM file stands for all its frames.

    Args:
        path: A CSV file in UTF-8 (separated by commas, semicolons or tabs) or a Parquet file.
        group_by: Column to take for `patient`.
        channels: Columns of the series of a case, in place of `path`. A file of several frames
            stands for its first one there, or for that named by `#frame=3` behind it.
        columns: Other columns to keep, each a text for every image, empty where it has none.

    Raises:
        DataError: The file cannot be read, lacks a column, or has a row that makes no sense.
    """
    rows = read_rows(path, channels)
    label_column, group_column = _find_columns(list(rows[0].values), path, group_by)
    multi_label = label_column == "labels"
    _check_columns(columns, list(rows[0].values), path)
    source = open_source(rows, path.parent, channels)
    locations: list[str] = []
    labels: list[tuple[str, ...]] = []
    splits: list[str | None] = []
    patients: list[str | None] = []
    kept: dict[str, list[str]] = {name: [] for name in columns}
    for row, frames in expand_rows(rows, source, path, channels):
        locations += frames
        labels += [_read_labels(row, label_column, path)] * len(frames)
        splits += [_read_split(row, path)] * len(frames)
        patients += [row.values.get(group_column) or None] * len(frames)
        for name, values in kept.items():
            values += [row.values[name]] * len(frames)
    return Listing(
        locations=tuple(locations),
        labels=tuple(labels),
        splits=tuple(splits),
        patients=tuple(patients),
        multi_label=multi_label,
        source=source,
        columns={name: tuple(values) for name, values in kept.items()},
    )


def open_source(rows: Sequence[Row], folder: Path, channels: Sequence[str] = ()) -> ImageSource:
    """Where the images of a table file lie.

    Args:
        rows: Its lines.
        folder: Its folder.
        channels: Columns of the series of a case.
    """
    if channels:
        return SeriesSource(MixedSource(folder), tuple(channels))
    is_mixed = any(_split_array(row.values["path"])[1] for row in rows)
    return MixedSource(folder) if is_mixed else FolderSource(folder)


def expand_rows(
    rows: Sequence[Row], source: ImageSource, path: Path, channels: Sequence[str] = ()
) -> Iterator[tuple[Row, tuple[str, ...]]]:
    """The lines of a table file, each with the locations of its images, frame by frame.

    Args:
        rows: Its lines.
        source: Where the images lie.
        path: The file.
        channels: Columns of the series of a case, which is one image.

    Raises:
        DataError: An image is listed twice, however its path is spelt; both lines are named.
    """
    first: dict[Hashable, tuple[str, str]] = {}
    real: dict[str, str] = {}
    for row in rows:
        location = row.values["path"]
        images = (location,) if channels else expand_frames(location, source)
        for image in images:
            places = image.split(SEPARATOR) if channels else [image]
            key = tuple(place and _identify(place, path.parent, real) for place in places)
            other, place = first.setdefault(key, (location, row.place))
            if place != row.place:
                twice = f"{location} twice" if other == location else f"{other} again as {location}"
                raise DataError(f"{path} lists {twice} ({place} and {row.place}). Remove one.")
        yield row, images


def _identify(location: str, folder: Path, real: dict[str, str]) -> Hashable:
    """What all spellings of an image's location have in common.

    Args:
        location: A file, with a frame or not, or an image of an array file.
        folder: What it is relative to.
        real: Folders whose links were followed before, and where they led; added to.
    """
    path, inner = _split_array(location)
    path, frame = (path, None) if inner else split_frame(path)
    parent, name = os.path.split(os.path.join(folder, path))
    try:
        if parent not in real:
            real[parent] = os.path.realpath(parent)
        file = os.path.join(real[parent], name)
        if name == ".." or os.path.islink(file):
            file = os.path.realpath(file)
    except ValueError:
        # No file has such a name, as its reader is going to say.
        file = path
    return file, inner or frame or 0


def _split_array(location: str) -> tuple[str, str]:
    """An array file and the image in it; a file of its own and nothing."""
    path, _, inner = location.rpartition("#")
    return (path, inner) if path.lower().endswith(".npz") else (location, "")


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
    if group_by is not None and spell_column(group_by) not in names:
        raise DataError(
            f"{path} has no column '{group_by}' to group by; its columns are {', '.join(names)}."
        )
    return "labels" if "labels" in names else "label", spell_column(group_by or "patient")


def _check_columns(columns: Sequence[str], names: list[str], path: Path) -> None:
    for name in columns:
        if name not in names:
            raise DataError(
                f"{path} has no column '{name}'; its columns are {', '.join(names)}. Name one of "
                "them."
            )


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
