"""Copies of a network that share its tensors, so that one backbone serves many uses."""

import copy
from typing import TypeVar

import torch
from torch import nn

NetworkT = TypeVar("NetworkT", bound=nn.Module)


def copy_network(network: NetworkT, dtype: torch.dtype, *, share: bool) -> NetworkT:
    """A copy of a network whose modules may be replaced without a change to the original.

    Args:
        network: The network to copy.
        dtype: Type of the copy's floating-point tensors. Tensors that already have it are
            not copied where they may be shared.
        share: Whether the copy, which is then frozen, may use the original's tensors.

    Returns:
        A network with modules of its own.
    """
    memo: dict[int, object] = {}
    for parameter in network.parameters():
        if share:
            value = parameter.detach().to(dtype) if parameter.is_floating_point() else parameter
            memo[id(parameter)] = nn.Parameter(value, requires_grad=False)
        else:
            memo[id(parameter)] = nn.Parameter(
                parameter.detach().clone().to(dtype), requires_grad=parameter.requires_grad
            )
    for buffer in network.buffers():
        value = buffer.to(dtype) if buffer.is_floating_point() else buffer
        memo[id(buffer)] = value if share else value.clone()
    return copy.deepcopy(network, memo)
