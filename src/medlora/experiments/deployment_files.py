"""The files that a deployment starts from: a backbone, adapters, and fine-tuned models.

A fine-tuned model of a task is the backbone with the task's update added to its weights, so that
every strategy has the same questions to answer, and has to answer them alike.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from medlora.backbones.weights import Backbone, load_backbone
from medlora.errors import StorageError
from medlora.experiments.deployment_layout import HELD, RELOADED
from medlora.experiments.deployment_settings import DeploymentSettings
from medlora.lora.attach import collect_matrices, count_parameters, merge_adapters
from medlora.progress import Progress, silent
from medlora.task.card import BackboneReference, TaskCard
from medlora.task.file import Task, save_task
from medlora.task.model import TaskModel, plan_adapter

# As many classes as the published experiment's four tasks have; the last is multi-label.
CLASS_COUNTS = (2, 4, 2, 14)
_STRENGTH = 0.05
_NETWORK = "network."


@dataclass(frozen=True)
class DeploymentFiles:
    """Where they lie.

    Attributes:
        backbone: The backbone's checkpoint, in float32.
        tasks: Task file of each task.
        models: Fine-tuned model of each task, in the type that is computed in; of
            the first task alone where no strategy needs the others.
    """

    backbone: Path
    tasks: tuple[Path, ...]
    models: tuple[Path, ...]


def write_files(
    folder: Path,
    settings: DeploymentSettings,
    dtype: torch.dtype,
    progress: Progress = silent,
) -> DeploymentFiles:
    """Write all files that the strategies need, with random adapters and heads.

    Args:
        folder: An empty folder.
        settings: Names the backbone and the strategies.
        dtype: Type of the fine-tuned models.
        progress: Told of every task.

    Raises:
        BackboneError: timm has no such model, or its weights are not found.
        TargetError: The backbone's family has no default targets.
        StorageError: There is no room for the files.
    """
    backbone = load_backbone(settings.backbone, settings.weights)
    n_tasks = settings.workload.n_tasks
    # The plain model is the first task's.
    n_models = n_tasks if {RELOADED, HELD} & set(settings.strategies) else 1
    state = {name: tensor.contiguous() for name, tensor in backbone.model.state_dict().items()}
    _check_room(folder, count_parameters(state) * (4 + n_models * dtype.itemsize))
    checkpoint = folder / "backbone.safetensors"
    save_file(state, checkpoint)
    tasks, models = [], []
    for number in range(n_tasks):
        progress("writing files", number, n_tasks)
        model, task = draw_task(backbone, number, rank=settings.rank)
        tasks.append(folder / f"task-{number}.safetensors")
        save_task(tasks[-1], task)
        if number < n_models:
            models.append(folder / f"model-{number}.safetensors")
            save_file(dict(_list_plain_tensors(model, dtype)), models[-1])
    progress("writing files", n_tasks, n_tasks)
    return DeploymentFiles(checkpoint, tuple(tasks), tuple(models))


def draw_task(backbone: Backbone, number: int, *, rank: int) -> tuple[TaskModel, Task]:
    """A task with random values, on the family's default targets.

    Args:
        backbone: The backbone.
        number: Number of the task: the seed, and what its classes follow from.
        rank: Rank of its adapter.

    Raises:
        TargetError: The backbone's family has no default targets.
    """
    n_classes = CLASS_COUNTS[number % len(CLASS_COUNTS)]
    adapter = plan_adapter(backbone, rank=rank, alpha=float(rank))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(number)
        model = TaskModel(backbone, n_classes, method="lora", adapter=adapter).eval()
        with torch.no_grad():
            for name, matrix in collect_matrices(model.network).items():
                if name.endswith(".B"):
                    matrix.normal_(std=_STRENGTH)
    card = TaskCard(
        name=name_task(number),
        classes=tuple(f"class {place}" for place in range(n_classes)),
        multi_label=is_multi_label(number),
        method="lora",
        backbone=BackboneReference(backbone.name, backbone.fingerprint),
        preprocessing=backbone.preprocessing,
        adapter=adapter,
        thresholds=(0.5,) * n_classes,
        created="2000-01-01T00:00:00+00:00",
        note="Random values, to measure time with.",
    )
    return model, Task(card, model.collect_tensors())


def name_task(number: int) -> str:
    """The name of a task."""
    return f"task {number}"


def is_multi_label(number: int) -> bool:
    """Whether a task's classes are independent."""
    return number % len(CLASS_COUNTS) == len(CLASS_COUNTS) - 1


def name_network_tensor(name: str) -> str:
    """What a fine-tuned model's file calls a tensor of its network."""
    return f"{_NETWORK}{name}"


def _list_plain_tensors(model: TaskModel, dtype: torch.dtype) -> Iterator[tuple[str, Tensor]]:
    merged = merge_adapters(model.network)
    for name, tensor in merged.state_dict().items():
        held = tensor.to(dtype) if tensor.is_floating_point() else tensor
        yield name_network_tensor(name), held.contiguous()
    for name, tensor in model.head.state_dict().items():
        yield f"head.{name}", tensor.contiguous()


def _check_room(folder: Path, n_bytes: int) -> None:
    """Refuse to begin what the disk cannot hold."""
    free = shutil.disk_usage(folder).free
    if n_bytes > free:
        raise StorageError(
            f"The models need {n_bytes / 1e9:.1f} GB in {folder.parent}, where "
            f"{free / 1e9:.1f} GB are free. Set TMPDIR to a folder with more room, or ask for "
            "fewer tasks."
        )
