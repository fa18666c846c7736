"""The whole state of a run at one step, kept so that it can go on as if nothing had happened."""

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from medlora.errors import TrainingError
from medlora.storage import write_atomically

CHECKPOINT_VERSION = 1


@dataclass
class TrainingState:
    """Where a run is.

    Attributes:
        epoch: Epochs finished.
        step: Steps finished in the epoch that is under way.
        loss_sum: Sum of the losses of those steps.
        smoothed_loss: Running mean of the loss, for noticing an explosion; None at the start.
        first_loss: Loss of the first step; None before it.
        history: One row of figures for each finished epoch.
        best_epoch: Epoch with the best validation score, from 1; 0 before the first.
        best_score: That score, larger is better.
        best_tensors: The trained tensors after that epoch.
        tensors: The trained tensors now.
        optimizer: The optimiser's state now.
    """

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    smoothed_loss: float | None = None
    first_loss: float | None = None
    history: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0
    best_score: tuple[float, float] | None = None
    best_tensors: dict[str, Tensor] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    optimizer: dict[str, Any] = field(default_factory=dict)


class CheckpointStore(Protocol):
    """Where a run keeps its one checkpoint; a file, or anything that holds bytes."""

    def save(self, content: bytes) -> None:
        """Replace what is kept, in one step."""

    def load(self) -> bytes | None:
        """What is kept; None where there is nothing yet."""


@dataclass(frozen=True)
class CheckpointFile:
    """A checkpoint in a file, replaced atomically."""

    path: Path

    def save(self, content: bytes) -> None:
        """Replace the file."""
        write_atomically(self.path, content)

    def load(self) -> bytes | None:
        """The file's content; None where there is no file."""
        return self.path.read_bytes() if self.path.is_file() else None


@dataclass
class CheckpointMemory:
    """A checkpoint that lives as long as its process."""

    content: bytes | None = None

    def save(self, content: bytes) -> None:
        """Keep `content` instead of what was kept."""
        self.content = content

    def load(self) -> bytes | None:
        """What is kept."""
        return self.content


def pack_state(state: TrainingState) -> bytes:
    """A state as bytes."""
    stream = io.BytesIO()
    shallow = {name: getattr(state, name) for name in state.__dataclass_fields__}
    torch.save({"version": CHECKPOINT_VERSION, **shallow}, stream)
    return stream.getvalue()


def unpack_state(content: bytes) -> TrainingState:
    """The state that `pack_state` wrote; code in the bytes is not run.

    Raises:
        TrainingError: The bytes are damaged, or of another version.
    """
    try:
        values = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        version = values.pop("version")
        state = TrainingState(**values)
    except Exception as error:  # damaged bytes make the reader raise errors of many kinds
        raise TrainingError(
            f"The run's checkpoint cannot be read ({type(error).__name__}). "
            "Start the run again in a new folder."
        ) from error
    if version != CHECKPOINT_VERSION:
        raise TrainingError(
            f"The run's checkpoint has version {version}, this MedLoRA reads version "
            f"{CHECKPOINT_VERSION}. Go on with the MedLoRA that started the run."
        )
    return state
