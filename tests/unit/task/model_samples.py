"""Small backbones with weights of every kind, and task models on them."""

from functools import cache
from typing import Any

import torch
from torch import Tensor

from medlora.backbones.fingerprint import compute_fingerprint
from medlora.backbones.spec import create_architecture
from medlora.backbones.weights import Backbone, load_backbone
from medlora.preprocessing import Preprocessing
from medlora.task.card import BackboneReference
from medlora.task.file import Task
from medlora.task.model import TaskModel, plan_adapter
from tests.unit.task.task_samples import make_card

VIT = "test_vit"
RESNET = "test_resnet"


def draw_backbone(name: str = RESNET, seed: int = 0) -> Backbone:
    """Untrained, but with normalisations and statistics that are not one and nought.

    It is shared by all tests: none may change it.
    """
    return _draw_backbone(name, seed)


@cache
def _draw_backbone(name: str, seed: int) -> Backbone:
    backbone = load_backbone(name, "random", seed=seed)
    generator = torch.Generator().manual_seed(seed)
    for key, value in backbone.model.state_dict().items():
        if value.is_floating_point() and value.dim() == 1:
            noise = torch.rand(value.shape, generator=generator)
            value.mul_(0.5).add_(noise if key.endswith(("weight", "var")) else noise * 0.2)
    return Backbone(
        name=backbone.name,
        model=backbone.model,
        fingerprint=compute_fingerprint(backbone.model.state_dict()),
        preprocessing=backbone.preprocessing,
        n_features=backbone.n_features,
        weights=backbone.weights,
    )


def plan_on_meta(name: str) -> Backbone:
    """A backbone that takes no memory."""
    with torch.device("meta"):
        model = create_architecture(name).requires_grad_(False).eval()
    width = model.num_features
    assert isinstance(width, int)
    size = Preprocessing((224, 224), (0.5,) * 3, (0.5,) * 3)  # type: ignore[arg-type]
    return Backbone(name, model, "0" * 64, size, width, "none")


def make_model(
    name: str = RESNET,
    method: Any = "lora",
    *,
    n_classes: int = 2,
    dtype: torch.dtype = torch.float32,
    trained: tuple[str, ...] = (),
    randomised: bool = True,
    **settings: Any,
) -> TaskModel:
    backbone = draw_backbone(name)
    adapter = None
    if method == "lora":
        adapter = plan_adapter(backbone, **({"rank": 2, "alpha": 2.0} | settings))
    torch.manual_seed(1)
    model = TaskModel(
        backbone, n_classes, method=method, adapter=adapter, dtype=dtype, trained=trained
    )
    return randomise(model) if randomised else model


def randomise(model: TaskModel, seed: int = 2) -> TaskModel:
    """Change everything that training may change."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.named_trainable().values():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
    return model


def make_model_task(model: TaskModel, name: str = RESNET, **changes: Any) -> Task:
    """The task that a model of `make_model` would be saved as."""
    backbone = draw_backbone(name)
    adapter = plan_adapter(backbone, rank=2, alpha=2.0) if model.method == "lora" else None
    values: dict[str, Any] = {
        "method": model.method,
        "backbone": BackboneReference(name, backbone.fingerprint),
        "preprocessing": backbone.preprocessing,
        "adapter": adapter,
        "self_check": None,
    }
    return Task(make_card(**(values | changes)), model.collect_tensors())


def draw_images(n_images: int = 2, side: int = 160, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n_images, 3, side, side, generator=generator)
