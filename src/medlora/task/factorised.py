"""Factorised layers of a task: where they go, and a network that has them."""

from torch import nn

from medlora.backbones.appended import append_connected, list_appended
from medlora.backbones.connected import list_connected, restore_connected
from medlora.backbones.spec import find_family
from medlora.backbones.weights import Backbone
from medlora.errors import TargetError
from medlora.lora.factorised import attach_factorised
from medlora.task.records import FactorisedSettings, InputNorm


def plan_factorised(
    backbone: Backbone, *, rank: int, dropout: float = 0.0, input_norm: InputNorm = "none"
) -> FactorisedSettings:
    """Settings with every fully connected layer that a backbone gets.

    Args:
        backbone: A VGG's convolutions alone, such as `vgg16.features`, which get back the layers
            that were left out; or a network of another family, which gets a VGG's behind its last
            feature map.
        rank: Rank of every layer.
        dropout: Dropout on every layer's inputs and on the head's, [0, 1).
        input_norm: What is done to what the first of them gets: `none`, or `rms`.

    Raises:
        BackboneError: It is a complete VGG, or a network that says too little of itself.
    """
    return FactorisedSettings(rank, dropout, _list_layers(backbone.model), input_norm)


def put_factorised(network: nn.Module, factorised: FactorisedSettings | None) -> int:
    """Give a network factorised fully connected layers.

    Args:
        network: As `plan_factorised` takes them; it is changed.
        factorised: Rank, dropout and layers.

    Returns:
        The width of the network's features from then on.

    Raises:
        TargetError: There are no settings, or they do not fit the network.
        BackboneError: No such layers can be put there.
    """
    if factorised is None:
        raise TargetError("The method factorised needs its settings: rank, dropout, layers.")
    layers = _list_layers(network)
    odd = sorted(layers.keys() ^ factorised.layers.keys())
    if odd:
        raise TargetError(
            f"Factorised are all the fully connected layers that the backbone gets ({len(layers)}),"
            f" and no others; {odd[0]!r} is the difference. Use the backbone that the card names."
        )
    n_features = restore_connected(network) if _is_vgg(network) else append_connected(network)
    # In the network's order: a card keeps the names in the order of the alphabet.
    first = next(iter(layers))
    attach_factorised(
        network,
        factorised.layers,
        rank=factorised.rank,
        dropout=factorised.dropout,
        normalised=(first,) if factorised.input_norm == "rms" else (),
    )
    return n_features


def _list_layers(network: nn.Module) -> dict[str, tuple[int, int]]:
    return list_connected(network) if _is_vgg(network) else list_appended(network)


def _is_vgg(network: nn.Module) -> bool:
    family = find_family(network)
    return family is not None and family.name == "vgg"
