"""What a card says of how far a task's answers can be trusted: calibration and prediction sets."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

from medlora.task.fields import (
    check_record,
    describe_fault,
    read_choice,
    read_count,
    read_flag,
    read_number,
    read_numbers,
    read_object,
    read_sequence,
    read_title,
)

ScalingMethod = Literal["temperature", "vector"]

# A fit stays far inside; beyond lies a file that somebody has tampered with.
MAX_SCALE = 1e3
MAX_OFFSET = 1e5


@dataclass(frozen=True)
class CalibrationRecord:
    """How the logits were scaled after training: calibrated = scale * trained + offset.

    The stored head has it in it: its weights were multiplied by the scale, and its bias is scale
    times the trained one plus the offset. This record says how to get back.

    Attributes:
        method: `temperature` (one scale for all classes, no offset) or `vector` (a scale and an
            offset for each class).
        scale: (class,), above 0; of a temperature T it is 1/T.
        offset: (class,).
        source: The images that it was fitted on, one word such as `val`.
        n_images: How many.
        before: `log_loss`, `calibration_error` and `brier_score` on them with the trained head.
        after: The same with the stored head.

    Raises:
        TaskFileError: A field breaks its rule; the key is named.
    """

    method: ScalingMethod
    scale: tuple[float, ...]
    offset: tuple[float, ...]
    source: str
    n_images: int
    before: dict[str, float]
    after: dict[str, float]

    def __post_init__(self) -> None:
        """Check every field, and bring numbers and lists into one form."""
        read_choice(self.method, "calibration.method", get_args(ScalingMethod))
        read_title(self.source, "calibration.source")
        read_count(self.n_images, "calibration.n_images", low=1)
        scale = read_numbers(self.scale, "calibration.scale")
        offset = read_numbers(self.offset, "calibration.offset")
        if not all(1 / MAX_SCALE <= number <= MAX_SCALE for number in scale):
            rule = f"numbers from {1 / MAX_SCALE:g} to {MAX_SCALE:g}"
            raise describe_fault("calibration.scale", rule, list(scale))
        if len(offset) != len(scale) or not all(abs(number) <= MAX_OFFSET for number in offset):
            rule = f"{len(scale)} numbers from {-MAX_OFFSET:g} to {MAX_OFFSET:g}"
            raise describe_fault("calibration.offset", rule, list(offset))
        object.__setattr__(self, "scale", scale)
        object.__setattr__(self, "offset", offset)
        for name in ("before", "after"):
            object.__setattr__(self, name, _read_figures(getattr(self, name), name))

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            **vars(self),
            "scale": list(self.scale),
            "offset": list(self.offset),
            "before": dict(self.before),
            "after": dict(self.after),
        }

    @classmethod
    def from_dict(cls, values: object) -> "CalibrationRecord":
        """The record that `to_dict` described."""
        record = check_record(cls, values, "calibration")
        method = read_choice(record["method"], "calibration.method", get_args(ScalingMethod))
        return cls(
            method=cast(ScalingMethod, method),
            scale=read_numbers(record["scale"], "calibration.scale"),
            offset=read_numbers(record["offset"], "calibration.offset"),
            source=read_title(record["source"], "calibration.source"),
            n_images=read_count(record["n_images"], "calibration.n_images", low=1),
            before=_read_figures(record["before"], "before"),
            after=_read_figures(record["after"], "after"),
        )


@dataclass(frozen=True)
class ConformalRecord:
    """When a class belongs to an image's prediction set.

    Attributes:
        coverage: Share of images whose set is to hold the truth, in (0, 1).
        by_class: Whether it is to be reached among the images of each class, not only among all.
        least: (class,) a class is in the set where its probability is at least this, in [0, 1].
        most: (class,) in a multi-label task the absence of a class is in its set where its
            probability is at most this, in [0, 1]; empty in a single-label task.
        source: The images that the limits were found on, one word such as `val`.
        counts: (class,) how many of them have the class.
        n_images: How many there are.

    Raises:
        TaskFileError: A field breaks its rule; the key is named.
    """

    coverage: float
    by_class: bool
    least: tuple[float, ...]
    most: tuple[float, ...]
    source: str
    counts: tuple[int, ...]
    n_images: int

    def __post_init__(self) -> None:
        """Check every field, and bring numbers and lists into one form."""
        coverage = read_number(self.coverage, "conformal.coverage")
        if not 0 < coverage < 1:
            raise describe_fault("conformal.coverage", "in (0, 1)", self.coverage)
        read_flag(self.by_class, "conformal.by_class")
        read_title(self.source, "conformal.source")
        read_count(self.n_images, "conformal.n_images", low=1)
        counts = _read_counts(self.counts)
        for name in ("least", "most"):
            limits = read_numbers(getattr(self, name), f"conformal.{name}")
            if not all(0 <= limit <= 1 for limit in limits):
                raise describe_fault(f"conformal.{name}", "numbers in [0, 1]", list(limits))
            if len(limits) != len(counts) and (limits or name == "least"):
                rule = f"{len(counts)} numbers, one for each class"
                raise describe_fault(f"conformal.{name}", rule, list(limits))
            object.__setattr__(self, name, limits)
        object.__setattr__(self, "coverage", coverage)
        object.__setattr__(self, "counts", counts)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        lists = {name: list(getattr(self, name)) for name in ("least", "most", "counts")}
        return {**vars(self), **lists}

    @classmethod
    def from_dict(cls, values: object) -> "ConformalRecord":
        """The record that `to_dict` described."""
        record = check_record(cls, values, "conformal")
        return cls(
            coverage=read_number(record["coverage"], "conformal.coverage"),
            by_class=read_flag(record["by_class"], "conformal.by_class"),
            least=read_numbers(record["least"], "conformal.least"),
            most=read_numbers(record["most"], "conformal.most"),
            source=read_title(record["source"], "conformal.source"),
            counts=_read_counts(record["counts"]),
            n_images=read_count(record["n_images"], "conformal.n_images", low=1),
        )


def check_trust(
    calibration: CalibrationRecord | None,
    conformal: ConformalRecord | None,
    n_classes: int,
    *,
    multi_label: bool,
) -> None:
    """Refuse records that do not fit the task's classes.

    Args:
        calibration: The card's.
        conformal: The card's.
        n_classes: Number of its classes.
        multi_label: Whether an image may have any number of them.

    Raises:
        TaskFileError: A list has not one entry for each class, or the limits are those of a task
            of the other kind.
    """
    rule = f"a list of {n_classes} numbers, one for each class"
    if calibration is not None and len(calibration.scale) != n_classes:
        raise describe_fault("calibration.scale", rule, list(calibration.scale))
    if conformal is None:
        return
    if len(conformal.least) != n_classes:
        raise describe_fault("conformal.least", rule, list(conformal.least))
    if bool(conformal.most) != multi_label:
        kind = rule if multi_label else "empty in a single-label task"
        raise describe_fault("conformal.most", kind, list(conformal.most))


def _read_figures(value: object, name: str) -> dict[str, float]:
    key = f"calibration.{name}"
    figures: Mapping[str, object] = read_object(value, key)
    return {measure: read_number(figures[measure], f"{key}.{measure}") for measure in figures}


def _read_counts(value: object) -> tuple[int, ...]:
    key = "conformal.counts"
    return tuple(read_count(number, key, low=0) for number in read_sequence(value, key))
