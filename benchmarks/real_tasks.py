"""Brain-tumour MRI as its folders give it: linear probe, adapter and full fine-tuning.

For each backbone and method the learning rate is chosen on validation images from the same
number of tries; then the chosen rate is run with each seed. Every run is a `medlora train` run
in a folder of its own: what is finished is not done again, and what was stopped goes on.

    python -m benchmarks.real_tasks --data ../shared/data/brain_tumor_mri
"""

import argparse
import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.record import write_result
from medlora.data.augment import Augmentation
from medlora.data.cache import default_cache
from medlora.runs.folder import RunFolder, RunPlan
from medlora.runs.training import resume_run, start_run
from medlora.task.file import load_task
from medlora.train.settings import TrainSettings
from medlora.train.validation import rank_epoch

NAME = "brain-tumor-mri"
TINY = "vit_tiny_patch16_224"
CLIP = "vit_base_patch16_clip_quickgelu_224.openai"
# MRI intensities have no unit: brightness and contrast differ from scanner to scanner, and the
# classes of this data set come from different scanners. Plane and position vary as well.
COMMON = TrainSettings(
    batch_size=32,
    label_smoothing=0.05,
    weight_decay=0.01,
    augmentation=Augmentation(
        rotation_degrees=15.0,
        flip_horizontal=True,
        shift_fraction=0.05,
        scale_fraction=0.15,
        contrast=0.3,
        brightness=0.2,
        noise=0.02,
    ),
)


@dataclass(frozen=True)
class Arm:
    """One backbone and method, with the rates that are tried.

    Attributes:
        settings: How it is trained, but for the rate and the seed.
        rates: Learning rates to try; as many for every arm.
        try_epochs: Epochs of a try.
        seeds: Seeds of the final runs.
    """

    settings: TrainSettings
    rates: tuple[float, ...]
    try_epochs: int
    seeds: tuple[int, ...]

    @property
    def name(self) -> str:
        """Folder name of the arm."""
        return f"{self.settings.backbone.partition('.')[0]}-{self.settings.method}"


def _arm(
    backbone: str,
    method: Any,
    rates: tuple[float, ...],
    *,
    epochs: int,
    try_epochs: int,
    seeds: tuple[int, ...],
    contrast: Any,
) -> Arm:
    settings = replace(COMMON, backbone=backbone, method=method, epochs=epochs, contrast=contrast)
    return Arm(settings, rates, try_epochs, seeds)


def plan_arms(contrast: str) -> list[Arm]:
    """All arms; three rates each, a factor of about three apart."""
    tiny = {"epochs": 3, "try_epochs": 1, "seeds": (0, 1, 2), "contrast": contrast}
    return [
        _arm(TINY, "linear", (1e-3, 3e-3, 1e-2), **tiny),
        _arm(TINY, "lora", (1e-3, 3e-3, 1e-2), **tiny),
        _arm(TINY, "full", (3e-5, 1e-4, 3e-4), **tiny),
        _arm(
            CLIP,
            "lora",
            (3e-4, 1e-3, 3e-3),
            epochs=4,
            try_epochs=1,
            seeds=(0,),
            contrast=contrast,
        ),
    ]


def show_line(stage: str, done: int, total: int, **figures: float) -> None:
    """A line on standard error when a stage is finished."""
    if done == total and not stage.startswith(("validation", "predicting")):
        print(f"    {stage} {figures or ''}", file=sys.stderr, flush=True)


def run_once(data: Path, folder: Path, settings: TrainSettings, precision: str) -> None:
    """Do one run, or what is left of it."""
    place = RunFolder(folder)
    if place.report.is_file():
        return
    print(f"  {folder.name}", file=sys.stderr, flush=True)
    cache = default_cache()
    if place.plan.is_file() and place.split.is_file():
        resume_run(folder, cache=cache, progress=show_line)
        return
    plan = RunPlan(
        data=str(data.resolve()),
        settings=replace(settings, precision=precision),  # type: ignore[arg-type]
        name=f"{NAME}-{folder.parent.name}",
        note="Benchmark run; not for use on patients.",
        command=f"python -m benchmarks.real_tasks --data {data}",
    )
    start_run(plan, folder, cache=cache, progress=show_line)


