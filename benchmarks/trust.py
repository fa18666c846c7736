"""How well tasks tell images that are unlike their training images, and what that costs.

Each task is trained, its file is opened as `medlora predict` opens it, and scores its own test
images, those of every other task, photographs, pure noise, and its own test images spoilt.

    python -m benchmarks.trust --data ../shared/data     # writes docs/results/trust.json
    python -m benchmarks.trust --data ../shared/data --only "brain MRI" --quick   # nowhere

Finished runs are taken up again.
"""

import argparse
import hashlib
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

from benchmarks.novelty_sets import (
    SPOILING,
    TASKS,
    PictureSet,
    TaskData,
    draw_noise,
    read_photographs,
    read_pictures,
    read_split,
)
from benchmarks.record import RESULTS, describe_load, show_line, write_result
from benchmarks.trust_table import render_trust
from medlora.allocator import keep_large_blocks
from medlora.compare.auroc import estimate_variance, logit_interval, trace_auroc
from medlora.data.cache import default_cache
from medlora.data.image import prepare_image
from medlora.data.split import write_split
from medlora.data.table import read_table
from medlora.evaluate.answers import answer_batch
from medlora.evaluate.resampling import number_groups
from medlora.runs import finishing
from medlora.runs.folder import RunFolder, RunPlan, read_json, write_json
from medlora.runs.novelty import MAX_IMAGES, fit_run
from medlora.runs.opened import OpenedTask, open_task
from medlora.runs.training import start_run
from medlora.train.settings import TrainSettings

NAME = "trust"
BATCH_SIZE = 32
SEED = 0
AIMS = {"modality": 0.98, "spoilt": 0.90}


@dataclass(frozen=True)
class Arm:
    """A way to train all tasks."""

    backbone: str
    method: str
    epochs: int

    @property
    def name(self) -> str:
        """A name for a folder."""
        return f"{self.backbone}-{self.method}"


ARMS = (
    Arm("vit_tiny_patch16_224", "linear", 3),
    Arm("vit_tiny_patch16_224", "lora", 3),
    Arm("tf_efficientnet_lite0", "linear", 3),
)


