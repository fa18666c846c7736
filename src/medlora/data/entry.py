"""One array as the bytes of a file in the cache, with a checksum."""

import hashlib
from typing import Final

import numpy as np
import numpy.typing as npt

_MAGIC: Final = b"medlora1"
_DIGEST_BYTES: Final = 16


def pack_entry(array: npt.NDArray[np.uint8]) -> bytes:
    """Magic, digest of the rest, number of axes, their lengths, values.

    Args:
        array: Any shape of up to 255 axes.
    """
    shape = np.array(array.shape, dtype="<u4").tobytes()
    body = bytes([array.ndim]) + shape + array.tobytes()
    return _MAGIC + _digest(body) + body


def unpack_entry(content: bytearray) -> npt.NDArray[np.uint8] | None:
    """The array that was packed, None if a single bit of it has changed.

    Args:
        content: The bytes; the array lies in them, it is no copy.

    Example:
        >>> unpack_entry(bytearray(pack_entry(np.array([[1, 2]], dtype=np.uint8))))
        array([[1, 2]], dtype=uint8)
    """
    start = len(_MAGIC) + _DIGEST_BYTES
    body = memoryview(content)[start:]
    if content[:start] != _MAGIC + _digest(body):
        return None
    n_axes = body[0]
    shape = np.frombuffer(body[1:], "<u4", count=n_axes)
    return np.frombuffer(body[1 + 4 * n_axes :], np.uint8).reshape(shape)


def _digest(body: bytes | memoryview) -> bytes:
    return hashlib.blake2b(body, digest_size=_DIGEST_BYTES).digest()
