"""The table of labelled images that everything else starts from."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from medlora.data.arrays import read_arrays
from medlora.data.folders import read_folder
from medlora.data.listing import Listing, list_images
from medlora.data.manifest import read_manifest
from medlora.data.rows import is_missing
from medlora.data.source import ImageSource
from medlora.errors import DataError

__all__ = ["ImageTable", "list_images", "read_table"]


@dataclass(frozen=True, eq=False)
class ImageTable:
    """Labelled images, one row each. Nothing in it changes; methods give new tables.

    Attributes:
        locations: Where each image lies, for `source`.
        classes: Names of the classes, in the order of the columns of `targets`.
        targets: (image, class), True where the image belongs to the class: exactly one in a
            row, or any number of them for a multi-label task.
        multi_label: Whether an image may belong to none or to several classes.
        splits: "train", "val" or "test" of each image, None where no split is given.
        patients: Patient, or other group, of each image; None where unknown.
        source: Reads the locations.
        name: Short name of the data, from their folder or file.
        columns: Other columns of a manifest that were asked for, by name: a text for each image.

    Raises:
        ValueError: The attributes do not have one entry for each image.
    """

    locations: tuple[str, ...]
    classes: tuple[str, ...]
    targets: npt.NDArray[np.bool_]
    multi_label: bool
    splits: tuple[str | None, ...]
    patients: tuple[str | None, ...]
    source: ImageSource
    name: str
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check that everything has as many rows."""
        n_rows = {len(self.locations), len(self.targets), len(self.splits), len(self.patients)}
        n_rows |= {len(values) for values in self.columns.values()}
        if len(n_rows) > 1 or self.targets.shape != (len(self.locations), len(self.classes)):
            raise ValueError(
                f"A table of {len(self.locations)} images and {len(self.classes)} classes cannot "
                f"have targets of shape {self.targets.shape}, {len(self.splits)} splits, "
                f"{len(self.patients)} patients, or columns of another length."
            )

    @property
    def n_images(self) -> int:
        """How many images there are."""
        return len(self.locations)

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """(image,) number of each image's class.

        Raises:
            DataError: The table is multi-label, where an image has no one class.
        """
        if self.multi_label:
            raise DataError(f"{self.name} is multi-label: its images do not have one class each.")
        labels: npt.NDArray[np.int64] = self.targets.argmax(axis=1).astype(np.int64)
        return labels

    def select(self, rows: npt.NDArray[np.int64]) -> "ImageTable":
        """The rows with these numbers, in this order."""
        return dataclasses.replace(
            self,
            locations=tuple(self.locations[row] for row in rows),
            targets=self.targets[rows],
            splits=tuple(self.splits[row] for row in rows),
            patients=tuple(self.patients[row] for row in rows),
            columns={
                name: tuple(values[row] for row in rows) for name, values in self.columns.items()
            },
        )

    def with_splits(self, splits: Sequence[str | None]) -> "ImageTable":
        """The same images with other splits."""
        return dataclasses.replace(self, splits=tuple(splits))

    def rows_in(self, split: str | None) -> npt.NDArray[np.int64]:
        """Numbers of the rows of one split, ascending; None for those without a split."""
        rows = [row for row, own in enumerate(self.splits) if own == split]
        return np.array(rows, dtype=np.int64)

    def align_classes(self, classes: Sequence[str]) -> "ImageTable":
        """The same images with another list of classes, for example a task's.

        Args:
            classes: Every class of this table, in any order, and maybe others, to which no
                image belongs then.

        Raises:
            DataError: The table has a class that is not among them.
        """
        unknown = [name for name in self.classes if name not in classes]
        if unknown:
            raise DataError(
                f"{self.name} has classes that the task does not know: {', '.join(unknown)}. The "
                f"task's are {', '.join(classes)}; rename or remove the others."
            )
        targets = np.zeros((self.n_images, len(classes)), dtype=bool)
        targets[:, [list(classes).index(name) for name in self.classes]] = self.targets
        return dataclasses.replace(self, classes=tuple(classes), targets=targets)


