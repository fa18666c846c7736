"""Factorised layers of a task: where they go, and a network that has them."""

from torch import nn

from medlora.backbones.connected import list_connected, restore_connected
from medlora.backbones.weights import Backbone
from medlora.errors import TargetError
from medlora.lora.factorised import attach_factorised
from medlora.task.records import FactorisedSettings, InputNorm


def plan_factorised(
    backbone: Backbone, *, rank: int, dropout: float = 0.0, input_norm: InputNorm = "none"
) -> FactorisedSettings:
    """Settings with every fully connected layer that was left out of this backbone.

    Args:
        backbone: A VGG's convolutions alone, such as `vgg16.features`.
        rank: Rank of every layer.
        dropout: Dropout on every layer's inputs and on the head's, [0, 1).
        input_norm: What is done to what the first of them gets: `none`, or `rms`.

    Raises:
        BackboneError: Nothing was left out of the backbone.
    """
    return FactorisedSettings(rank, dropout, list_connected(backbone.model), input_norm)


def put_factorised(network: nn.Module, factorised: FactorisedSettings | None) -> int:
    """Give a network factorised layers in the places of all that were left out of it.

    Args:
        network: The network of a VGG's convolutions alone; it is changed.
        factorised: Rank, dropout and layers.

    Returns:
        The width of the network's features from then on.

    Raises:
        TargetError: There are no settings, or they do not fit the network.
        BackboneError: Nothing was left out of the network.
    """
    if factorised is None:
        raise TargetError("The method factorised needs its settings: rank, dropout, layers.")
    omitted = list_connected(network)
    odd = sorted(omitted.keys() ^ factorised.layers.keys())
    if odd:
        raise TargetError(
            f"Factorised are all the layers that were left out of the backbone ({len(omitted)}), "
            f"and no others; {odd[0]!r} is the difference. Use the backbone that the card names."
        )
    n_features = restore_connected(network)
    # In the network's order: a card keeps the names in the order of the alphabet.
    first = next(iter(omitted))
    attach_factorised(
        network,
        factorised.layers,
        rank=factorised.rank,
        dropout=factorised.dropout,
        normalised=(first,) if factorised.input_norm == "rms" else (),
    )
    return n_features
