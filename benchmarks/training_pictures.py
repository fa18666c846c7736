"""Pictures for a training contest, and the time that decoding and augmentation take."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.training_contest import LEARNING_RATE, N_CLASSES, Contest, choose_device

_N_ROWS = 10**5  # So many that no epoch ends while it is measured.


def choose_settings(contest: Contest) -> Any:
    """Settings of the whole loop: every kind of augmentation is on."""
    from medlora.data.augment import Augmentation
    from medlora.train.settings import TrainSettings

    return TrainSettings(
        backbone=contest.backbone,
        rank=contest.rank,
        batch_size=contest.batch_size,
        learning_rate=LEARNING_RATE,
        augmentation=Augmentation(
            rotation_degrees=10,
            flip_horizontal=True,
            shift_fraction=0.05,
            scale_fraction=0.1,
            contrast=0.1,
            brightness=0.1,
            noise=0.02,
        ),
    )


def draw_pictures(folder: Path, contest: Contest) -> None:
    """Write PNG files of synthetic slices, one after the other from a few drawings."""
    import numpy as np
    from PIL import Image

    from medlora.data.phantoms import PHANTOM_CLASSES, draw_phantom

    rng = np.random.default_rng(0)
    drawn = [draw_phantom(kind, rng) for kind in PHANTOM_CLASSES]
    side = (contest.picture_side, contest.picture_side)
    for number in range(contest.n_pictures):
        pixels = np.roll(drawn[number % len(drawn)], number // len(drawn), axis=0)
        Image.fromarray(pixels).resize(side).save(folder / f"{number}.png")


def open_pictures(folder: Path, contest: Contest, preprocessing: Any) -> Any:
    """The reader of the pictures, with a cache of its own in their folder."""
    from medlora.data.cache import ImageCache, PreparedImages
    from medlora.data.source import FolderSource

    names = [f"{number}.png" for number in range(contest.n_pictures)]
    cache = ImageCache(folder / "cache", 10**9)
    return PreparedImages(FolderSource(folder), names, preprocessing, cache)


def describe_data(folder: Path, contest: Contest, preprocessing: Any) -> Any:
    """Training data that go on for ever, from a few pictures decoded beforehand."""
    import numpy as np

    from medlora.train.examples import TrainingData

    images = open_pictures(folder, contest, preprocessing)
    pictures = np.arange(contest.n_pictures)
    images.read(pictures.tolist())
    targets = np.eye(N_CLASSES, dtype=bool)[pictures % N_CLASSES]
    rows = np.resize(pictures, _N_ROWS)
    return TrainingData(images, targets, False, rows, np.arange(N_CLASSES), preprocessing)


def time_data(contest: Contest, clock: str = "wall") -> dict[str, float]:
    """Seconds for a batch of what comes before the step, each the median of some tries.

    Args:
        contest: The setting.
        clock: `wall`, or `processor` for the time that this process computes.

    Returns:
        `decoding` (file to prepared image, the first time), `reading` (from the cache) and
        `augmentation` (with normalisation).
    """
    import torch

    from medlora.backbones.spec import create_architecture, read_preprocessing
    from medlora.data.augment import apply_augmentation, draw_augmentation
    from medlora.data.image import normalise_batch

    augmentation = choose_settings(contest).augmentation
    read_clock = time.process_time if clock == "processor" else time.perf_counter
    torch.set_num_threads(contest.n_threads or torch.get_num_threads())
    with torch.device("meta"):
        preprocessing = read_preprocessing(create_architecture(contest.backbone))
    generator = torch.Generator().manual_seed(0)
    starts = range(0, contest.n_pictures - contest.batch_size + 1, contest.batch_size)
    seconds: dict[str, list[float]] = {"decoding": [], "reading": [], "augmentation": []}

    def change(images: torch.Tensor) -> None:
        draw = draw_augmentation(augmentation, len(images), generator)
        normalise_batch(apply_augmentation(images.to(choose_device()), draw), preprocessing)

    with tempfile.TemporaryDirectory() as folder:
        draw_pictures(Path(folder), contest)
        images = open_pictures(Path(folder), contest, preprocessing)
        for kind in ("decoding", "reading"):
            for start in starts:
                rows = range(start, start + contest.batch_size)
                seconds[kind].append(_time(lambda rows=rows: images.read(rows), read_clock))
        batch = images.read(range(contest.batch_size))
    seconds["augmentation"] = [
        _time(lambda: change(batch), read_clock) for _ in range(len(starts) + 1)
    ]
    return {kind: sorted(tries)[len(tries) // 2] for kind, tries in seconds.items()}


def _time(action: Callable[[], object], read_clock: Callable[[], float]) -> float:
    started = read_clock()
    action()
    return read_clock() - started
