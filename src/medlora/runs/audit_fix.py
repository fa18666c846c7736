"""A manifest of what is left when leaking images are taken out and copies are grouped."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from medlora.data.split import SPLITS
from medlora.data.split_file import format_split
from medlora.errors import DataError, SettingsError
from medlora.runs.auditing import Audit, read_columns
from medlora.storage import write_atomically

GROUP_COLUMN: Final = "group"
_OWN_COLUMNS: Final = frozenset({"path", "label", "labels", "split", "sha256", "patient"})


@dataclass(frozen=True)
class FixedManifest:
    """What a manifest was written with.

    Attributes:
        path: The manifest.
        n_images: Images that it lists.
        n_left_out: Images that are left out, by the split that they are in.
        n_groups: Groups in the column `group`.
    """

    path: Path
    n_images: int
    n_left_out: dict[str, int]
    n_groups: int


def find_leaking(audit: Audit) -> npt.NDArray[np.bool_]:
    """(image,) images whose copy, or patient, is in a split that comes before their own.

    Training comes before validation, and validation before test.
    """
    order = {split: place for place, split in enumerate(SPLITS)}
    places = np.array([order.get(split or "", -1) for split in audit.table.splits])
    earliest = np.full(int(audit.group_numbers.max()) + 1, len(SPLITS))
    known = places >= 0
    np.minimum.at(earliest, audit.group_numbers[known], places[known])
    leaking: npt.NDArray[np.bool_] = known & (places > earliest[audit.group_numbers])
    return leaking


def check_fixed_path(data: Path, path: Path) -> None:
    """Refuse a place for the manifest before anything is looked for.

    Raises:
        SettingsError: The path is that of the data, or no .csv file.
    """
    if path.suffix.lower() != ".csv":
        raise SettingsError(f"The manifest must end in .csv, not {path.name}.")
    if path.exists() and data.exists() and path.resolve() == data.resolve():
        raise SettingsError(f"--fix would write over {data}, the data itself. Name another file.")


def write_fixed(
    audit: Audit, data: Path, path: Path, channels: Sequence[str] = ()
) -> FixedManifest:
    """Write a manifest without leaking and unreadable images, with a column of groups.

    No image is touched. The groups hold copies and images of one patient together; train with
    `--group-by group`.

    Args:
        audit: What was found.
        data: The data that it was found in.
        path: The manifest, a .csv file.
        channels: A manifest's columns of the series of a case.

    Raises:
        SettingsError: The path is that of the data, or no .csv file.
        DataError: Nothing would be left to train on.
        StorageError: It cannot be written.
    """
    check_fixed_path(data, path)
    leaking = find_leaking(audit)
    kept = np.flatnonzero(~leaking).astype(np.int64)
    table = audit.table.select(kept)
    if not table.targets.any():
        raise DataError(f"Of {audit.table.name} nothing would be left with a label.")
    columns = {
        name: tuple(values[row] for row in kept)
        for name, values in read_columns(data, audit.table, channels).items()
        if name not in _OWN_COLUMNS and name != GROUP_COLUMN
    }
    numbers = audit.group_numbers[kept]
    columns[GROUP_COLUMN] = tuple(f"g{number}" for number in numbers)
    sha256 = [audit.read.sha256[row] for row in kept]
    write_atomically(path, format_split(table, sha256, path.parent, columns))
    left_out = {
        split: int(leaking[audit.table.rows_in(split)].sum())
        for split in SPLITS
        if leaking[audit.table.rows_in(split)].any()
    }
    return FixedManifest(path, len(kept), left_out, len(np.unique(numbers)))
