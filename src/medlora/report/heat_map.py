"""A heat map drawn over the picture that it is about, as PNG."""

from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from medlora.errors import SettingsError

Pixels = npt.NDArray[np.uint8]

# Purple, red and yellow: none of its colours is a grey of the picture below.
_COLOURS: Final = "plasma"
# Share of the colour where the map is largest; the picture has to be seen through it.
_COVER: Final = 0.65
_LEAST_SIDE: Final = 256
_MOST_SIDE: Final = 2048
_GAP: Final = 8
_CAUTION: Final = "#a40000"
_PANELS: Final = 3


def blend_map(pixels: Pixels, heat_map: npt.NDArray[np.float32]) -> Pixels:
    """A picture with a heat map over it: the larger a value, the less is seen of the picture.

    Args:
        pixels: RGB values, shape (height, width, 3).
        heat_map: Values in [0, 1], shape (height, width).

    Returns:
        RGB values, same shape as the picture.

    Raises:
        SettingsError: The shapes do not fit one another.

    Example:
        >>> grey = np.full((2, 2, 3), 100, dtype=np.uint8)
        >>> bool((blend_map(grey, np.zeros((2, 2), dtype=np.float32)) == grey).all())
        True
    """
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.shape[:2] != heat_map.shape:
        raise SettingsError(
            f"A heat map of shape {heat_map.shape} does not fit a picture of shape {pixels.shape}; "
            "it must be (height, width) under (height, width, 3)."
        )
    cover = _COVER * np.clip(heat_map, 0, 1)[:, :, np.newaxis]
    mixed = (1 - cover) * pixels + cover * paint_map(heat_map)
    return np.asarray(np.rint(mixed), np.uint8)


def paint_map(heat_map: npt.NDArray[np.float32]) -> Pixels:
    """The colours of a heat map, RGB (height, width, 3), for values in [0, 1]."""
    levels = np.rint(255 * np.clip(heat_map, 0, 1)).astype(np.uint8)
    return _list_colours()[levels]


def draw_overlay(pixels: Pixels, heat_map: npt.NDArray[np.float32], side: int = 160) -> bytes:
    """A small PNG of a picture under its heat map.

    Args:
        pixels: RGB values, shape (height, width, 3).
        heat_map: Values in [0, 1], shape (height, width).
        side: The longer side of the result at most, in pixels.

    Raises:
        SettingsError: The shapes do not fit one another.
    """
    picture = Image.fromarray(blend_map(pixels, heat_map))
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    return _encode(picture)


def draw_panels(
    pixels: Pixels, heat_map: npt.NDArray[np.float32], title: str, caution: str = ""
) -> bytes:
    """A PNG of the picture, the map, and the map over the picture, side by side under a title.

    Args:
        pixels: RGB values, shape (height, width, 3). The panels have this size, unless it is very
            small or very large.
        heat_map: Values in [0, 1], shape (height, width).
        title: What is explained, one line.
        caution: Why the answer should not be used, a second line in red; "" for none.

    Raises:
        SettingsError: The shapes do not fit one another.
    """
    panels = [pixels, paint_map(heat_map), blend_map(pixels, heat_map)]
    height, width = _choose_size(pixels.shape[0], pixels.shape[1])
    font = _load_font(max(12, width // 24))
    line = round(2.2 * font.size)
    margin = 2 * line if caution else line
    sheet = Image.new("RGB", (_PANELS * width + 4 * _GAP, height + margin + _GAP), "white")
    draw = ImageDraw.Draw(sheet)
    draw.text((_GAP, line / 2), _cut_line(title, font, sheet.width), "black", font, "lm")
    if caution:
        said = _cut_line(caution, font, sheet.width)
        draw.text((_GAP, 1.4 * line), said, _CAUTION, font, "lm")
    for number, panel in enumerate(panels):
        shown = Image.fromarray(panel)
        if shown.size != (width, height):
            shown = shown.resize((width, height), Image.Resampling.BICUBIC)
        sheet.paste(shown, (_GAP + number * (width + _GAP), margin))
    return _encode(sheet)


def _choose_size(height: int, width: int) -> tuple[int, int]:
    longer = max(height, width)
    factor = min(max(longer, _LEAST_SIDE), _MOST_SIDE) / longer
    return max(round(factor * height), 1), max(round(factor * width), 1)


def _cut_line(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """A line that fits; names of classes may be long."""
    line = " ".join(text.split())
    shown = line
    while shown and font.getlength(shown) > width - 2 * _GAP:
        line = line[:-1]
        shown = f"{line}…"
    return shown


def _encode(picture: Image.Image) -> bytes:
    stream = BytesIO()
    picture.save(stream, format="PNG")
    return stream.getvalue()


def _load_font(size: int) -> ImageFont.FreeTypeFont:
    """A font with the letters of more languages than Pillow's own has."""
    from matplotlib import get_data_path

    return ImageFont.truetype(Path(get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"), size)


@cache
def _list_colours() -> Pixels:
    """256 colours from the lowest value to the highest."""
    # Imported here because it takes long, and most reports show no map.
    from matplotlib import colormaps

    steps = np.linspace(0, 1, 256)
    return np.asarray(np.rint(255 * colormaps[_COLOURS](steps)[:, :3]), np.uint8)
