"""Scaled logits as a head of their own: scaling a logit is scaling a row of the head."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from medlora.task.layout import HEAD_BIAS, HEAD_WEIGHT


def scale_head(head: nn.Linear, scale: Sequence[float], offset: Sequence[float]) -> None:
    """Change a head so that its logits become scale * logits + offset.

    Args:
        head: The head; it is changed in place, computed in float64.
        scale: (class,).
        offset: (class,).

    Example:
        >>> head = nn.Linear(1, 2)
        >>> before = head(torch.ones(1, 1))
        >>> scale_head(head, (2.0, 2.0), (0.0, 1.0))
        >>> bool(torch.allclose(head(torch.ones(1, 1)), 2 * before + torch.tensor([0.0, 1.0])))
        True
    """
    weight, bias = _scale(head.weight, head.bias, scale, offset)
    with torch.no_grad():
        head.weight.copy_(weight)
        head.bias.copy_(bias)


def rescale_tensors(
    tensors: Mapping[str, Tensor],
    undone: tuple[Sequence[float], Sequence[float]],
    done: tuple[Sequence[float], Sequence[float]],
) -> dict[str, Tensor]:
    """A task's tensors under another scaling of its logits.

    Args:
        tensors: Those of a task file; they are not changed.
        undone: Scale and offset, each (class,), that the head has in it.
        done: Those that it is to have instead.

    Returns:
        All tensors, the head's with new values in the type that they had.
    """
    old_scale, old_offset = (torch.tensor(list(part), dtype=torch.float64) for part in undone)
    scale, offset = (torch.tensor(list(part), dtype=torch.float64) for part in done)
    ratio = scale / old_scale
    weight, bias = _scale(
        tensors[HEAD_WEIGHT],
        tensors[HEAD_BIAS],
        ratio.tolist(),
        (offset - ratio * old_offset).tolist(),
    )
    return {
        **tensors,
        HEAD_WEIGHT: weight.to(tensors[HEAD_WEIGHT].dtype),
        HEAD_BIAS: bias.to(tensors[HEAD_BIAS].dtype),
    }


def _scale(
    weight: Tensor, bias: Tensor, scale: Sequence[float], offset: Sequence[float]
) -> tuple[Tensor, Tensor]:
    """Both in float64, on the device of the weight."""
    factors = torch.tensor(list(scale), dtype=torch.float64, device=weight.device)
    shifts = torch.tensor(list(offset), dtype=torch.float64, device=weight.device)
    return weight.detach().double() * factors[:, None], bias.detach().double() * factors + shifts
