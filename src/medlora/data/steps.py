"""The optional steps between decoding a picture and enhancing its contrast."""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from medlora.data.bias_field import even_out_intensity
from medlora.data.body import crop_to_body, cut_out, find_body
from medlora.data.contrast import enhance_contrast
from medlora.data.denoising import remove_noise
from medlora.preprocessing import STEPS, Preprocessing, Step

Pixels = npt.NDArray[np.uint8]

_FUNCTIONS: Final[dict[Step, Callable[[Pixels], Pixels]]] = {
    "crop": crop_to_body,
    "denoise": remove_noise,
    "bias-field": even_out_intensity,
}


def apply_steps(pixels: Pixels, steps: Sequence[Step]) -> Pixels:
    """Put a picture through some steps, in the order of `medlora.preprocessing.STEPS`.

    The crop comes first, so that letters and borders take no part in what follows. Noise comes
    before uneven intensity, whose correction would make it uneven as well.

    Args:
        pixels: RGB values, shape (height, width, 3).
        steps: Names of steps, in any order.

    Returns:
        RGB values; of the same shape unless there is a crop.

    Raises:
        SettingsError: A step needs a package that is not installed.

    Example:
        >>> scan = np.zeros((60, 80, 3), dtype=np.uint8)
        >>> scan[10:50, 20:60] = 150
        >>> apply_steps(scan, ("crop",)).shape
        (40, 40, 3)
    """
    for step in STEPS:
        if step in steps:
            pixels = _FUNCTIONS[step](pixels)
    return pixels


def crop_series(series: Sequence[Pixels]) -> list[Pixels]:
    """Crop the series of one case alike, to the body that their mean shows.

    Args:
        series: RGB values, all of one shape (height, width, 3).

    Returns:
        As many, all of one shape (at most height, at most width, 3).
    """
    body = find_body(np.mean(series, axis=0).round().astype(np.uint8))
    return [cut_out(own, body) for own in series]


def show_steps(pixels: Pixels, preprocessing: Preprocessing) -> Iterator[tuple[str, Pixels]]:
    """The picture as it was decoded, and after each step that changes its pixels.

    Args:
        pixels: RGB values, shape (height, width, 3).
        preprocessing: Which steps, and which contrast enhancement.

    Yields:
        The step's name, `original` for the first, and RGB values.
    """
    yield "original", pixels
    for step in preprocessing.steps:
        pixels = _FUNCTIONS[step](pixels)
        yield step, pixels
    if preprocessing.contrast != "none":
        yield preprocessing.contrast, enhance_contrast(pixels, preprocessing.contrast)
