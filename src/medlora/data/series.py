"""Several series of one case, each an image file of its own, that become channels of one image."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final, NamedTuple

from medlora.data.source import ImageSource, split_frame
from medlora.errors import DataError, UnreadableImageError

SEPARATOR: Final = "|"
"""Between the files of one case in its location."""

_MAGIC: Final = b"\x00MEDLORA-SERIES\x00"
_LENGTH: Final = struct.Struct("<Q")


class Series(NamedTuple):
    """One series of a case: its column, its file's extension and frame, and its encoded image.

    Where the file lies is no part of it: copies of a case have the same bytes.
    """

    name: str
    kind: str
    content: bytes


@dataclass(frozen=True)
class SeriesSource:
    """Cases of several files each; a location names them all, in the order of the channels.

    Attributes:
        source: Reads one file.
        channels: The manifest's columns.
    """

    source: ImageSource
    channels: tuple[str, ...]

    def read_bytes(self, location: str) -> bytes:
        """The files of one case behind one another, as `unpack_series` takes them apart.

        Raises:
            UnreadableImageError: A series is missing or cannot be opened; it is named.
        """
        places = location.split(SEPARATOR)
        if len(places) != len(self.channels):
            raise UnreadableImageError(
                location, f"it names {len(places)} series, not {len(self.channels)}"
            )
        parts = []
        for name, place in zip(self.channels, places, strict=True):
            if not place:
                raise UnreadableImageError(location, f"its series {name} is missing")
            try:
                content = self.source.read_bytes(place)
            except UnreadableImageError as error:
                raise UnreadableImageError(
                    location, f"its series {name}: {error.reason}"
                ) from error
            parts.append(Series(name, _describe_place(place), content))
        return pack_series(parts)


def join_places(places: Sequence[str], where: str) -> str:
    """The location of a case.

    Args:
        places: Its files, "" for a series that it lacks.
        where: Where they are listed, for the error.

    Raises:
        DataError: It has no file at all, or the name of one holds a vertical bar.
    """
    if not any(places):
        raise DataError(f"{where}, names no series of the case. Give one, or remove the row.")
    for place in places:
        if SEPARATOR in place:
            raise DataError(
                f"{where}, has a file name with a vertical bar: {place}. Rename the file."
            )
    return SEPARATOR.join(places)


def pack_series(parts: Sequence[Series]) -> bytes:
    """The series of one case as one content: the same bytes for the same names and files."""
    packed = [_MAGIC]
    for part in parts:
        for content in (part.name.encode(), part.kind.encode(), part.content):
            packed += [_LENGTH.pack(len(content)), content]
    return b"".join(packed)


def holds_series(content: bytes) -> bool:
    """Whether a content is what `pack_series` gives."""
    return content.startswith(_MAGIC)


def unpack_series(content: bytes) -> list[Series]:
    """What `pack_series` put together.

    Example:
        >>> unpack_series(pack_series([Series("path_t1", ".png", b"bytes")]))
        [Series(name='path_t1', kind='.png', content=b'bytes')]
    """
    cells = []
    place = len(_MAGIC)
    while place < len(content):
        (length,) = _LENGTH.unpack_from(content, place)
        place += _LENGTH.size
        cells.append(content[place : place + length])
        place += length
    return [
        Series(name.decode(), kind.decode(), image)
        for name, kind, image in zip(cells[::3], cells[1::3], cells[2::3], strict=True)
    ]


def _describe_place(location: str) -> str:
    """What the decoder has to know of a location: the extension, and the frame if one is named."""
    path, frame = split_frame(location)
    suffix = PurePosixPath(path).suffix.lower()
    return suffix if frame is None else f"{suffix}#frame={frame}"
