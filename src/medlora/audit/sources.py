"""Whether images of one source, such as a photograph or a patient, look alike within a class."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

import numpy as np
import numpy.typing as npt

from medlora.audit.neighbours import find_nearest

Rows = npt.NDArray[np.int64]

NOT_GROUPS: Final = frozenset({"path", "label", "labels", "split", "sha256"})
"""Columns of a manifest that have a meaning of their own, and name no source."""
FROM_NAMES: Final = "(file names)"
"""Stands for a column where sources are read from the names of files."""

# A column names a source where so many neighbours have the same value, and so many times as
# many as by chance.
MIN_SHARE: Final = 0.15
MIN_TIMES: Final = 3.0
MAX_P_VALUE: Final = 0.01
# A column with fewer values than this, or larger groups, describes a kind of image, not a source.
_MIN_VALUES: Final = 12
_MAX_SHARE: Final = 0.1
_N_SHUFFLES: Final = 200
_LAST_NUMBER: Final = re.compile(
    r"^(?P<stem>.*?\d.*?)[-_. ]+\(?\d+\)?(?:[-_][a-z])?$", re.IGNORECASE
)


@dataclass(frozen=True)
class SourceClustering:
    """How often an image's nearest neighbour in its class has the same source.

    Attributes:
        column: The column of the manifest that names the source.
        n_values: How many sources there are.
        n_images: Images that have another one of their class and source.
        share: Share of these whose nearest neighbour within the class has their source.
        chance: The same where neighbours are drawn at random.
        p_value: Share of shuffles of the sources within classes that give as large a share.
        n_cut: Sources whose images lie in several splits; 0 where no split is stated.
    """

    column: str
    n_values: int
    n_images: int
    share: float
    chance: float
    p_value: float
    n_cut: int

    @property
    def is_source(self) -> bool:
        """Whether images of one value are so alike that they must stay together."""
        is_clear = self.share >= max(MIN_SHARE, MIN_TIMES * self.chance)
        return is_clear and self.p_value <= MAX_P_VALUE


def list_candidates(
    columns: Mapping[str, Sequence[str]], locations: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    """Columns that may name a source, and one that is read from the names of the files.

    Args:
        columns: A manifest's columns by name, (image,) each; none for other data.
        locations: (image,) where each image lies.
    """
    found = {
        name: tuple(values)
        for name, values in columns.items()
        if name not in NOT_GROUPS and _may_be_source(values)
    }
    named = tuple(read_source(location) for location in locations)
    # A column that holds all images of each name together tells as much, or more.
    is_told = any(
        len(set(zip(named, own, strict=True))) == len(set(named)) for own in found.values()
    )
    if _may_be_source(named) and not is_told:
        found[FROM_NAMES] = named
    return found


def read_source(location: str) -> str:
    """What stands before the last number in a file's name, where a number stands there too.

    Example:
        >>> read_source("train/person1_bacteria_2.jpeg"), read_source("00001280_004.jpg")
        ('person1_bacteria', '00001280')
        >>> read_source("gg (12).jpg")
        ''
    """
    match = _LAST_NUMBER.match(PurePosixPath(location.replace("\\", "/")).stem)
    return match["stem"] if match else ""


def measure_clustering(
    column: str,
    values: Sequence[str],
    features: npt.NDArray[np.float32],
    strata: npt.NDArray[np.int64],
    splits: Sequence[str | None],
    *,
    seed: int = 0,
) -> SourceClustering | None:
    """Whether images with one value of a column are nearer neighbours than chance in a class.

    Args:
        column: Its name.
        values: (image,), "" where unknown.
        features: (image, feature) of length 1 each.
        strata: (image,) number of each image's class, or of its set of classes.
        splits: (image,) each image's split, None where unknown.
        seed: Of the shuffles.

    Returns:
        None where no two images of a class share a value.
    """
    numbers = np.array(_number(values), dtype=np.int64)
    known = np.array([bool(value) for value in values])
    rng = np.random.default_rng((seed, 13))
    n_images, n_same, by_chance = 0, 0, 0.0
    shuffled = np.zeros(_N_SHUFFLES)
    for stratum in np.unique(strata[known]):
        rows = np.flatnonzero((strata == stratum) & known)
        own = numbers[rows]
        _, inverse, counts = np.unique(own, return_inverse=True, return_counts=True)
        partners = counts[inverse] - 1
        if not partners.any():
            continue
        nearest = find_nearest(features[rows], 1, n_threads=1)[:, 0]
        n_images += int((partners > 0).sum())
        n_same += int((own[nearest] == own).sum())
        by_chance += float(partners.sum() / (len(rows) - 1))
        for turn in range(_N_SHUFFLES):
            drawn = rng.permutation(own)
            shuffled[turn] += (drawn[nearest] == drawn).sum()
    if not n_images:
        return None
    return SourceClustering(
        column,
        len({value for value in values if value}),
        n_images,
        n_same / n_images,
        by_chance / n_images,
        (1 + int((shuffled >= n_same).sum())) / (1 + _N_SHUFFLES),
        count_cut(values, splits),
    )


def count_cut(values: Sequence[str | None], splits: Sequence[str | None]) -> int:
    """How many values have images in several splits.

    Example:
        >>> count_cut(["a", "a", "b", None], ["train", "test", "test", "train"])
        1
    """
    seen: dict[str, set[str]] = {}
    for value, split in zip(values, splits, strict=True):
        if value and split:
            seen.setdefault(value, set()).add(split)
    return sum(len(found) > 1 for found in seen.values())


def _may_be_source(values: Sequence[str]) -> bool:
    counts = np.array(list(_count(values).values()))
    if len(counts) < _MIN_VALUES or not (counts > 1).any():
        return False
    return bool(counts.max() <= max(2.0, _MAX_SHARE * len(values)))


def _count(values: Sequence[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for value in values:
        if value:
            counts[value] = counts.get(value, 0) + 1
    return counts


def _number(values: Sequence[str]) -> tuple[int, ...]:
    """Each value as a number, in order of first appearance."""
    numbers: dict[str, int] = {}
    return tuple(numbers.setdefault(value, len(numbers)) for value in values)
