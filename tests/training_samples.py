"""A tiny backbone, images and trainers for the tests of training: milliseconds for a run."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from medlora.backbones.fingerprint import compute_fingerprint
from medlora.backbones.weights import Backbone
from medlora.preprocessing import Preprocessing
from medlora.task.model import TaskModel
from medlora.task.records import AdapterSettings
from medlora.train.checkpoint import CheckpointMemory
from medlora.train.examples import TrainingData
from medlora.train.loop import Trainer
from medlora.train.settings import TrainSettings

SIDE = 8
PREPROCESSING = Preprocessing((SIDE, SIDE), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


class TinyNetwork(nn.Module):
    """Pixels to 16 features; `unused` is there and takes no part."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3 * SIDE * SIDE, 24)
        self.norm = nn.LayerNorm(24)
        self.second = nn.Linear(24, 16)
        self.unused = nn.Linear(4, 4)

    def forward(self, images: Tensor) -> Tensor:
        hidden = self.norm(self.first(images.flatten(1)))
        return torch.tanh(self.second(torch.relu(hidden)))


def make_backbone() -> Backbone:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = TinyNetwork().requires_grad_(False).eval()
    return Backbone(
        "tiny", network, compute_fingerprint(network.state_dict()), PREPROCESSING, 16, "drawn"
    )


def make_model(
    n_classes: int = 2,
    *,
    method: str = "lora",
    layers: Sequence[str] = ("first", "second"),
    dropout: float = 0.0,
    **arguments: Any,
) -> TaskModel:
    adapter = AdapterSettings(2, 2.0, "alpha/rank", dropout, dict.fromkeys(layers, ()))
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return TaskModel(
            make_backbone(),
            n_classes,
            method=method,  # type: ignore[arg-type]
            adapter=adapter if method == "lora" else None,
            **arguments,
        )


class ArrayReader:
    """Images in memory, and a note of every row that was read."""

    def __init__(self, images: Tensor) -> None:
        self.images = images
        self.rows_read: set[int] = set()

    def read(self, rows: Sequence[int]) -> Tensor:
        self.rows_read |= set(rows)
        return self.images[list(rows)]


def make_data(
    n_train: int = 24, n_val: int = 12, *, n_classes: int = 2, multi_label: bool = False
) -> TrainingData:
    """Images of class k are brighter in channel k; the last four rows belong to nobody."""
    n_images = n_train + n_val + 4
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 160, (n_images, 3, SIDE, SIDE), dtype=np.uint8)
    targets = np.zeros((n_images, n_classes), dtype=bool)
    if multi_label:
        targets[:] = rng.random((n_images, n_classes)) < 0.4
        targets[0], targets[1], targets[n_train], targets[n_train + 1] = True, False, True, False
    else:
        targets[np.arange(n_images), np.arange(n_images) % n_classes] = True
    for row, column in np.argwhere(targets):
        pixels[row, column % 3] += 60
    return TrainingData(
        images=ArrayReader(torch.from_numpy(pixels)),
        targets=targets,
        multi_label=multi_label,
        train_rows=np.arange(n_train),
        val_rows=np.arange(n_train, n_train + n_val),
        preprocessing=PREPROCESSING,
    )


def make_trainer(
    model: TaskModel | None = None, data: TrainingData | None = None, **changes: Any
) -> Trainer:
    named = {"checkpoints": CheckpointMemory()}
    for name in ("checkpoints", "progress", "should_stop", "fabric", "watch", "features"):
        if name in changes:
            named[name] = changes.pop(name)
    settings = TrainSettings(**({"epochs": 2, "batch_size": 8, "precision": "fp32"} | changes))
    return Trainer(
        model or make_model(),
        data or make_data(),
        settings,
        **named,  # type: ignore[arg-type]
    )
