"""A few images of a data set, to see an experiment work before it is run on all of them."""

from pathlib import Path

import numpy as np

from medlora.data.split_file import write_split
from medlora.data.table import read_table

COUNTS = {"train": 120, "val": 48, "test": 96}
_SEED = 20240229


def write_sample(data: Path, group_by: str | None, path: Path) -> Path:
    """Write a manifest of some of a data set's images, in its own splits; keep one that is there.

    Every class gets its share, and one image at least of each split where it has any.

    Args:
        data: The data set: a manifest or array file that says its splits.
        group_by: Manifest column to take for `patient`.
        path: Where the manifest goes.

    Returns:
        `path`.

    Raises:
        DataError: The data cannot be read.
        StorageError: The manifest cannot be written.
    """
    if path.is_file():
        return path
    table = read_table(data, group_by=group_by)
    rng = np.random.default_rng(_SEED)
    chosen: list[int] = []
    for split, count in COUNTS.items():
        rows = rng.permutation(table.rows_in(split))
        kept = dict.fromkeys(rows[:count].tolist())
        for column in range(len(table.classes)):
            members = rows[table.targets[rows, column]]
            kept.update(dict.fromkeys(members[:1].tolist()))
        chosen += kept
    sample = table.select(np.array(sorted(chosen), dtype=np.int64))
    write_split(path, sample, [""] * sample.n_images)
    return path
