"""The layer of a network whose feature maps tell best where in an image something lies."""

from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from torch import nn

from medlora.backbones.spec import FAMILIES, FamilyRule, find_family
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
    return family is not None and _has_maps(family)


def find_map_layer(network: nn.Module) -> MapLayer:
    """The layer of a timm network whose maps tell best what speaks for an answer, and where.

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
    if family is None or not _has_maps(family):
        known = ", ".join(each.name for each in FAMILIES if _has_maps(each))
        raise BackboneError(
            f"The last feature maps are known of {known}, not of {type(network).__name__}. Use "
            "--method integrated-gradients, or attention for a vision transformer."
        )
    if family.map_reduction is not None:
        return MapLayer(_find_stage(network, family.map_reduction), family.maps_end_in_channels)
    pattern = family.map_layer or ""
    names = [
        name
        for name, module in network.named_modules()
        if fnmatchcase(name, pattern)
        and name.count(".") == pattern.count(".")
        and not isinstance(module, _POOLINGS)
    ]
    return MapLayer(names[-1], family.maps_end_in_channels)


def _has_maps(family: FamilyRule) -> bool:
    return family.map_layer is not None or family.map_reduction is not None


def _find_stage(network: nn.Module, reduction: int) -> str:
    """The last stage of a timm network that is reduced so many times at most."""
    stages: Any = getattr(network, "feature_info", ())
    names = [str(stage["module"]) for stage in stages if stage["reduction"] <= reduction]
    if not names:
        raise BackboneError(
            f"{type(network).__name__} does not list its stages. Use --method integrated-gradients."
        )
    return names[-1]
