"""Small models and inputs for the tests of heat maps."""

from typing import Any

import torch

from medlora.backbones.weights import load_backbone
from medlora.task.card import Method
from medlora.task.model import TaskModel, plan_adapter

CONVOLUTIONS = "test_efficientnet"
METHOD_OF = {"test_vit": "attention", CONVOLUTIONS: "grad-cam"}


def make_model(
    name: str = CONVOLUTIONS,
    *,
    n_classes: int = 3,
    seed: int = 0,
    method: Method = "lora",
    **arguments: Any,
) -> TaskModel:
    backbone = load_backbone(name, "random", seed=1)
    adapter = plan_adapter(backbone, rank=2, alpha=4.0)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = TaskModel(backbone, n_classes, method=method, adapter=adapter, **arguments)
        # An adapter begins at nought.
        for key, value in model.named_trainable().items():
            if key.endswith(".B"):
                torch.nn.init.normal_(value, std=0.05)
        torch.nn.init.normal_(model.head.weight)
    return model.eval()


def draw_input(name: str = CONVOLUTIONS, seed: int = 0) -> torch.Tensor:
    """Noise; of a size that a network of convolutions takes less time for, where it may be."""
    side = 64 if name == CONVOLUTIONS else 160
    return torch.randn((1, 3, side, side), generator=torch.Generator().manual_seed(seed))
