"""Operating points: the threshold at which a wanted sensitivity or specificity is reached."""

import math
import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from medlora.errors import SettingsError
from medlora.evaluate.counts import ClassCounts
from medlora.evaluate.cuts import Measure, find_cut, rank_images
from medlora.evaluate.evaluation import Estimate
from medlora.evaluate.inputs import Bools, Floats, Integers, check_pair
from medlora.evaluate.resampling import iterate_weights, number_groups, percentile_interval

ANY_BUT = "any-but"
_PATTERN = re.compile(r"(?:(?P<group>.*):)?(?P<measure>sensitivity|specificity)=(?P<value>[^=:]+)")
_CONFIDENCE = 0.95


@dataclass(frozen=True)
class OperatingPoint:
    """What is to be reached, for which classes together.

    Attributes:
        class_name: The class that counts as positive, or with `is_any_but` the one that does
            not; None for every label of a multi-label task by itself.
        is_any_but: Whether all classes but the one count as positive together.
        measure: `sensitivity` or `specificity`.
        value: What it is to be at least, in (0, 1].
    """

    class_name: str | None
    is_any_but: bool
    measure: Measure
    value: float

    @classmethod
    def parse(cls, text: str) -> "OperatingPoint":
        """Read `sensitivity=0.95`, `CLASS:sensitivity=0.95` or `any-but:CLASS:specificity=0.9`.

        Raises:
            SettingsError: The text is none of these.

        Example:
            >>> OperatingPoint.parse("any-but:no_tumor:sensitivity=0.95").is_any_but
            True
        """
        match = _PATTERN.fullmatch(text)
        try:
            value = float(match["value"]) if match else math.nan
        except ValueError:
            value = math.nan
        if match is None or not 0 < value <= 1:
            raise SettingsError(
                f"An operating point is sensitivity=0.95, CLASS:sensitivity=0.95 or "
                f"any-but:CLASS:sensitivity=0.95, or the same with specificity, and the number "
                f"is in (0, 1]; not {text!r}."
            )
        group = match["group"]
        is_any_but = group is not None and group.startswith(f"{ANY_BUT}:")
        name = group.removeprefix(f"{ANY_BUT}:") if is_any_but else group
        return cls(name, is_any_but, match["measure"], value)  # type: ignore[arg-type]

    @property
    def title(self) -> str:
        """The classes that count as positive, in words."""
        if self.class_name is None:
            return "every label"
        return f"any class but {self.class_name}" if self.is_any_but else self.class_name

    def find_positives(self, classes: Sequence[str], *, multi_label: bool) -> tuple[Bools, ...]:
        """The sets of classes that count as positive, each (class,); one, or one for each label.

        Raises:
            SettingsError: There is no such class, or one has to be named.
        """
        names = list(classes)
        if self.class_name is None:
            if not multi_label:
                raise SettingsError(
                    "An operating point of a task with one class for each image needs to know "
                    f"what counts as positive: {names[0]}:{self.measure}={self.value:g}, or "
                    f"{ANY_BUT}:{names[0]}:{self.measure}={self.value:g} for all others together. "
                    f"The classes are {', '.join(names)}."
                )
            return tuple(np.arange(len(names)) == place for place in range(len(names)))
        if self.class_name not in names:
            raise SettingsError(
                f"The operating point names the class {self.class_name!r}; there are "
                f"{', '.join(names)}."
            )
        own = np.array([name == self.class_name for name in names])
        positives = ~own if self.is_any_but else own
        if (positives.all() and not multi_label) or not positives.any():
            raise SettingsError(
                f"The operating point of {self.title} leaves nothing to tell apart."
            )
        return (positives,)


def set_thresholds(
    probabilities: npt.ArrayLike,
    targets: npt.ArrayLike,
    point: OperatingPoint,
    *,
    classes: Sequence[str],
    multi_label: bool,
    thresholds: Sequence[float],
) -> tuple[float, ...]:
    """Thresholds at which validation images reach an operating point.

    Of all thresholds that reach it, the one is taken that does best by the other of sensitivity
    and specificity; it lies half way between two neighbouring scores.

    In a multi-label task an image is positive where a positive class reaches its threshold, so that
    the threshold is one on the largest of their probabilities. In a single-label task the class
    with the largest ratio of probability to threshold is decided for. All positive classes get one
    threshold t and the others 1 - t: then an image is decided to be positive exactly where a share
    of at least t of (largest positive + largest other probability) is positive. With two classes
    this is a threshold of t on the probability of the positive one. Among the positive classes, and
    among the others, the most probable one is decided for, as before.

    Args:
        probabilities: (image, class), in [0, 1]; of validation images, never of test images.
        targets: (image, class).
        point: What is to be reached.
        classes: Names in the order of the columns.
        multi_label: Whether an image may have several classes, or none.
        thresholds: (class,) those of multi-label classes that the point is not about.

    Returns:
        (class,) thresholds, for `metrics.decide`.

    Raises:
        SettingsError: There is no such class, or there are no images to choose by.

    Example:
        >>> point = OperatingPoint.parse("ill:sensitivity=1")
        >>> scores = [[0.9, 0.1], [0.7, 0.3], [0.5, 0.5]]
        >>> truth = np.array([[True, False], [False, True], [False, True]])
        >>> set_thresholds(
        ...     scores, truth, point, classes=("well", "ill"), multi_label=False,
        ...     thresholds=(0.5, 0.5),
        ... )
        (0.8, 0.2)
    """
    scores, truths = check_pair(probabilities, targets, 2)
    chosen = np.asarray(thresholds, dtype=np.float64).copy()
    for positives in point.find_positives(classes, multi_label=multi_label):
        is_positive: Bools = np.asarray(truths[:, positives].any(axis=1))
        wanted = is_positive if point.measure == "sensitivity" else ~is_positive
        if not wanted.any():
            if point.class_name is None:
                # A finding that validation has not, or has everywhere, keeps its threshold.
                continue
            raise SettingsError(
                f"No validation image tells the {point.measure} of {point.title}: a larger "
                "validation split is needed, or another operating point."
            )
        cut = find_cut(
            rank_images(scores, positives, multi_label), is_positive, point.measure, point.value
        )
        chosen[positives] = cut
        if not multi_label:
            chosen[~positives] = 1 - cut
    return tuple(chosen.tolist())


