"""Pictures for the tests of audits: random structure of several sizes, and changed copies of it."""

from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter


def draw_picture(seed: int, side: int = 96) -> np.ndarray:
    """(side, side), uint8: no two seeds look alike."""
    rng = np.random.default_rng(seed)
    layers = [gaussian_filter(rng.normal(size=(side, side)), sigma) for sigma in (1.5, 4, 12)]
    picture = sum(layer / layer.std() for layer in layers)
    return np.clip(128 + 40 * picture, 0, 255).astype(np.uint8)


def shrink(picture: np.ndarray, side: int = 64) -> np.ndarray:
    """(side, side), as fingerprints keep a picture."""
    return np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.BILINEAR))


def tilt(picture: np.ndarray, degrees: float) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).rotate(degrees, Image.Resampling.BICUBIC))


def crop(picture: np.ndarray, share: float = 0.05) -> np.ndarray:
    lost = round(share * len(picture))
    return picture[lost:, : len(picture) - lost]


def write_data(folder: Path, n_each: int = 12) -> Path:
    """Split and class folders of pictures that brightness tells apart, among them copies.

    `test/dark/same.png` is a file of training, `test/light/near.jpg` a mirrored and recompressed
    picture of it; `train/light/odd.png` has the pixels of a dark one.
    """
    seed = 0
    for split in ("train", "test"):
        for name, level in (("dark", 0), ("light", 60)):
            place = folder / split / name
            place.mkdir(parents=True)
            for number in range(n_each):
                picture = np.clip(0.7 * draw_picture(seed) + level, 0, 255).astype(np.uint8)
                Image.fromarray(picture).save(place / f"{split}{number:02d}.png")
                seed += 1
    first = folder / "train" / "dark" / "train00.png"
    (folder / "test" / "dark" / "same.png").write_bytes(first.read_bytes())
    light = Image.open(folder / "train" / "light" / "train03.png")
    light.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(
        folder / "test" / "light" / "near.jpg", quality=70
    )
    Image.open(folder / "train" / "dark" / "train05.png").save(
        folder / "train" / "light" / "odd.png", compress_level=0
    )
    return folder
