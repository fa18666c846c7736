"""Where the bytes of an image come from: a folder, or one array file."""

import io
import re
import stat
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from medlora.errors import UnreadableImageError

_FRAME_SUFFIX = re.compile(r"#frame=(\d{1,9})$")


@runtime_checkable
class ImageSource(Protocol):
    """Turns a location into bytes; `decode_image` turns the bytes into pixels."""

    def read_bytes(self, location: str) -> bytes:
        """The encoded image at `location`.

        Raises:
            UnreadableImageError: There is nothing at the location, or it cannot be opened.
        """


def split_frame(location: str) -> tuple[str, int | None]:
    """Take the frame of a multi-frame file off its location.

    Args:
        location: A location, with or without `#frame=N` at its end.

    Returns:
        The location of the file, and N counted from 0; None where no frame is named.

    Example:
        >>> split_frame("loops/cine.dcm#frame=3")
        ('loops/cine.dcm', 3)
        >>> split_frame("chest.png")
        ('chest.png', None)
    """
    match = _FRAME_SUFFIX.search(location)
    if match is None:
        return location, None
    return location[: match.start()], int(match.group(1))


def _check_regular(path: Path, location: str) -> None:
    """Refuse what may never end, or never begin: pipes, sockets and devices."""
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise UnreadableImageError(location, "it is no regular file")


@dataclass(frozen=True)
class FolderSource:
    """Files below one folder.

    Attributes:
        root: What relative locations are relative to. Absolute locations are read as they are.
    """

    root: Path

    def read_bytes(self, location: str) -> bytes:
        """The content of the file at `location`, whole, whichever frame is named.

        Raises:
            UnreadableImageError: The file is missing, a folder, a pipe, empty, or may not be read.
        """
        path, _ = split_frame(location)
        try:
            _check_regular(self.root / path, location)
            content = (self.root / path).read_bytes()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise UnreadableImageError(location, f"cannot be opened ({reason})") from error
        if not content:
            raise UnreadableImageError(location, "the file is empty")
        return content


@dataclass(frozen=True)
class ArraySource:
    """Images in one `.npz` file in MedMNIST's layout: `train_images`, `val_images`, ...

    A location is the split and the number in it, counted from 0: "train/17". An array is held
    in memory once one of its images has been asked for.

    Attributes:
        content: The file's path, or its bytes.

    Reference:
        Yang et al., MedMNIST v2, Scientific Data 2023.
    """

    content: Path | bytes = field(repr=False)
    _arrays: dict[str, npt.NDArray[Any]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    _lock: threading.Lock = field(
        default_factory=threading.Lock, init=False, repr=False, compare=False
    )

    def read_bytes(self, location: str) -> bytes:
        """One image of the file, in NumPy's `.npy` format.

        Raises:
            UnreadableImageError: The file cannot be opened, or holds no such image.
        """
        split, _, number = location.partition("/")
        images = self._images(split, location)
        if not number.isascii() or not number.isdigit() or int(number) >= len(images):
            raise UnreadableImageError(
                location, f"the file holds images {split}/0 to {split}/{len(images) - 1}"
            )
        stream = io.BytesIO()
        np.save(stream, images[int(number)], allow_pickle=False)
        return stream.getvalue()

    def _images(self, split: str, location: str) -> npt.NDArray[Any]:
        with self._lock:
            if split not in self._arrays:
                self._arrays[split] = self._load(f"{split}_images", location)
            return self._arrays[split]

    def _load(self, name: str, location: str) -> npt.NDArray[Any]:
        stream = io.BytesIO(self.content) if isinstance(self.content, bytes) else self.content
        try:
            if isinstance(self.content, Path):
                _check_regular(self.content, location)
            with np.load(stream, allow_pickle=False) as archive:
                images: npt.NDArray[Any] = archive[name]
        except UnreadableImageError:
            raise
        except KeyError as error:
            raise UnreadableImageError(location, f"the file holds no array {name}") from error
        # A damaged archive raises nearly anything: BadZipFile, zlib.error, ValueError, EOFError.
        except Exception as error:
            raise UnreadableImageError(
                location, f"its array file cannot be read ({error})"
            ) from error
        if images.ndim < 3:
            raise UnreadableImageError(
                location, f"the array {name} has shape {images.shape}, not (image, height, width)"
            )
        return images
