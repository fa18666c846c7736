"""A network in two parts, so that what is frozen in it is computed once for each image."""

import copy
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from typing import Any, Final

import torch
from torch import Tensor, nn

from medlora.errors import BackboneError

# Where a network is cut behind its last layer: all of it is the first part.
BEHIND: Final = "behind"

_HIDDEN: ContextVar[Tensor] = ContextVar("medlora_hidden")


class NetworkCut:
    """A network in two parts: up to one module of its chain, and from that module on.

    Both parts hold the network's own modules and tensors, so that what is trained in the second
    one is trained in the network, and the network itself is left as it is. One part after the
    other computes what the network does, bit for bit. Both may be used in several threads.

    Args:
        network: The network, with adapters on it where it is to have any.
        place: The module whose input the first part answers with, or `BEHIND`.
        chain: Modules that are called one after another, `place` among them, each on nothing
            but the answer of the one before.
        image_shape: Channels, height and width of an image.
        tail: The module of the chain whose answer is the network's own; None where more follows
            the last of them.
    """

    def __init__(
        self,
        network: nn.Module,
        place: str,
        chain: Sequence[str],
        image_shape: tuple[int, int, int],
        *,
        tail: str | None = None,
    ) -> None:
        self.place = place
        self._image_shape = image_shape
        self._first: nn.Module = network
        self._rest: nn.Module | None = None
        self._is_tail = place == tail
        if place != BEHIND:
            module = network.get_submodule(place)
            self._first = _exchange_modules(network, {place: _Exit()})
            self._rest = module if self._is_tail else _enter_at(network, place, module, chain)

    def start(self, images: Tensor) -> Tensor:
        """The first part.

        Args:
            images: Normalised, in the network's type, (image, channel, height, width).

        Returns:
            (image, ...), what the second part takes.

        Raises:
            BackboneError: The network does not call the module that it is cut at.
        """
        try:
            features: Tensor = self._first(images)
        except _PlaceReachedError as reached:
            return reached.hidden
        if self._rest is not None:
            raise BackboneError(
                f"The network does not call {self.place!r}, so it cannot be cut there. Train "
                "without --cache-features."
            )
        return features

    def finish(self, hidden: Tensor, dtype: torch.dtype) -> Tensor:
        """The second part.

        Args:
            hidden: What the first part gave.
            dtype: The network's type.

        Returns:
            Features (image, feature).
        """
        features: Tensor
        if self._rest is None:
            return hidden
        if self._is_tail:
            features = self._rest(hidden)
            return features
        # What lies between the modules of the chain is computed for one empty image, and given up.
        blank = torch.zeros((1, *self._image_shape), dtype=dtype, device=hidden.device)
        token = _HIDDEN.set(hidden)
        try:
            features = self._rest(blank)
        finally:
            _HIDDEN.reset(token)
        return features


def find_cut(network: nn.Module, chain: Sequence[str]) -> str | None:
    """The last place in a network's chain below which nothing is trained.

    Args:
        network: The network; what is trained in it requires a gradient.
        chain: Modules that are called one after another, in that order.

    Returns:
        A module of the chain; `BEHIND` where all of the network is frozen; None where
        something is trained before the chain, or there is none.
    """
    order = {name: place for place, (name, _) in enumerate(network.named_modules())}
    trained = [
        order[name.rpartition(".")[0]]
        for name, parameter in network.named_parameters()
        if parameter.requires_grad
    ]
    if not trained:
        return BEHIND
    below = [link for link in chain if order[link] <= min(trained)]
    return below[-1] if below else None


class _PlaceReachedError(Exception):
    """Ends the first part; no fault."""

    def __init__(self, hidden: Tensor) -> None:
        super().__init__("the first part of a network is at its end")
        self.hidden = hidden


class _Exit(nn.Module):
    """Stands where the first part ends."""

    def forward(self, inputs: Tensor, *others: Any, **named: Any) -> Tensor:
        """Hand over the input and leave the network."""
        raise _PlaceReachedError(inputs)


class _Passed(nn.Module):
    """Stands in the second part for a module of the first."""

    def forward(self, inputs: Tensor, *others: Any, **named: Any) -> Tensor:
        """Give the input back."""
        return inputs


class _Entry(nn.Module):
    """Stands where the second part begins, around the module itself."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, inputs: Tensor, *others: Any, **named: Any) -> Tensor:
        """Apply the module to what the first part gave."""
        answer: Tensor = self.module(_HIDDEN.get(), *others, **named)
        return answer


def _enter_at(network: nn.Module, place: str, module: nn.Module, chain: Sequence[str]) -> nn.Module:
    """The network from one module of its chain on."""
    passed = {name: _Passed() for name in chain[: chain.index(place)]}
    return _exchange_modules(network, passed | {place: _Entry(module)})


def _exchange_modules(network: nn.Module, others: Mapping[str, nn.Module]) -> nn.Module:
    """A network that has other modules in some places and shares all the rest."""
    twin = copy.copy(network)
    twin._modules = dict(network._modules)
    inside: dict[str, dict[str, nn.Module]] = {}
    for name, module in others.items():
        child, _, rest = name.partition(".")
        if rest:
            inside.setdefault(child, {})[rest] = module
        else:
            twin._modules[child] = module
    for child, modules in inside.items():
        twin._modules[child] = _exchange_modules(network.get_submodule(child), modules)
    return twin
