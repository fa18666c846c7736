"""The file that keeps a table's splits: a CSV manifest of its own."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from medlora.data.manifest import MixedSource
from medlora.data.series import SEPARATOR, SeriesSource
from medlora.data.source import ArraySource, FolderSource, ImageSource
from medlora.data.table import ImageTable
from medlora.errors import DataError
from medlora.storage import format_csv, write_atomically


def format_split(
    table: ImageTable,
    sha256: Sequence[str],
    folder: Path,
    more: Mapping[str, Sequence[str]] | None = None,
) -> bytes:
    """A table with its splits as a CSV manifest, which `read_table` reads again.

    Args:
        table: The images with their splits.
        sha256: SHA-256 of each image's content.
        folder: Where the manifest is going to lie: images below it are named relative to it,
            others by their whole path.
        more: Further columns by name, (image,) each, behind the others.

    Raises:
        DataError: A name would not be read again as it is; see `check_paths`.
    """
    check_paths(table, folder)
    label_column = "labels" if table.multi_label else "label"
    has_patients = any(patient is not None for patient in table.patients)
    columns = list(table.source.channels) if isinstance(table.source, SeriesSource) else ["path"]
    kept = {name: values for name, values in table.columns.items() if name not in columns}
    extra = kept | dict(more or {})
    header = [*columns, label_column, "split", "sha256", *["patient"] * has_patients, *extra]
    rows = [header]
    for row in range(table.n_images):
        names = [table.classes[number] for number in np.flatnonzero(table.targets[row])]
        places = _place_image(table, row, folder)
        cells = [*places, "|".join(names), table.splits[row] or "", sha256[row]]
        cells += [table.patients[row] or ""] * has_patients
        rows.append([*cells, *[values[row] for values in extra.values()]])
    return format_csv(rows).encode()


def write_split(path: Path, table: ImageTable, sha256: Sequence[str]) -> None:
    """Write what `format_split` gives.

    Raises:
        DataError: A name would not be read again as it is; see `check_paths`.
        StorageError: It cannot be written.
    """
    write_atomically(path, format_split(table, sha256, path.parent))


def check_paths(table: ImageTable, folder: Path | None = None) -> None:
    """Refuse names of files that a manifest would not give back.

    It is text in UTF-8, blanks around a value are none of it, and a backslash is read as a slash,
    since manifests come from Windows as well.

    Args:
        table: The images.
        folder: Where the manifest is going to lie, where that is known.

    Raises:
        DataError: There are such names; their number and the first of them are said.
    """
    odd = [
        place
        for row in range(table.n_images)
        for place in _place_image(table, row, folder)
        if not _is_plain(place)
    ]
    if odd:
        raise DataError(
            f"{len(odd)} file(s) of {table.name} have a name or a folder that is not UTF-8, holds "
            f"a backslash, or ends in a blank, so that no table can list them: {odd[0]!r} is one. "
            "Rename them."
        )


def _is_plain(place: str) -> bool:
    is_text = place.encode("utf-8", "replace").decode() == place
    return is_text and "\\" not in place and place == place.strip()


def _place_image(table: ImageTable, row: int, folder: Path | None) -> list[str]:
    """Where a row's image lies as seen from another folder, or each of its series."""
    source, location = table.source, table.locations[row]
    if not isinstance(source, SeriesSource):
        return [_place_location(source, location, folder)]
    places = location.split(SEPARATOR)
    return [place and _place_location(source.source, place, folder) for place in places]


def _place_location(source: ImageSource, location: str, folder: Path | None) -> str:
    if isinstance(source, ArraySource):
        if isinstance(source.content, bytes):
            return location
        return f"{_relate(source.content.absolute(), folder)}#{location}"
    if isinstance(source, (FolderSource, MixedSource)):
        return _relate((source.root / location).absolute(), folder)
    return location


def _relate(path: Path, folder: Path | None) -> str:
    if folder is None or not path.is_relative_to(folder.absolute()):
        return path.as_posix()
    return path.relative_to(folder.absolute()).as_posix()
