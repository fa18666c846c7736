"""A network whose layers can give every row of a batch an update of its own."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from threading import Lock
from types import MappingProxyType

import torch
from torch import Tensor, nn

from medlora.errors import TargetError
from medlora.lora.packing import AdapterLayout
from medlora.lora.routing import (
    LinearUpdate,
    RoutedLayer,
    Routing,
    RowUpdate,
    find_base,
    repeat_rows_at,
    takes_weights,
)


@dataclass
class _Sight:
    """What one batch wants to see of the modules on its way, and what it has seen."""

    wanted: frozenset[str]
    summarise: Callable[[Tensor], Tensor]
    seen: dict[str, Tensor] = field(default_factory=dict)


_SIGHT: ContextVar[_Sight | None] = ContextVar("medlora_sight", default=None)


class RoutedNetwork:
    """A frozen network that computes the rows of one batch with different adapters.

    Layers are wrapped when the first adapter on them is laid out. That may happen while
    another thread computes: its batch has no update for them, and they answer as before.

    Args:
        network: The network, frozen and in evaluation mode; its layers get wrapped in place.
        chain: Modules that are called one after another, each on the answer of the one before.
            Images that several rows share are repeated no earlier than at the first of them
            that is adapted.

    Attributes:
        network: The network.
        tensors: Its parameters, under the names that they had before anything was wrapped.
    """

    def __init__(self, network: nn.Module, chain: Sequence[str] = ()) -> None:
        self.network = network
        self.tensors = dict(network.named_parameters())
        self._chain = tuple(chain)
        self._lock = Lock()
        self._layouts: dict[tuple[int, tuple[tuple[str, tuple[str, ...]], ...]], AdapterLayout] = {}
        self._order = {name: place for place, (name, _) in enumerate(network.named_modules())}
        self._repeating: set[str] = set()
        self._tapped: set[str] = set()

    def lay_out(self, layers: Mapping[str, Sequence[str]], *, rank: int) -> AdapterLayout:
        """The layout of adapters on some layers, the same object for the same layers and rank.

        Raises:
            TargetError: A layer is not the network's, or cannot carry such an update.
        """
        key = (rank, tuple(sorted((name, tuple(parts)) for name, parts in layers.items())))
        with self._lock:
            if key not in self._layouts:
                layout = AdapterLayout(self.network, layers, rank=rank)
                for name in layout.layers:
                    self._wrap(name)
                self._layouts[key] = layout
            return self._layouts[key]

    @torch.no_grad()
    def merge(self, layout: AdapterLayout, packed: Tensor) -> dict[str, Tensor]:
        """Copies of the weights of an adapter's layers, with the update added.

        Args:
            layout: How the adapter lies in `packed`.
            packed: Its row of memory, (n_values,).

        Returns:
            By the layer's name, for `compute_observed`.

        Raises:
            TargetError: The adapter has layers that cannot be applied with other weights.
        """
        merged: dict[str, Tensor] = {}
        for name, update in layout.read(packed[None], slice(0, 1)).items():
            base = find_base(self.network.get_submodule(name))
            if not isinstance(update, LinearUpdate) or not takes_weights(base):
                raise TargetError(
                    f"Layer {name!r} is a {type(base).__name__}: its update is added and never "
                    "merged here. See AdapterLayout.can_merge."
                )
            merged[name] = update.merge(base)
        return merged

    def find_repeat(self, layers: Iterable[str]) -> str | None:
        """The module at whose entry images have to become rows, where `layers` are adapted.

        Returns:
            Its name, or None where that has to happen before the network.
        """
        first = min(layers, key=self._order.__getitem__, default=None)
        return None if first is None else self._find_link(first)

    def compute(
        self,
        images: Tensor,
        rows: Tensor,
        updates: Mapping[str, Sequence[RowUpdate]],
    ) -> Tensor:
        """Features of the rows of a batch.

        Args:
            images: Normalised, in the network's type, (image, 3, height, width).
            rows: For each row the number of its image, int64 (row,), on the processor.
            updates: Layer name to the updates of some rows.

        Returns:
            (row, feature), in the network's type.
        """
        return self.compute_observed(images, rows, updates, (), torch.clone)[0]

    def compute_observed(
        self,
        images: Tensor,
        rows: Tensor,
        updates: Mapping[str, Sequence[RowUpdate]],
        observe: Sequence[str],
        summarise: Callable[[Tensor], Tensor],
        *,
        merged: Mapping[str, Tensor] = MappingProxyType({}),
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Features of the rows of a batch, and a summary of what enters some modules on the way.

        Args:
            images: Normalised, in the network's type, (image, 3, height, width).
            rows: For each row the number of its image, int64 (row,), on the processor.
            updates: Layer name to the updates of some rows.
            observe: Modules of the chain, or others that are called once; what is no module of
                the network stands for its features.
            summarise: Makes a summary (input, ...) of what enters, (input, ...), which is not
                there any more when the network has answered.
            merged: Layer name to the weight that answers all rows in place of its own, as `merge`
                gives them; in place of updates, where every row is an image of its own.

        Returns:
            (row, feature), in the network's type, and by module the summary, (row, ...).
        """
        place = self.find_repeat(updates) if len(images) < len(rows) else None
        is_adapted = bool(updates or merged)
        has_rows = is_adapted and place is None
        is_moved = has_rows and not torch.equal(rows, torch.arange(len(images)))
        rows = rows.to(images.device)
        if is_moved:
            images = images[rows]
        for name in observe:
            self._tap(name)
        sight = _Sight(frozenset(observe), summarise)
        token = _SIGHT.set(sight)
        try:
            with Routing(len(rows), updates, repeat_at=place, rows=rows, merged=merged):
                features: Tensor = self.network(images)
        finally:
            _SIGHT.reset(token)
        features = features if is_adapted else features[rows]
        # Before the module where images become rows there are fewer images than rows.
        whole = {
            name: own if has_rows or (is_adapted and len(own) == len(rows)) else own[rows]
            for name, own in sight.seen.items()
        }
        behind = {name: summarise(features) for name in observe if name not in whole}
        return features, whole | behind

    def _tap(self, name: str) -> None:
        """Let a module tell what it is given, to batches that want to see it."""
        with self._lock:
            if name in self._tapped or name not in self._order:
                return
            self._tapped.add(name)

            def tell(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
                sight = _SIGHT.get()
                if sight is not None and name in sight.wanted:
                    sight.seen[name] = sight.summarise(inputs[0])

            self.network.get_submodule(name).register_forward_pre_hook(tell)

    def _find_link(self, layer: str) -> str | None:
        for link in self._chain:
            if layer == link or layer.startswith(f"{link}."):
                return link
        return None

    def _wrap(self, name: str) -> None:
        layer = self.network.get_submodule(name)
        if not isinstance(layer, RoutedLayer):
            self.network.set_submodule(name, RoutedLayer(layer, name))
        link = self._find_link(name)
        # On the wrapper, where the link itself is wrapped: its base sees the rows only.
        if link is not None and link not in self._repeating:
            repeat_rows_at(self.network, link)
            self._repeating.add(link)
