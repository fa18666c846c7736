"""Synthetic brain slices in four classes, for the demo and the tests.

They resemble magnetic resonance images closely enough to make a task that is hard and can be
learnt, and mean nothing beyond that: no patient, no scanner and no diagnosis stands behind them.
"""

import io
from functools import lru_cache
from pathlib import Path
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from medlora.data.anatomy import (
    PLANES,
    Field,
    draw_head,
    draw_signals,
    draw_texture,
    measure_length,
)
from medlora.data.lesions import draw_lesion, place_lesion
from medlora.data.slices import draw_slice
from medlora.errors import DataError, SettingsError, StorageError

PHANTOM_CLASSES: Final = ("glioma-like", "meningioma-like", "no-lesion", "pituitary-like")
SMALLEST_SIZE: Final = 96
SIZES: Final = (128, 144, 160, 176, 192)
MARK: Final = "SYNTHETIC"
MARK_BOX: Final = (12, 54)
"""Height and width of the mark in the top left corner, in pixels."""
VISIBLE: Final = 0.05
"""Change of the signal, which is about 0 to 1, above which a lesion can be seen in noise."""
README: Final = """\
SYNTHETIC IMAGES - NOT FOR DIAGNOSIS

Every image in this folder was drawn by a program (medlora.data.phantoms, seed {seed}).
No patient and no scanner stands behind any of them. The classes are named after the
tumours whose look they borrow; a model trained on them knows nothing about real ones.

{n_per_class} images of each class: {classes}.
Every image carries the word "SYNTHETIC" in the same place.
"""


def draw_phantom(kind: str, rng: np.random.Generator, size: int = 160) -> npt.NDArray[np.uint8]:
    """Draw one synthetic slice.

    Plane, sequence, pose, noise and contrast are drawn alike for every class. Only the plane
    of "pituitary-like" is kept to those that cross the sella.

    Args:
        kind: One of `PHANTOM_CLASSES`.
        rng: Source of randomness; the same state gives the same image.
        size: Height and width in pixels, at least 96.

    Returns:
        Grey values 0 to 255, uint8 (height, width).

    Raises:
        SettingsError: The kind is unknown, or the size too small for the mark to fit.

    Example:
        >>> draw_phantom("no-lesion", np.random.default_rng(0)).shape
        (160, 160)
    """
    pixels, _ = draw_marked_phantom(kind, rng, size)
    return pixels


