"""The splits that all runs of a comparison share: settled once, with what they came from."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from medlora.backbones.weights import load_backbone
from medlora.data.cache import ImageCache, NoCache
from medlora.data.split import check_stated_splits
from medlora.data.split_file import write_split
from medlora.data.table import ImageTable, read_table
from medlora.errors import SettingsError
from medlora.progress import Progress, silent
from medlora.runs.folder import read_json, write_json
from medlora.runs.naming import check_table
from medlora.runs.preparing import divide_data, prepare_table
from medlora.train.settings import TrainSettings

SPLIT_NAME = "split.csv"
ORIGIN_NAME = "data.json"


@dataclass(frozen=True)
class DataChoice:
    """Which images a comparison has, and how they may be divided.

    Attributes:
        data: The labelled images.
        settings: Channels, preparation, fractions of the splits and seed are taken from these.
        weights: The backbone's checkpoint, absolute, or `random`; None to look for it.
        group_by: Manifest column of groups that no split may cut.
        skip_unreadable: Leave out images that cannot be decoded.
        columns: Manifest columns to keep beside the splits.
    """

    data: Path
    settings: TrainSettings
    weights: str | None = None
    group_by: str | None = None
    skip_unreadable: bool = False
    columns: tuple[str, ...] = ()

    def read(self) -> ImageTable:
        """The images' table; no image is opened."""
        return read_table(
            self.data,
            group_by=self.group_by,
            channels=self.settings.channels,
            columns=self.columns,
        )


@dataclass(frozen=True)
class DataOrigin:
    """What splits came from, as far as that shows without opening an image.

    Attributes:
        data: Where the images lay, absolute.
        n_images: How many there were, before any were left out.
        labels_sha256: SHA-256 of their places, labels, splits and groups.
        group_by: Manifest column of groups that no split may cut.
        skip_unreadable: Whether images that cannot be decoded were left out.
    """

    data: str
    n_images: int
    labels_sha256: str
    group_by: str | None
    skip_unreadable: bool


def settle_splits(
    choice: DataChoice,
    folder: Path,
    *,
    cache: ImageCache | NoCache,
    progress: Progress = silent,
) -> None:
    """Divide the images and keep that in `folder`, or see that what is kept there is of them.

    Args:
        choice: The images.
        folder: Where `split.csv` and `data.json`, what it came from, lie or are written.
        cache: Where decoded images are kept.
        progress: Told of every image.

    Raises:
        SettingsError: The splits that are there are of other images or labels.
        MedLoRAError: Images or weights are missing or unreadable, or cannot be divided.
    """
    split = folder / SPLIT_NAME
    if split.is_file():
        _check_origin(folder, _describe(choice, choice.read()))
        return
    settings = choice.settings
    # Where weights are missing, that is said before an hour of decoding, not after it.
    backbone = load_backbone(settings.backbone, choice.weights, channels=settings.channels)
    preprocessing = replace(
        backbone.preprocessing, steps=settings.prepare, contrast=settings.contrast
    )
    table = choice.read()
    check_table(table)
    check_stated_splits(table)
    data = prepare_table(
        table, preprocessing, cache, skip_unreadable=choice.skip_unreadable, progress=progress
    )
    data = divide_data(
        data,
        val_fraction=settings.val_fraction,
        test_fraction=settings.test_fraction,
        seed=settings.seed,
        allow_patient_overlap=False,
    )
    # The splits last: where they are, their origin is known.
    write_json(folder / ORIGIN_NAME, asdict(_describe(choice, table)))
    write_split(split, data.table, data.sha256)


def _describe(choice: DataChoice, table: ImageTable) -> DataOrigin:
    return DataOrigin(
        data=str(choice.data.resolve()),
        n_images=table.n_images,
        labels_sha256=_digest(table),
        group_by=choice.group_by,
        skip_unreadable=choice.skip_unreadable,
    )


def _digest(table: ImageTable) -> str:
    digest = hashlib.sha256(json.dumps(table.classes).encode())
    columns: Sequence[Sequence[object]] = (
        table.locations,
        table.targets.tolist(),
        table.splits,
        table.patients,
    )
    for row in zip(*columns, strict=True):
        digest.update(json.dumps(row).encode())
    return digest.hexdigest()


def _check_origin(folder: Path, wanted: DataOrigin) -> None:
    """Refuse splits that came from something else."""
    path = folder / ORIGIN_NAME
    advice = "Choose another folder with --output, or move this one away."
    if not path.is_file():
        raise SettingsError(
            f"{folder} holds splits, but not what they came from: {ORIGIN_NAME} is missing, so "
            f"that they may be of other images than {wanted.data}. {advice}"
        )
    found = read_json(path, "origin of the splits")
    ours = asdict(wanted)
    if not isinstance(found, dict) or found.keys() != ours.keys():
        raise SettingsError(f"{path} is not what a comparison writes. {advice}")
    other = [
        f"{key} {found[key]!r} instead of {ours[key]!r}"
        for key in ours
        if key != "labels_sha256" and found[key] != ours[key]
    ]
    if not other and found["labels_sha256"] != ours["labels_sha256"]:
        other = ["names, labels, splits or groups of the images have changed since"]
    if other:
        raise SettingsError(
            f"{folder} holds a comparison on other data ({', '.join(other)}). {advice}"
        )
