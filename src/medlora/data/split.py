"""Training, validation and test images that share no patient and no identical file."""

from collections import Counter
from collections.abc import Hashable, Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from medlora.data.partition import partition_groups
from medlora.data.table import ImageTable
from medlora.errors import DataError, PatientLeakError, SettingsError

SPLITS = ("train", "val", "test")


def split_table(
    table: ImageTable,
    sha256: Sequence[str],
    *,
    val_fraction: float = 0.15,
    test_fraction: float = 0.15,
    seed: int,
    allow_patient_overlap: bool = False,
) -> ImageTable:
    """Give every image a split.

    Splits that the data state are kept. Where they state none, one is made: images of one
    patient and identical files stay together, every class is shared out by the fractions, and
    the seed decides the rest. Where they state no validation images, these come out of the
    training images in the same way, and test images stay as they are.

    Args:
        table: The images.
        sha256: SHA-256 of each image's content; "" where unknown.
        val_fraction: Share of the images that are to be split that goes to validation.
        test_fraction: Share that goes to test, where the data state no split. May be 0.
        seed: Seed of the split, at least 0.
        allow_patient_overlap: Whether a patient may be in two of the stated splits.

    Raises:
        SettingsError: A fraction or the seed is out of range.
        PatientLeakError: A patient is in two of the stated splits.
        DataError: Some images have a split and others none, there is nothing to train on, or
            training has no image of a class; validation neither, unless multi-label.
    """
    _check_settings(val_fraction, test_fraction, seed)
    check_stated_splits(table, allow_patient_overlap=allow_patient_overlap)
    stated = set(table.splits)
    if None in stated:
        parts = {"train": 1 - val_fraction - test_fraction, "val": val_fraction}
        if test_fraction:
            parts["test"] = test_fraction
        table = _part_rows(table, sha256, np.arange(table.n_images), parts, seed)
    elif "train" in stated and "val" not in stated:
        parts = {"train": 1 - val_fraction, "val": val_fraction}
        table = _part_rows(table, sha256, table.rows_in("train"), parts, seed)
    _check_filled(table, are_made=None in stated)
    return table


def check_stated_splits(table: ImageTable, *, allow_patient_overlap: bool = False) -> None:
    """Refuse splits that the data state for some images only, or that cut a patient.

    Args:
        table: The images, with their splits if they have any.
        allow_patient_overlap: Whether a patient may be in two of the splits.

    Raises:
        DataError: Some images have a split and others none.
        PatientLeakError: A patient is in two of the splits.
    """
    n_without = table.splits.count(None)
    if 0 < n_without < table.n_images:
        raise DataError(
            f"{n_without} of the {table.n_images} images of {table.name} have no split, and the "
            "others have one. Give all of them one, or none."
        )
    if not allow_patient_overlap:
        _check_patients(table)


def group_rows(patients: Sequence[Hashable | None], sha256: Sequence[str]) -> npt.NDArray[np.int64]:
    """Number the groups of images that must stay together.

    Images of one patient, and identical files, belong together; so do images that are linked
    through others.

    Args:
        patients: Patient of each image, None where unknown.
        sha256: SHA-256 of each image's content, "" where unknown.

    Returns:
        (image,) number of each image's group, counted from 0 in order of first appearance.

    Example:
        >>> group_rows(["ann", None, "ann", None, None], ["a", "b", "b", "c", "c"])
        array([0, 0, 0, 1, 1])
    """
    links: list[tuple[int, int]] = []
    for keys in (patients, sha256):
        first: dict[Hashable, int] = {}
        for row, key in enumerate(keys):
            if key is not None and key != "":
                links.append((row, first.setdefault(key, row)))
    n_images = len(patients)
    ends = np.array(links, dtype=np.int64).reshape(-1, 2)
    graph = coo_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(n_images, n_images))
    _, component = connected_components(graph, directed=False)
    _, first_row, group = np.unique(component, return_index=True, return_inverse=True)
    numbers: npt.NDArray[np.int64] = np.argsort(np.argsort(first_row))[group].astype(np.int64)
    return numbers


