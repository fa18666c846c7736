"""What the frozen first part of a model gives for each image, computed once and kept."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from medlora.data.cache import DECODER_VERSION, ImageCache, NoCache
from medlora.data.image import normalise_batch
from medlora.data.loader import ImageReader
from medlora.data.views import ImageViews
from medlora.preprocessing import Preprocessing
from medlora.progress import Progress, silent
from medlora.task.model import TaskModel

# Raised whenever the same image, view and backbone give other features than before.
FEATURES_VERSION: Final = 1
# Every batch has this size, filled up where need be: then an image's features are the same
# whatever else is computed with them, so that a run that was killed goes on with the same bits.
BATCH_SIZE: Final = 32
# Features that are read again and again stay in memory as far as this goes.
HELD_BYTES: Final = 256 * 2**20


@dataclass(frozen=True)
class FeatureLayout:
    """How one image's features lie in a file.

    Attributes:
        shape: Without the axis of images.
        dtype: Their type.
        channels_last: Whether the channels of a picture, its first axis, vary fastest.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    channels_last: bool

    @property
    def n_bytes(self) -> int:
        """Bytes of one image's features."""
        return int(np.prod(self.shape)) * self.dtype.itemsize

    def pack(self, features: Tensor) -> npt.NDArray[np.uint8]:
        """One image's features as bytes."""
        ordered = features.movedim(0, -1) if self.channels_last else features
        packed: npt.NDArray[np.uint8] = (
            ordered.contiguous().cpu().reshape(-1).view(torch.uint8).numpy()
        )
        return packed

    def unpack(self, content: npt.NDArray[np.uint8]) -> Tensor:
        """The features that were packed, on the CPU."""
        values = torch.from_numpy(content.copy()).view(self.dtype)
        if not self.channels_last:
            return values.view(self.shape)
        return values.view(*self.shape[1:], self.shape[0]).movedim(-1, 0)

    def stack(self, parts: Sequence[Tensor]) -> Tensor:
        """The features of a batch in the layout in which a network gives them."""
        if not self.channels_last:
            return torch.stack(list(parts))
        # As they lie in memory: brought into another order and back, a batch takes longer to read
        # than thin layers take to learn from it.
        return torch.stack([part.movedim(0, -1) for part in parts]).movedim(-1, 1)


