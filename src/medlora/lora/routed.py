"""A network whose layers can give every row of a batch an update of its own."""

from collections.abc import Iterable, Mapping, Sequence
from threading import Lock

from torch import Tensor, nn

from medlora.lora.packing import AdapterLayout
from medlora.lora.routing import RoutedLayer, Routing, RowUpdate, repeat_rows_at


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
            rows: For each row the number of its image, int64 (row,).
            updates: Layer name to the updates of some rows.

        Returns:
            (row, feature), in the network's type.
        """
        place = self.find_repeat(updates) if len(images) < len(rows) else None
        if updates and place is None:
            images = images[rows]
        with Routing(len(rows), updates, repeat_at=place, rows=rows):
            features: Tensor = self.network(images)
        return features if updates else features[rows]

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