def seen_in_training(table: ImageTable, sha256: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Which images outside of training and validation are identical to one inside.

    Args:
        table: The images with their splits.
        sha256: SHA-256 of each image's content, "" where unknown.

    Returns:
        (image,) True for a test image whose file is also a training or validation image;
        False for these themselves.
    """
    is_used = np.array([split in ("train", "val") for split in table.splits], dtype=bool)
    used = {own for own, inside in zip(sha256, is_used, strict=True) if inside and own}
    is_copy = np.array([own in used for own in sha256], dtype=bool)
    seen: npt.NDArray[np.bool_] = is_copy & ~is_used
    return seen


def list_missing_classes(table: ImageTable) -> dict[str, tuple[str, ...]]:
    """The classes without an image in each split that has images, in the table's order."""
    missing: dict[str, tuple[str, ...]] = {}
    for split in SPLITS:
        rows = table.rows_in(split)
        empty = ~table.targets[rows].any(axis=0)
        if len(rows) and empty.any():
            missing[split] = tuple(table.classes[number] for number in np.flatnonzero(empty))
    return missing


def _check_settings(val_fraction: float, test_fraction: float, seed: int) -> None:
    if not 0 < val_fraction < 1:
        raise SettingsError(f"The validation fraction must be in (0, 1), not {val_fraction}.")
    if not 0 <= test_fraction < 1:
        raise SettingsError(f"The test fraction must be in [0, 1), not {test_fraction}.")
    if val_fraction + test_fraction >= 1:
        raise SettingsError(
            f"The fractions of validation ({val_fraction}) and test ({test_fraction}) leave "
            "nothing to train on. Their sum must be below 1."
        )
    if seed < 0:
        raise SettingsError(f"The seed must be at least 0, not {seed}.")


def _check_patients(table: ImageTable) -> None:
    """Refuse patients in two splits; how many is said, never which."""
    splits_of: dict[str, set[str]] = {}
    for patient, split in zip(table.patients, table.splits, strict=True):
        if patient is not None and split is not None:
            splits_of.setdefault(patient, set()).add(split)
    shared = [splits for splits in splits_of.values() if len(splits) > 1]
    if not shared:
        return
    pairs = Counter(
        pair for splits in shared for pair in combinations(SPLITS, 2) if splits.issuperset(pair)
    )
    listing = ", ".join(f"{one} and {other}: {n}" for (one, other), n in pairs.items())
    raise PatientLeakError(
        f"{len(shared)} patient(s) of {table.name} have images in more than one split "
        f"({listing}), so that a test would be of images that were all but seen. Move each "
        "patient to one split, or accept it with --allow-patient-overlap."
    )


def _part_rows(
    table: ImageTable,
    sha256: Sequence[str],
    rows: npt.NDArray[np.int64],
    fractions: dict[str, float],
    seed: int,
) -> ImageTable:
    """The table with new splits for some of its rows."""
    groups = group_rows([table.patients[row] for row in rows], [sha256[row] for row in rows])
    parts = partition_groups(
        groups, table.targets[rows], list(fractions.values()), np.random.default_rng(seed)
    )
    names = tuple(fractions)
    splits = list(table.splits)
    for row, part in zip(rows, parts, strict=True):
        splits[row] = names[part]
    return table.with_splits(splits)


def _check_filled(table: ImageTable, *, are_made: bool) -> None:
    """Refuse splits from which nothing can be learnt, or on which no epoch can be chosen."""
    for split in ("train", "val"):
        if split not in table.splits:
            advice = (
                f"Its {table.n_images} images are too few, or of too few patients, to be "
                "divided. Add some, or change --val-fraction and --test-fraction."
                if are_made
                else "Add some, or leave the splits out so that they are made."
            )
            raise DataError(f"{table.name} has no images in the split '{split}'. {advice}")
    missing = list_missing_classes(table)
    # A finding can be so rare that validation has none of it; it is undefined there, and the
    # others still tell one epoch from another.
    for split in ("train",) if table.multi_label else ("train", "val"):
        if split in missing:
            raise DataError(
                f"{table.name} has no image of {', '.join(missing[split])} in the split "
                f"'{split}'. A class needs images of at least one patient, or one file that is "
                "no copy of another, in training and in validation each: add some, or remove "
                "the class."
            )