class FeatureReader:
    """Features of a table's images, in place of the images themselves.

    They are computed in batches of one size by a model's first part, kept on disk, and read
    from there; what is missing or damaged there is computed again. Several processes may use
    one folder.

    Args:
        model: The model; its first part stays as it is while it is trained.
        images: Where prepared images come from.
        names: What identifies each row's image: content alone, not its place.
        backbone: What identifies the backbone: its name and fingerprint.
        preprocessing: How images are prepared and normalised.
        cache: Where features are kept.
        views: The training images' views; None where they are not changed.
    """

    def __init__(
        self,
        model: TaskModel,
        images: ImageReader,
        names: Sequence[str],
        *,
        backbone: tuple[str, str],
        preprocessing: Preprocessing,
        cache: ImageCache | NoCache,
        views: ImageViews | None = None,
    ) -> None:
        self.views = views
        self._model = model
        self._images = images
        self._names = names
        self._preprocessing = preprocessing
        self._cache = cache
        self.layout = find_layout(model, preprocessing)
        self._common = self._describe(backbone)
        n_images = len(names) * (views.n_views if views else 1)
        self._n_slots = min(n_images, HELD_BYTES // max(1, self.layout.n_bytes))
        # One block of memory: thousands of small ones would come to lie between the large blocks
        # of the network's own, so that none of those could be used again.
        self._slots: npt.NDArray[np.uint8] | None = None
        self._held: dict[str, int] = {}

    def fill(
        self,
        rows: Sequence[int] | npt.NDArray[np.int64],
        view: int | None = None,
        *,
        progress: Progress = silent,
    ) -> None:
        """Compute and keep the features of some rows, those that are not there yet.

        Args:
            rows: Rows of the table.
            view: Number of a view; None for the images as they are.
            progress: Told after every batch.
        """
        wanted = dict.fromkeys(int(row) for row in rows)
        missing = [row for row in wanted if not self._is_kept(self._name(row, view))]
        stage = "features" if view is None else f"features, view {view + 1}"
        done = 0
        # Thousands of small files take seconds: they are written while the next batch is computed.
        with ThreadPoolExecutor(1, thread_name_prefix="medlora-writing") as pool:
            written: Future[None] | None = None
            for batch, features in self._compute(missing, view):
                names = [self._name(row, view) for row in batch]
                packed = [self.layout.pack(own) for own in features]
                for name, content in zip(names, packed, strict=True):
                    self._hold(name, content)
                if written is not None:
                    written.result()
                    progress(stage, done, len(missing))
                written = pool.submit(self._write, names, packed)
                done += len(batch)
            if written is not None:
                written.result()
                progress(stage, done, len(missing))

    def read(self, rows: Sequence[int], view: int | None = None) -> Tensor:
        """The features of some rows.

        Args:
            rows: Rows of the table, in any order.
            view: Number of a view; None for the images as they are.

        Returns:
            (row, ...), in the type that they were computed in, on the CPU.
        """
        found = {row: self._find(self._name(row, view)) for row in rows}
        missing = [row for row, features in found.items() if features is None]
        for batch, computed in self._compute(missing, view):
            for row, own in zip(batch, computed, strict=True):
                found[row] = self._keep(self._name(row, view), own)
        return self.layout.stack([own for row in rows if (own := found[row]) is not None])

    def at(self, view: int | None) -> "ViewReader":
        """The features of one view, as a reader of rows."""
        return ViewReader(self, view)

    def _compute(
        self, rows: Sequence[int], view: int | None
    ) -> Iterator[tuple[Sequence[int], Tensor]]:
        """Batches of rows with their features; the next batch is decoded meanwhile."""
        batches = [rows[start : start + BATCH_SIZE] for start in range(0, len(rows), BATCH_SIZE)]
        device = self._model.head.weight.device

        def prepare(batch: Sequence[int]) -> Tensor:
            filled = [*batch, *[batch[-1]] * (BATCH_SIZE - len(batch))]
            images = self._images.read(filled).to(device)
            if view is not None and self.views is not None:
                images = self.views.apply(images, filled, view)
            return normalise_batch(images, self._preprocessing)

        with ThreadPoolExecutor(1, thread_name_prefix="medlora-features") as pool:
            ahead = pool.submit(prepare, batches[0]) if batches else None
            for number, batch in enumerate(batches):
                if ahead is None:
                    break
                inputs = ahead.result()
                following = batches[number + 1 : number + 2]
                ahead = pool.submit(prepare, following[0]) if following else None
                yield batch, self._model.start(inputs)[: len(batch)]

    def _name(self, row: int, view: int | None) -> str:
        """Name of one image's features: the same for the same values, whatever the run."""
        drawn = "" if view is None or self.views is None else self.views.derive_seed(row, view)
        return hashlib.sha256(f"{self._common}\0{self._names[row]}\0{drawn}".encode()).hexdigest()

    def _describe(self, backbone: tuple[str, str]) -> str:
        """All that the features of every image depend on."""
        record: dict[str, Any] = {
            "version": FEATURES_VERSION,
            "decoder": DECODER_VERSION,
            "batch": BATCH_SIZE,
            "backbone": backbone,
            "place": self._model.cut.place if self._model.cut else None,
            "dtype": str(self._model.dtype),
            "mixes_types": self._model.mixes_types,
            "layout": {name: str(value) for name, value in asdict(self.layout).items()},
            "preprocessing": self._preprocessing.to_dict(),
            "augmentation": self.views.augmentation.to_dict() if self.views else None,
            "device": self._model.head.weight.device.type,
            "torch": torch.__version__,
            "timm": version("timm"),
        }
        return json.dumps(record, sort_keys=True)

    def _is_kept(self, name: str) -> bool:
        return name in self._held or self._cache.has(name)

    def _find(self, name: str) -> Tensor | None:
        slot = self._held.get(name)
        if slot is not None and self._slots is not None:
            return self.layout.unpack(self._slots[slot])
        content = self._cache.get(name)
        # The folder may hold anything; other bytes cannot be these features.
        if content is None or content.shape != (self.layout.n_bytes,):
            return None
        return self._hold(name, content)

    def _keep(self, name: str, features: Tensor) -> Tensor:
        packed = self.layout.pack(features)
        self._cache.put(name, packed)
        return self._hold(name, packed)

    def _write(self, names: Sequence[str], packed: Sequence[npt.NDArray[np.uint8]]) -> None:
        for name, content in zip(names, packed, strict=True):
            self._cache.put(name, content)

    def _hold(self, name: str, packed: npt.NDArray[np.uint8]) -> Tensor:
        """Keep one image's bytes in memory where there is room; its features."""
        if name not in self._held and len(self._held) < self._n_slots:
            if self._slots is None:
                self._slots = np.empty((self._n_slots, self.layout.n_bytes), dtype=np.uint8)
            slot = len(self._held)
            self._slots[slot] = packed
            self._held[name] = slot
        return self.layout.unpack(packed)


@dataclass(frozen=True)
class ViewReader:
    """The features of one view where images are asked for; an `ImageReader`."""

    features: FeatureReader
    view: int | None

    def read(self, rows: Sequence[int]) -> Tensor:
        """The features of some rows; see `FeatureReader.read`."""
        return self.features.read(rows, self.view)


def find_layout(model: TaskModel, preprocessing: Preprocessing) -> FeatureLayout:
    """How the features of a model's first part lie, from those of one black image.

    Raises:
        BackboneError: The model has no frozen first part.
    """
    blank = _draw_blank(model, preprocessing)
    (features,) = model.start(blank)
    is_picture = features.ndim == 3 and features.stride(0) == 1 and features.shape[0] > 1
    return FeatureLayout(tuple(features.shape), features.dtype, is_picture)


def measure_share(model: TaskModel, preprocessing: Preprocessing) -> float:
    """Share of a forward pass that lies before the cut, by multiplications in layers.

    Raises:
        BackboneError: The model has no frozen first part.
    """
    blank = _draw_blank(model, preprocessing)
    counts: list[int] = []

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], answer: Tensor) -> None:
        weight = layer.weight
        if isinstance(weight, Tensor):
            counts.append(weight.numel() * (answer.numel() // weight.shape[0]))

    layers = [m for m in model.network.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            model.start(blank)
            first = sum(counts)
            counts.clear()
            model(blank)
    finally:
        model.train(was_training)
        for hook in hooks:
            hook.remove()
    return first / max(sum(counts), 1)


def _draw_blank(model: TaskModel, preprocessing: Preprocessing) -> Tensor:
    """One black image."""
    shape = (1, preprocessing.n_channels, *preprocessing.size)
    return torch.zeros(shape, device=model.head.weight.device)
