"""The records that a task card holds: backbone, adapter, factorised layers, self-check."""

import re
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

from medlora.lora.scaling import Scaling
from medlora.task.fields import (
    check_record,
    describe_fault,
    read_choice,
    read_count,
    read_number,
    read_numbers,
    read_sequence,
    read_text,
    read_title,
)

MAX_RANK = 65_536
MAX_IMAGES = 1024

_FINGERPRINT = re.compile(r"[0-9a-f]{64}")
_PATH = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
_PART = re.compile(r"[A-Za-z0-9_-]+")
# Fields of factorised layers that came later, and what files without them mean.
_LATER = {"input_norm": "none"}


@dataclass(frozen=True)
class BackboneReference:
    """The backbone that a task was trained on.

    Attributes:
        name: The timm name.
        fingerprint: SHA-256 of its tensors, 64 lower-case hexadecimal digits.

    Raises:
        TaskFileError: A field breaks its rule; the key is named.
    """

    name: str
    fingerprint: str

    def __post_init__(self) -> None:
        """Check both fields."""
        read_title(self.name, "backbone.name")
        key = "backbone.fingerprint"
        if not _FINGERPRINT.fullmatch(read_text(self.fingerprint, key)):
            raise describe_fault(key, "64 lower-case hexadecimal digits", self.fingerprint)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return dict(vars(self))

    @classmethod
    def from_dict(cls, values: object) -> "BackboneReference":
        """The reference that `to_dict` described."""
        record = check_record(cls, values, "backbone")
        return cls(
            name=read_title(record["name"], "backbone.name"),
            fingerprint=read_text(record["fingerprint"], "backbone.fingerprint"),
        )


@dataclass(frozen=True)
class AdapterSettings:
    """The low-rank update: its size, its strength and where it sits.

    Attributes:
        rank: Rank of the update, 1 to 65,536.
        alpha: Numerator of the scaling, above 0.
        scaling: The factor on `B A x`: `alpha/rank`, or `alpha/sqrt(rank)` (rsLoRA).
        dropout: Share of inputs dropped before `A` in training, in [0, 1).
        layers: Adapted parts of each layer by the layer's path in the backbone; `()` adapts
            the whole layer. Kept in the order of the paths.

    Raises:
        TaskFileError: A field breaks its rule; the key is named.
    """

    rank: int
    alpha: float
    scaling: Scaling
    dropout: float
    layers: dict[str, tuple[str, ...]]

    def __post_init__(self) -> None:
        """Check every field, and bring numbers and lists into one form."""
        read_count(self.rank, "adapter.rank", low=1, high=MAX_RANK)
        alpha = read_number(self.alpha, "adapter.alpha")
        if alpha <= 0:
            raise describe_fault("adapter.alpha", "above 0", self.alpha)
        read_choice(self.scaling, "adapter.scaling", get_args(Scaling))
        dropout = read_number(self.dropout, "adapter.dropout")
        if not 0 <= dropout < 1:
            raise describe_fault("adapter.dropout", "in [0, 1)", self.dropout)
        object.__setattr__(self, "alpha", alpha)
        object.__setattr__(self, "dropout", dropout)
        object.__setattr__(self, "layers", _read_layers(self.layers))

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            **vars(self),
            "layers": {path: list(parts) for path, parts in self.layers.items()},
        }

    @classmethod
    def from_dict(cls, values: object) -> "AdapterSettings":
        """The settings that `to_dict` described."""
        record = check_record(cls, values, "adapter")
        scaling = read_choice(record["scaling"], "adapter.scaling", get_args(Scaling))
        return cls(
            rank=read_count(record["rank"], "adapter.rank", low=1, high=MAX_RANK),
            alpha=read_number(record["alpha"], "adapter.alpha"),
            scaling=cast(Scaling, scaling),
            dropout=read_number(record["dropout"], "adapter.dropout"),
            layers=_read_layers(record["layers"]),
        )


InputNorm = Literal["none", "rms"]


