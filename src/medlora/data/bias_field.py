"""Correction of uneven intensity, which the coils of a magnetic resonance scanner cause."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from medlora.data.luminance import measure_luminance
from medlora.errors import SettingsError

_WORKING_SIDE: Final = 64  # Longer side in pixels on which the field is found; it is smooth.
_ITERATIONS: Final = (50, 40, 30)
_MESH: Final = 1  # Spline elements on each side at first; each level doubles them.
_TISSUE: Final = 0.05  # Share of the brightest values below which a pixel is air.
_MIN_SIDE: Final = 32
_MAX_GAIN: Final = 4.0


def even_out_intensity(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Divide the picture by the smooth field that N4 finds in it.

    The mean brightness of what is not air stays; all colours of a pixel are multiplied by
    one factor, at most 4.

    Args:
        pixels: RGB values, shape (height, width, 3).

    Returns:
        RGB values, same shape; the same where a side is below 32 pixels, or nearly all is air.

    Raises:
        SettingsError: SimpleITK is not installed.

    Reference:
        Tustison et al., N4ITK: Improved N3 bias correction, IEEE Transactions on Medical
        Imaging 2010, as SimpleITK implements it.
    """
    luminance = measure_luminance(pixels)
    tissue = luminance > _TISSUE * float(np.quantile(luminance, 0.99))
    if min(luminance.shape) < _MIN_SIDE or tissue.mean() < _TISSUE:
        return pixels
    field = _find_field(luminance, tissue)
    gain = np.clip(1 / field, 1 / _MAX_GAIN, _MAX_GAIN)
    gain *= luminance[tissue].mean() / (luminance * gain)[tissue].mean()
    evened = pixels * gain[:, :, np.newaxis]
    return np.asarray(np.rint(np.clip(evened, 0, 255)), dtype=np.uint8)


def _find_field(
    luminance: npt.NDArray[np.float64], tissue: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    """(height, width) the factor by which each place is too bright."""
    sitk = _import_simpleitk()
    image = sitk.GetImageFromArray(luminance.astype(np.float32))
    mask = sitk.GetImageFromArray(tissue.astype(np.uint8))
    step = -(-max(luminance.shape) // _WORKING_SIDE)
    correction = sitk.N4BiasFieldCorrectionImageFilter()
    correction.SetMaximumNumberOfIterations(_ITERATIONS)
    correction.SetNumberOfControlPoints([_MESH + 3] * 2)
    # Sums over a number of threads that differs from machine to machine would differ as well.
    correction.SetNumberOfThreads(1)
    correction.Execute(sitk.Shrink(image, [step] * 2), sitk.Shrink(mask, [step] * 2))
    field = sitk.GetArrayFromImage(correction.GetLogBiasFieldAsImage(image))
    return np.asarray(np.exp(field.astype(np.float64)))


def _import_simpleitk() -> Any:
    try:
        import SimpleITK as sitk  # noqa: N813
    except ImportError as error:
        raise SettingsError(
            "The preparation bias-field needs SimpleITK, which is not installed. Install it "
            "with: pip install 'medlora[bias-field]'"
        ) from error
    return sitk
