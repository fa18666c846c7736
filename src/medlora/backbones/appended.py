"""Fully connected layers behind the last feature map of a network that has none there.

A VGG looks at all places of its last map with two wide layers before it decides. Nearly every later
network takes the mean over the places, or one token, and forgets where it saw what. Here a network
gets a VGG's two layers in the place of its classifier, for others to factorise.
"""

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional

from medlora.backbones.attention_maps import read_tokens
from medlora.backbones.spec import count_features, find_family
from medlora.errors import BackboneError

# Rows and columns of the map that a VGG's fully connected layers look at, and their width.
SIDE = 7
WIDTH = 4096
_LAYERS = "layers"


class MapReader(nn.Module):
    """The last feature map of a network as (batch, channel, 7, 7), whatever its own layout.

    Larger maps are averaged, as torchvision averages the maps of larger images before a VGG's
    layers.

    Args:
        n_channels: Channels of the map.
        n_prefix: Tokens before those of the patches, and
        grid: rows and columns of patches, of a network that has tokens in place of a map.
        ends_in_channels: Whether maps are (batch, height, width, channel).
    """

    def __init__(
        self,
        n_channels: int,
        *,
        n_prefix: int = 0,
        grid: tuple[int, int] | None = None,
        ends_in_channels: bool = False,
    ) -> None:
        super().__init__()
        self.n_channels = n_channels
        self.n_prefix = n_prefix
        self.grid = grid
        self.ends_in_channels = ends_in_channels

    def forward(self, hidden: Tensor) -> Tensor:
        """Maps, or tokens (batch, token, channel), as the network gives them unpooled.

        Raises:
            BackboneError: They have another shape.
        """
        maps = hidden
        if self.grid is not None and hidden.ndim == 3:
            maps = hidden[:, self.n_prefix :].transpose(1, 2).unflatten(2, self.grid)
        elif self.ends_in_channels and hidden.ndim == 4:
            maps = hidden.movedim(-1, 1)
        if maps.ndim != 4 or maps.shape[1] != self.n_channels:
            raise BackboneError(
                f"The network gives {tuple(hidden.shape[1:])} where a map of {self.n_channels} "
                "channels was expected, so no fully connected layers can be put behind it. Use "
                "--method lora or linear."
            )
        return functional.adaptive_avg_pool2d(maps, SIDE)


class AppendedLayers(nn.Module):
    """A map's reader, and a VGG's two fully connected layers behind it.

    Args:
        reader: What brings the network's answer into shape.
    """

    def __init__(self, reader: MapReader) -> None:
        super().__init__()
        self.reader = reader
        self.layers = nn.Sequential(
            OrderedDict(
                fc1=nn.Conv2d(reader.n_channels, WIDTH, SIDE),
                act1=nn.ReLU(),
                fc2=nn.Conv2d(WIDTH, WIDTH, 1),
                act2=nn.ReLU(),
                flatten=nn.Flatten(1),
            )
        )

    def forward(self, hidden: Tensor) -> Tensor:
        """Features (batch, 4096) of what the network gives unpooled."""
        features: Tensor = self.layers(self.reader(hidden))
        return features


def list_appended(network: nn.Module) -> dict[str, tuple[int, int]]:
    """The layers that `append_connected` would put behind a network: (inputs, outputs) by name.

    Raises:
        BackboneError: The network does not say where its classifier stands.
    """
    place = f"{_find_place(network)}.{_LAYERS}"
    n_inputs = count_features(network) * SIDE**2
    return {f"{place}.fc1": (n_inputs, WIDTH), f"{place}.fc2": (WIDTH, WIDTH)}


def append_connected(network: nn.Module) -> int:
    """Put fully connected layers, on the meta device, behind a network of one's own.

    The network no longer takes the mean over places or one token, and the layers stand where its
    classifier would.

    Args:
        network: A timm network without its head; it is changed.

    Returns:
        The width of its features from then on.

    Raises:
        BackboneError: The network does not say where its classifier stands, or how its tokens lie.
    """
    place = _find_place(network)
    reader = _plan_reader(network)
    # By timm's own interface; a module, to the type checker.
    reset = getattr(network, "reset_classifier", None)
    if reset is None:
        raise _describe_unfit(network)
    reset(0, "")
    with torch.device("meta"):
        layers = AppendedLayers(reader)
    network.set_submodule(place, layers)
    return WIDTH


def find_tail(network: nn.Module) -> str | None:
    """The module of appended layers whose answer is that of the network; None without any."""
    for name, module in network.named_modules():
        if isinstance(module, AppendedLayers):
            return f"{name}.{_LAYERS}"
    return None


def _find_place(network: nn.Module) -> str:
    place = getattr(network, "pretrained_cfg", {}).get("classifier")
    if not isinstance(place, str) or place not in dict(network.named_modules()):
        raise _describe_unfit(network)
    return place


def _plan_reader(network: nn.Module) -> MapReader:
    n_channels = count_features(network)
    family = find_family(network)
    if hasattr(network, "num_prefix_tokens"):
        layout = read_tokens(network)
        return MapReader(n_channels, n_prefix=layout.n_prefix, grid=layout.grid)
    ends_in_channels = family is not None and family.maps_end_in_channels
    return MapReader(n_channels, ends_in_channels=ends_in_channels)


def _describe_unfit(network: nn.Module) -> BackboneError:
    return BackboneError(
        f"{type(network).__name__} does not say where one classifier stands, so no fully connected "
        "layers can be put in its place. Use --method lora or linear."
    )
