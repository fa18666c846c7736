"""Layers in which every row of a batch gets a low-rank update of its own, or none."""

from collections.abc import Mapping, Sequence
from contextvars import ContextVar, Token
from dataclasses import dataclass
from types import MappingProxyType, TracebackType
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from medlora.errors import TargetError
from medlora.lora.conv import convolve_like
from medlora.lora.frozen import FrozenLayer


class RowUpdate(Protocol):
    """The update of one layer for some rows of a batch."""

    def apply(self, base: nn.Module, inputs: Tensor, outputs: Tensor, n_rows: int) -> None:
        """Add the update to `outputs` in place.

        Args:
            base: The frozen layer.
            inputs: What it was given, (row * anything, ...).
            outputs: What it answered, (row * anything, ...).
            n_rows: Rows of the batch.
        """


@dataclass(frozen=True)
class LinearUpdate:
    """Updates of a linear layer.

    Attributes:
        rows: The rows of the batch that are updated.
        down: Float (row, input, hidden), or (1, ...) for one update that all of them share.
        ups: For each adapted part its output columns, its hidden columns, and float
            (row, rank, columns).
    """

    rows: slice
    down: Tensor
    ups: tuple[tuple[slice, slice, Tensor], ...]

    def apply(self, base: nn.Module, inputs: Tensor, outputs: Tensor, n_rows: int) -> None:
        """Add the update in place; see `RowUpdate.apply`."""
        if len(self.down) == 1:
            self._apply_shared(inputs, outputs, n_rows)
            return
        taken = inputs.reshape(n_rows, -1, inputs.shape[-1])[self.rows]
        given = outputs.view(n_rows, -1, outputs.shape[-1])[self.rows]
        hidden = torch.bmm(taken, self.down)
        for columns, part, up in self.ups:
            given[..., columns].baddbmm_(hidden[..., part], up)

    def _apply_shared(self, inputs: Tensor, outputs: Tensor, n_rows: int) -> None:
        """One product over all tokens of all rows, with as few calls as possible.

        For a single image in a narrow network the calls take longer than what they compute.
        """
        taken, given = inputs.flatten(0, -2), outputs.view(-1, outputs.shape[-1])
        if self.rows.stop - self.rows.start < n_rows:
            n_tokens = len(taken) // n_rows
            tokens = slice(self.rows.start * n_tokens, self.rows.stop * n_tokens)
            taken, given = taken[tokens], given[tokens]
        hidden = torch.mm(taken, self.down[0])
        for columns, part, up in self.ups:
            given[:, columns].addmm_(hidden[:, part], up[0])

    def merge(self, base: nn.Module) -> Tensor:
        """The layer's weight with the update that all rows share in it; a new tensor.

        Args:
            base: The frozen layer.
        """
        weight = base.get_parameter("weight").detach().clone()
        for columns, part, up in self.ups:
            weight[columns].addmm_(up[0].t(), self.down[0][:, part].t())
        return weight


@dataclass(frozen=True)
class ConvUpdate:
    """Updates of a convolution.

    Attributes:
        rows: The rows of the batch that are updated.
        down: Float (row, rank * groups, input / groups, kernel height, kernel width), or
            (1, ...) for one update that all of them share.
        up: Float (row, groups, output / groups, rank).
    """

    rows: slice
    down: Tensor
    up: Tensor

    def apply(self, base: nn.Module, inputs: Tensor, outputs: Tensor, n_rows: int) -> None:
        """Add the update in place; see `RowUpdate.apply`."""
        if not isinstance(base, nn.Conv2d) or len(inputs) != n_rows:
            raise TargetError(
                f"A {type(base).__name__} with {len(inputs)} inputs for {n_rows} images cannot "
                "carry an update for each image. Choose other targets."
            )
        taken, given = inputs[self.rows], outputs[self.rows]
        n_own = len(taken)
        down = self.down.expand(n_own, *self.down.shape[1:])
        up = self.up.expand(n_own, *self.up.shape[1:])
        groups, n_outputs, rank = up.shape[1:]
        if _is_matrix(base):
            # A 1 x 1 kernel is a matrix for each pixel, and products of matrices are faster.
            hidden = torch.bmm(down.flatten(2), taken.flatten(2))
        else:
            # The rows side by side as groups of one convolution.
            beside = taken.reshape(1, -1, *taken.shape[2:])
            hidden = convolve_like(base, beside, down.flatten(0, 1), n_own)
        hidden = hidden.reshape(n_own * groups, rank, -1)
        if given.is_contiguous():
            target = given.view(n_own * groups, n_outputs, -1)
            target.baddbmm_(up.flatten(0, 1), hidden)
        else:
            given.add_(torch.bmm(up.flatten(0, 1), hidden).view(given.shape))


