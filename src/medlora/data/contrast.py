"""Contrast enhancement of a decoded picture, before it is resized."""

import numpy as np
import numpy.typing as npt

from medlora.data.luminance import measure_luminance, replace_luminance
from medlora.preprocessing import Contrast


def enhance_contrast(pixels: npt.NDArray[np.uint8], contrast: Contrast) -> npt.NDArray[np.uint8]:
    """Spread the luminance over the whole range; the colour differences stay as they are.

    Args:
        pixels: RGB values, shape (height, width, 3).
        contrast: `none` returns the pixels untouched, `equalize` flattens the histogram of the
            whole image, `clahe` that of its parts, with limited contrast.

    Returns:
        RGB values, same shape. An image of one single luminance is returned as it is.

    Reference:
        Zuiderveld, Contrast Limited Adaptive Histogram Equalization, Graphics Gems IV, 1994,
        as scikit-image implements it.

    Example:
        >>> dull = np.tile(np.arange(100, 108, dtype=np.uint8)[:, None, None], (1, 8, 3))
        >>> enhance_contrast(dull, "equalize").max()
        np.uint8(255)
    """
    if contrast == "none":
        return pixels
    luminance = measure_luminance(pixels)
    if luminance.min() == luminance.max():
        return pixels
    # Imported here because most preprocessing does without it, and it takes long.
    from skimage.exposure import equalize_adapthist, equalize_hist

    equalize = equalize_hist if contrast == "equalize" else equalize_adapthist
    return replace_luminance(pixels, equalize(luminance / 255.0) * 255.0)