def run_arm(data: Path, runs: Path, arm: Arm, precision: str) -> None:
    """Try every rate with seed 0, then run the best with every seed."""
    print(arm.name, file=sys.stderr, flush=True)
    folder = runs / arm.name
    for rate in arm.rates:
        settings = replace(arm.settings, learning_rate=rate, epochs=arm.try_epochs, seed=0)
        run_once(data, _try_folder(folder, rate), settings, precision)
    rate, _ = choose_rate(folder, arm)
    for seed in arm.seeds:
        settings = replace(arm.settings, learning_rate=rate, seed=seed)
        run_once(data, _seed_folder(folder, seed), settings, precision)


def choose_rate(folder: Path, arm: Arm) -> tuple[float, list[dict[str, float]]]:
    """The best rate by validation AUROC, then by loss, and what each try reached."""
    tried = []
    for rate in arm.rates:
        history = json.loads(RunFolder(_try_folder(folder, rate)).history.read_text())
        auroc, negative_loss = max(_rank(row) for row in history)
        tried.append({"learning_rate": rate, "val_auroc": auroc, "val_loss": -negative_loss})
    chosen = max(tried, key=lambda row: (row["val_auroc"], -row["val_loss"]))
    return chosen["learning_rate"], tried


def is_finished(folder: Path, arm: Arm) -> bool:
    """Whether every try and every seed of an arm has its report."""
    places = [_try_folder(folder, rate) for rate in arm.rates]
    places += [_seed_folder(folder, seed) for seed in arm.seeds]
    return all(RunFolder(place).report.is_file() for place in places)


def read_arm(runs: Path, arm: Arm) -> list[dict[str, Any]]:
    """The rows of a finished arm: each seed on all test images and on those not seen."""
    folder = runs / arm.name
    rate, tried = choose_rate(folder, arm)
    rows = []
    for seed in arm.seeds:
        rows += _read_rows(RunFolder(_seed_folder(folder, seed)), arm, seed, rate, tried)
    return rows


def _try_folder(folder: Path, rate: float) -> Path:
    return folder / f"try-{rate:g}"


def _seed_folder(folder: Path, seed: int) -> Path:
    return folder / f"seed-{seed}"


def _rank(row: dict[str, float]) -> tuple[float, float]:
    figures = {key.removeprefix("val_"): value for key, value in row.items()}
    return rank_epoch(figures, "auroc")


def _read_rows(
    place: RunFolder, arm: Arm, seed: int, rate: float, tried: list[Any]
) -> list[dict[str, Any]]:
    scores = json.loads(place.evaluation.read_text())
    task = load_task(place.task)
    common = {
        "data": "Brain tumour MRI",
        "backbone": arm.settings.backbone,
        "method": arm.settings.method,
        "seed": seed,
        "learning_rate": rate,
        "tried": tried,
        "trainable_parameters": sum(tensor.numel() for tensor in task.tensors.values()),
        "task_file_bytes": place.task.stat().st_size,
        "training": task.card.training,
        "validation": {name: scores["val"]["overall"][name] for name in ("accuracy", "auroc")},
    }
    subsets = [("all test images", scores["all"])]
    if scores["unseen"] is not None:
        subsets.append(("test images whose bytes are not in training", scores["unseen"]))
    return [
        {
            **common,
            "test_images": words,
            "n_images": evaluation["n_images"],
            "counts": dict(zip(evaluation["classes"], evaluation["counts"], strict=True)),
            "metrics": evaluation["overall"],
            "recalls": {name: row["recall"] for name, row in evaluation["per_class"].items()},
            "confusion": evaluation["confusion"],
        }
        for words, evaluation in subsets
    ]


def main() -> None:
    """Run what is missing, then write the figures of every arm that is finished."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/brain_tumor_mri"))
    parser.add_argument("--runs", type=Path, default=Path("runs/benchmarks/brain-tumor-mri"))
    parser.add_argument("--contrast", default="none", help="none, equalize or clahe")
    parser.add_argument("--precision", default="auto", help="auto, bf16 or fp32")
    parser.add_argument("--only", help="run no arms but those whose name contains this")
    arguments = parser.parse_args()
    arms = plan_arms(arguments.contrast)
    for arm in arms:
        if arguments.only is None or arguments.only in arm.name:
            run_arm(arguments.data, arguments.runs, arm, arguments.precision)
    finished = [arm for arm in arms if is_finished(arguments.runs / arm.name, arm)]
    result = {
        "rows": [row for arm in finished for row in read_arm(arguments.runs, arm)],
        "not_run": [arm.name for arm in arms if arm not in finished],
    }
    path = write_result(NAME, "real-tasks", result, seed=0)
    print(f"{path} written; make docs writes the tables from it")


if __name__ == "__main__":
    main()
