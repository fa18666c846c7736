"""Copies of a network that share its tensors, so that one backbone serves many uses."""

import copy
from collections.abc import Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn

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


def borrow_weights(network: NetworkT, other: nn.Module) -> NetworkT:
    """A copy of a network that has its large weights from a copy in another type.

    What the copy still has in its own type is shared with the network, which may then be let go:
    everything but the weights of plain linear and convolution layers. Whoever trained parameters
    of a normalisation, or an embedding, finds exact values beside them; the weights of the others
    are rounded in any case by a network that computes in the other type.

    Args:
        network: The network; it is left as it is.
        other: `copy_network` of it, on any device.

    Returns:
        A network with modules of its own.
    """
    memo: dict[int, object] = {id(own): own for own in (*network.parameters(), *network.buffers())}
    for name, module in network.named_modules():
        # Subclasses may compute something of their weight before they round it.
        if type(module) in (nn.Linear, nn.Conv2d):
            memo[id(module.weight)] = other.get_submodule(name).weight
    return copy.deepcopy(network, memo)


def share_frozen(network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Let a network use other tensors of the same values for what is frozen in it.

    Args:
        network: The network. Layers may be wrapped by modules that call them `base`.
        tensors: Tensors by their name in the network without wrappers; those of another type,
            shape or device are left alone.
    """
    for name, parameter in list(network.named_parameters()):
        other = tensors.get(name.replace(".base.", "."))
        if other is None or parameter.requires_grad:
            continue
        alike = (other.dtype, other.shape, other.device)
        if alike == (parameter.dtype, parameter.shape, parameter.device):
            owner, _, leaf = name.rpartition(".")
            setattr(network.get_submodule(owner), leaf, other)
