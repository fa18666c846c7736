"""Images that a task was not trained for: those of other tasks, photographs, and spoilt ones."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from medlora.data.image import decode_image
from medlora.data.split import split_table
from medlora.data.table import ImageTable, read_table

Pixels = npt.NDArray[np.uint8]

# A share of the shorter side: no edge of what is shown stays sharp.
BLUR = 0.03
N_NOISE = 40
NOISE_SIDE = 256
# Photographs in scikit-image's package itself, which needs no download. Its medical pictures,
# drawings and drawn letters are left out.
PHOTOGRAPHS = (
    "astronaut.png",
    "brick.png",
    "camera.png",
    "chelsea.png",
    "clock_motion.png",
    "coffee.png",
    "coins.png",
    "grass.png",
    "gravel.png",
    "hubble_deep_field.jpg",
    "moon.png",
    "motorcycle_left.png",
    "page.png",
    "rocket.jpg",
    "text.png",
)


@dataclass(frozen=True)
class TaskData:
    """Labelled images of one task.

    Attributes:
        name: What the tables call it.
        path: Below the folder of data.
        modality: Tasks of one modality show the same kind of image.
        group_by: Manifest column of groups that no split may cut.
    """

    name: str
    path: str
    modality: str
    group_by: str | None = None


TASKS = (
    TaskData("brain MRI", "brain_tumor_mri", "brain MRI"),
    TaskData("blood cells", "blood_cells/manifest.csv", "blood cells", "source_image"),
    TaskData("chest pneumonia", "chest_xray_pneumonia/manifest.csv", "chest X-ray"),
    TaskData("breast ultrasound", "medmnist/breastmnist.npz", "breast ultrasound"),
    TaskData("chest, 14 findings", "nih_chest_xray14/manifest.csv", "chest X-ray"),
)


@dataclass(frozen=True, eq=False)
class PictureSet:
    """Decoded images.

    Attributes:
        name: What the tables call them.
        pictures: RGB values, each (height, width, 3).
        groups: What images belong together by: patients, or the photograph that a part is of.
    """

    name: str
    pictures: tuple[Pixels, ...]
    groups: tuple[str, ...]

    def spoil(self, name: str) -> "PictureSet":
        """The same images, each spoilt in one of the ways of `SPOILING`."""
        change = SPOILING[name]
        return PictureSet(name, tuple(map(change, self.pictures)), self.groups)


def read_split(task: TaskData, data: Path) -> ImageTable:
    """A task's images, each with a split."""
    table = read_table(data / task.path, group_by=task.group_by)
    if {"val", "test"} <= set(table.splits):
        return table
    digests = [
        hashlib.sha256(table.source.read_bytes(place)).hexdigest() for place in table.locations
    ]
    return split_table(table, digests, seed=0, allow_patient_overlap=True)


def read_pictures(
    table: ImageTable, split: str, n_images: int, name: str, rng: np.random.Generator
) -> PictureSet:
    """Some images of a split, drawn at random.

    Args:
        table: The images.
        split: Which of them.
        n_images: How many, at most.
        name: What the tables call them.
        rng: Draws them.
    """
    rows = rng.permutation(table.rows_in(split))[:n_images]
    pictures = []
    for row in rows:
        location = table.locations[row]
        pictures.append(decode_image(table.source.read_bytes(location), location))
    groups = tuple(table.patients[row] or f"row {row}" for row in rows)
    return PictureSet(name, tuple(pictures), groups)


def read_photographs() -> PictureSet:
    """scikit-image's photographs: each whole, and two of its quarters."""
    import skimage

    folder = Path(skimage.__file__).parent / "data"
    pictures, groups = [], []
    for name in PHOTOGRAPHS:
        whole = decode_image((folder / name).read_bytes(), name)
        for part in _cut_parts(whole):
            pictures.append(part)
            groups.append(name)
    return PictureSet("photographs", tuple(pictures), tuple(groups))


def draw_noise(rng: np.random.Generator) -> PictureSet:
    """Images of pure noise: of uniform values in colour, and of normal ones in grey, by turns."""
    pictures = []
    for number in range(N_NOISE):
        if number % 2:
            pixels = rng.integers(0, 256, (NOISE_SIDE, NOISE_SIDE, 3), dtype=np.uint8)
        else:
            grey = rng.normal(128, 50, (NOISE_SIDE, NOISE_SIDE, 1)).clip(0, 255).astype(np.uint8)
            pixels = np.repeat(grey, 3, axis=2)
        pictures.append(pixels)
    names = tuple(f"noise {number}" for number in range(N_NOISE))
    return PictureSet("pure noise", tuple(pictures), names)


def _cut_parts(whole: Pixels) -> Iterator[Pixels]:
    height, width = (side // 2 for side in whole.shape[:2])
    yield whole
    yield whole[:height, :width]
    yield whole[height:, width:]


def _invert(pixels: Pixels) -> Pixels:
    return 255 - pixels


def _turn_over(pixels: Pixels) -> Pixels:
    return np.ascontiguousarray(pixels[::-1])


def _blur(pixels: Pixels) -> Pixels:
    radius = BLUR * min(pixels.shape[:2])
    blurred = Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(radius))
    return np.asarray(blurred)


SPOILING: dict[str, Callable[[Pixels], Pixels]] = {
    "inverted": _invert,
    "blurred": _blur,
    "upside-down": _turn_over,
}
