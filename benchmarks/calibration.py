"""Calibration and prediction sets of heads on a frozen backbone, measured on real test images.

Each task is one `medlora train` run; what is finished is not run again. The features of the
frozen network are kept, so that a second run costs little.

    python -m benchmarks.calibration --data ../shared/data
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.record import show_line, write_result
from medlora.allocator import keep_large_blocks
from medlora.data.cache import default_cache
from medlora.runs.folder import RunFolder, RunPlan, read_json
from medlora.runs.training import resume_run, start_run
from medlora.task.file import load_task
from medlora.train.settings import CalibrationChoice, TrainSettings

NAME = "calibration"
BACKBONE = "vit_tiny_patch16_224"
COVERAGE = 0.9


@dataclass(frozen=True)
class Case:
    """One task.

    Attributes:
        name: Its name.
        data: Its images below the data folder.
        group_by: Manifest column whose groups no split cuts.
        limits: What a reader has to know of the test images.
        calibration: How it is calibrated.
    """

    name: str
    data: str
    group_by: str | None
    limits: str
    calibration: CalibrationChoice = "auto"


CASES = (
    Case(
        "brain MRI",
        "brain_tumor_mri",
        None,
        "the test images come from elsewhere than those of training, gliomas above all",
    ),
    Case(
        "chest pneumonia",
        "chest_xray_pneumonia/manifest.csv",
        None,
        "the test images are the publishers' own test set, not a random part of the others",
    ),
    Case("blood cells", "blood_cells/manifest.csv", "source_image", "augmented photographs"),
    Case(
        "NIH chest X-ray",
        "nih_chest_xray14/manifest.csv",
        None,
        "too few validation images for calibrating unasked, and for most findings' sets",
    ),
    Case(
        "NIH chest X-ray, calibrated all the same",
        "nih_chest_xray14/manifest.csv",
        None,
        "the same images, with --calibration vector",
        "vector",
    ),
)


def plan_run(case: Case, data: Path, epochs: int) -> RunPlan:
    """A linear head that is calibrated as `medlora train` does it without being asked."""
    return RunPlan(
        data=str((data / case.data).resolve()),
        settings=TrainSettings(
            method="linear",
            backbone=BACKBONE,
            epochs=epochs,
            calibration=case.calibration,
            coverage=COVERAGE,
        ),
        name=case.name,
        group_by=case.group_by,
        note="Benchmark run; not for use on patients.",
        command="python -m benchmarks.calibration",
        cache_features="on",
        novelty=False,
    )


def name_folder(case: Case) -> str:
    """The folder of a task's run."""
    return case.name.replace(",", "").replace(" ", "-")


def measure(case: Case, data: Path, folder: Path, epochs: int) -> dict[str, Any]:
    """What one task's run says of calibration, prediction sets and abstaining."""
    place = RunFolder(folder)
    if not place.report.is_file():
        if place.plan.is_file():
            resume_run(folder, cache=default_cache(), progress=show_line)
        else:
            plan = plan_run(case, data, epochs)
            start_run(plan, folder, cache=default_cache(), progress=show_line)
    found = read_json(place.evaluation, "evaluation")
    card = load_task(place.task).card
    record = card.calibration
    overall = found["all"]["overall"]
    return {
        "name": case.name,
        "limits": case.limits,
        "n_val": card.conformal.n_images if card.conformal else 0,
        "n_test": found["all"]["n_images"],
        "method": record.method if record else "none",
        "scale": list(record.scale) if record else [],
        "validation": {"before": record.before, "after": record.after} if record else None,
        "test": found.get("calibration"),
        "accuracy": overall["accuracy"],
        "auroc": overall["auroc"],
        "calibration_error": overall["calibration_error"],
        "coverage": {
            name: found["conformal"][name]
            for name in ("wanted", "coverage", "mean_size", "single", "by_class")
        },
        "abstaining": found["abstaining"],
        "aurc": found["risk_coverage"]["aurc"],
    }


def main() -> None:
    """Run what is missing, then write the figures of all tasks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--runs", type=Path, default=Path("runs/benchmarks/calibration"))
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--only", help="no tasks but those whose name contains this")
    arguments = parser.parse_args()
    keep_large_blocks()
    tasks = [
        measure(case, arguments.data, arguments.runs / name_folder(case), arguments.epochs)
        for case in CASES
        if arguments.only is None or arguments.only in case.name
    ]
    result = {
        "backbone": BACKBONE,
        "method": "linear",
        "epochs": arguments.epochs,
        "coverage": COVERAGE,
        "tasks": tasks,
    }
    write_result(NAME, NAME, result, seed=0)


if __name__ == "__main__":
    main()
