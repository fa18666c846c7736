"""An adapter's matrices in one row of memory, so that many adapters are gathered at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from medlora.errors import TargetError
from medlora.lora.conv import check_convolution
from medlora.lora.linear import WHOLE, find_columns
from medlora.lora.routing import ConvUpdate, LinearUpdate, RowUpdate, find_base, takes_weights


@dataclass(frozen=True)
class _LinearSlot:
    """Where a linear layer's matrices lie in the row."""

    layer: str
    start: int
    n_inputs: int
    rank: int
    columns: tuple[tuple[str, slice], ...]

    @property
    def n_hidden(self) -> int:
        return len(self.columns) * self.rank

    @property
    def n_values(self) -> int:
        n_outputs = sum(int(column.stop - column.start) for _, column in self.columns)
        return self.n_inputs * self.n_hidden + n_outputs * self.rank

    def write(self, row: Tensor, matrices: dict[str, Tensor], scale: float) -> None:
        places = [
            self.layer if part == WHOLE else f"{self.layer}.{part}" for part, _ in self.columns
        ]
        shape = (self.rank, self.n_inputs)
        down = torch.cat([_take(matrices, f"{place}.A", shape) for place in places])
        stop = self.start + down.numel()
        row[self.start : stop].view(self.n_inputs, -1).copy_(down.t() * scale)
        for place, (_, column) in zip(places, self.columns, strict=True):
            up = _take(matrices, f"{place}.B", (column.stop - column.start, self.rank))
            start, stop = stop, stop + up.numel()
            row[start:stop].view(self.rank, -1).copy_(up.t())

    def read(self, packed: Tensor, rows: slice) -> RowUpdate:
        stop = self.start + self.n_inputs * self.n_hidden
        down = packed[:, self.start : stop].view(-1, self.n_inputs, self.n_hidden)
        ups = []
        for number, (_, column) in enumerate(self.columns):
            start, stop = stop, stop + (column.stop - column.start) * self.rank
            hidden = slice(number * self.rank, (number + 1) * self.rank)
            ups.append((column, hidden, packed[:, start:stop].view(len(packed), self.rank, -1)))
        return LinearUpdate(rows, down, tuple(ups))


@dataclass(frozen=True)
class _ConvSlot:
    """Where a convolution's matrices lie in the row."""

    layer: str
    start: int
    rank: int
    groups: int
    n_outputs: int
    kernel: tuple[int, ...]

    @property
    def n_values(self) -> int:
        return self._n_down + self.n_outputs * self.rank

    @property
    def _n_down(self) -> int:
        return self.rank * self.groups * torch.Size(self.kernel).numel()

    def write(self, row: Tensor, matrices: dict[str, Tensor], scale: float) -> None:
        down = _take(matrices, f"{self.layer}.A", (self.rank * self.groups, *self.kernel))
        up = _take(matrices, f"{self.layer}.B", (self.n_outputs, self.rank, 1, 1))
        stop = self.start + self._n_down
        row[self.start : stop].view(down.shape).copy_(down * scale)
        row[stop : self.start + self.n_values].copy_(up.reshape(-1))

    def read(self, packed: Tensor, rows: slice) -> RowUpdate:
        stop = self.start + self._n_down
        down = packed[:, self.start : stop].view(-1, self.rank * self.groups, *self.kernel)
        up = packed[:, stop : self.start + self.n_values]
        shape = (len(packed), self.groups, self.n_outputs // self.groups, self.rank)
        return ConvUpdate(rows, down, up.view(shape))


class AdapterLayout:
    """How adapters of one rank on the same layers lie in a row of memory.

    Args:
        network: The network that they sit on.
        layers: Layer name to the parts that are adapted; no parts for a whole layer.
        rank: Rank of every update.

    Raises:
        TargetError: A layer is not the network's, or cannot carry such an update.

    Attributes:
        layers: Names of the adapted layers, in the network's order.
        n_values: Length of the row.
        weight_bytes: Memory of the weights that the updates are of.
        can_merge: Whether all of the layers can be applied with other weights, so that
            `RoutedNetwork.merge` takes them.
    """

    def __init__(
        self, network: nn.Module, layers: Mapping[str, Sequence[str]], *, rank: int
    ) -> None:
        modules = dict(network.named_modules())
        missing = sorted(set(layers) - set(modules))
        if missing:
            raise TargetError(
                f"The network has no layer {missing[0]!r}. Use the backbone that the task's card "
                "names."
            )
        self.layers = tuple(name for name in modules if name in layers)
        self._slots: dict[str, _LinearSlot | _ConvSlot] = {}
        self.n_values = self.weight_bytes = 0
        self.can_merge = True
        for name in self.layers:
            base = find_base(modules[name])
            slot = _plan_slot(name, base, tuple(layers[name]), rank, self.n_values)
            self._slots[name] = slot
            self.n_values += slot.n_values
            self.can_merge = self.can_merge and takes_weights(base)
            self.weight_bytes += base.get_parameter("weight").nbytes

    def pack(self, matrices: Mapping[str, Tensor], scale: float, dtype: torch.dtype) -> Tensor:
        """An adapter's matrices as a row, with the scale in A.

        Args:
            matrices: `<layer>.A` or `<layer>.<part>.A`, and likewise B, as
                `medlora.lora.attach.collect_matrices` names and shapes them.
            scale: Factor of the product.
            dtype: Type of the row.

        Returns:
            (n_values,), on the processor.

        Raises:
            TargetError: A matrix is missing, unknown, or has another shape.
        """
        row = torch.empty(self.n_values, dtype=dtype)
        left = dict(matrices)
        for slot in self._slots.values():
            slot.write(row, left, scale)
        if left:
            raise TargetError(f"The adapter has an odd matrix {next(iter(left))!r}.")
        return row

    def read(self, packed: Tensor, rows: slice) -> dict[str, RowUpdate]:
        """The updates that rows of memory hold, without a copy.

        Args:
            packed: (row, n_values); one row where all images share it.
            rows: The rows of the batch that they are for.

        Returns:
            Layer name to its update.
        """
        return {name: slot.read(packed, rows) for name, slot in self._slots.items()}


def _plan_slot(
    name: str, base: nn.Module, parts: tuple[str, ...], rank: int, start: int
) -> _LinearSlot | _ConvSlot:
    if isinstance(base, nn.Linear):
        columns = tuple(find_columns(base, parts).items())
        return _LinearSlot(name, start, base.in_features, rank, columns)
    if isinstance(base, nn.Conv2d) and not parts:
        check_convolution(base)
        kernel = tuple(base.weight.shape[1:])
        return _ConvSlot(name, start, rank, base.groups, base.out_channels, kernel)
    raise TargetError(
        f"Layer {name!r}: a {type(base).__name__} cannot be adapted so. Use the backbone that "
        "the task's card names."
    )


def _take(matrices: dict[str, Tensor], name: str, shape: tuple[int, ...]) -> Tensor:
    """Take a matrix out of what is left of an adapter."""
    if name not in matrices:
        raise TargetError(f"The adapter lacks the matrix {name!r}.")
    matrix = matrices.pop(name)
    if matrix.shape != shape:
        raise TargetError(
            f"The adapter's matrix {name!r} has shape {tuple(matrix.shape)}; this network needs "
            f"{shape}. Use the backbone that the task's card names."
        )
    return matrix
