"""What scoring says about a task: numbers with intervals, ready to be kept as JSON."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from medlora.errors import DataError

UNDEFINED = "undefined"

Confusion = tuple[tuple[int, ...], ...] | tuple[tuple[tuple[int, ...], ...], ...]


@dataclass(frozen=True)
class Estimate:
    """A measure with its interval. None stands for undefined, never NaN.

    Attributes:
        value: On the images as they are.
        low: Lower end of the bootstrap interval.
        high: Upper end.
    """

    value: float | None
    low: float | None = None
    high: float | None = None

    def to_dict(self) -> dict[str, float | str]:
        """JSON with "undefined" for what has no value.

        Example:
            >>> Estimate(0.5).to_dict()
            {'value': 0.5, 'low': 'undefined', 'high': 'undefined'}
        """
        ends = {"value": self.value, "low": self.low, "high": self.high}
        return {name: UNDEFINED if end is None else end for name, end in ends.items()}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "Estimate":
        """The inverse of `to_dict`.

        Raises:
            DataError: A key is missing or unknown, or a value is not a number or "undefined".
        """
        check_keys(content, {"value", "low", "high"}, "an estimate")
        return cls(**{name: _read_number(end, name) for name, end in content.items()})


@dataclass(frozen=True)
class Evaluation:
    """All measures of one task on one set of images.

    Intervals are percentiles of the measure over bootstrap resamples, which draw groups (patients)
    with replacement and take all the images of each. They tell how far the number would move with
    other patients of the same kind; they know nothing of other hospitals. Being plain percentiles
    they collapse where every answer is right or wrong, and those of the calibration error, which
    is biased upwards on few images, may lie above the value.

    Attributes:
        n_images: Images scored.
        n_groups: Groups they come from; an image of unknown group is one of its own.
        classes: Names, in the order of all that follows.
        multi_label: Whether an image may have several classes, or none.
        counts: (class,), images that have the class.
        thresholds: (class,), at which was decided.
        overall: Measure to estimate. Means over the classes leave out those in `undefined`.
        per_class: Class to measure to estimate.
        confusion: Images by truth and decision, as `metrics.confusion_matrix` gives it.
        undefined: Classes that no image has; all their measures are undefined.
        n_resamples: Bootstrap resamples behind each interval.
        seed: Of the resampling.
        confidence: Share of resamples that an interval holds.
    """

    n_images: int
    n_groups: int
    classes: tuple[str, ...]
    multi_label: bool
    counts: tuple[int, ...]
    thresholds: tuple[float, ...]
    overall: dict[str, Estimate]
    per_class: dict[str, dict[str, Estimate]]
    confusion: Confusion
    undefined: tuple[str, ...]
    n_resamples: int
    seed: int
    confidence: float = 0.95

    def to_dict(self) -> dict[str, Any]:
        """JSON: lists, dicts, strings and finite numbers, with "undefined" for the rest."""
        content = {field.name: getattr(self, field.name) for field in fields(self)}
        for name in ("classes", "counts", "thresholds", "confusion", "undefined"):
            content[name] = _to_lists(content[name])
        content["overall"] = _estimates_to_dict(self.overall)
        content["per_class"] = {
            name: _estimates_to_dict(estimates) for name, estimates in self.per_class.items()
        }
        return content

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "Evaluation":
        """The inverse of `to_dict`.

        Raises:
            DataError: A key is missing or unknown, or an estimate is not one.
        """
        check_keys(content, {field.name for field in fields(cls)}, "an evaluation")
        values = dict(content)
        for name in ("classes", "counts", "thresholds", "confusion", "undefined"):
            values[name] = _to_tuples(values[name])
        values["overall"] = _estimates_from_dict(values["overall"])
        values["per_class"] = {
            name: _estimates_from_dict(estimates)
            for name, estimates in check_object(values["per_class"], "per_class").items()
        }
        return cls(**values)


def check_object(content: object, what: str) -> Mapping[str, Any]:
    """`content`, which is a JSON object.

    Raises:
        DataError: It is something else.
    """
    if not isinstance(content, Mapping):
        raise DataError(f"{what} must be a JSON object, not {content!r}. Evaluate the task again.")
    return content


def check_keys(content: object, expected: set[str], what: str) -> None:
    """`content` has the expected keys and no other.

    Raises:
        DataError: It has not, and the keys are named; or it is no JSON object.
    """
    keys = set(check_object(content, what))
    missing = sorted(expected - keys)
    unknown = sorted(keys - expected)
    if missing or unknown:
        raise DataError(
            f"{what} does not have the right keys: missing {missing}, unknown {unknown}. "
            "It was written by another version, or changed by hand; evaluate the task again."
        )


def _read_number(value: object, name: str) -> float | None:
    if value == UNDEFINED:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise DataError(
            f"{name!r} of an estimate must be a number or {UNDEFINED!r}, not {value!r}. "
            "Evaluate the task again."
        )
    return float(value)


def _estimates_to_dict(estimates: Mapping[str, Estimate]) -> dict[str, dict[str, float | str]]:
    return {name: estimate.to_dict() for name, estimate in estimates.items()}


def _estimates_from_dict(content: object) -> dict[str, Estimate]:
    estimates = check_object(content, "a set of estimates")
    return {name: Estimate.from_dict(estimate) for name, estimate in estimates.items()}


def _to_lists(value: Any) -> Any:
    return [_to_lists(item) for item in value] if isinstance(value, tuple) else value


def _to_tuples(value: Any) -> Any:
    return tuple(_to_tuples(item) for item in value) if isinstance(value, list) else value
