"""A few lasting views of every training image, in place of a fresh one at each step."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from medlora.data.augment import Augmentation, apply_augmentation, draw_augmentation
from medlora.errors import SettingsError


@dataclass(frozen=True)
class ImageViews:
    """Each image's augmented views: a pure function of seed, image and number of the view.

    A view depends neither on the batch that the image is in nor on the row that it has, so what
    was computed from it can be kept and found again.

    Attributes:
        augmentation: How far images may be changed.
        n_views: Views of each image, at least 1.
        seed: Seed of the run.
        names: What identifies each row's image, see `medlora.runs.preparing.PreparedData`.

    Raises:
        SettingsError: There is no view.
    """

    augmentation: Augmentation
    n_views: int
    seed: int
    names: Sequence[str]

    def __post_init__(self) -> None:
        """Check the number."""
        if self.n_views < 1:
            raise SettingsError(f"The number of views must be at least 1, not {self.n_views}.")

    def choose(self, epoch: int) -> int:
        """The view of an epoch: they are taken in turn.

        Args:
            epoch: Epochs finished before it.
        """
        return epoch % self.n_views

    def derive_seed(self, row: int, view: int) -> int:
        """Seed of one image's view, at least 0, below 2**63."""
        digest = hashlib.sha256(f"{self.seed}\0{self.names[row]}\0{view}".encode()).digest()
        return int.from_bytes(digest[:8], "little") >> 1

    def apply(self, images: Tensor, rows: Sequence[int], view: int) -> Tensor:
        """The views of some images.

        Args:
            images: (image, 3, height, width), uint8, on any device. They are not changed.
            rows: Each image's row.
            view: Number of the view, from 0.

        Returns:
            A batch of the same shape, type and device.
        """
        changed = torch.empty_like(images)
        for place, row in enumerate(rows):
            generator = torch.Generator().manual_seed(self.derive_seed(row, view))
            draw = draw_augmentation(self.augmentation, 1, generator)
            changed[place] = apply_augmentation(images[place : place + 1], draw)[0]
        return changed
