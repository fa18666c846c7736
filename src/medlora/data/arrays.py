"""Labelled images in one `.npz` file, laid out as MedMNIST's are."""

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medlora.data.listing import Listing
from medlora.data.source import ArraySource
from medlora.errors import DataError

# What NumPy and the zip format raise for a file that is not what its name says.
_DAMAGE = (
    *(OSError, ValueError, EOFError, TypeError, KeyError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error),
)


def read_arrays(path: Path) -> Listing:
    """List the images of `{train,val,test}_images` and `{train,val,test}_labels`.

    Images are (image, height, width) or (image, height, width, 3). Labels are class numbers,
    (image,) or (image, 1), or zeros and ones for the classes of a multi-label task,
    (image, class). The classes are named by their numbers.

    Raises:
        DataError: The file is damaged, lacks arrays, or their shapes and values do not fit.

    Reference:
        Yang et al., MedMNIST v2, Scientific Data 2023.
    """
    locations: list[str] = []
    splits: list[str | None] = []
    found: list[npt.NDArray[Any]] = []
    try:
        # Opened here: given a path, NumPy leaves a damaged file open.
        with (
            path.open("rb") as stream,
            np.load(stream, allow_pickle=False) as archive,
            zipfile.ZipFile(path) as members,
        ):
            for split in ("train", "val", "test"):
                if f"{split}_images" not in archive.files:
                    continue
                n_images = _count_images(members, split, path)
                if f"{split}_labels" not in archive.files:
                    raise DataError(f"{path} holds {split}_images, but no {split}_labels.")
                found.append(_check_labels(archive[f"{split}_labels"], split, n_images, path))
                locations += [f"{split}/{number}" for number in range(n_images)]
                splits += [split] * n_images
    except _DAMAGE as error:
        raise DataError(
            f"{path} cannot be read as an .npz file ({error}). Download or export it again."
        ) from error
    if not locations:
        raise DataError(
            f"{path} holds no images. It needs arrays named train_images and train_labels, and "
            "the same for val and test where there are such."
        )
    labels, classes = _name_labels(found, path)
    return Listing(
        locations=tuple(locations),
        labels=labels,
        splits=tuple(splits),
        patients=(None,) * len(locations),
        multi_label=found[0].shape[1] > 1,
        source=ArraySource(path),
        classes=classes,
    )


def _count_images(members: zipfile.ZipFile, split: str, path: Path) -> int:
    """How many images an array holds, from its header: the pixels are not read yet."""
    with members.open(f"{split}_images.npy") as stream:
        version = np.lib.format.read_magic(stream)
        read_header = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        shape, _, dtype = read_header(stream)
    is_picture = len(shape) == 3 or (len(shape) == 4 and shape[3] == 3)
    if not is_picture or dtype.kind not in "uif":
        raise DataError(
            f"{path}: {split}_images must be numbers of shape (image, height, width) or "
            f"(image, height, width, 3), not {dtype} of shape {shape}."
        )
    return int(shape[0])


def _check_labels(
    labels: npt.NDArray[Any], split: str, n_images: int, path: Path
) -> npt.NDArray[np.int64]:
    """The labels as (image, number) integers."""
    values = labels[:, np.newaxis] if labels.ndim == 1 else labels
    if values.ndim != 2 or values.shape[1] == 0 or len(values) != n_images:
        raise DataError(
            f"{path}: {split}_labels must have one row for each of the {n_images} images, "
            f"not shape {labels.shape}."
        )
    whole = values.dtype.kind in "uib" or (
        values.dtype.kind == "f" and bool((values == np.floor(values)).all())
    )
    if not whole or (values.size and values.min() < 0):
        raise DataError(f"{path}: {split}_labels must be whole numbers from 0 on.")
    if values.shape[1] > 1 and values.size and values.max() > 1:
        raise DataError(
            f"{path}: {split}_labels has {values.shape[1]} columns, so its values must be 0 or 1, "
            f"not {values.max():g}."
        )
    return values.astype(np.int64)


def _name_labels(
    found: list[npt.NDArray[Any]], path: Path
) -> tuple[tuple[tuple[str, ...], ...], tuple[str, ...]]:
    """Each image's labels as names, and all the names in order."""
    if len({labels.shape[1] for labels in found}) > 1:
        raise DataError(f"{path}: the labels of its splits differ in their number of columns.")
    values = np.concatenate(found)
    if values.shape[1] == 1:
        classes = tuple(str(number) for number in np.unique(values))
        return tuple((str(number),) for number in values[:, 0]), classes
    classes = tuple(str(number) for number in range(values.shape[1]))
    return tuple(tuple(str(number) for number in np.flatnonzero(row)) for row in values), classes