class Routing:
    """Which updates the rows of one batch get, for the time of a `with` block.

    It applies to the network's call inside the block and in the same thread, so that several
    threads can use one network with different tasks.

    Args:
        n_rows: Rows of the batch, once all of them are there.
        updates: Layer name to the updates of disjoint rows.
        repeat_at: The module at whose entry `rows` is applied; None where the batch already
            has all rows.
        rows: For each row, the place in the batch of the image that it is about, int64 (row,).
        merged: Layer name to the weight that answers all rows in place of its own.

    Raises:
        TargetError: At the end of the block, some layer with updates was never called.
    """

    def __init__(
        self,
        n_rows: int,
        updates: Mapping[str, Sequence[RowUpdate]],
        *,
        repeat_at: str | None = None,
        rows: Tensor | None = None,
        merged: Mapping[str, Tensor] = MappingProxyType({}),
    ) -> None:
        self.n_rows = n_rows
        self.updates = updates
        self.repeat_at = repeat_at
        self.rows = rows
        self.merged = merged
        self.called: set[str] = set()
        self._token: Token[Routing | None] | None = None

    def __enter__(self) -> "Routing":
        self._token = _ACTIVE.set(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._token is not None:
            _ACTIVE.reset(self._token)
        forgotten = sorted({*self.updates, *self.merged} - self.called)
        if error is None and forgotten:
            raise TargetError(
                f"The network computes {forgotten[0]!r} without calling the layer, so that its "
                "update would have no effect. Train the task again with other targets."
            )


_ACTIVE: ContextVar[Routing | None] = ContextVar("medlora_routing", default=None)


class RoutedLayer(FrozenLayer):
    """A frozen layer that adds the updates of the active `Routing` to its answer.

    Without one it answers as its base does.

    Args:
        base: The layer, an `nn.Linear` or `nn.Conv2d`.
        name: Its name in the network.
    """

    def __init__(self, base: nn.Module, name: str) -> None:
        super().__init__()
        self.base = base  # type: ignore[assignment]  # layouts refuse other layers
        self.name = name

    def forward(self, inputs: Tensor) -> Tensor:
        """Apply the layer, and each row's update.

        Args:
            inputs: As the base takes them; the rows of the batch are the first axis.
        """
        routing = _ACTIVE.get()
        weight = routing.merged.get(self.name) if routing else None
        outputs: Tensor = (
            self.base(inputs) if weight is None else _multiply(self.base, inputs, weight)
        )
        if routing:
            for update in routing.updates.get(self.name, ()):
                update.apply(self.base, inputs, outputs, routing.n_rows)
            routing.called.add(self.name)
        return outputs


class _Multiplies(Protocol):
    """A layer that can be applied with other weights than its own."""

    def multiply(self, inputs: Tensor, weight: Tensor) -> Tensor: ...


def takes_weights(base: nn.Module) -> bool:
    """Whether a frozen layer can be applied with other weights than its own."""
    return type(base) is nn.Linear or hasattr(base, "multiply")


def _multiply(base: nn.Module, inputs: Tensor, weight: Tensor) -> Tensor:
    if type(base) is nn.Linear:
        return nn.functional.linear(inputs, weight, base.bias)
    return cast(_Multiplies, base).multiply(inputs, weight)


def find_base(layer: nn.Module) -> nn.Module:
    """A layer below what it may be wrapped in."""
    return layer.base if isinstance(layer, RoutedLayer) else layer


def repeat_rows_at(network: nn.Module, name: str) -> None:
    """Let a module be a place where images become rows: see `Routing.rows`.

    Args:
        network: The network.
        name: A module through whose input alone its predecessors act on what follows.
    """

    def repeat(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        routing = _ACTIVE.get()
        if routing is None or routing.repeat_at != name or routing.rows is None:
            return None
        return (inputs[0][routing.rows], *inputs[1:])

    network.get_submodule(name).register_forward_pre_hook(repeat)


def _is_matrix(base: nn.Conv2d) -> bool:
    return (
        base.kernel_size == (1, 1)
        and base.stride == (1, 1)
        and base.padding in ((0, 0), "same", "valid")
        and base.groups == 1
    )
