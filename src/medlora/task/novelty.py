"""What a task file keeps of its training images, to tell images that are unlike them.

An image is described by what enters one module of the network, on its way to an answer. The file
holds where the training images lie in that description: the mean, the spread of each value, and
the directions in which they vary most. `medlora.evaluate.novelty` makes and uses these numbers.
"""

import re
from dataclasses import dataclass
from typing import Any

from medlora.task.container import TensorEntry
from medlora.task.fields import check_record, describe_fault, read_count, read_number, read_text

NOVELTY_PREFIX = "novelty."
# All that is kept must stay small beside an adapter.
MAX_BYTES = 100_000
MAX_VALUES = 65_536

_PLACE = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")


@dataclass(frozen=True)
class NoveltySettings:
    """How much is kept of the training images, and from where on an image is unlike them.

    Attributes:
        place: The module of the network whose input describes an image; `behind` for the
            features that the head gets.
        n_values: Length of the description.
        n_directions: Directions kept of it, 0 at least.
        limit: The distance above which an image is unlike the training images, above 0.
        false_alarms: Share of images like those of validation that lie above it, at most;
            (0, 1).
        n_train: Training images that the numbers were taken from.
        n_val: Images that the limit was chosen by.
        n_val_groups: Patients that these are of; None where each counts for itself.

    Raises:
        TaskFileError: A field breaks its rule; the key is named.
    """

    place: str
    n_values: int
    n_directions: int
    limit: float
    false_alarms: float
    n_train: int
    n_val: int
    n_val_groups: int | None = None

    def __post_init__(self) -> None:
        """Check every field."""
        if not _PLACE.fullmatch(read_text(self.place, "novelty.place")):
            raise describe_fault("novelty.place", "a path like 'blocks.4'", self.place)
        read_count(self.n_values, "novelty.n_values", low=1, high=MAX_VALUES)
        read_count(self.n_directions, "novelty.n_directions", low=0, high=self.n_values - 1)
        for key in ("limit", "false_alarms"):
            object.__setattr__(self, key, read_number(getattr(self, key), f"novelty.{key}"))
        if self.limit <= 0:
            raise describe_fault("novelty.limit", "above 0", self.limit)
        if not 0 < self.false_alarms < 1:
            raise describe_fault("novelty.false_alarms", "in (0, 1)", self.false_alarms)
        for key in ("n_train", "n_val"):
            read_count(getattr(self, key), f"novelty.{key}", low=1)
        if self.n_val_groups is not None:
            read_count(self.n_val_groups, "novelty.n_val_groups", low=1, high=self.n_val)
        n_bytes = count_bytes(self.n_values, self.n_directions)
        if n_bytes > MAX_BYTES:
            raise describe_fault("novelty", f"at most {MAX_BYTES} bytes of numbers", n_bytes)

    @property
    def n_units(self) -> int:
        """What the limit was chosen by: patients, or images that each count for themselves."""
        return self.n_val if self.n_val_groups is None else self.n_val_groups

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values; files of earlier versions know of no patients."""
        values = dict(vars(self))
        if self.n_val_groups is None:
            del values["n_val_groups"]
        return values

    @classmethod
    def from_dict(cls, values: object) -> "NoveltySettings":
        """The settings that `to_dict` described."""
        return cls(**check_record(cls, values, "novelty", later={"n_val_groups": None}))


def list_entries(novelty: NoveltySettings | None) -> dict[str, TensorEntry]:
    """Names, types and shapes of the tensors that are kept of the training images.

    Example:
        >>> kept = list_entries(NoveltySettings("blocks.4", 384, 32, 1.5, 0.01, 500, 99))
        >>> kept["novelty.directions"]
        TensorEntry(dtype='F16', shape=(32, 384))
    """
    return {} if novelty is None else _list_entries(novelty.n_values, novelty.n_directions)


def count_bytes(n_values: int, n_directions: int) -> int:
    """Bytes of what is kept of the training images.

    Args:
        n_values: Length of a description.
        n_directions: Directions kept of it.
    """
    return sum(entry.n_bytes for entry in _list_entries(n_values, n_directions).values())


def _list_entries(n_values: int, n_directions: int) -> dict[str, TensorEntry]:
    entries = {
        f"{NOVELTY_PREFIX}mean": TensorEntry("F32", (n_values,)),
        f"{NOVELTY_PREFIX}spread": TensorEntry("F32", (n_values,)),
        f"{NOVELTY_PREFIX}variances": TensorEntry("F32", (n_directions + 1,)),
    }
    if n_directions:
        shape = (n_directions, n_values)
        entries[f"{NOVELTY_PREFIX}directions"] = TensorEntry("F16", shape)
    return entries
