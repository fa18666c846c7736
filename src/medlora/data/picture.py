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
_SAMPLE_FORMAT_TAG: Final = 339
_TIFF_UNSIGNED: Final = 1
_TIFF_SIGNED: Final = 2
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
        return as_rgb(_read_tiff(content, frame))
    with image:
        if frame:
            image.seek(frame)
        if isinstance(image, TiffImagePlugin.TiffImageFile) and _is_beyond_pillow(image):
            return as_rgb(_read_tiff(content, frame))
        if isinstance(image, PngImagePlugin.PngImageFile) and _has_deep_colour(content):
            orientation = int(image.getexif().get(_ORIENTATION_TAG, 1))
            return as_rgb(_turn_upright(_read_png(content), orientation))
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


def _has_deep_colour(content: bytes) -> bool:
    """Whether a PNG is colour of 16 bits, of which Pillow would keep the upper 8 only."""
    # The header's bit depth and colour type; type 0 is grey, which Pillow reads in full.
    return content[24] == 16 and content[25] != 0


def _is_beyond_pillow(image: TiffImagePlugin.TiffImageFile) -> bool:
    """Whether Pillow would lose bits of a TIFF page's values, or their sign."""
    bits = image.tag_v2.get(_BITS_TAG, (1,))
    if len(bits) > 1:
        return any(n_bits > 8 for n_bits in bits)
    kind = image.tag_v2.get(_SAMPLE_FORMAT_TAG, (_TIFF_UNSIGNED,))[0]
    # Pillow takes the first for unsigned values, the second for signed ones.
    return (bits[0], kind) in ((8, _TIFF_SIGNED), (32, _TIFF_UNSIGNED))


def _read_png(content: bytes) -> npt.NDArray[Any]:
    """All 16 bits of every value, shape (height, width, 1 or 3), with transparency over black.

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
    values = high.astype(np.uint16) * np.uint16(256) + low
    if content[25] not in (_PNG_GREY_ALPHA, _PNG_RGBA):
        return values
    return _lay_over_black(values[:, :, :-1], values[:, :, -1:])


def _load_png(content: bytes, raw_mode: str | None) -> npt.NDArray[np.uint8]:
    with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
        if raw_mode is not None and isinstance(image, PngImagePlugin.PngImageFile):
            image.tile = [tile._replace(args=raw_mode) for tile in image.tile]
        return np.asarray(image)


def _read_tiff(content: bytes, frame: int) -> npt.NDArray[Any]:
    """One upright page of any number format, bright values high, with transparency over black.

    Returns:
        Values of any type, shape (height, width, 1 or 3).

    Raises:
        ValueError: Its channels are neither grey nor RGB.
    """
    # Imported here because few files need it, and it takes long.
    import tifffile

    with tifffile.TiffFile(io.BytesIO(content)) as file:
        page = file.pages[frame].aspage()
        n_pixels = page.imagelength * page.imagewidth
        if n_pixels > 2 * (Image.MAX_IMAGE_PIXELS or n_pixels):
            raise Image.DecompressionBombError(f"{n_pixels} pixels")
        values: npt.NDArray[Any] = page.asarray()
        axes, extra = page.axes, page.extrasamples
        photometric = tifffile.PHOTOMETRIC(page.photometric)
        orientation = int(page.tags.valueof(_ORIENTATION_TAG, default=1))
    if photometric.name not in ("MINISWHITE", "MINISBLACK", "RGB"):
        raise ValueError(f"a TIFF page of {values.dtype} {photometric.name} is not grey or RGB")
    if values.ndim == 2:
        values = values[:, :, np.newaxis]
    elif axes == "SYX":
        values = values.transpose(1, 2, 0)
    n_samples = values.shape[2] if values.ndim == 3 else 0
    # Three values are taken for red, green and blue even where the page calls them grey.
    n_colours = 3 if photometric.name == "RGB" or n_samples == 3 else 1
    if n_samples < n_colours or (n_colours == 1 and n_samples > 2):
        raise ValueError(f"a TIFF page of shape {values.shape} is not an image")
    colours, alpha = values[:, :, :n_colours], values[:, :, n_colours : n_colours + 1]
    # A channel of no stated meaning is none of the picture; colours with an associated alpha lie
    # over black already.
    is_clear = alpha.size > 0 and extra[:1] == (tifffile.EXTRASAMPLE.UNASSALPHA,)
    if photometric.name == "MINISWHITE":
        if is_clear:
            raise ValueError("a TIFF page with an alpha in which 0 is white is not supported")
        colours = -colours.astype(np.float64)
    return _turn_upright(_lay_over_black(colours, alpha) if is_clear else colours, orientation)


def _lay_over_black(colours: npt.NDArray[Any], alpha: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Colours by their opacity; a floating-point alpha is in [0, 1].

    Args:
        colours: Shape (height, width, channel).
        alpha: Of the same type, shape (height, width, 1).
    """
    full = 1 if alpha.dtype.kind == "f" else np.iinfo(alpha.dtype).max
    laid: npt.NDArray[Any] = colours * (alpha / full)
    return laid


def _turn_upright(values: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """Undo an EXIF orientation of 1 to 8; anything else counts as upright."""
    if orientation in (5, 6, 7, 8):
        values = values.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    return values
