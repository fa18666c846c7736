"""A layer around a frozen one, which other code may still take for it."""

from torch import Tensor, nn


class FrozenLayer(nn.Module):
    """What adds something to the answer of a frozen layer; to be derived from.

    Some networks ask a layer for its weight's type or device before they call it.

    Attributes:
        base: The frozen layer.
    """

    base: nn.Linear | nn.Conv2d

    @property
    def weight(self) -> Tensor:
        """The frozen weight."""
        return self.base.weight

    @property
    def bias(self) -> Tensor | None:
        """The frozen bias."""
        return self.base.bias
