"""Tasks of every kind on one backbone, for the tests of banks."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from medlora.backbones.weights import Backbone
from medlora.data.image import normalise_batch, prepare_image
from medlora.lora.attach import merge_adapters
from medlora.preprocessing import Preprocessing
from medlora.task.card import BackboneReference, TaskCard
from medlora.task.factorised import plan_factorised
from medlora.task.file import Task
from medlora.task.model import TaskModel, plan_adapter
from medlora.task.opening import build_model, compute_probabilities, record_self_check


def make_task(
    backbone: Backbone,
    name: str,
    *,
    method: Any = "lora",
    rank: int = 2,
    alpha: float = 1.0,
    targets: Sequence[str] = ("default",),
    n_classes: int = 2,
    multi_label: bool = False,
    mean: float | None = None,
    contrast: Any = "none",
    trained: tuple[str, ...] = (),
    seed: int = 0,
    checked: bool = False,
    strength: float = 0.1,
) -> Task:
    """A task with random values, as training could have left it."""
    adapter = None
    if method == "lora":
        adapter = plan_adapter(backbone, rank=rank, alpha=alpha, targets=targets)
    torch.manual_seed(seed)
    factorised = plan_factorised(backbone, rank=rank) if method == "factorised" else None
    model = TaskModel(
        backbone,
        n_classes,
        method=method,
        adapter=adapter,
        factorised=factorised,
        trained=trained,
    )
    with torch.no_grad():
        for parameter in model.named_trainable().values():
            parameter.add_(torch.randn_like(parameter) * strength)
    model.eval()
    plain = backbone.preprocessing
    preprocessing = Preprocessing(
        size=plain.size,
        mean=plain.mean if mean is None else (mean,) * 3,
        std=plain.std,
        interpolation=plain.interpolation,
        crop_fraction=plain.crop_fraction,
        crop_mode=plain.crop_mode,
        contrast=contrast,
    )
    check = record_self_check(model, preprocessing, multi_label=multi_label) if checked else None
    card = TaskCard(
        name=name,
        classes=tuple(f"{name} {number}" for number in range(n_classes)),
        multi_label=multi_label,
        method=method,
        backbone=BackboneReference(backbone.name, backbone.fingerprint),
        preprocessing=preprocessing,
        adapter=adapter,
        factorised=factorised,
        thresholds=(0.5,) * n_classes,
        created="2026-01-31T12:00:00+00:00",
        self_check=check,
    )
    return Task(card, model.collect_tensors())


def draw_pictures(n_images: int, seed: int = 0) -> list[np.ndarray]:
    """Decoded images of different sizes."""
    rng = np.random.default_rng(seed)
    sides = rng.integers(20, 50, (n_images, 2))
    return [rng.integers(0, 256, (*side, 3), dtype=np.uint8) for side in sides]


@torch.inference_mode()
def answer_apart(
    task: Task,
    backbone: Backbone,
    picture: np.ndarray,
    *,
    dtype: torch.dtype = torch.float32,
    merged: bool = False,
) -> np.ndarray:
    """The probabilities that a task's own model gives about one image."""
    model: Any = build_model(task, backbone, place="memory", dtype=dtype)
    if merged:
        model = merge_adapters(model)
    card = task.card
    pixels = torch.from_numpy(prepare_image(picture, card.preprocessing))[None]
    logits = model(normalise_batch(pixels, card.preprocessing))
    return compute_probabilities(logits, multi_label=card.multi_label)[0].numpy()
