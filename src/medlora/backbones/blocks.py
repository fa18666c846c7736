"""The last blocks of a network, for training nothing below them."""

from collections.abc import Iterable

from torch import nn

from medlora.backbones.spec import find_chain
from medlora.errors import TargetError


def list_last_modules(model: nn.Module, layers: Iterable[str], n_blocks: int) -> frozenset[str]:
    """Names of the modules from the first of the last blocks on.

    A block is a module of the family's chain: a transformer's block, a residual block; in a VGG
    a convolution, or the fully connected layers together.

    Args:
        model: The backbone.
        layers: The layers that could be trained; blocks without any of them do not count.
        n_blocks: Number of blocks, at least 1; all of them where there are fewer.

    Raises:
        TargetError: The model's family is unknown, or no layer lies in a block.
    """
    names = [name for name, _ in model.named_modules()]
    chosen = tuple(layers)
    blocks = [
        link
        for link in find_chain(model)
        if any(layer == link or layer.startswith(f"{link}.") for layer in chosen)
    ]
    if not blocks:
        raise TargetError(
            f"Which blocks of this {type(model).__name__} are the last ones is not known for "
            "these targets. Name layers with --targets in place of --last-blocks."
        )
    return frozenset(names[names.index(blocks[-n_blocks:][0]) :])
