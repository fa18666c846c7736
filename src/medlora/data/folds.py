"""Folds for cross-validation that share no patient and no identical file."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from medlora.data.partition import partition_groups
from medlora.data.split import group_rows, split_table
from medlora.data.table import ImageTable
from medlora.errors import DataError, SettingsError


def assign_folds(
    table: ImageTable, sha256: Sequence[str], n_folds: int, *, seed: int
) -> npt.NDArray[np.int64]:
    """Give every image to one fold.

    Images of one patient, and identical files, lie in one fold. Every fold has about the same
    share of each class, in multi-label tasks of each label. Splits that the table states take
    no part in it.

    Args:
        table: The images to share out; none of a test split.
        sha256: SHA-256 of each image's content, "" where unknown.
        n_folds: Number of folds, at least 2.
        seed: Decides between folds that are equally good.

    Returns:
        (image,) number of each image's fold, 0 to n_folds - 1.

    Raises:
        SettingsError: There are fewer than two folds, or more of them than groups of images, or
            these cannot fill them.
    """
    groups = group_rows(table.patients, sha256)
    n_groups = int(groups.max()) + 1
    if not 2 <= n_folds <= n_groups:
        raise SettingsError(
            f"The number of folds must be in [2, {n_groups}], not {n_folds}: {table.name} has "
            f"{n_groups} groups of images outside of the test split (a group is a patient, or "
            "files that are copies of one another)."
        )
    folds = _share_out(groups, table, n_folds, seed)
    n_filled = len(np.unique(folds))
    if n_filled < n_folds:
        raise SettingsError(
            f"Only {n_filled} of {n_folds} folds get an image: the {n_groups} groups of images of "
            f"{table.name} are too large, or hold too few of a class. Choose fewer folds."
        )
    return folds


def assign_most_folds(
    table: ImageTable, sha256: Sequence[str], n_most: int, *, seed: int
) -> npt.NDArray[np.int64] | None:
    """Give every image to one of as many folds as the images can fill.

    Args:
        table: As for `assign_folds`.
        sha256: As for `assign_folds`.
        n_most: Number of folds that is wanted, at least 2.
        seed: As for `assign_folds`.

    Returns:
        (image,) number of each image's fold; None where not even two folds get an image each.
    """
    groups = group_rows(table.patients, sha256)
    for n_folds in range(min(n_most, int(groups.max()) + 1), 1, -1):
        folds = _share_out(groups, table, n_folds, seed)
        if len(np.unique(folds)) == n_folds:
            return folds
    return None


def _share_out(
    groups: npt.NDArray[np.int64], table: ImageTable, n_folds: int, seed: int
) -> npt.NDArray[np.int64]:
    return partition_groups(
        groups, table.targets, [1 / n_folds] * n_folds, np.random.default_rng((seed, 11))
    )


def split_fold(
    table: ImageTable,
    sha256: Sequence[str],
    folds: npt.NDArray[np.int64],
    number: int,
    *,
    val_fraction: float,
    seed: int,
) -> ImageTable:
    """The table with the splits of one fold's run.

    The fold itself is the run's test split. Its validation images, by which the epoch and
    thresholds are chosen, come out of the other folds, so that no choice sees the fold.

    Args:
        table: The images that have folds.
        sha256: SHA-256 of each image's content, "" where unknown.
        folds: (image,) number of each image's fold.
        number: The fold.
        val_fraction: Share of the other folds' images that goes to validation, (0, 1).
        seed: Seed of that choice.

    Raises:
        DataError: A class is missing among the images to learn from, or, unless multi-label,
            in validation; the fold is named.
    """
    stated = table.with_splits(["test" if fold == number else "train" for fold in folds])
    try:
        return split_table(stated, sha256, val_fraction=val_fraction, test_fraction=0.0, seed=seed)
    except DataError as error:
        raise DataError(f"Fold {number} cannot be held out: {error}") from error
