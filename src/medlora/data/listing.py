"""What a folder, manifest or array file says about its images, before anything is checked."""

import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NoReturn

from medlora.data.dicom import DICOM_SUFFIXES, count_frames, has_preamble
from medlora.data.source import FolderSource, ImageSource, split_frame
from medlora.errors import DataError, UnreadableImageError

IMAGE_SUFFIXES: Final = frozenset(
    {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".npy", *DICOM_SUFFIXES}
)
SPLIT_OF_WORD: Final = {
    **dict.fromkeys(("train", "training", "tr"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing", "ts"), "test"),
}


@dataclass(frozen=True)
class Listing:
    """One entry for each image, as the data describe it.

    Attributes:
        locations: Where each image lies, for `source`.
        labels: Names of the classes that each image belongs to.
        splits: "train", "val", "test", or None where nothing is said.
        patients: The patient, or whatever else images are grouped by; None where unknown.
        multi_label: Whether an image may belong to none or to several of the classes.
        source: Reads the locations.
        classes: All classes in order, where the data state them apart from the labels.
        columns: Other columns of a manifest that were asked for, by name: a value for each image.
    """

    locations: tuple[str, ...]
    labels: tuple[tuple[str, ...], ...]
    splits: tuple[str | None, ...]
    patients: tuple[str | None, ...]
    multi_label: bool
    source: ImageSource
    classes: tuple[str, ...] | None = None
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def is_image_file(path: Path) -> bool:
    """Whether a file is an image by its extension, or is DICOM without an extension.

    DICOM files are often named by an identifier such as 1.2.840.113, whose last part is no
    extension.
    """
    suffix = path.suffix.lower()
    if suffix in IMAGE_SUFFIXES:
        return True
    if suffix and not suffix[1:].isdigit():
        return False
    try:
        # Opening a pipe may wait for ever.
        if not stat.S_ISREG(path.stat().st_mode):
            return False
        with path.open("rb") as stream:
            return has_preamble(stream.read(132))
    except OSError:
        # Listed, so that it is reported with the other unreadable images.
        return True


def list_visible(folder: Path) -> tuple[list[Path], list[Path]]:
    """Folders and files directly in a folder, sorted, without hidden ones.

    Raises:
        DataError: The folder cannot be read.
    """
    try:
        entries = sorted(entry for entry in folder.iterdir() if _is_visible(entry.name))
    except OSError as error:
        _refuse_folder(error)
    return (
        [entry for entry in entries if entry.is_dir()],
        [entry for entry in entries if not entry.is_dir()],
    )


def find_images(folder: Path) -> tuple[Path, ...]:
    """All images in a folder and the folders below it, sorted, without hidden ones.

    Links are followed, each folder once.

    Raises:
        DataError: A folder cannot be read.
    """
    found: list[Path] = []
    seen: set[Path] = set()
    for parent, folders, names in os.walk(folder, followlinks=True, onerror=_refuse_folder):
        real = Path(parent).resolve()
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(filter(_is_visible, folders))
        paths = (Path(parent, name) for name in names if _is_visible(name))
        found += [path for path in paths if is_image_file(path)]
    return tuple(sorted(found))


def expand_frames(location: str, source: ImageSource) -> tuple[str, ...]:
    """A location for each frame of a multi-frame DICOM file; any other location by itself.

    A file that cannot be read stays one location, and is found out when it is decoded.
    """
    path, frame = split_frame(location)
    suffix = Path(path).suffix.lower()
    may_be_dicom = suffix in DICOM_SUFFIXES or not suffix or suffix[1:].isdigit()
    if frame is not None or not may_be_dicom:
        return (location,)
    try:
        n_frames = count_frames(source.read_bytes(location), location)
    except UnreadableImageError:
        return (location,)
    if n_frames == 1:
        return (location,)
    return tuple(f"{location}#frame={frame}" for frame in range(n_frames))


def list_images(paths: Sequence[Path]) -> tuple[ImageSource, tuple[str, ...]]:
    """The images that were asked for, in the order in which they were asked for.

    Args:
        paths: Files, which are listed whatever they are, and folders, which are searched for
            images with all the folders below them, and listed sorted. Frames of multi-frame
            DICOM files are listed one by one, as FILE#frame=0 and so on.

    Returns:
        What reads them, and where each lies.

    Raises:
        DataError: A folder cannot be read, or holds no image.
    """
    source = FolderSource(Path())
    locations: list[str] = []
    for path in paths:
        found = find_images(path) if path.is_dir() else (path,)
        if not found:
            raise DataError(f"{path} holds no images. {describe_formats()}")
        for image in found:
            locations += expand_frames(str(image), source)
    return source, tuple(locations)


def describe_formats() -> str:
    """A sentence on which files are images."""
    names = ", ".join(sorted(suffix[1:] for suffix in IMAGE_SUFFIXES))
    return f"Images are files ending in {names}, and DICOM files without an ending."


def _is_visible(name: str) -> bool:
    # The second is what macOS leaves in archives.
    return not name.startswith(".") and name != "__MACOSX"


def _refuse_folder(error: OSError) -> NoReturn:
    raise DataError(
        f"The folder {error.filename} cannot be read ({error.strerror or error}). "
        "Check the path and its permissions."
    ) from error
