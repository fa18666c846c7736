"""A frozen linear layer with a trainable low-rank update on all or some of its outputs."""

import copy
import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from medlora.errors import TargetError
from medlora.lora.frozen import FrozenLayer
from medlora.lora.scaling import Scaling, compute_scale

FUSED_PARTS = ("q", "k", "v")
WHOLE = "whole"

# A and B of one update.
Pair = tuple[Tensor, Tensor]


class LoRALinear(FrozenLayer):
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

    base: nn.Linear

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
        pairs = {part: (self.lora_A[part], self.lora_B[part]) for part in self.columns}
        down, up = join_parts(pairs) if self.parts else pairs[WHOLE]
        return (down * self.scale).to(dtype), up.to(dtype)

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


def join_parts(pairs: Mapping[str, Pair]) -> Pair:
    """One pair for a fused layer whose parts have pairs of their own.

    The As lie under one another; each B stands in the rows of its part and the columns of its
    A, among zeros. The product is the same, and so is its factor: only the rank has grown.

    Args:
        pairs: A (rank, input) and B (output of the part, rank) for some of q, k and v.

    Returns:
        A (parts * rank, input) and B (3 * output of a part, parts * rank).

    Example:
        >>> one = torch.ones(1, 2), torch.full((2, 1), 3.0)
        >>> down, up = join_parts({"q": one, "v": one})
        >>> up.tolist()
        [[3.0, 0.0], [3.0, 0.0], [0.0, 0.0], [0.0, 0.0], [0.0, 3.0], [0.0, 3.0]]
    """
    ordered = {part: pairs[part] for part in FUSED_PARTS if part in pairs}
    down = torch.cat([pair[0] for pair in ordered.values()])
    width = next(iter(ordered.values()))[1].shape[0]
    blocks: list[Tensor] = []
    n_before = 0
    for part in FUSED_PARTS:
        if part not in ordered:
            blocks.append(down.new_zeros(width, len(down)))
            continue
        up = ordered[part][1]
        blocks.append(functional.pad(up, (n_before, len(down) - n_before - up.shape[1])))
        n_before += up.shape[1]
    return down, torch.cat(blocks)
