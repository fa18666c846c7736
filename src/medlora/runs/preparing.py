"""From a path with labelled images to everything that training needs to know of them."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medlora.data.cache import ImageCache, NoCache, PreparedImages
from medlora.data.scan import leave_out_unreadable, scan_images
from medlora.data.source import split_frame
from medlora.data.split import (
    SPLITS,
    check_stated_splits,
    group_rows,
    list_missing_classes,
    seen_in_training,
    split_table,
)
from medlora.data.table import ImageTable, read_table
from medlora.preprocessing import Preprocessing
from medlora.progress import Progress, silent


@dataclass(frozen=True)
class PreparedData:
    """Labelled images, decoded and hashed.

    Attributes:
        table: One row for each readable image.
        images: The same rows as the backbone sees them.
        sha256: Digest of each row's file.
        n_skipped: Unreadable images that were left out.
        unreadable: What was wrong with those.
    """

    table: ImageTable
    images: PreparedImages
    sha256: tuple[str, ...]
    n_skipped: int
    unreadable: tuple[str, ...]

    @property
    def digest(self) -> str:
        """SHA-256 over the digests of all images, in their order."""
        return hashlib.sha256("".join(self.sha256).encode()).hexdigest()

    @cached_property
    def names(self) -> tuple[str, ...]:
        """What identifies each row's image: the digest of its file, and the frame in it."""
        frames = [split_frame(location)[1] or 0 for location in self.table.locations]
        return tuple(f"{own}#{frame}" for own, frame in zip(self.sha256, frames, strict=True))

    def with_table(self, table: ImageTable) -> "PreparedData":
        """The same images under another table of the same rows."""
        return replace(self, table=table)

    def select(self, rows: npt.NDArray[np.int64]) -> "PreparedData":
        """The images of these rows alone, in this order."""
        return replace(
            self,
            table=self.table.select(rows),
            images=self.images.select(rows),
            sha256=tuple(self.sha256[row] for row in rows),
        )


def prepare_data(
    path: Path,
    preprocessing: Preprocessing,
    cache: ImageCache | NoCache,
    *,
    group_by: str | None = None,
    classes: Sequence[str] | None = None,
    skip_unreadable: bool = False,
    progress: Progress = silent,
) -> PreparedData:
    """Read the table, decode and hash every image, and leave out or refuse the unreadable.

    Args:
        path: Folder, manifest or array file.
        preprocessing: What images go through.
        cache: Where decoded images are kept.
        group_by: Manifest column of groups.
        classes: A task's classes, where they are fixed.
        skip_unreadable: Leave unreadable images out.
        progress: Told after every image.

    Raises:
        DataError: The data are not usable.
        UnreadableImagesError: Images cannot be decoded and are not to be skipped.
    """
    table = read_table(path, group_by=group_by, classes=classes, channels=preprocessing.channels)
    return prepare_table(
        table, preprocessing, cache, skip_unreadable=skip_unreadable, progress=progress
    )


def prepare_table(
    table: ImageTable,
    preprocessing: Preprocessing,
    cache: ImageCache | NoCache,
    *,
    skip_unreadable: bool = False,
    progress: Progress = silent,
) -> PreparedData:
    """The same for a table that has been read already; the arguments are `prepare_data`'s.

    Raises:
        UnreadableImagesError: Images cannot be decoded and are not to be skipped.
    """
    store = PreparedImages(table.source, table.locations, preprocessing, cache)
    scan = scan_images(table, store, progress)
    table, scan = leave_out_unreadable(table, scan, skip=skip_unreadable)
    images = PreparedImages(table.source, table.locations, preprocessing, cache, sha256=scan.sha256)
    return PreparedData(
        table, images, scan.sha256, len(scan.errors), tuple(str(error) for error in scan.errors)
    )


def divide_data(
    data: PreparedData,
    *,
    val_fraction: float,
    test_fraction: float,
    seed: int,
    allow_patient_overlap: bool,
) -> PreparedData:
    """The same images, every one with a split; see `medlora.data.split.split_table`."""
    table = split_table(
        data.table,
        data.sha256,
        val_fraction=val_fraction,
        test_fraction=test_fraction,
        seed=seed,
        allow_patient_overlap=allow_patient_overlap,
    )
    return data.with_table(table)


