"""Some images before and after each step of preparation."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medlora.data.image import decode_image, prepare_image, separate_series
from medlora.data.steps import show_steps
from medlora.data.table import ImageTable
from medlora.preprocessing import Preprocessing
from medlora.progress import Progress, silent


@dataclass(frozen=True)
class PreviewRow:
    """One image, or one series of a case, on its way to the backbone.

    Attributes:
        label: Its classes, split and series; nothing that names the file or a patient.
        titles: What was done last, for each picture: `original` first, `input` last.
        pictures: RGB values, each (height, width, 3).
    """

    label: str
    titles: tuple[str, ...]
    pictures: tuple[npt.NDArray[np.uint8], ...]


def pick_rows(table: ImageTable, n_images: int, seed: int) -> list[int]:
    """Rows to look at: every class in every split in turn, drawn at random within each.

    Args:
        table: The images.
        n_images: How many, at least 1; all where there are fewer.
        seed: Decides on the drawing.

    Returns:
        Rows of the table, those of one class and split side by side.
    """
    rng = np.random.default_rng(seed)
    groups: dict[tuple[str, str], list[int]] = {}
    for row in rng.permutation(table.n_images).tolist():
        key = (describe_classes(table, row), table.splits[row] or "")
        groups.setdefault(key, []).append(row)
    order = sorted(groups)
    longest = max(map(len, groups.values()))
    turns = [
        (key, groups[key][turn])
        for turn in range(longest)
        for key in order
        if turn < len(groups[key])
    ]
    return [row for _, row in sorted(turns[:n_images], key=lambda pair: order.index(pair[0]))]


def preview_rows(
    table: ImageTable,
    rows: Sequence[int],
    preprocessing: Preprocessing,
    progress: Progress = silent,
) -> list[PreviewRow]:
    """What the steps, the contrast and the geometry make of some images.

    Where the preprocessing has channels, each series of a case has a row of its own.

    Args:
        table: The images.
        rows: Rows of the table.
        preprocessing: What they go through.
        progress: Told after every image.

    Raises:
        UnreadableImageError: One of them cannot be read.
        SettingsError: A step needs a package that is not installed.
    """
    shown = []
    for done, row in enumerate(rows):
        location = table.locations[row]
        pixels = decode_image(table.source.read_bytes(location), location)
        words = [describe_classes(table, row), table.splits[row]]
        for series, stages in _show_series(pixels, preprocessing):
            shown.append(
                PreviewRow(
                    label="\n".join(word for word in (*words, series) if word),
                    titles=tuple(name for name, _ in stages),
                    pictures=tuple(picture for _, picture in stages),
                )
            )
        progress("preparing", done + 1, len(rows))
    return shown


def _show_series(
    pixels: npt.NDArray[np.uint8], preprocessing: Preprocessing
) -> Iterator[tuple[str, list[tuple[str, npt.NDArray[np.uint8]]]]]:
    """Each series' name and stages from `original` to `input`; of a single image without a name."""
    prepared = prepare_image(pixels, preprocessing)
    if not preprocessing.channels:
        last = ("input", prepared.transpose(1, 2, 0))
        yield "", [*show_steps(pixels, preprocessing), last]
        return
    parts = separate_series(pixels, preprocessing)
    named = zip(preprocessing.channels, pixels, parts, prepared, strict=True)
    for name, own, (grey, left), channel in named:
        _, *later = show_steps(grey, left)
        crop = [("crop", grey)] if "crop" in preprocessing.steps else []
        last = ("input", np.repeat(channel[:, :, np.newaxis], 3, axis=2))
        yield name, [("original", own), *crop, *later, last]


def describe_classes(table: ImageTable, row: int) -> str:
    """The names of a row's classes."""
    names = [table.classes[number] for number in np.flatnonzero(table.targets[row])]
    return ", ".join(names) or "none"