def write_sample(task: TaskData, data: Path, path: Path, n_train: int) -> Path:
    """A manifest of some of a task's images: so many for training, a third of it for the others."""
    rng = np.random.default_rng(SEED)
    table = read_split(task, data)
    counts = {"train": n_train, "val": n_train // 3, "test": n_train // 3}
    drawn = [rng.permutation(table.rows_in(split))[:n] for split, n in counts.items()]
    chosen = table.select(np.concatenate(drawn))
    digests = [
        hashlib.sha256(table.source.read_bytes(place)).hexdigest() for place in chosen.locations
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_split(path, chosen, digests)
    return path.resolve()


def train_task(arm: Arm, task: TaskData, data: Path, runs: Path, n_train: int) -> RunFolder:
    """The folder of a finished run, with the seconds that it took in `seconds.json`."""
    folder = runs / arm.name / task.name.replace(" ", "-")
    if (folder.parent / f"{folder.name}.json").is_file():
        return RunFolder(folder)
    plan = RunPlan(
        data=str(write_sample(task, data, folder.parent / f"{folder.name}.csv", n_train)),
        settings=TrainSettings(
            method=arm.method,  # type: ignore[arg-type]
            backbone=arm.backbone,
            epochs=arm.epochs,
            seed=SEED,
        ),
        name=task.name,
    )
    with time_novelty() as seconds:
        started = time.perf_counter()
        start_run(plan, folder, cache=default_cache(), progress=show_line)
        seconds["run"] = time.perf_counter() - started
    write_json(folder.parent / f"{folder.name}.json", seconds)
    return RunFolder(folder)


@contextmanager
def time_novelty() -> Iterator[dict[str, float]]:
    """The seconds that runs inside spend on what they keep of their training images."""
    seconds = {"novelty": 0.0}

    def fit(*arguments: Any, **named: Any) -> Any:
        started = time.perf_counter()
        kept = fit_run(*arguments, **named)
        seconds["novelty"] += time.perf_counter() - started
        return kept

    with mock.patch.object(finishing, "fit_run", fit):
        yield seconds


def score_pictures(task: OpenedTask, pictures: PictureSet) -> np.ndarray:
    """(image,) scores of novelty."""
    card = task.card
    scores = []
    for start in range(0, len(pictures.pictures), BATCH_SIZE):
        some = pictures.pictures[start : start + BATCH_SIZE]
        images = np.stack([prepare_image(pixels, card.preprocessing) for pixels in some])
        found = answer_batch(
            task.model,
            torch.from_numpy(images),
            card.preprocessing,
            measures=task.measures,
        )
        assert found.novelty is not None
        scores.append(found.novelty)
    return np.concatenate(scores)


def compare_sets(own: tuple[np.ndarray, PictureSet], other: tuple[np.ndarray, PictureSet]) -> Any:
    """AUROC of another set against a task's own test images, with DeLong's interval."""
    scores = np.concatenate([own[0], other[0]])
    targets = np.arange(len(scores)) >= len(own[0])
    groups = number_groups([*own[1].groups, *other[1].groups], len(scores))
    # Any rising function of the scores has the same AUROC; this one lies in [0, 1].
    traced = trace_auroc((scores / (1 + scores))[:, None], targets[:, None], groups)
    variance = estimate_variance(traced.images, groups)
    interval = logit_interval(traced.value, variance, 0.95)
    return {
        "n_images": len(other[0]),
        "auroc": traced.value,
        "interval": interval or "undefined",
        "flagged": float((other[0] > 1).mean()),
    }


def measure_task(
    place: RunFolder, task: TaskData, tests: dict[str, PictureSet], others: Sequence[PictureSet]
) -> dict[str, Any]:
    """What one trained task says about every set of images."""
    opened = open_task(place.task)
    novelty = opened.card.novelty
    assert novelty is not None
    test = tests[task.name]
    own = score_pictures(opened, test), test
    sets = []
    for other in TASKS:
        if other.name != task.name and other.name in tests:
            kind = "modality" if other.modality != task.modality else "same modality"
            found = score_pictures(opened, tests[other.name]), tests[other.name]
            sets.append({"name": other.name, "kind": kind, **compare_sets(own, found)})
    spoilt = [test.spoil(name) for name in SPOILING]
    for pictures in (*others, *spoilt):
        kind = "photographs" if pictures.name == "photographs" else "spoilt"
        found = score_pictures(opened, pictures), pictures
        sets.append({"name": pictures.name, "kind": kind, **compare_sets(own, found)})
    n_flagged = int((own[0] > 1).sum())
    return {
        "task": task.name,
        "n_train": novelty.n_train,
        "n_val": novelty.n_val,
        "n_test": len(own[0]),
        "promised": novelty.false_alarms,
        "false_alarms": n_flagged / len(own[0]),
        "n_bytes": sum(measure.n_bytes for measure in opened.measures),
        "sets": sets,
        "seconds": read_json(place.path.parent / f"{place.path.name}.json", "seconds"),
    }


def measure_arm(
    arm: Arm, tasks: Sequence[TaskData], data: Path, runs: Path, counts: tuple[int, int]
) -> dict[str, Any]:
    """All tasks of one arm against one another and all else.

    Args:
        arm: How they are trained.
        tasks: The tasks.
        data: Folder of their images.
        runs: Where the runs go.
        counts: Training images of a task, and test images.
    """
    n_train, n_images = counts
    places = {task.name: train_task(arm, task, data, runs, n_train) for task in tasks}
    rng = np.random.default_rng(SEED)
    tests = {
        name: read_pictures(read_table(place.split), "test", n_images, name, rng)
        for name, place in places.items()
    }
    others = [read_photographs(), draw_noise(rng)]
    found = []
    for task in tasks:
        found.append(measure_task(places[task.name], task, tests, others))
        print(f"  {arm.name}: {task.name} measured", file=sys.stderr, flush=True)
    return {"backbone": arm.backbone, "method": arm.method, "epochs": arm.epochs, "tasks": found}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the tables, and write them unless `--quick` is given."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.trust", description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--runs", type=Path, default=Path("runs/benchmarks/trust"))
    parser.add_argument("--only", action="append", help="a task; all if not given")
    parser.add_argument("--arms", type=int, default=len(ARMS), help="only the first so many")
    parser.add_argument("--train", type=int, default=600, help="training images of a task")
    parser.add_argument("--images", type=int, default=200, help="test images of a task, at most")
    parser.add_argument("--quick", action="store_true", help="write nothing")
    options = parser.parse_args(arguments)
    keep_large_blocks()
    load = os.getloadavg()[0]
    tasks = [task for task in TASKS if options.only is None or task.name in options.only]
    result = {
        "aims": AIMS,
        "max_images": MAX_IMAGES,
        "arms": [
            measure_arm(arm, tasks, options.data, options.runs, (options.train, options.images))
            for arm in ARMS[: options.arms]
        ],
    }
    result["notes"] = describe_load(load, os.getloadavg()[0])
    print(render_trust(result))
    if not options.quick:
        print(write_result(NAME, NAME, result, seed=SEED, folder=RESULTS), file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