def bound_cuts(
    probabilities: npt.ArrayLike,
    targets: npt.ArrayLike,
    point: OperatingPoint,
    *,
    classes: Sequence[str],
    multi_label: bool,
    groups: Sequence[Hashable | None] | Integers | None = None,
    n_resamples: int = 200,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """How sure validation images are of the cuts that `set_thresholds` finds on them.

    Args:
        probabilities: (image, class), in [0, 1], of the images that the cuts are chosen on.
        targets: (image, class).
        point: What is to be reached.
        classes: Names in the order of the columns.
        multi_label: Whether an image may have several classes, or none.
        groups: (image,) each image's patient; None where unknown.
        n_resamples: Bootstrap resamples; in each the cut is chosen anew.
        seed: Of the resampling.

    Returns:
        For each set of positive classes `positive` (its name) and `threshold`, an estimate with
        a 95 % interval; undefined where no image tells of the measure.

    Raises:
        SettingsError: There is no such class.
    """
    scores, truths = check_pair(probabilities, targets, 2)
    numbers = number_groups(groups, len(truths))
    found = []
    for positives in point.find_positives(classes, multi_label=multi_label):
        is_positive: Bools = np.asarray(truths[:, positives].any(axis=1))
        wanted = is_positive if point.measure == "sensitivity" else ~is_positive
        ranks = rank_images(scores, positives, multi_label)
        cuts = []
        for weights in iterate_weights(numbers, n_resamples if wanted.any() else 0, seed):
            for drawn in weights.T.astype(np.int64):
                if (drawn * wanted).any():
                    own = np.repeat(np.arange(len(ranks)), drawn)
                    cuts.append(find_cut(ranks[own], is_positive[own], point.measure, point.value))
        estimate = Estimate(None)
        if wanted.any():
            interval = None
            if int(numbers.max()) > 0:
                interval = percentile_interval(np.array(cuts), _CONFIDENCE)
            cut = find_cut(ranks, is_positive, point.measure, point.value)
            estimate = Estimate(cut, *(interval or (None, None)))
        name = point.title if point.class_name else classes[int(positives.argmax())]
        found.append({"positive": name, "threshold": estimate.to_dict()})
    return found


def measure_point(
    decisions: Bools,
    targets: Bools,
    point: OperatingPoint,
    *,
    classes: Sequence[str],
    multi_label: bool,
    groups: Sequence[Hashable | None] | Integers | None = None,
    n_resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """What is reached of an operating point, with 95 % bootstrap intervals over groups.

    Args:
        decisions: (image, class), as taken.
        targets: (image, class).
        point: What was to be reached on validation images.
        classes: Names in the order of the columns.
        multi_label: Whether an image may have several classes, or none.
        groups: (image,) each image's patient; None where unknown.
        n_resamples: Bootstrap resamples; with 0 there are no intervals.
        seed: Seed of the resampling.

    Returns:
        `wanted` (`measure`, `value`), and `reached`: one entry for each set of positive classes,
        with `positive` (its name), `n_positive`, `n_negative`, and as estimates `sensitivity` and
        `specificity`.
    """
    numbers = number_groups(groups, len(targets))
    reached = []
    for positives in point.find_positives(classes, multi_label=multi_label):
        decided: Bools = np.asarray(decisions[:, positives].any(axis=1))[:, None]
        truth: Bools = np.asarray(targets[:, positives].any(axis=1))[:, None]
        whole = ClassCounts.of(decided, truth, np.ones((len(targets), 1)))
        parts = [
            ClassCounts.of(decided, truth, weights)
            for weights in iterate_weights(numbers, n_resamples, seed)
        ]
        has_several = int(numbers.max()) > 0
        name = point.title if point.class_name else classes[int(positives.argmax())]
        reached.append(
            {
                "positive": name,
                "n_positive": int(truth.sum()),
                "n_negative": int((~truth).sum()),
                "sensitivity": _estimate(
                    whole.recall(), [each.recall() for each in parts], has_several
                ),
                "specificity": _estimate(
                    whole.specificity(), [each.specificity() for each in parts], has_several
                ),
            }
        )
    wanted = {"measure": point.measure, "value": point.value}
    return {"wanted": wanted, "reached": reached}


def _estimate(value: Floats, resampled: list[Floats], has_several: bool) -> dict[str, float | str]:
    if np.isnan(value).any():
        return Estimate(None).to_dict()
    values = np.concatenate([np.empty(0), *(each[:, 0] for each in resampled)])
    interval = percentile_interval(values, _CONFIDENCE) if has_several else None
    return Estimate(float(value.item()), *(interval or (None, None))).to_dict()
