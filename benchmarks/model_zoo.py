"""Train the task files of model_zoo/ on public images; what is finished is not run again.

    python -m benchmarks.model_zoo --data ../shared/data
    python -m benchmarks.model_zoo --data ../shared/data --only breast-ultrasound

All are adapters on the embedded backbone, and are trained alike, as `medlora demo` trains its own.
The task file, its card, and docs/results/model-zoo.json are written when a task is finished.
"""

import argparse
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.record import ROOT, show_line, write_result
from medlora.allocator import keep_large_blocks
from medlora.cli.demo import TARGETS
from medlora.data.cache import default_cache
from medlora.experiments.arms import Arm, ArmRuns
from medlora.experiments.augmentations import vary_mildly
from medlora.runs.folder import RunPlan
from medlora.storage import write_atomically
from medlora.task.file import Task, load_task, save_task
from medlora.train.settings import TrainSettings

NAME = "model-zoo"
ZOO = ROOT / "model_zoo"
BACKBONE = "tf_efficientnet_lite0"
LEARNING_RATE = 3e-3
_LIMITS = "A demonstration on public images; not a medical device, not for use on patients."


@dataclass(frozen=True)
class ZooTask:
    """A task of the zoo.

    Attributes:
        name: Its name, and its file's.
        data: Its images below the data folder.
        source: Where the images come from, and their terms.
        group_by: Manifest column whose groups no split cuts.
        epochs: Epochs of its run.
        flips: Whether images may be mirrored without becoming others.
        limits: What a reader has to know before using it.
    """

    name: str
    data: str
    source: str
    group_by: str | None
    epochs: int
    flips: bool
    limits: str


TASKS = (
    ZooTask(
        name="brain-tumor-mri",
        data="brain_tumor_mri",
        source="Bhuvaji et al. 2020, Kaggle: Brain Tumor Classification (MRI)",
        group_by=None,
        epochs=3,
        flips=True,
        limits="Single slices without patient identifiers; the gliomas of the test images come "
        "from another collection than those of training, and most are missed. Many test images "
        "are also training images.",
    ),
    ZooTask(
        name="chest-pneumonia",
        data="chest_xray_pneumonia/manifest.csv",
        source="Kermany et al., Cell 2018 (CC BY 4.0)",
        group_by=None,
        epochs=3,
        flips=False,
        limits="Chest films of children from one hospital, squashed to squares.",
    ),
    ZooTask(
        name="blood-cells",
        data="blood_cells/manifest.csv",
        source="Mooney's augmentation of Shenggan's BCCD (MIT)",
        group_by="source_image",
        epochs=3,
        flips=True,
        limits="Copies of 348 photographs; all copies of one lie in one split.",
    ),
    ZooTask(
        name="breast-ultrasound",
        data="medmnist/breastmnist.npz",
        source="Yang et al. 2023, BreastMNIST (CC BY 4.0)",
        group_by=None,
        epochs=9,
        flips=True,
        limits="Trained on pictures of 28 x 28 pixels, enlarged; 156 test images.",
    ),
)


def plan_runs(task: ZooTask, folder: Path) -> ArmRuns:
    """The one run of a task."""
    augmentation = vary_mildly(flips=task.flips)
    settings = TrainSettings(
        backbone=BACKBONE,
        targets=tuple(TARGETS.split(",")),
        epochs=task.epochs,
        label_smoothing=0.05,
        augmentation=augmentation,
    )
    arm = Arm(settings, (LEARNING_RATE,), try_epochs=task.epochs, seeds=(0,))
    return ArmRuns(arm, folder / task.name)


def plan_task(task: ZooTask, data: Path) -> RunPlan:
    """What all runs of a task share."""
    return RunPlan(
        data=str((data / task.data).resolve()),
        settings=TrainSettings(),
        name=task.name,
        group_by=task.group_by,
        save_dtype="float16",
        novelty=True,
        note=f"Images: {task.source}. {task.limits} {_LIMITS}",
        command="python -m benchmarks.model_zoo",
    )


def write_task(task: ZooTask, runs: ArmRuns, zoo: Path) -> list[dict[str, Any]]:
    """Put a finished task's file and card into the zoo.

    Returns:
        A row for each set of test images.
    """
    trained = load_task(runs.seed_folder(0).task)
    # Runs are named after their arm as well; the file is named after the task alone.
    named = Task(replace(trained.card, name=task.name), trained.tensors)
    card = json.dumps(named.card.to_dict(), indent=1, ensure_ascii=False)
    zoo.mkdir(exist_ok=True)
    save_task(zoo / f"{task.name}.safetensors", named)
    write_atomically(zoo / f"{task.name}.json", f"{card}\n".encode())
    about = {"task": task.name, "source": task.source, "limits": task.limits}
    return [about | row for row in runs.read()]


def main() -> None:
    """Run what is missing; write files, cards and scores of every task that is finished."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--runs", type=Path, default=Path("runs/benchmarks/model-zoo"))
    parser.add_argument("--zoo", type=Path, default=ZOO, help="folder of the task files")
    parser.add_argument("--only", help="train this task alone; all that is finished is written")
    arguments = parser.parse_args()
    keep_large_blocks()
    for task in TASKS:
        if arguments.only in (None, task.name):
            plan_runs(task, arguments.runs).run(
                plan_task(task, arguments.data), cache=default_cache(), progress=show_line
            )
    rows = []
    for task in TASKS:
        runs = plan_runs(task, arguments.runs)
        if runs.is_finished:
            rows += write_task(task, runs, arguments.zoo)
    path = write_result(NAME, NAME, {"rows": rows}, seed=0)
    print(f"{path} written; make docs writes the tables from it")


if __name__ == "__main__":
    main()