def draw_marked_phantom(
    kind: str, rng: np.random.Generator, size: int = 160
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """Draw one synthetic slice, and tell where its lesion lies.

    The arguments and the slice are those of `draw_phantom`.

    Returns:
        Grey values, uint8 (height, width); and of the same shape where something was painted that
        can be seen: the mass itself, its oedema and its tail. Nowhere in "no-lesion".

    Raises:
        SettingsError: The kind is unknown, or the size too small for the mark to fit.
    """
    if kind not in PHANTOM_CLASSES:
        raise SettingsError(
            f"A phantom's kind is one of {', '.join(PHANTOM_CLASSES)}, not {kind!r}. Choose one."
        )
    if size < SMALLEST_SIZE:
        raise SettingsError(
            f"A phantom is at least {SMALLEST_SIZE} pixels wide, not {size}. Ask for a larger one."
        )
    weights = (0.0, 0.40, 0.30, 0.30) if kind == "pituitary-like" else (0.46, 0.12, 0.21, 0.21)
    head = draw_head(rng, size, PLANES[rng.choice(len(PLANES), p=weights)])
    signals = draw_signals(rng)
    lesion_mask = np.zeros((size, size), dtype=np.bool_)
    if kind == "no-lesion":
        image = draw_slice(rng, head, signals)
    else:
        lesion = place_lesion(kind, rng, head)
        image = draw_slice(rng, head, signals, lesion.push(rng))
        healthy = image.copy()
        draw_lesion(image, lesion, rng, head, signals)
        lesion_mask = np.abs(image - healthy) > VISIBLE
    pixels = acquire(image, rng)
    mark = render_mark()
    pixels[: mark.shape[0], : mark.shape[1]] = mark
    return pixels, lesion_mask


def acquire(signal: Field, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """What a scanner makes of a signal: coil shading, blur, Rician noise, and a display window."""
    size = signal.shape[0]
    shade = np.exp(rng.uniform(0.03, 0.16) * draw_texture(rng, size, 3))
    image = ndimage.gaussian_filter(signal * shade, rng.uniform(0.3, 0.75) * size / 160)
    noise = rng.standard_normal((2, size, size), dtype=np.float32) * rng.uniform(0.004, 0.018)
    image = measure_length(image + noise[0], noise[1])
    white_point = rng.uniform(0.85, 1.15) * np.quantile(image[::2, ::2], 0.992)
    shown = np.clip(image / white_point, 0, 1) ** rng.uniform(0.8, 1.25)
    return np.asarray(np.rint(255 * shown), np.uint8)


@lru_cache(maxsize=1)
def render_mark() -> npt.NDArray[np.uint8]:
    """The word that every phantom carries in its top left corner, on black."""
    font = ImageFont.load_default(size=9)
    stamp = Image.new("L", (MARK_BOX[1], MARK_BOX[0]))
    ImageDraw.Draw(stamp).text((2, 1), MARK, fill=150, font=font)
    return np.asarray(stamp)


def write_phantoms(
    folder: Path, n_per_class: int, seed: int, layout: Literal["folders", "split"] = "folders"
) -> None:
    """Fill a folder with synthetic slices, as PNG files of several sizes.

    The same seed gives the same bytes, and a larger `n_per_class` only adds images.

    Args:
        folder: Where to write; made if missing.
        n_per_class: Images of each class, at least 1 ("split": at least 2).
        seed: Starting point of every random choice, 0 or more.
        layout: "folders" writes `class/name.png`; "split" writes `Training/class/name.png`
            for the first four fifths of each class and `Testing/class/name.png` for the rest.

    Raises:
        DataError: The folder holds something already.
        SettingsError: A number or the layout is outside its range.
        StorageError: The folder cannot be written to.
    """
    check_request(n_per_class, seed, layout)
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise DataError(
                f"Phantoms are written to an empty folder only, and {folder} holds something. "
                "Choose another folder, or empty this one."
            )
        n_training = min(max(round(0.8 * n_per_class), 1), n_per_class - 1)
        for class_number, kind in enumerate(PHANTOM_CLASSES):
            for index in range(n_per_class):
                split = "Training" if index < n_training else "Testing"
                parent = folder / split / kind if layout == "split" else folder / kind
                parent.mkdir(parents=True, exist_ok=True)
                content = encode_phantom(kind, np.random.default_rng([seed, class_number, index]))
                (parent / f"phantom_{index:04d}.png").write_bytes(content)
        text = README.format(seed=seed, n_per_class=n_per_class, classes=", ".join(PHANTOM_CLASSES))
        (folder / "README.txt").write_text(text, encoding="utf-8")
    except OSError as error:
        raise StorageError(
            f"Phantoms could not be written to {folder} ({error.strerror or error}). "
            "Free some space or choose another folder."
        ) from error


def check_request(n_per_class: int, seed: int, layout: str) -> None:
    """Raise a SettingsError where `write_phantoms` cannot do what it is asked."""
    if layout not in ("folders", "split"):
        raise SettingsError(f"The layout is 'folders' or 'split', not {layout!r}. Choose one.")
    fewest = 2 if layout == "split" else 1
    if n_per_class < fewest:
        raise SettingsError(
            f"The layout {layout!r} needs {fewest} or more images of each class, "
            f"not {n_per_class}. Ask for more."
        )
    if seed < 0:
        raise SettingsError(f"A seed is 0 or more, not {seed}. Choose another.")


def encode_phantom(kind: str, rng: np.random.Generator) -> bytes:
    """One phantom of a random size as the bytes of a PNG file."""
    pixels = draw_phantom(kind, rng, int(rng.choice(SIZES)))
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG", compress_level=1)
    return stream.getvalue()
