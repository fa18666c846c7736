"""A frozen convolution with a trainable low-rank update."""

import copy
import math

import torch
from timm.layers import Conv2dSame
from timm.layers.padding import pad_same
from torch import Tensor, nn
from torch.nn import functional

from medlora.errors import TargetError
from medlora.lora.frozen import FrozenLayer
from medlora.lora.scaling import Scaling, compute_scale

_KNOWN = (nn.Conv2d, Conv2dSame)


class LoRAConv2d(FrozenLayer):
    """`conv(x, W) + b + scale * conv1x1(conv(x, A), B)` over a frozen `nn.Conv2d`.

    A has the base's kernel, stride, padding, dilation and groups and gives `rank` channels
    for each group; B is a 1 x 1 convolution with the same groups. The update of a group's
    weight, seen as an (output, input * kernel height * kernel width) matrix, has that rank.

    Args:
        base: The layer to adapt; it is kept as it is and frozen.
        rank: Rank of each group's update, at least 1.
        alpha: Strength of the update, above 0.
        scaling: How alpha and rank give the factor.
        dropout: Probability of dropping an input of the low-rank path while training, [0, 1).

    Raises:
        TargetError: The base is a kind of convolution that computes its weight in another
            way, so that an update beside it would not be an update of it.

    Attributes:
        lora_A: Float (rank * groups, input / groups, kernel height, kernel width).
        lora_B: Float (output, rank, 1, 1).

    Reference:
        Hu et al., LoRA, ICLR 2022, section 4.1, on the unfolded kernel.
    """

    base: nn.Conv2d

    def __init__(
        self,
        base: nn.Conv2d,
        *,
        rank: int,
        alpha: float,
        scaling: Scaling = "alpha/rank",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_convolution(base)
        self.base = base.requires_grad_(False)
        self.rank = rank
        self.alpha = float(alpha)
        self.scaling: Scaling = scaling
        self.scale = compute_scale(rank, alpha, scaling)
        self.parts: tuple[str, ...] = ()
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        dtype = torch.promote_types(base.weight.dtype, torch.float32)
        device = base.weight.device
        down = torch.empty(rank * base.groups, *base.weight.shape[1:], dtype=dtype, device=device)
        if not down.is_meta:
            nn.init.kaiming_uniform_(down, a=math.sqrt(5))
        self.lora_A = nn.Parameter(down)
        self.lora_B = nn.Parameter(
            torch.zeros(base.out_channels, rank, 1, 1, dtype=dtype, device=device)
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """Apply the layer.

        Args:
            inputs: Float (batch, channel, height, width).

        Returns:
            Float (batch, output channel, height, width), in the base's type.
        """
        outputs: Tensor = self.base(inputs)
        dtype = outputs.dtype
        down = (self.lora_A * self.scale).to(dtype)
        hidden = convolve_like(self.base, self.dropout(inputs).to(dtype), down)
        return outputs + functional.conv2d(hidden, self.lora_B.to(dtype), groups=self.base.groups)

    def delta_weight(self) -> Tensor:
        """The update as one kernel, float (output, input / groups, height, width)."""
        groups = self.base.groups
        down = self.lora_A.reshape(groups, self.rank, -1)
        up = self.lora_B.reshape(groups, -1, self.rank)
        return self.scale * torch.bmm(up, down).reshape(self.base.weight.shape)

    def merged(self) -> nn.Conv2d:
        """A plain layer with the update added to a copy of the kernel."""
        layer = copy.deepcopy(self.base)
        with torch.no_grad():
            # The update's type is the wider one: the sum is rounded once, by the copy.
            layer.weight.copy_(self.delta_weight() + self.base.weight)
        return layer


def check_convolution(base: nn.Conv2d) -> None:
    """Refuse a convolution that an update beside it would not be an update of.

    Raises:
        TargetError: It computes its kernel in a way of its own.
    """
    if type(base) not in _KNOWN:
        raise TargetError(
            f"A {type(base).__name__} cannot carry a low-rank update: only a plain "
            "convolution (with any padding) can. Choose other targets."
        )


def convolve_like(base: nn.Conv2d, inputs: Tensor, kernel: Tensor, n_copies: int = 1) -> Tensor:
    """Convolve as `base` does, with another kernel and no bias.

    Args:
        base: The layer whose stride, padding, dilation and groups are taken.
        inputs: Float (batch, channel * copies, height, width).
        kernel: Float (output, input / groups, kernel height, kernel width), for all copies.
        n_copies: Convolutions that are done side by side, each with channels of its own.

    Returns:
        Float (batch, output, height, width).
    """
    groups = base.groups * n_copies
    if isinstance(base, Conv2dSame):
        inputs = pad_same(inputs, base.kernel_size, base.stride, base.dilation)  # type: ignore[arg-type]
        return functional.conv2d(inputs, kernel, None, base.stride, (0, 0), base.dilation, groups)
    padding = base.padding
    if base.padding_mode != "zeros":
        inputs = functional.pad(
            inputs, base._reversed_padding_repeated_twice, mode=base.padding_mode
        )
        padding = (0, 0)
    return functional.conv2d(inputs, kernel, None, base.stride, padding, base.dilation, groups)
