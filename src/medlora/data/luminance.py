"""The brightness of colour pictures, and how a change of it is given back to the colours."""

import numpy as np
import numpy.typing as npt

# Luminance of red, green and blue in ITU-R BT.601, the weights of JPEG's Y channel.
_WEIGHTS = np.array([0.299, 0.587, 0.114])


def measure_luminance(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Brightness of every pixel.

    Args:
        pixels: RGB values, shape (height, width, 3).

    Returns:
        0 (black) to 255 (white), shape (height, width).
    """
    luminance: npt.NDArray[np.float64] = pixels @ _WEIGHTS
    return luminance


def replace_luminance(
    pixels: npt.NDArray[np.uint8], luminance: npt.NDArray[np.float64]
) -> npt.NDArray[np.uint8]:
    """The picture with another brightness; the differences between its colours stay.

    Args:
        pixels: RGB values, shape (height, width, 3).
        luminance: The new brightness, shape (height, width).

    Returns:
        RGB values, same shape, rounded and clipped.
    """
    moved = pixels + (luminance - measure_luminance(pixels))[:, :, np.newaxis]
    return np.asarray(np.rint(np.clip(moved, 0, 255)), dtype=np.uint8)