@dataclass(frozen=True)
class FactorisedSettings:
    """Layers whose whole weight is a product W = U V.

    Attributes:
        rank: Columns of U and rows of V, 1 to 65,536.
        dropout: Share of the inputs of each layer, and of the head, dropped in training, in [0, 1).
        layers: Numbers of inputs and outputs of each layer by the layer's path in the network.
            Kept in the order of the paths.
        input_norm: `rms` where each image's inputs to the first layer are divided by their root
            mean square, else `none`.

    Raises:
        TaskFileError: A field breaks its rule; the key is named.
    """

    rank: int
    dropout: float
    layers: dict[str, tuple[int, int]]
    input_norm: InputNorm = "none"

    def __post_init__(self) -> None:
        """Check every field, and bring numbers and lists into one form."""
        read_count(self.rank, "factorised.rank", low=1, high=MAX_RANK)
        dropout = read_number(self.dropout, "factorised.dropout")
        if not 0 <= dropout < 1:
            raise describe_fault("factorised.dropout", "in [0, 1)", self.dropout)
        object.__setattr__(self, "dropout", dropout)
        object.__setattr__(self, "layers", _read_shapes(self.layers))
        read_choice(self.input_norm, "factorised.input_norm", get_args(InputNorm))

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values; without `input_norm` where there is none, as files were before."""
        values = {
            **vars(self),
            "layers": {path: list(shape) for path, shape in self.layers.items()},
        }
        return {key: value for key, value in values.items() if _LATER.get(key, ...) != value}

    @classmethod
    def from_dict(cls, values: object) -> "FactorisedSettings":
        """The settings that `to_dict` described."""
        record = check_record(cls, values, "factorised", later=_LATER)
        input_norm = read_choice(record["input_norm"], "factorised.input_norm", get_args(InputNorm))
        return cls(
            rank=read_count(record["rank"], "factorised.rank", low=1, high=MAX_RANK),
            dropout=read_number(record["dropout"], "factorised.dropout"),
            layers=_read_shapes(record["layers"]),
            input_norm=cast(InputNorm, input_norm),
        )


@dataclass(frozen=True)
class SelfCheck:
    """Synthetic images, by seed, and the answers that the task gave on them when it was saved.

    Attributes:
        seed: Seed of the images.
        n_images: How many images, 1 to 1024.
        expected: One row for each image, one finite number for each class.
        tolerance: Largest difference that counts as the same answer, above 0.

    Raises:
        TaskFileError: A field breaks its rule; the key is named.
    """

    seed: int
    n_images: int
    expected: tuple[tuple[float, ...], ...]
    tolerance: float

    def __post_init__(self) -> None:
        """Check every field, and bring numbers and lists into one form."""
        read_count(self.seed, "self_check.seed", low=0)
        read_count(self.n_images, "self_check.n_images", low=1, high=MAX_IMAGES)
        rows = _read_rows(self.expected)
        if len(rows) != self.n_images:
            rule = f"{self.n_images} rows, one for each image"
            raise describe_fault("self_check.expected", rule, len(rows))
        tolerance = read_number(self.tolerance, "self_check.tolerance")
        if tolerance <= 0:
            raise describe_fault("self_check.tolerance", "above 0", self.tolerance)
        object.__setattr__(self, "expected", rows)
        object.__setattr__(self, "tolerance", tolerance)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {**vars(self), "expected": [list(row) for row in self.expected]}

    @classmethod
    def from_dict(cls, values: object) -> "SelfCheck":
        """The check that `to_dict` described."""
        record = check_record(cls, values, "self_check")
        return cls(
            seed=read_count(record["seed"], "self_check.seed", low=0),
            n_images=read_count(record["n_images"], "self_check.n_images", low=1, high=MAX_IMAGES),
            expected=_read_rows(record["expected"]),
            tolerance=read_number(record["tolerance"], "self_check.tolerance"),
        )


def _read_rows(value: object) -> tuple[tuple[float, ...], ...]:
    key = "self_check.expected"
    return tuple(read_numbers(row, key) for row in read_sequence(value, key))


def _read_layers(value: object) -> dict[str, tuple[str, ...]]:
    key = "adapter.layers"
    layers: dict[str, tuple[str, ...]] = {}
    for path, names in _read_paths(value, key):
        parts = tuple(read_text(part, key) for part in read_sequence(names, key))
        if not all(_PART.fullmatch(part) for part in parts) or len(set(parts)) < len(parts):
            raise describe_fault(f"{key}.{path}", "a list of different part names", parts)
        layers[path] = parts
    return layers


def _read_shapes(value: object) -> dict[str, tuple[int, int]]:
    key = "factorised.layers"
    layers: dict[str, tuple[int, int]] = {}
    for path, sides in _read_paths(value, key):
        shape = [read_count(n, f"{key}.{path}", low=1) for n in read_sequence(sides, key)]
        if len(shape) != 2:
            raise describe_fault(f"{key}.{path}", "two numbers, of inputs and of outputs", shape)
        layers[path] = (shape[0], shape[1])
    return layers


def _read_paths(value: object, key: str) -> list[tuple[str, object]]:
    """The entries of an object whose keys are layers' paths, in the order of the paths."""
    if not isinstance(value, dict) or not value:
        raise describe_fault(key, "an object with one layer at least", value)
    for path in value:
        if not isinstance(path, str) or not _PATH.fullmatch(read_text(path, key)):
            raise describe_fault(key, "an object whose keys are paths like 'blocks.0.qkv'", path)
    return sorted(value.items())
