"""What every contestant of a training contest needs: its setting, its watch, its device."""

from dataclasses import dataclass
from typing import Any, Protocol

from medlora.runs.machine import read_memory as read_memory

N_CLASSES = 2
LEARNING_RATE = 1e-3


@dataclass(frozen=True)
class Contest:
    """What all contestants have in common.

    Attributes:
        backbone: timm's model name; its weights are drawn at random.
        rank: Rank of the adapters.
        batch_size: Images in a step.
        n_threads: Threads that each contestant computes with; all cores where it is 0.
        picture_side: Height and width in pixels of the pictures that are decoded.
        n_pictures: How many of them there are.
    """

    backbone: str = "vit_base_patch16_224"
    rank: int = 4
    batch_size: int = 16
    n_threads: int = 0
    picture_side: int = 512
    n_pictures: int = 64


class Pace(Protocol):
    """How a contestant is watched."""

    def begin(self) -> None:
        """Everything is imported, and the model is about to be built."""

    def step(self) -> None:
        """A step is done; returns when the next is wanted."""


class Finished(Exception):  # noqa: N818  # no error: the contest is over
    """Raised by a pace when no further step is wanted."""


def choose_device() -> str:
    """`cuda` where there is one, else `cpu`."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def choose_dtype() -> Any:
    """bf16 where the device has it, as training chooses it, else float32."""
    import torch

    from medlora.task.precision import DTYPES, choose_precision

    return DTYPES[choose_precision("auto", torch.device(choose_device()))]


def find_input_size(contest: Contest) -> tuple[int, int]:
    """Height and width that the backbone was made for."""
    import timm

    _, height, width = timm.get_pretrained_cfg(contest.backbone).input_size
    return height, width


def draw_batch(contest: Contest, size: tuple[int, int]) -> tuple[Any, Any]:
    """Normalised float32 images and labels on the device."""
    import torch

    generator = torch.Generator().manual_seed(0)
    images = torch.randn(contest.batch_size, 3, *size, generator=generator)
    labels = torch.arange(contest.batch_size) % N_CLASSES
    return images.to(choose_device()), labels.to(choose_device())
