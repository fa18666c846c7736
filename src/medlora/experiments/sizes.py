"""How much of a backbone an adapter trains, from the smallest vision transformer to the largest.

Networks are built without memory for their values, so that counting needs no weights and little
time.

Reference:
    Zhu et al., MeLo: Low-rank Adaptation is Better than Fine-tuning for Medical Image Diagnosis,
    2023, table 1 and figure 2. Its "M" is 2 ** 20.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from medlora.backbones.spec import create_architecture, read_preprocessing
from medlora.backbones.weights import Backbone
from medlora.errors import SettingsError
from medlora.progress import Progress, silent
from medlora.task.model import TaskModel, plan_adapter

# From ViT-Ti to what the paper calls ViT-giga: 1664 wide, 48 layers.
DEFAULT_BACKBONES = (
    "vit_tiny_patch16_224",
    "vit_small_patch16_224",
    "vit_base_patch16_224",
    "vit_large_patch16_224",
    "vit_huge_patch14_224",
    "vit_giant_patch14_clip_224",
    "vit_gigantic_patch14_clip_224",
)
_MILLION = 2**20


@dataclass(frozen=True)
class BackboneSize:
    """The parameters of a backbone and of an adapter on it.

    Attributes:
        backbone: timm's model name.
        n_parameters: Of the backbone, without a head.
        n_adapter: In the adapter's matrices.
        n_head: In the head's weights and biases.
    """

    backbone: str
    n_parameters: int
    n_adapter: int
    n_head: int

    @property
    def n_trainable(self) -> int:
        """What training changes: adapter and head."""
        return self.n_adapter + self.n_head

    @property
    def share(self) -> float:
        """What is trained, as a part of the backbone."""
        return self.n_trainable / self.n_parameters

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values, with the paper's millions of 2 ** 20 beside the counts."""
        return {
            **vars(self),
            "n_trainable": self.n_trainable,
            "share": self.share,
            "binary_millions": self.n_parameters / _MILLION,
            "trainable_binary_millions": self.n_trainable / _MILLION,
        }


def count_sizes(
    backbones: Sequence[str],
    *,
    rank: int = 4,
    n_classes: int = 2,
    progress: Progress = silent,
) -> list[BackboneSize]:
    """Count the parameters of some backbones, and of an adapter on each.

    Args:
        backbones: timm's model names.
        rank: Rank of the adapter, on the default targets of the backbone's family: query and
            value in a vision transformer.
        n_classes: Classes of the head.
        progress: Told of every backbone.

    Raises:
        SettingsError: There is no backbone, or a number is below 1.
        BackboneError: timm has no such model.
        TargetError: The family has no default targets.
    """
    if not backbones:
        raise SettingsError("Name one backbone at least.")
    if n_classes < 1:
        raise SettingsError(f"The number of classes must be 1 or more, not {n_classes}.")
    sizes = []
    for number, name in enumerate(backbones):
        progress("counting", number, len(backbones))
        sizes.append(count_size(name, rank=rank, n_classes=n_classes))
    progress("counting", len(backbones), len(backbones))
    return sizes


def count_size(name: str, *, rank: int = 4, n_classes: int = 2) -> BackboneSize:
    """Count the parameters of one backbone and of an adapter on it; see `count_sizes`.

    Example:
        >>> size = count_size("vit_base_patch16_224")
        >>> size.n_parameters, size.n_trainable, f"{size.share:.3%}"
        (85798656, 148994, '0.174%')
    """
    with torch.device("meta"):
        network = create_architecture(name).requires_grad_(False).eval()
        backbone = Backbone(
            name=name,
            model=network,
            fingerprint="",
            preprocessing=read_preprocessing(network),
            n_features=_find_width(network),
            weights="none",
        )
        adapter = plan_adapter(backbone, rank=rank, alpha=float(rank))
        model = TaskModel(backbone, n_classes, method="lora", adapter=adapter)
    n_head = sum(parameter.numel() for parameter in model.head.parameters())
    n_trainable = sum(parameter.numel() for parameter in model.named_trainable().values())
    return BackboneSize(name, backbone.n_parameters, n_trainable - n_head, n_head)


def _find_width(network: nn.Module) -> int:
    """Length of the feature vector, by asking for the shape of an answer."""
    height, width = read_preprocessing(network).size
    with torch.inference_mode():
        features: Tensor = network(torch.empty(1, 3, height, width, device="meta"))
    return features.shape[-1]
