"""A frozen linear layer with a trainable low-rank update on all or some of its outputs."""

import copy
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from medlora.errors import TargetError
from medlora.lora.scaling import Scaling, compute_scale

FUSED_PARTS = ("q", "k", "v")
WHOLE = "whole"


class LoRALinear(nn.Module):
    """`W x + b + scale * B A x` over a frozen `nn.Linear`.

    Where the base layer computes query, key and value in one product, `parts` names those
    that are updated, each by an A and a B of its own; the others stay the base's, bit for bit.
    A starts Kaiming uniform (a = sqrt 5) and B at zero, so the layer starts as its base.

    Args:
        base: The layer to adapt; it is kept as it is and frozen.
        rank: Rank of each update, at least 1.
        alpha: Strength of the update, above 0.
        scaling: How alpha and rank give the factor.
        dropout: Probability of dropping an input of the low-rank path while training, [0, 1).
        parts: Parts of a fused query-key-value product, from `q`, `k`, `v`; empty for a
            layer that is updated as a whole.

    Raises:
        TargetError: The base's outputs cannot be cut in three for `parts`.

    Attributes:
        lora_A: For each part (`whole` where there are none), float (rank, input).
        lora_B: For each part, float (output of the part, rank).

    Reference:
        Hu et al., LoRA, ICLR 2022, section 4.1.
    """

    def __init__(
        self,
        base: nn.Linear,
        *,
        rank: int,
        alpha: float,
        scaling: Scaling = "alpha/rank",
        dropout: float = 0.0,
        parts: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.rank = rank
        self.alpha = float(alpha)
        self.scaling: Scaling = scaling
        self.scale = compute_scale(rank, alpha, scaling)
        self.parts = tuple(parts)
        self.columns = find_columns(base, self.parts)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        # The update is trained in fp32 even where the frozen weight is held in bf16: steps
        # smaller than a bf16 rounding would otherwise be lost.
        dtype = torch.promote_types(base.weight.dtype, torch.float32)
        self.lora_A = nn.ParameterDict()
        self.lora_B = nn.ParameterDict()
        for part, column in self.columns.items():
            width = column.stop - column.start
            down = torch.empty(rank, base.in_features, dtype=dtype, device=base.weight.device)
            up = torch.zeros(width, rank, dtype=dtype, device=base.weight.device)
            if not down.is_meta:
                nn.init.kaiming_uniform_(down, a=math.sqrt(5))
            self.lora_A[part] = nn.Parameter(down)
            self.lora_B[part] = nn.Parameter(up)

    @property
    def weight(self) -> Tensor:
        """The frozen weight, for code that asks a linear layer for its type or device."""
        return self.base.weight

    @property
    def bias(self) -> Tensor | None:
        """The frozen bias."""
        return self.base.bias

    def forward(self, inputs: Tensor) -> Tensor:
        """Apply the layer.

        Args:
            inputs: Float (..., input).

        Returns:
            Float (..., output), in the base's type.
        """
        # Rows of one matrix, so that the update can be added in place: the base's product needs
        # its inputs for the gradient, not its outputs.
        rows = inputs.reshape(-1, self.base.in_features)
        outputs: Tensor = self.base(rows)
        down, up = self._stack_matrices(outputs.dtype)
        hidden = self.dropout(rows).to(outputs.dtype) @ down.t()
        outputs.addmm_(hidden, up.t())
        return outputs.view(*inputs.shape[:-1], self.base.out_features)

    def _stack_matrices(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """All parts as one product: (parts * rank, input), scaled, and (output, parts * rank).

        Outputs of parts that are not adapted have zero rows: adding them changes no bit.
        """
        down = torch.cat([self.lora_A[part] for part in self.columns]) * self.scale
        if not self.parts:
            return down.to(dtype), self.lora_B[WHOLE].to(dtype)
        width = self.base.out_features // len(FUSED_PARTS)
        n_hidden = len(self.columns) * self.rank
        blocks = []
        for part in FUSED_PARTS:
            if part not in self.columns:
                blocks.append(down.new_zeros(width, n_hidden))
                continue
            before = list(self.columns).index(part) * self.rank
            after = n_hidden - before - self.rank
            blocks.append(functional.pad(self.lora_B[part], (before, after)))
        return down.to(dtype), torch.cat(blocks).to(dtype)

    def delta_weight(self) -> Tensor:
        """The update as one matrix, float (output, input), zero in parts that are not adapted."""
        example = next(iter(self.lora_A.values()))
        delta = torch.zeros(self.base.weight.shape, dtype=example.dtype, device=example.device)
        for part, column in self.columns.items():
            delta[column] = self.scale * (self.lora_B[part] @ self.lora_A[part])
        return delta

    def merged(self) -> nn.Linear:
        """A plain layer with the update added to a copy of the weight."""
        layer = copy.deepcopy(self.base)
        with torch.no_grad():
            # The update's type is the wider one: the sum is rounded once, by the copy.
            layer.weight.copy_(self.delta_weight() + self.base.weight)
        return layer


def find_columns(base: nn.Linear, parts: tuple[str, ...]) -> dict[str, slice]:
    """The output columns that each part's update is added to.

    Raises:
        TargetError: The layer's outputs cannot be cut into these parts.
    """
    if not parts:
        return {WHOLE: slice(0, base.out_features)}
    unknown = [part for part in parts if part not in FUSED_PARTS]
    if unknown or len(set(parts)) != len(parts):
        raise TargetError(
            f"The parts of a fused layer are q, k and v, each at most once; not {parts}."
        )
    if base.out_features % len(FUSED_PARTS):
        raise TargetError(
            f"A layer with {base.out_features} outputs holds no fused query, key and value: "
            "the number is not a multiple of 3. Name the target without parts."
        )
    width = base.out_features // len(FUSED_PARTS)
    starts = {part: index * width for index, part in enumerate(FUSED_PARTS)}
    return {
        part: slice(starts[part], starts[part] + width) for part in FUSED_PARTS if part in parts
    }
