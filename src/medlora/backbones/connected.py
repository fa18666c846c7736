"""Networks without the fully connected layers that timm's VGG has behind its convolutions.

`vgg16.features` is `vgg16` up to the last maximum. It is a backbone in its own right, with a
fingerprint over the convolutions alone: a task on it cannot depend on fully connected layers.
"""

import copy

import timm
import torch
from timm.models import is_model_in_modules
from timm.models.vgg import VGG
from torch import Tensor, nn

import medlora.backbones.vgg  # noqa: F401  # makes `vgg16_seed` known to timm
from medlora.errors import BackboneError

CONVOLUTIONS_SUFFIX = ".features"
CONNECTED = "pre_logits"


class OmittedLayers(nn.Module):
    """Stands where fully connected layers were, passes feature maps on, and knows their shapes.

    Args:
        layers: The omitted layers, on the meta device: shapes without values.
    """

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        # In a tuple, PyTorch does not take them for a part of this module.
        self._layers = (layers,)

    def forward(self, maps: Tensor) -> Tensor:
        """Feature maps (batch, channel, height, width), as they came."""
        return maps

    def draw_up(self) -> nn.Module:
        """The omitted layers anew, on the meta device, for others to take their places."""
        return copy.deepcopy(self._layers[0])


def is_convolutional(name: str) -> bool:
    """Whether a backbone's name asks for the convolutions alone.

    Example:
        >>> is_convolutional("vgg16.features"), is_convolutional("vgg16.tv_in1k")
        (True, False)
    """
    return name.endswith(CONVOLUTIONS_SUFFIX)


def name_complete(name: str) -> str:
    """The name that timm has for a backbone, or for what it is the convolutional part of.

    Example:
        >>> name_complete("vgg16.features"), name_complete("vgg16")
        ('vgg16', 'vgg16')
    """
    return name.removesuffix(CONVOLUTIONS_SUFFIX)


def name_convolutions(name: str) -> str:
    """The name of a network's convolutional part.

    Example:
        >>> name_convolutions("vgg16"), name_convolutions("vgg16.features")
        ('vgg16.features', 'vgg16.features')
    """
    return name_complete(name) + CONVOLUTIONS_SUFFIX


def name_frozen_part(name: str) -> str:
    """The name of what stays as it is below factorised layers: of a VGG its convolutions.

    Example:
        >>> name_frozen_part("vgg16"), name_frozen_part("resnet18.a1_in1k")
        ('vgg16.features', 'resnet18.a1_in1k')
    """
    architecture = name_complete(name).partition(".")[0]
    is_vgg = is_model_in_modules(architecture, ["vgg"])
    return name_convolutions(name) if is_vgg else name


def create_convolutions(name: str) -> nn.Module:
    """The convolutional part of a timm VGG, without trained weights.

    Its features are the means of the last feature maps (512 in every VGG), as a linear probe
    wants them; the fully connected layers can be put back by `restore_connected`.

    Args:
        name: The backbone's name, for example `vgg16.features`.

    Raises:
        BackboneError: The network has no fully connected layers before its classifier.
        RuntimeError: timm has no such model.
    """
    complete = name_complete(name)
    with torch.device("meta"):
        whole = timm.create_model(complete, pretrained=False, num_classes=0)
    if not isinstance(whole, VGG):
        raise BackboneError(
            f"{complete} ({type(whole).__name__}) has no fully connected layers before its "
            f"classifier that {CONVOLUTIONS_SUFFIX!r} could leave out; only VGGs have. Use "
            f"--backbone {complete}, or a VGG."
        )
    # Half a gigabyte is not drawn for nothing.
    narrow = 1 / whole.head_hidden_size
    network: nn.Module = timm.create_model(
        complete, pretrained=False, num_classes=0, mlp_ratio=narrow
    )
    setattr(network, CONNECTED, OmittedLayers(whole.pre_logits))
    network.head_hidden_size = network.num_features
    return network


def has_omitted_layers(network: nn.Module) -> bool:
    """Whether a network is a convolutional part, its fully connected layers left out."""
    return isinstance(getattr(network, CONNECTED, None), OmittedLayers)


def restore_connected(network: nn.Module) -> int:
    """Put the omitted layers back, on the meta device, into a network of one's own.

    Args:
        network: The network; it is changed.

    Returns:
        The width of its features from then on.

    Raises:
        BackboneError: Nothing was left out of it.
    """
    omitted = getattr(network, CONNECTED, None)
    if not isinstance(omitted, OmittedLayers):
        raise BackboneError(
            f"No fully connected layers were left out of this {type(network).__name__}. Load the "
            f"convolutional part of a VGG: --backbone vgg16{CONVOLUTIONS_SUFFIX}."
        )
    layers = omitted.draw_up()
    setattr(network, CONNECTED, layers)
    return layers.get_parameter("fc2.weight").shape[0]


def list_connected(network: nn.Module) -> dict[str, tuple[int, int]]:
    """The omitted fully connected layers of a network: (inputs, outputs) of each by name.

    Raises:
        BackboneError: Nothing was left out of it.
    """
    own = copy.copy(network)
    own._modules = dict(network._modules)
    restore_connected(own)
    return {
        f"{CONNECTED}.{name}": (layer.weight[0].numel(), layer.weight.shape[0])
        for name, layer in own.get_submodule(CONNECTED).named_modules()
        if isinstance(layer, nn.Conv2d | nn.Linear)
    }


def explain_convolutions_alone(name: str, place: str) -> str:
    """What to do where only the convolutions of a complete network were found."""
    part = name_convolutions(name)
    return (
        f"{place} holds the convolutions of {name} alone, so its fully connected layers (W) would "
        f"be random: choose --backbone {part} with --method factorised (trains them as W = U V), "
        "linear, or lora on the convolutions (--targets conv); or give a complete checkpoint."
    )
