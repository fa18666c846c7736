"""A perceptual hash of 64 bits, in all eight orientations."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy.fft import dctn

from medlora.audit.orientation import N_ORIENTATIONS

_SIDE: Final = 32
_KEPT: Final = 8


def hash_pictures(small: npt.NDArray[Any]) -> npt.NDArray[np.uint64]:
    """The hashes of some pictures and of their mirrored and turned versions.

    The bits say which of the 64 lowest frequencies of the cosine transform lie above their
    median; mirroring changes the sign of odd frequencies only, and so needs no transform.

    Args:
        small: (image, side, side), with a side that 32 divides.

    Returns:
        (image, 8), a hash for each orientation of `medlora.audit.orientation`.

    Reference:
        Zauner, Implementation and Benchmarking of Perceptual Image Hash Functions, 2010,
        section 3.2.1.
    """
    n_images, side = small.shape[:2]
    factor = side // _SIDE
    blocks = small.reshape(n_images, _SIDE, factor, _SIDE, factor).astype(np.float64)
    means = blocks.mean(axis=(2, 4))
    low = dctn(means, axes=(1, 2), norm="ortho")[:, :_KEPT, :_KEPT].copy()
    # The mean brightness says nothing of the picture.
    low[:, 0, 0] = 0
    sign = np.where(np.arange(_KEPT) % 2, -1.0, 1.0)
    hashes = np.empty((n_images, N_ORIENTATIONS), dtype=np.uint64)
    for orientation in range(N_ORIENTATIONS):
        turned = low.swapaxes(1, 2) if orientation & 4 else low
        if orientation & 1:
            turned = turned * sign
        if orientation & 2:
            turned = turned * sign[:, np.newaxis]
        flat = turned.reshape(n_images, _KEPT * _KEPT)
        bits = flat > np.median(flat, axis=1, keepdims=True)
        hashes[:, orientation] = np.packbits(bits, axis=1).view(np.uint64)[:, 0]
    return hashes
