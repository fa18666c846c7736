"""From the bytes of a picture to the backbone's input: decode, prepare, normalise."""

import io
from dataclasses import replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from medlora.data.contrast import enhance_contrast
from medlora.data.dicom import DICOM_SUFFIXES, decode_dicom, has_preamble, starts_with_element
from medlora.data.geometry import crop_or_pad, find_resized_size
from medlora.data.luminance import measure_luminance
from medlora.data.picture import PICTURE_MAGIC, as_rgb, decode_picture
from medlora.data.series import holds_series, unpack_series
from medlora.data.source import split_frame
from medlora.data.steps import apply_steps, crop_series
from medlora.errors import SettingsError, UnreadableImageError
from medlora.preprocessing import Preprocessing

if TYPE_CHECKING:
    import torch

_NPY_MAGIC = b"\x93NUMPY"
_NO_FORMAT = "it is no PNG, JPEG, TIFF, BMP, WebP, NumPy or DICOM image, or its start is damaged"
_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def decode_image(content: bytes, location: str) -> npt.NDArray[np.uint8]:
    """Decode PNG, JPEG, TIFF, BMP, WebP, NumPy's `.npy`, or DICOM.

    The format is read from the content; the name decides only about DICOM without a preamble.
    EXIF orientation is applied, transparency is laid over black. Values of more than 8 bits
    are stretched linearly from the image's own smallest and largest value to 0..255 (one
    stretch for all colour channels); in DICOM the file's window takes the place of these two.

    Args:
        content: The encoded image.
        location: Its name in error messages. A frame at its end, `#frame=3`, chooses that
            frame or page, counted from 0; the first one is taken where none is named.

    Returns:
        RGB values, shape (height, width, 3); of the series of one case, as
        `medlora.data.series.SeriesSource` gives them, shape (series, height, width, 3).

    Raises:
        UnreadableImageError: The image is truncated, damaged, too large, or in no known format,
            or the series of a case have different sizes.
    """
    if holds_series(content):
        return _decode_series(content, location)
    path, frame = split_frame(location)
    if _is_dicom(content, path):
        pixels = decode_dicom(content, location, frame or 0)
    else:
        try:
            if content.startswith(_NPY_MAGIC):
                pixels = _decode_npy(content)
            else:
                pixels = decode_picture(content, frame or 0)
        # Damaged bytes make the decoders raise nearly anything: struct.error, SyntaxError,
        # IndexError, MemoryError, zlib.error. For the caller they are all one thing.
        except Exception as error:
            raise UnreadableImageError(location, _explain(error)) from error
    if pixels.size == 0:
        raise UnreadableImageError(location, "the image has no pixels")
    return np.ascontiguousarray(pixels)


def prepare_image(
    pixels: npt.NDArray[np.uint8], preprocessing: Preprocessing
) -> npt.NDArray[np.uint8]:
    """Bring a decoded image to the backbone's size, as timm does for evaluation.

    Args:
        pixels: RGB values, shape (height, width, 3), or (series, height, width, 3) where the
            preprocessing has channels: each becomes one, by its brightness.
        preprocessing: Steps, contrast and geometry. Mean and standard deviation are not applied;
            where `crop_mode` is `border`, the mean is the colour of the border, as in timm.

    Returns:
        Values in 0..255, shape (channel, height, width), of the size in `preprocessing`.

    Raises:
        SettingsError: A step needs a package that is not installed, or the image has not the
            series that the preprocessing wants.

    Example:
        >>> plain = Preprocessing(size=(8, 6), mean=(0.5,) * 3, std=(0.5,) * 3)
        >>> prepare_image(np.zeros((20, 30, 3), dtype=np.uint8), plain).shape
        (3, 8, 6)
    """
    if preprocessing.channels or pixels.ndim == 4:
        parts = separate_series(pixels, preprocessing)
        return np.stack([prepare_image(own, left)[0] for own, left in parts])
    stepped = apply_steps(pixels, preprocessing.steps)
    image = Image.fromarray(enhance_contrast(stepped, preprocessing.contrast))
    height, width = find_resized_size((image.height, image.width), preprocessing)
    if (height, width) != (image.height, image.width):
        image = image.resize((width, height), _FILTERS[preprocessing.interpolation])
    fill = border_colour(preprocessing)
    cropped = crop_or_pad(np.asarray(image), preprocessing.size, fill)
    return np.ascontiguousarray(cropped.transpose(2, 0, 1))


