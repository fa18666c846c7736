"""A task file made ready to answer: its backbone found, its self-check passed."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from medlora.backbones.weights import RANDOM_WEIGHTS, Backbone, load_backbone
from medlora.errors import SettingsError
from medlora.evaluate.novelty import NoveltyMeasure
from medlora.task.card import TaskCard
from medlora.task.ensemble import (
    SUFFIX,
    EnsembleModel,
    find_members,
    join_cards,
    read_ensemble,
)
from medlora.task.file import Task, load_task
from medlora.task.model import TaskModel
from medlora.task.opening import build_model, run_self_check
from medlora.task.precision import DTYPES, Precision, choose_precision


@dataclass(frozen=True)
class OpenedTask:
    """A task that is ready to answer.

    Attributes:
        card: What the task is.
        model: Its model, in evaluation mode on `device`.
        backbone: The backbone that it sits on.
        device: Where it computes.
        precision: What it computes in, `bf16` or `fp32`.
        difference: Largest difference of the self-check, in a probability.
        measures: Tell how unlike the training images an image is: the task's, or one for each
            member of an ensemble. Nothing where the task, or one of the members, keeps nothing of
            its training images.
    """

    card: TaskCard
    model: TaskModel | EnsembleModel
    backbone: Backbone
    device: torch.device
    precision: str
    difference: float
    measures: tuple[NoveltyMeasure, ...] = ()


def find_backbone(task: Task, weights: Path | str | None) -> Backbone:
    """The backbone that a task names, from `weights` or wherever its weights are found."""
    card = task.card
    if card.method == "full" and weights is None:
        # Its file holds every weight; the backbone gives the architecture alone.
        weights = RANDOM_WEIGHTS
    return load_backbone(card.backbone.name, weights, channels=card.preprocessing.channels)


def open_task(
    path: Path,
    *,
    weights: Path | str | None = None,
    device: str = "auto",
    precision: Precision = "auto",
) -> OpenedTask:
    """Read a task file, find its backbone, and check that it answers as it did when saved.

    Args:
        path: The task file, or the `ensemble.json` of several.
        weights: The backbone's checkpoint; None to look for it.
        device: `auto`, or a torch device such as `cpu` or `cuda:0`.
        precision: `auto`, `bf16` or `fp32`.

    Raises:
        TaskFileError: The file is damaged.
        WrongBackboneError: The weights found are not those that it was trained on.
        SelfCheckError: It does not answer as it did when it was saved.
    """
    place = choose_device(device)
    chosen = choose_precision(precision, place)
    if path.suffix == SUFFIX:
        return _open_ensemble(path, weights, place, chosen)
    task = load_task(path)
    backbone = find_backbone(task, weights)
    difference = run_self_check(task, backbone, place=str(path))
    model = build_model(task, backbone, place=str(path), dtype=DTYPES[chosen], device=place)
    measures = _read_measures([task], [path])
    return OpenedTask(task.card, model, backbone, place, chosen, difference, measures)


def _open_ensemble(
    path: Path, weights: Path | str | None, device: torch.device, precision: str
) -> OpenedTask:
    """Several task files on one backbone, each of which has passed its self-check."""
    ensemble = read_ensemble(path)
    files = find_members(path, ensemble)
    tasks = [load_task(file) for file in files]
    card = join_cards(ensemble, [task.card for task in tasks], str(path))
    backbone = find_backbone(tasks[0], weights)
    difference = 0.0
    models = []
    for file, task in zip(files, tasks, strict=True):
        difference = max(difference, run_self_check(task, backbone, place=str(file)))
        models.append(
            build_model(task, backbone, place=str(file), dtype=DTYPES[precision], device=device)
        )
    model = EnsembleModel(models, multi_label=card.multi_label).eval()
    measures = _read_measures(tasks, files)
    return OpenedTask(card, model, backbone, device, precision, difference, measures)


def _read_measures(tasks: Sequence[Task], files: Sequence[Path]) -> tuple[NoveltyMeasure, ...]:
    found = [NoveltyMeasure.read(task, str(file)) for task, file in zip(tasks, files, strict=True)]
    measures = tuple(measure for measure in found if measure is not None)
    # The mean over some of the members would be another score than the one that is documented.
    return measures if len(measures) == len(tasks) else ()


def choose_device(device: str) -> torch.device:
    """The device by its name; the first GPU, or else the CPU, for `auto`.

    Raises:
        SettingsError: There is no such device here.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        # A device that computes: "meta" gives empty answers and no error.
        torch.zeros(1, device=chosen).item()
    except (RuntimeError, AssertionError) as error:
        raise SettingsError(
            f"There is no device {device!r} here. Use --device cpu, or auto."
        ) from error
    return chosen
