"""PNG, JPEG, TIFF, BMP and WebP as RGB bytes, whatever their depth and colour model."""

import io
import struct
import zlib
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import (
    BmpImagePlugin,
    Image,
    ImageOps,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from medlora.data.stretch import stretch_to_uint8

# Only these are opened: Pillow's other readers are more code to trust, and one runs a program.
# Naming the classes also loads them, which threads must not leave to the first image.
_FORMATS: Final = tuple(
    reader.format
    for reader in (
        PngImagePlugin.PngImageFile,
        JpegImagePlugin.JpegImageFile,
        TiffImagePlugin.TiffImageFile,
        BmpImagePlugin.BmpImageFile,
        WebPImagePlugin.WebPImageFile,
    )
)
_TIFF_MAGIC: Final = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
PICTURE_MAGIC: Final = (b"\x89PNG", b"\xff\xd8", b"BM", b"RIFF", *_TIFF_MAGIC)
_ORIENTATION_TAG: Final = 0x0112
_PHOTOMETRIC_TAG: Final = 262
_BITS_TAG: Final = 258
_PNG_GREY_ALPHA: Final = 4
_PNG_RGBA: Final = 6


def decode_picture(content: bytes, frame: int = 0) -> npt.NDArray[np.uint8]:
    """Decode one page, upright, with transparency laid over black.

    Args:
        content: The encoded picture.
        frame: The page, counted from 0, in a format that has several.

    Returns:
        RGB values, shape (height, width, 3). More than 8 bits are stretched from the smallest
        to the largest value of the picture, all channels alike.

    Raises:
        PIL.UnidentifiedImageError: The content is in none of the formats.
        Exception: Nearly anything else, where the content is damaged.
    """
    try:
        image = Image.open(io.BytesIO(content), formats=_FORMATS)
    except UnidentifiedImageError:
        if not content.startswith(_TIFF_MAGIC):
            raise
        # Pillow knows few of TIFF's number formats.
        return as_rgb(_drop_alpha(_read_tiff(content, frame)))
    with image:
        if frame:
            image.seek(frame)
        if _has_deep_colour(image, content):
            return _decode_deep_colour(image, content, frame)
        return _decode_plain(image)


def as_rgb(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Real numbers as RGB bytes: bytes as they are, anything else stretched.

    Args:
        values: Shape (height, width, channel) with 1 channel or 3.

    Returns:
        RGB values, shape (height, width, 3).
    """
    pixels = values if values.dtype == np.uint8 else stretch_to_uint8(values)
    return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels


def _decode_plain(image: Image.Image) -> npt.NDArray[np.uint8]:
    # TIFF may hold grey values in which 0 is white; Pillow turns those of 8 bits only.
    zero_is_white = (
        isinstance(image, TiffImagePlugin.TiffImageFile) and image.tag_v2.get(_PHOTOMETRIC_TAG) == 0
    )
    upright = ImageOps.exif_transpose(image)
    if upright.mode == "F" or upright.mode.startswith("I"):
        grey = as_rgb(np.asarray(upright)[:, :, np.newaxis])
        return 255 - grey if zero_is_white else grey
    if upright.has_transparency_data:
        rgba = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", rgba.size, (0, 0, 0, 255)), rgba)
    return np.asarray(upright.convert("RGB"))


def _has_deep_colour(image: Image.Image, content: bytes) -> bool:
    """Whether this is colour of 16 bits, of which Pillow would keep the upper 8 only."""
    if isinstance(image, PngImagePlugin.PngImageFile):
        # The header's bit depth and colour type; type 0 is grey, which Pillow reads in full.
        return content[24] == 16 and content[25] != 0
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        bits = image.tag_v2.get(_BITS_TAG, (1,))
        return len(bits) > 1 and max(bits) > 8
    return False


def _decode_deep_colour(image: Image.Image, content: bytes, frame: int) -> npt.NDArray[np.uint8]:
    orientation = int(image.getexif().get(_ORIENTATION_TAG, 1))
    if isinstance(image, PngImagePlugin.PngImageFile):
        values = _read_png(content)
    else:
        values = _read_tiff(content, frame)
    return as_rgb(_turn_upright(_drop_alpha(values), orientation))


def _read_png(content: bytes) -> npt.NDArray[Any]:
    """All 16 bits of every value, shape (height, width, channel).

    Pillow keeps one byte of each value. Which one follows from the byte order that it is told,
    so the file is read twice. With grey and alpha it knows one order only; such a file is read
    as 8-bit RGBA instead, whose bytes lie, and are filtered, in the same way.
    """
    if content[25] == _PNG_GREY_ALPHA:
        header = content[12:24] + bytes([8, _PNG_RGBA]) + content[26:29]
        checksum = struct.pack(">I", zlib.crc32(header))
        octets = _load_png(content[:12] + header + checksum + content[33:], None)
        high, low = octets[:, :, 0::2], octets[:, :, 1::2]
    else:
        mode = "RGBA" if content[25] == _PNG_RGBA else "RGB"
        high, low = _load_png(content, f"{mode};16B"), _load_png(content, f"{mode};16L")
    return high.astype(np.uint16) * np.uint16(256) + low


def _load_png(content: bytes, raw_mode: str | None) -> npt.NDArray[np.uint8]:
    with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
        if raw_mode is not None and isinstance(image, PngImagePlugin.PngImageFile):
            image.tile = [tile._replace(args=raw_mode) for tile in image.tile]
        return np.asarray(image)


def _read_tiff(content: bytes, frame: int) -> npt.NDArray[Any]:
    """One page of any number format, shape (height, width, channel), bright values high."""
    # Imported here because few files need it, and it takes long.
    import tifffile

    with tifffile.TiffFile(io.BytesIO(content)) as file:
        page = file.pages[frame].aspage()
        n_pixels = page.imagelength * page.imagewidth
        if n_pixels > 2 * (Image.MAX_IMAGE_PIXELS or n_pixels):
            raise Image.DecompressionBombError(f"{n_pixels} pixels")
        values: npt.NDArray[Any] = page.asarray()
        axes = page.axes
        zero_is_white = page.photometric == tifffile.PHOTOMETRIC.MINISWHITE
    if values.ndim == 2:
        values = values[:, :, np.newaxis]
    elif axes == "SYX":
        values = values.transpose(1, 2, 0)
    if values.ndim != 3 or values.shape[2] > 4:
        raise ValueError(f"a TIFF page of shape {values.shape} is not an image")
    return -values.astype(np.float64) if zero_is_white else values


def _drop_alpha(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Integers of shape (height, width, channel) laid over black, where they have an alpha."""
    if values.shape[2] not in (2, 4):
        return values
    opacity = values[:, :, -1:] / np.iinfo(values.dtype).max
    colour: npt.NDArray[Any] = values[:, :, :-1] * opacity
    return colour


def _turn_upright(values: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """Undo an EXIF orientation of 1 to 8; anything else counts as upright."""
    if orientation in (5, 6, 7, 8):
        values = values.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    return values