def normalise_batch(
    images: "torch.Tensor", preprocessing: Preprocessing, dtype: "torch.dtype | None" = None
) -> "torch.Tensor":
    """Scale to [0, 1], subtract the mean, divide by the standard deviation.

    The arithmetic is in float32 whatever the result's type.

    Args:
        images: uint8 values, or values in [0, 1] of a floating type, as augmentation gives
            them; shape (batch, channel, height, width), on any device.
        preprocessing: Holds the mean and the standard deviation.
        dtype: Type of the result, float32 if not given.

    Returns:
        The normalised images on the same device, same shape.
    """
    import torch

    values = images.to(torch.float32, copy=True)
    if not images.is_floating_point():
        values.div_(255)
    shape = (1, -1, 1, 1)
    mean = torch.tensor(preprocessing.mean, device=images.device).view(shape)
    std = torch.tensor(preprocessing.std, device=images.device).view(shape)
    return values.sub_(mean).div_(std).to(dtype or torch.float32)


def border_colour(preprocessing: Preprocessing) -> tuple[int, ...]:
    """Value of each channel of what lies beyond the image where the crop is larger than it."""
    if preprocessing.crop_mode != "border":
        return (0,) * preprocessing.n_channels
    return tuple(round(255 * value) for value in preprocessing.mean)


def _decode_series(content: bytes, location: str) -> npt.NDArray[np.uint8]:
    decoded = []
    for part in unpack_series(content):
        try:
            if holds_series(part.content):
                raise UnreadableImageError(location, "it holds several series itself")
            decoded.append(decode_image(part.content, part.kind))
        except UnreadableImageError as error:
            raise UnreadableImageError(
                location, f"its series {part.name}: {error.reason}"
            ) from error
    sizes = [f"{own.shape[0]} x {own.shape[1]}" for own in decoded]
    if len(set(sizes)) > 1:
        raise UnreadableImageError(
            location,
            f"its series have different sizes, {', '.join(sizes)} pixels. Register them to one "
            "another, so that a pixel is one place in all of them",
        )
    return np.stack(decoded)


def separate_series(
    pixels: npt.NDArray[np.uint8], preprocessing: Preprocessing
) -> list[tuple[npt.NDArray[np.uint8], Preprocessing]]:
    """The series of one case, each on its own from here on.

    Args:
        pixels: RGB values, shape (series, height, width, 3).
        preprocessing: Theirs, with channels.

    Returns:
        For each series its brightness as RGB values (height, width, 3), cropped like all of
        them where the preprocessing crops, and the preprocessing that is left for it.

    Raises:
        SettingsError: The image has not the series that the preprocessing wants.
    """
    names = preprocessing.channels
    n_series = len(pixels) if pixels.ndim == 4 else 0
    if n_series != len(names):
        wanted = f"the series {', '.join(names)} of each case" if names else "colour images"
        given = f"{n_series} series" if n_series else "single images"
        raise SettingsError(
            f"The task takes {wanted}, not {given}. Give it images as it was trained on."
        )
    has_crop = "crop" in preprocessing.steps
    cropped = crop_series(list(pixels)) if has_crop else list(pixels)
    steps = tuple(step for step in preprocessing.steps if step != "crop")
    parts = []
    for own, mean in zip(cropped, preprocessing.mean, strict=True):
        grey = np.rint(measure_luminance(own)).astype(np.uint8)
        plain = replace(preprocessing, channels=(), steps=steps, mean=(mean,) * 3, std=(1.0,) * 3)
        parts.append((np.repeat(grey[:, :, np.newaxis], 3, axis=2), plain))
    return parts


def _is_dicom(content: bytes, path: str) -> bool:
    # The preamble may hold another format's magic, TIFF's for one, so it is looked at first.
    if has_preamble(content):
        return True
    if content.startswith((_NPY_MAGIC, *PICTURE_MAGIC)):
        return False
    suffix = PurePosixPath(path.replace("\\", "/")).suffix.lower()
    return suffix in DICOM_SUFFIXES or starts_with_element(content)


def _decode_npy(content: bytes) -> npt.NDArray[np.uint8]:
    values = np.load(io.BytesIO(content), allow_pickle=False)
    if values.ndim == 2:
        values = values[:, :, np.newaxis]
    if values.ndim != 3 or values.shape[2] not in (1, 3):
        raise ValueError(
            f"an array of shape {values.shape} is not an image; "
            "it must be (height, width), (height, width, 1) or (height, width, 3)"
        )
    return as_rgb(values)


def _explain(error: Exception) -> str:
    """A reason in our words where the decoder's own would not tell the user what to do."""
    if isinstance(error, UnidentifiedImageError):
        return _NO_FORMAT
    if isinstance(error, Image.DecompressionBombError):
        return f"it is too large to be decoded safely ({error})"
    if isinstance(error, EOFError):
        return "the image is truncated, or has no such frame"
    return f"it cannot be decoded ({error or type(error).__name__})"
