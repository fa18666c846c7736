"""Looking into a network: what an image looks like a third of the way to its answer."""

import torch
from torch import Tensor, nn

from medlora.backbones.cutting import BEHIND
from medlora.backbones.spec import find_chain, find_family


def choose_place(model: nn.Module) -> str:
    """The module whose input describes an image best, for telling unusual ones.

    Deeper features have forgotten what a picture is like, its noise, its sharpness, and earlier
    ones know little of what it shows.

    Returns:
        The module a third down the family's chain; `behind` where the family is unknown.
    """
    chain = find_chain(model)
    return chain[len(chain) // 3] if len(chain) > 1 else BEHIND


def has_channels_at_end(model: nn.Module) -> bool:
    """Whether the last axis of a picture inside the network is that of its channels."""
    family = find_family(model)
    return family is not None and family.maps_end_in_channels


def summarise_hidden(hidden: Tensor, *, channels_at_end: bool) -> Tensor:
    """Mean and standard deviation over all positions of what a module is given.

    Args:
        hidden: (image, position, channel); or a picture inside the network, (image, channel,
            height, width), with the channels at its end where it is so; or features
            (image, feature), which stay as they are.
        channels_at_end: As `has_channels_at_end` says.

    Returns:
        Float32 (image, value): the means of all channels, then the standard deviations.
    """
    wide = hidden.float()
    if wide.ndim == 2:
        return wide
    if wide.ndim == 4 and not channels_at_end:
        wide = wide.movedim(1, -1)
    positions = wide.flatten(1, -2)
    return torch.cat([positions.mean(dim=1), positions.std(dim=1, correction=0)], dim=1)
