"""What keeping frozen features saves: VGG16 with frozen convolutions, ten epochs.

A whole `medlora train` run with the feature cache, from an empty cache to the report, stands
against one forward pass over the same images, and against training without the cache. Images are
decoded beforehand for all of them. The pass and the plain steps are timed in two halves, before
and after the run, so that what else the machine does falls on all alike. Plain training would take
far longer than all the rest: some of its steps are timed, and the sum is calculated.

    python -m benchmarks.feature_cache            # writes docs/results/feature-cache.json
    python -m benchmarks.feature_cache --images 64 --epochs 2 --quick    # written nowhere
"""

import argparse
import csv
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.feature_cache_table import render_feature_cache
from benchmarks.record import RESULTS, describe_load, show_line, write_result
from medlora.allocator import keep_large_blocks
from medlora.data.cache import ImageCache
from medlora.data.image import normalise_batch
from medlora.data.table import read_table
from medlora.evaluate.predict import predict_rows
from medlora.runs.folder import RunFolder, RunPlan
from medlora.runs.ongoing import OngoingRun
from medlora.runs.preparing import PreparedData, divide_data
from medlora.runs.training import RunResult, start_run
from medlora.task.model import TaskModel
from medlora.train.checkpoint import CheckpointMemory
from medlora.train.examples import TrainingData
from medlora.train.loop import Trainer
from medlora.train.settings import TrainSettings

NAME = "feature-cache"
DATA = Path("../shared/data/brain_tumor_mri/Training")
VAL_FRACTION = 0.15


@dataclass(frozen=True)
class Measurement:
    """Seconds of each part.

    Attributes:
        forward: One pass over all images.
        step: One plain training step.
        validation: One plain batch of validation images.
        run: The whole run with the cache.
        epochs: Its epochs alone, filling the cache included.
    """

    forward: float
    step: float
    validation: float
    run: float
    epochs: float


def write_sample(data: Path, n_images: int, path: Path) -> Path:
    """A manifest of the first images of each class in turn; of all where `n_images` is 0."""
    table = read_table(data)
    columns = [[int(row) for row in column.nonzero()[0]] for column in table.targets.T]
    turns = max(map(len, columns))
    rows = [column[turn] for turn in range(turns) for column in columns if turn < len(column)]
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["path", "label"])
        for row in rows[: n_images or None]:
            label = table.classes[int(table.targets[row].argmax())]
            writer.writerow([(data / table.locations[row]).resolve(), label])
    return path


def prepare(plan: RunPlan, folder: Path, cache: ImageCache) -> tuple[OngoingRun, PreparedData]:
    """A run that is not carried out, and its images, decoded and divided."""
    from lightning_fabric import Fabric

    fabric = Fabric(accelerator="cpu", devices=1)
    run = OngoingRun(plan, RunFolder(folder), cache, fabric, show_line)
    data = divide_data(
        run.prepare(Path(plan.data)),
        val_fraction=VAL_FRACTION,
        test_fraction=0.0,
        seed=plan.settings.seed,
        allow_patient_overlap=False,
    )
    return run, data


def time_pass(run: OngoingRun, data: PreparedData, rows: Sequence[int]) -> float:
    """Seconds of one forward pass over some images, in the run's precision and layout."""
    model = run.build_model(len(data.table.classes)).eval()
    size = run.settings.batch_size

    def go() -> None:
        with torch.inference_mode():
            for start in range(0, len(rows), size):
                images = data.images.read(rows[start : start + size])
                model(normalise_batch(images, run.preprocessing))

    return _time(go)


def time_plain(run: OngoingRun, data: PreparedData, n_steps: int) -> tuple[float, float]:
    """Seconds of a training step and of a batch of validation without the cache.

    The first step of each is not counted.
    """
    table = data.table
    moments: list[float] = []
    size = run.settings.batch_size
    rows = table.rows_in("val")[: size * (n_steps + 1)]

    def note(stage: str, done: int, total: int, **figures: float) -> None:
        moments.append(time.perf_counter())

    def has_enough() -> bool:
        return len(moments) > n_steps

    training = TrainingData(
        images=data.images,
        targets=table.targets,
        multi_label=table.multi_label,
        train_rows=table.rows_in("train"),
        val_rows=rows,
        preprocessing=run.preprocessing,
    )
    model = run.build_model(len(table.classes))
    settings = replace(run.settings, epochs=1)
    trainer = Trainer(
        model,
        training,
        settings,
        checkpoints=CheckpointMemory(),
        progress=note,
        should_stop=has_enough,
    )
    trainer.run()
    step = (moments[n_steps] - moments[0]) / n_steps
    return step, _time_validation(run, model, data, n_steps)