def prepare_pool(
    table: ImageTable,
    preprocessing: Preprocessing,
    cache: ImageCache | NoCache,
    *,
    val_fraction: float,
    test_fraction: float,
    seed: int,
    skip_unreadable: bool = False,
    allow_patient_overlap: bool = False,
    progress: Progress = silent,
) -> PreparedData:
    """The images that a choice may be made by: all but those of the test split.

    Test images that the data state are not even opened. Where the data state no split, one is
    made as a run with the same fractions and seed makes it, and its test images are left out.

    Args:
        table: The images.
        preprocessing: What they go through.
        cache: Where decoded images are kept.
        val_fraction: Share for validation where the data give none.
        test_fraction: Share for testing where the data give none.
        seed: Seed of the split.
        skip_unreadable: Leave unreadable images out.
        allow_patient_overlap: Accept a patient in two of the data's own splits.
        progress: Told after every image.

    Returns:
        Every image with the split `train` or `val`.

    Raises:
        DataError: The data are not usable.
    """
    check_stated_splits(table, allow_patient_overlap=allow_patient_overlap)
    if "test" in table.splits:
        table = table.select(_list_rows_outside_test(table))
    data = prepare_table(
        table, preprocessing, cache, skip_unreadable=skip_unreadable, progress=progress
    )
    data = divide_data(
        data,
        val_fraction=val_fraction,
        test_fraction=test_fraction,
        seed=seed,
        allow_patient_overlap=allow_patient_overlap,
    )
    rows = _list_rows_outside_test(data.table)
    return data if len(rows) == data.table.n_images else data.select(rows)


def _list_rows_outside_test(table: ImageTable) -> npt.NDArray[np.int64]:
    return np.array([row for row, own in enumerate(table.splits) if own != "test"], dtype=np.int64)


def shuffle_labels(data: PreparedData, seed: int) -> PreparedData:
    """The same images with the labels of other ones.

    Images of one patient, and identical files, get the labels of one image: where such a
    group is cut by a split, a model can learn the shuffled labels and do well on validation,
    which is what shuffling is meant to show.
    """
    groups = group_rows(data.table.patients, data.sha256)
    firsts = np.unique(groups, return_index=True)[1]
    drawn = np.random.default_rng((seed, 7)).permutation(firsts)
    numbers = np.unique(groups, return_inverse=True)[1]
    targets = data.table.targets[drawn[numbers]]
    return data.with_table(replace(data.table, targets=targets))


def describe_data(data: PreparedData) -> dict[str, Any]:
    """Counts and digests for the card; nothing of any patient."""
    table = data.table
    counts = {
        split: {
            name: int(table.targets[rows][:, number].sum())
            for number, name in enumerate(table.classes)
        }
        for split in SPLITS
        if len(rows := table.rows_in(split))
    }
    return {
        "name": table.name,
        "n_images": {split: len(table.rows_in(split)) for split in counts},
        "counts": counts,
        "n_groups": len(np.unique(group_rows(table.patients, data.sha256))),
        "patients_known": any(patient is not None for patient in table.patients),
        "n_skipped": data.n_skipped,
        "sha256": data.digest,
    }


def warn_of_data(data: PreparedData, *, allow_patient_overlap: bool) -> list[str]:
    """What a reader has to know about the data before believing a score."""
    warnings = []
    if data.n_skipped:
        warnings.append(f"{data.n_skipped} unreadable image(s) were left out.")
    for split, names in list_missing_classes(data.table).items():
        warnings.append(f"The {split} split has no image of {', '.join(names)}.")
    if allow_patient_overlap:
        warnings.append("Patients may be in several splits (--allow-patient-overlap).")
    return warnings


def find_seen(data: PreparedData, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """(row,) whether a row's bytes are also those of a training or validation image."""
    return seen_in_training(data.table, data.sha256)[rows]