def read_table(
    path: Path,
    *,
    group_by: str | None = None,
    classes: Sequence[str] | None = None,
    channels: Sequence[str] = (),
    columns: Sequence[str] = (),
) -> ImageTable:
    """Read labelled images from a folder, a CSV or Parquet manifest, or a MedMNIST `.npz` file.

    `read_folder`, `read_manifest` and `read_arrays` say how each is laid out. No image is
    opened, multi-frame DICOM files apart. Classes are sorted by name; by number where
    they are all numbers.

    Args:
        path: The folder or file.
        group_by: A manifest's column that says which images belong together, in place of
            `patient`.
        classes: The classes to have, in this order, where a task has fixed them already. The
            data need not have images of all of them then.
        channels: A manifest's columns of the series of a case, in place of `path`.
        columns: Other columns of a manifest to keep.

    Raises:
        DataError: There is nothing at the path, or it does not describe a usable set of
            labelled images.
    """
    listing = _read_listing(path, group_by, channels, columns)
    found = listing.classes or _sort_classes(listing)
    _check_classes(found, listing.multi_label, path, n_needed=2 if classes is None else 1)
    column = {name: number for number, name in enumerate(found)}
    targets = np.zeros((len(listing.locations), len(found)), dtype=bool)
    for row, names in enumerate(listing.labels):
        targets[row, [column[name] for name in names]] = True
    table = ImageTable(
        locations=listing.locations,
        classes=found,
        targets=targets,
        multi_label=listing.multi_label,
        splits=listing.splits,
        patients=listing.patients,
        source=listing.source,
        name=path.resolve().name if path.is_dir() else path.stem,
        columns=listing.columns,
    )
    return table if classes is None else table.align_classes(classes)


def _read_listing(
    path: Path, group_by: str | None, channels: Sequence[str], columns: Sequence[str]
) -> Listing:
    suffix = path.suffix.lower()
    if not path.exists():
        raise DataError(f"There is nothing at {path}. Check the path.")
    if path.is_file() and suffix in (".csv", ".parquet"):
        return read_manifest(path, group_by, channels, columns)
    if channels:
        raise DataError(
            f"{path} has no columns {', '.join(channels)} for the series of each case. List them "
            "in a CSV manifest."
        )
    if columns:
        raise DataError(
            f"{path} has no columns such as {', '.join(columns)}. List its images in a CSV "
            "manifest."
        )
    if group_by is not None:
        raise DataError(
            f"{path} has no columns, so it cannot be grouped by '{group_by}'. "
            "List its images in a CSV manifest."
        )
    if path.is_dir():
        return read_folder(path)
    if suffix == ".npz" and path.is_file():
        return read_arrays(path)
    raise DataError(
        f"{path} is no labelled data. Give a folder of class folders, a .csv or .parquet "
        "manifest, or a MedMNIST .npz file."
    )


def _sort_classes(listing: Listing) -> tuple[str, ...]:
    names = {name for labels in listing.labels for name in labels}
    if all(name.isascii() and name.isdigit() for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))


def _check_classes(
    classes: tuple[str, ...], multi_label: bool, path: Path, *, n_needed: int
) -> None:
    if not classes:
        raise DataError(f"{path} gives no label to any of its images.")
    if len(classes) < n_needed and not multi_label:
        raise DataError(
            f"{path} has images of one class only, '{classes[0]}'. There must be at least two to "
            "tell apart."
        )
    for name in filter(is_missing, classes):
        raise DataError(
            f"{path} has a class named '{name}', which is how a missing label is often written. "
            "Remove these images, or give them another label."
        )
    by_lower: dict[str, str] = {}
    for name in classes:
        other = by_lower.setdefault(name.casefold(), name)
        if other != name:
            raise DataError(
                f"{path} has two classes that differ in case only, '{other}' and '{name}'. "
                "Give them one name."
            )