def _time_validation(run: OngoingRun, model: TaskModel, data: PreparedData, n_steps: int) -> float:
    moments: list[float] = []
    rows = data.table.rows_in("val")[: run.settings.batch_size * (n_steps + 1)]
    predict_rows(
        model,
        data.images,
        rows,
        run.preprocessing,
        multi_label=data.table.multi_label,
        batch_size=run.settings.batch_size,
        progress=lambda *place, **figures: moments.append(time.perf_counter()),
    )
    if len(moments) < 2:
        return 0.0
    return (moments[-1] - moments[0]) / (len(moments) - 1)


def measure(plan: RunPlan, folder: Path, n_steps: int) -> tuple[Measurement, dict[str, Any]]:
    """All timings, the pass and the plain steps half before and half after the run."""
    cache = ImageCache(folder / "cache", 10**10)
    run, data = prepare(plan, folder / "none", cache)
    rows = list(range(data.table.n_images))
    half = len(rows) // 2 // plan.settings.batch_size * plan.settings.batch_size
    plain = [time_plain(run, data, n_steps)]
    forward = time_pass(run, data, rows[:half]) if half else 0.0
    results: list[RunResult] = []
    seconds = _time(
        lambda: results.append(start_run(plan, folder / "run", cache=cache, progress=show_line))
    )
    forward += time_pass(run, data, rows[half:])
    plain.append(time_plain(run, data, n_steps))
    history = torch.tensor([row["seconds"] for row in _read_history(folder / "run")])
    measurement = Measurement(
        forward=forward,
        step=sum(step for step, _ in plain) / len(plain),
        validation=sum(batch for _, batch in plain) / len(plain),
        run=seconds,
        epochs=float(history.sum()),
    )
    counts = {name: len(data.table.rows_in(name)) for name in ("train", "val")}
    decided = {"caching": results[0].caching, "precision": run.precision, **counts}
    return measurement, decided


def summarise(plan: RunPlan, found: Measurement, decided: dict[str, Any]) -> dict[str, Any]:
    """The result of kind `feature-cache`, as benchmarks/README.md describes it."""
    settings = plan.settings
    n_steps = -(-decided["train"] // settings.batch_size)
    n_batches = -(-decided["val"] // settings.batch_size)
    plain = settings.epochs * (n_steps * found.step + n_batches * found.validation)
    return {
        "backbone": settings.backbone,
        "method": settings.method,
        "precision": decided["precision"],
        "epochs": settings.epochs,
        "batch_size": settings.batch_size,
        "n_images": {name: decided[name] for name in ("train", "val")},
        "threads": torch.get_num_threads(),
        "caching": decided["caching"],
        "seconds": {
            "forward_pass": found.forward,
            "cached_run": found.run,
            "cached_epochs": found.epochs,
            "plain_training": plain,
            "plain_step": found.step,
            "plain_validation_batch": found.validation,
        },
        "aims": {"of_forward_pass": 1.15, "times_less_than_plain": 8},
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, and write the result unless it was a quick try."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.feature_cache", description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA, help="class folders of images")
    parser.add_argument("--backbone", default="vgg16")
    parser.add_argument("--method", default="factorised")
    parser.add_argument("--weights", help="a checkpoint, or 'random'; else where medlora looks")
    parser.add_argument("--images", type=int, default=0, help="so many images; 0: all")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--steps", type=int, default=6, help="plain steps in each half")
    parser.add_argument("--threads", type=int, default=0, help="threads; 0: PyTorch's choice")
    parser.add_argument("--quick", action="store_true", help="write nothing")
    options = parser.parse_args(arguments)
    keep_large_blocks()
    if options.threads:
        torch.set_num_threads(options.threads)
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = TrainSettings(
            method=options.method,
            backbone=options.backbone,
            epochs=options.epochs,
            batch_size=32,
            learning_rate=1e-3,
            optimizer="adam",
            val_fraction=VAL_FRACTION,
            test_fraction=0.0,
        )
        plan = RunPlan(
            data=str(write_sample(options.data, options.images, folder / "sample.csv")),
            settings=settings,
            name=NAME,
            weights=options.weights,
            cache_features="on",
            feature_cache_gb=5.0,
            novelty=False,
        )
        result = summarise(plan, *measure(plan, folder, options.steps))
    result["notes"] = describe_load(load, os.getloadavg()[0])
    print(render_feature_cache(result))
    if not options.quick:
        print(write_result(NAME, NAME, result, seed=settings.seed, folder=RESULTS), file=sys.stderr)
    return 0


def _read_history(folder: Path) -> list[dict[str, float]]:
    import json

    rows: list[dict[str, float]] = json.loads(RunFolder(folder).history.read_text(encoding="utf-8"))
    return rows


def _time(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


if __name__ == "__main__":
    raise SystemExit(main())
