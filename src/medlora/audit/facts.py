"""Facts about an image file that have nothing to do with the diagnosis: size, format, border."""

import io
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, JpegImagePlugin, UnidentifiedImageError
from scipy.ndimage import find_objects, label

FACT_NAMES: Final = (
    "file size",
    "width",
    "height",
    "aspect",
    "file format",
    "colour mode",
    "compression",
    "bytes per pixel",
    "border width",
    "border brightness",
    "mean intensity",
    "spread of intensity",
    "burnt-in text",
)
"""What `measure_facts` measures, in its order."""
FILE_FACT_NAMES: Final = FACT_NAMES[:8]
"""Those of them that are known before an image is decoded: what `read_file_facts` reads."""

_FORMATS: Final = ("JPEG", "PNG", "TIFF", "BMP", "WEBP", "MPO")
_MODES: Final = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I", "F")
# Columns and rows at the edge count as border while their values differ by no more than this.
_FLAT: Final = 8
_TEXT_SIDE: Final = 384
# A letter's height and area, as shares of that side.
_LETTER_HEIGHT: Final = (0.015, 0.08)
_LETTER_FILL: Final = (0.15, 0.85)
_MIN_INK: Final = 160.0
_OUTER_SHARE: Final = 0.25


def measure_facts(
    content: bytes, grey: npt.NDArray[np.uint8], n_colours: int
) -> npt.NDArray[np.float64]:
    """The facts of one image.

    Args:
        content: The encoded image.
        grey: Its brightness, (height, width).
        n_colours: 1 where all its pixels are grey, 3 where some are not.

    Returns:
        (fact,) in the order of `FACT_NAMES`. File format and colour mode are numbers that stand
        for names; compression is the mean of a JPEG's quantisation table (large is coarse), 0 of
        other formats; border width is a share of the image's side; burnt-in text is the number of
        shapes near the image's edge that look like letters.
    """
    height, width = grey.shape
    _, file_format, mode, compression = _read_header(content)
    border, border_level = measure_border(grey)
    return np.array(
        [
            len(content),
            width,
            height,
            width / height,
            file_format,
            10 * mode + n_colours,
            compression,
            len(content) / (width * height),
            border,
            border_level,
            float(grey.mean()),
            float(grey.std()),
            count_letters(grey),
        ]
    )


def read_file_facts(content: bytes) -> npt.NDArray[np.float64]:
    """What a file tells without being decoded.

    Args:
        content: The encoded image.

    Returns:
        (fact,) in the order of `FILE_FACT_NAMES`; 0 for all but the file's size where its format
        is not one that names them in its header.

    Example:
        >>> stream = io.BytesIO()
        >>> Image.new("L", (20, 10)).save(stream, format="PNG")
        >>> read_file_facts(stream.getvalue())[1:5].tolist()
        [20.0, 10.0, 2.0, 2.0]
    """
    (width, height), file_format, mode, compression = _read_header(content)
    n_pixels = width * height
    return np.array(
        [
            len(content),
            width,
            height,
            width / height if height else 0,
            file_format,
            10 * mode,
            compression,
            len(content) / n_pixels if n_pixels else 0,
        ],
        dtype=np.float64,
    )


def measure_border(grey: npt.NDArray[np.uint8]) -> tuple[float, float]:
    """How wide the flat border around an image is, and how bright.

    Args:
        grey: (height, width).

    Returns:
        Mean over the four sides of the border's width as a share of the image's, in [0, .5], and
        the mean brightness of the outermost pixels, 0 to 255.

    Example:
        >>> framed = np.pad(np.arange(36, dtype=np.uint8).reshape(6, 6) * 7, 2)
        >>> border, level = measure_border(framed)
        >>> border, level
        (0.2, 0.0)
    """
    widths = []
    for axis in (0, 1):
        low, high = grey.min(axis=1 - axis), grey.max(axis=1 - axis)
        flat = high.astype(np.int64) - low <= _FLAT
        for lines in (flat, flat[::-1]):
            n_flat = int(np.argmin(lines)) if not lines.all() else len(lines) // 2
            widths.append(min(n_flat / len(lines), 0.5))
    edge = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    return float(np.mean(widths)), float(edge.mean())


def count_letters(grey: npt.NDArray[np.uint8]) -> float:
    """How many shapes near the edge look like letters: bright, small, alike in height, in a line.

    A single marker, such as the L on a chest film, counts as one.

    Args:
        grey: (height, width).
    """
    scale = _TEXT_SIDE / max(grey.shape)
    picture = grey
    if scale < 1:
        size = [max(1, round(side * scale)) for side in grey.shape[::-1]]
        picture = np.asarray(Image.fromarray(grey).resize((size[0], size[1])))
    ink = picture >= max(_MIN_INK, 0.85 * float(picture.max()))
    labels, _ = label(ink)
    height, width = picture.shape
    side = max(height, width)
    n_letters = 0
    for number, place in enumerate(find_objects(labels), start=1):
        rows, columns = place
        tall, wide = rows.stop - rows.start, columns.stop - columns.start
        if not _LETTER_HEIGHT[0] <= tall / side <= _LETTER_HEIGHT[1] or not 0.1 <= wide / tall <= 2:
            continue
        middle = ((rows.start + rows.stop) / 2 / height, (columns.start + columns.stop) / 2 / width)
        if not any(abs(part - 0.5) > 0.5 - _OUTER_SHARE for part in middle):
            continue
        fill = float((labels[place] == number).mean())
        # What lies around a letter is dark, around a bright spot of tissue it is not.
        around = picture[
            max(0, rows.start - 2) : rows.stop + 2, max(0, columns.start - 2) : columns.stop + 2
        ]
        ring = (float(around.sum()) - float(picture[place].sum())) / max(
            1, around.size - picture[place].size
        )
        if _LETTER_FILL[0] <= fill <= _LETTER_FILL[1] and ring < 0.6 * float(picture.max()):
            n_letters += 1
    return float(n_letters)


def _read_header(content: bytes) -> tuple[tuple[int, int], int, int, float]:
    """Width and height, numbers of format and mode, mean of a JPEG's first quantisation table."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            file_format = 1 + _FORMATS.index(image.format) if image.format in _FORMATS else 0
            mode = 1 + _MODES.index(image.mode) if image.mode in _MODES else 0
            compression = 0.0
            if isinstance(image, JpegImagePlugin.JpegImageFile) and image.quantization:
                compression = float(np.mean(image.quantization[min(image.quantization)]))
            return image.size, file_format, mode, compression
    # Other readers know more formats than Pillow.
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError):
        return (0, 0), 0, 0, 0.0
