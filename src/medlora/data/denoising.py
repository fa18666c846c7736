"""Removal of noise from a decoded picture."""

from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from medlora.data.luminance import measure_luminance, replace_luminance

_PATCH_SIDE: Final = 5
_SEARCH_DISTANCE: Final = 6
_STRENGTH: Final = 0.8  # Times the noise: what scikit-image advises where the noise is known.
_INVISIBLE: Final = 0.5  # Noise in grey levels below the rounding of a picture's bytes.
_EXPOSED: Final = (4, 251)  # Grey levels between which noise is not cut off.
_MIN_SIDE: Final = 8
_SECOND_DIFFERENCES: Final = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], dtype=np.float64)
# The standard deviation of what these differences make of noise of one grey level, and of the
# median of absolute values of normal noise.
_GAIN: Final = 6.0
_MEDIAN_OF_NORMAL: Final = 0.6744897501960817


def remove_noise(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Average each pixel with those whose surroundings look alike, as far as there is noise.

    The noise is measured in the picture itself, and decides how unlike surroundings may be.
    Edges and small bright spots stand, since nothing near them looks like them. The differences
    between colours stay as they are.

    Args:
        pixels: RGB values, shape (height, width, 3).

    Returns:
        RGB values, same shape; the same where the noise is below half a grey level, or a side
        below 8 pixels.

    Reference:
        Buades, Coll and Morel, A non-local algorithm for image denoising, CVPR 2005, as
        scikit-image implements it.
    """
    luminance = measure_luminance(pixels)
    noise = estimate_noise(luminance)
    if noise < _INVISIBLE:
        return pixels
    # Imported here because most preprocessing does without it, and it takes long.
    from skimage.restoration import denoise_nl_means

    quiet = denoise_nl_means(
        luminance,
        patch_size=_PATCH_SIDE,
        patch_distance=_SEARCH_DISTANCE,
        h=_STRENGTH * noise,
        sigma=noise,
        fast_mode=True,
        preserve_range=True,
    )
    return replace_luminance(pixels, quiet)


def estimate_noise(luminance: npt.NDArray[np.float64]) -> float:
    """Standard deviation of the noise, from differences that structure hardly takes part in.

    Black and white areas do not count: there noise is cut off.

    Args:
        luminance: Grey levels, 0 to 255, shape (height, width).

    Returns:
        Grey levels, 0 where the picture is too small or has no grey in it.

    Reference:
        Immerkaer, Fast noise variance estimation, Computer Vision and Image Understanding
        1996, with the median in place of the mean.

    Example:
        >>> noise = np.random.default_rng(0).normal(0, 5, (200, 200))
        >>> round(estimate_noise(128 + noise))
        5
    """
    if min(luminance.shape) < _MIN_SIDE:
        return 0.0
    differences = np.abs(ndimage.convolve(luminance, _SECOND_DIFFERENCES))[1:-1, 1:-1]
    low, high = _EXPOSED
    exposed = ((luminance > low) & (luminance < high))[1:-1, 1:-1]
    if not exposed.any():
        return 0.0
    return float(np.median(differences[exposed]) / (_GAIN * _MEDIAN_OF_NORMAL))
