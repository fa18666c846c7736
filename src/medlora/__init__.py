"""MedLoRA: medical image diagnoses as small adapters on one frozen backbone.

The names below are the public Python API; each is imported when it is first used, so that
`import medlora` costs nothing. Whatever else a module offers may change between versions.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medlora.backbones.weights import Backbone, load_backbone
    from medlora.bank.answers import Answer
    from medlora.bank.bank import TaskBank
    from medlora.data.augment import Augmentation
    from medlora.data.cache import default_cache
    from medlora.data.image import decode_image
    from medlora.data.listing import list_images
    from medlora.data.table import ImageTable, read_table
    from medlora.errors import MedLoRAError
    from medlora.evaluate.score import Estimate, Evaluation, score
    from medlora.lora.attach import attach_adapters, detach_adapters, merge_adapters
    from medlora.preprocessing import Preprocessing
    from medlora.runs.evaluation import evaluate_task
    from medlora.runs.folder import RunPlan
    from medlora.runs.opened import OpenedTask, open_task
    from medlora.runs.prediction import Prediction, predict_images
    from medlora.runs.training import RunResult, resume_run, start_run
    from medlora.task.card import TaskCard
    from medlora.task.file import Task, load_task, save_task
    from medlora.task.folder import TaskFolder
    from medlora.train.settings import TrainSettings

__version__ = "0.1.0"

_HOMES = {
    "medlora.backbones.weights": ("Backbone", "load_backbone"),
    "medlora.bank.answers": ("Answer",),
    "medlora.bank.bank": ("TaskBank",),
    "medlora.data.augment": ("Augmentation",),
    "medlora.data.cache": ("default_cache",),
    "medlora.data.image": ("decode_image",),
    "medlora.data.listing": ("list_images",),
    "medlora.data.table": ("ImageTable", "read_table"),
    "medlora.errors": ("MedLoRAError",),
    "medlora.evaluate.score": ("Estimate", "Evaluation", "score"),
    "medlora.lora.attach": ("attach_adapters", "detach_adapters", "merge_adapters"),
    "medlora.preprocessing": ("Preprocessing",),
    "medlora.runs.evaluation": ("evaluate_task",),
    "medlora.runs.folder": ("RunPlan",),
    "medlora.runs.opened": ("OpenedTask", "open_task"),
    "medlora.runs.prediction": ("Prediction", "predict_images"),
    "medlora.runs.training": ("RunResult", "resume_run", "start_run"),
    "medlora.task.card": ("TaskCard",),
    "medlora.task.file": ("Task", "load_task", "save_task"),
    "medlora.task.folder": ("TaskFolder",),
    "medlora.train.settings": ("TrainSettings",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Answer",
    "Augmentation",
    "Backbone",
    "Estimate",
    "Evaluation",
    "ImageTable",
    "MedLoRAError",
    "OpenedTask",
    "Prediction",
    "Preprocessing",
    "RunPlan",
    "RunResult",
    "Task",
    "TaskBank",
    "TaskCard",
    "TaskFolder",
    "TrainSettings",
    "attach_adapters",
    "decode_image",
    "default_cache",
    "detach_adapters",
    "evaluate_task",
    "list_images",
    "load_backbone",
    "load_task",
    "merge_adapters",
    "open_task",
    "predict_images",
    "read_table",
    "resume_run",
    "save_task",
    "score",
    "start_run",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for."""
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'medlora' has no attribute {name!r}")
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    """The public names, without importing them."""
    return sorted([*__all__, "__version__"])
