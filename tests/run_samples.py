"""Tiny images and whole runs on a small untrained backbone, for the tests of runs and commands."""

import csv
import signal
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torch import Tensor

from medlora.cli import main
from medlora.data.cache import NoCache
from medlora.runs.folder import RunPlan
from medlora.runs.training import RunResult, start_run
from medlora.task.file import load_task
from medlora.train.settings import TrainSettings

BACKBONE = "test_vit"
CLASSES = ("dark", "light")
FAST = ("--weights", "random", "--precision", "fp32")
TINY = ("--backbone", BACKBONE, *FAST)


def draw_pixels(rng: np.random.Generator, level: int) -> np.ndarray:
    """A coarse random pattern, brighter by `level`."""
    coarse = rng.integers(0, 120, (6, 6, 3))
    return (np.kron(coarse, np.ones((4, 4, 1))) + level).astype(np.uint8)


def write_images(
    folder: Path, n_per_class: int = 14, classes: Sequence[str] = CLASSES, seed: int = 0
) -> Path:
    """Class folders of small PNG files that brightness tells apart."""
    rng = np.random.default_rng(seed)
    for number, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for index in range(n_per_class):
            pixels = draw_pixels(rng, 130 * number // max(1, len(classes) - 1))
            Image.fromarray(pixels).save(folder / name / f"{index:03d}.png")
    return folder


def write_manifest(path: Path, rows: Sequence[dict[str, str]]) -> Path:
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_labels(folder: Path, patients: Sequence[Sequence[str]]) -> Path:
    """A manifest of several labels: for each patient the labels of each image, as in `a|b`."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows = []
    for patient, images in enumerate(patients):
        for index, labels in enumerate(images):
            path = f"{patient}-{index}.png"
            Image.fromarray(draw_pixels(rng, 40 * len(labels))).save(folder / path)
            own = {"patient": f"p{patient}", "split": "train"}
            rows.append({"path": path, "labels": labels, **own})
    return write_manifest(folder / "manifest.csv", rows)


def read_answers(path: Path) -> list[dict[str, str]]:
    """The rows of a table that a command wrote."""
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def make_plan(data: Path, **changes: Any) -> RunPlan:
    own = {field.name for field in fields(RunPlan)}
    # It takes time, and has tests of its own.
    values: dict[str, Any] = {"name": "tiny", "weights": "random", "novelty": False}
    values |= {name: changes.pop(name) for name in list(changes) if name in own}
    settings: dict[str, Any] = {
        "backbone": BACKBONE,
        "epochs": 2,
        "batch_size": 8,
        "precision": "fp32",
    }
    return RunPlan(str(data), TrainSettings(**(settings | changes)), **values)


def train(data: Path, folder: Path, **changes: Any) -> RunResult:
    arguments = {name: changes.pop(name) for name in ("progress", "should_stop") if name in changes}
    return start_run(make_plan(data, **changes), folder, cache=NoCache(), **arguments)


def write_title(folder: Path, content: Any) -> None:
    """A report without figures, in place of `write_report`: the last file of a run all the same."""
    (folder / "report.html").write_text(content.title)


def read_tensors(folder: Path) -> dict[str, Tensor]:
    return dict(load_task(folder / "task.safetensors").tensors)


def assert_same_tensors(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name in one:
        assert one[name].equal(other[name]), name


def run_command(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """Run the command line in this process, as its entry point does; gives the exit code."""
    monkeypatch.setattr(sys, "argv", ["medlora", *map(str, arguments)])
    # A setting of the whole process, which would outlive the command.
    monkeypatch.setattr(main, "keep_large_blocks", lambda: True)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        main.run()
    except SystemExit as stop:
        return int(stop.code or 0)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    raise AssertionError("the entry point always exits")
