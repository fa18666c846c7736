"""Copies of real images as they occur in collections: recompressed, resized, turned, and so on."""

import io
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.uint8]
Change = Callable[[Image.Image, np.random.Generator], bytes]


def _encode(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def _compress(image: Image.Image, quality: int) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def _crop_by(image: Image.Image, rng: np.random.Generator, share: float) -> Image.Image:
    """The image without `share` of each side, taken from both ends at random."""
    width, height = image.size
    lost_x, lost_y = round(share * width), round(share * height)
    left, top = int(rng.integers(0, lost_x + 1)), int(rng.integers(0, lost_y + 1))
    return image.crop((left, top, left + width - lost_x, top + height - lost_y))


def recompress(image: Image.Image, rng: np.random.Generator) -> bytes:
    """JPEG of quality 30 to 70."""
    return _compress(image, int(rng.integers(30, 71)))


def resize(image: Image.Image, rng: np.random.Generator) -> bytes:
    """To 50 to 150 % of its size."""
    scale = float(rng.uniform(0.5, 1.5))
    size = tuple(max(8, round(scale * side)) for side in image.size)
    return _encode(image.resize((size[0], size[1]), Image.Resampling.BICUBIC))


def crop(image: Image.Image, rng: np.random.Generator) -> bytes:
    """Without 5 % of each side."""
    return _encode(_crop_by(image, rng, 0.05))


def tilt(image: Image.Image, rng: np.random.Generator) -> bytes:
    """Turned by 2 to 8 degrees either way, black in the corners."""
    angle = float(rng.choice([-1, 1]) * rng.uniform(2, 8))
    return _encode(image.rotate(angle, Image.Resampling.BICUBIC))


def turn(image: Image.Image, rng: np.random.Generator) -> bytes:
    """Turned by 90, 180 or 270 degrees."""
    way = [Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270]
    return _encode(image.transpose(way[int(rng.integers(3))]))


def mirror(image: Image.Image, rng: np.random.Generator) -> bytes:
    """Mirrored left to right or top to bottom."""
    way = [Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.FLIP_TOP_BOTTOM]
    return _encode(image.transpose(way[int(rng.integers(2))]))


def change_contrast(image: Image.Image, rng: np.random.Generator) -> bytes:
    """Another gamma, gain and brightness."""
    values = np.asarray(image, dtype=np.float64) / 255
    gamma, gain = float(rng.uniform(0.7, 1.4)), float(rng.uniform(0.7, 1.3))
    changed = gain * (values**gamma - 0.5) + 0.5 + float(rng.uniform(-0.08, 0.08))
    return _encode(Image.fromarray(np.rint(255 * np.clip(changed, 0, 1)).astype(np.uint8)))


def do_several(image: Image.Image, rng: np.random.Generator) -> bytes:
    """Cropped by 5 %, mirrored, and recompressed."""
    mirrored = _crop_by(image, rng, 0.05).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return _compress(mirrored, int(rng.integers(40, 81)))


CHANGES: dict[str, Change] = {
    "recompressed": recompress,
    "resized": resize,
    "cropped by 5 %": crop,
    "rotated by 2 to 8 degrees": tilt,
    "turned by quarters": turn,
    "mirrored": mirror,
    "contrast changed": change_contrast,
    "cropped, mirrored and recompressed": do_several,
}


def plant_copy(pixels: Pixels, kind: str, rng: np.random.Generator) -> tuple[bytes, str]:
    """A changed copy of an image, encoded, and the ending of its file's name.

    Args:
        pixels: RGB values, (height, width, 3).
        kind: One of `CHANGES`.
        rng: Where the details of the change come from.
    """
    is_grey = bool((pixels == pixels[:, :, :1]).all())
    image = Image.fromarray(np.ascontiguousarray(pixels[:, :, 0] if is_grey else pixels))
    content = CHANGES[kind](image, rng)
    return content, ".png" if content.startswith(b"\x89PNG") else ".jpg"
