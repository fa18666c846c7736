"""The layer of a network whose feature maps tell best where in an image something lies."""

from fnmatch import fnmatchcase
from typing import NamedTuple

from torch import nn

from medlora.backbones.spec import FAMILIES, find_family
from medlora.errors import BackboneError

_POOLINGS = (nn.MaxPool2d, nn.AvgPool2d)


class MapLayer(NamedTuple):
    """A layer that answers with feature maps.

    Attributes:
        name: Its dotted name in the network.
        ends_in_channels: Whether its maps are (image, height, width, channel), not
            (image, channel, height, width).
    """

    name: str
    ends_in_channels: bool


def has_maps(network: nn.Module) -> bool:
    """Whether `find_map_layer` knows a layer of this network."""
    family = find_family(network)
    return family is not None and family.map_layer is not None


def find_map_layer(network: nn.Module) -> MapLayer:
    """The last layer of a timm network that still tells one place from another.

    Args:
        network: The network, with or without an adapter on it.

    Raises:
        BackboneError: The network has tokens in place of maps, or its family is unknown.

    Example:
        >>> from medlora.backbones.spec import create_architecture
        >>> find_map_layer(create_architecture("test_resnet")).name
        'layer4'
    """
    family = find_family(network)
    pattern = family.map_layer if family else None
    if family is None or pattern is None:
        known = ", ".join(each.name for each in FAMILIES if each.map_layer)
        raise BackboneError(
            f"The last feature maps are known of {known}, not of {type(network).__name__}. Use "
            "--method integrated-gradients, or attention for a vision transformer."
        )
    names = [
        name
        for name, module in network.named_modules()
        if fnmatchcase(name, pattern)
        and name.count(".") == pattern.count(".")
        and not isinstance(module, _POOLINGS)
    ]
    return MapLayer(names[-1], family.maps_end_in_channels)
