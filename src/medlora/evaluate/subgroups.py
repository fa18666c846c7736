"""The same scores for every group of patients, how far they lie apart, and what is too few."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from medlora.errors import DataError
from medlora.evaluate.counts import mean_defined
from medlora.evaluate.evaluation import Estimate
from medlora.evaluate.grouping import SubgroupColumn, name_groups
from medlora.evaluate.inputs import Bools, Floats, Integers, check_decisions, check_pair
from medlora.evaluate.resampling import iterate_weights, number_groups, percentile_interval
from medlora.evaluate.scoresheet import CLASS_MEASURES, Measures, ScoreSheet

CONFIDENCE: Final = 0.95
MIN_IMAGES: Final = 10
"""Images with a class, and without it, that a group needs for the class to be compared."""
MAX_WIDTH: Final = 0.2
"""Width of an interval from which on the group is too small to say."""
IMAGE_MEASURES: Final = ("accuracy", "brier_score", "calibration_error", "exact_match")


@dataclass(frozen=True)
class GroupScores:
    """The scores of one group.

    Attributes:
        name: The group: a value of the column, or a range.
        n_images: Its images.
        n_patients: Its patients, where they are known, else its images.
        counts: (class,), its images that have the class.
        measures: Measure to estimate. Means over classes are over the classes that are compared.
        per_class: Class to measure to estimate.
        enough: The measures that the group is large enough for.
    """

    name: str
    n_images: int
    n_patients: int
    counts: tuple[int, ...]
    measures: dict[str, Estimate]
    per_class: dict[str, dict[str, Estimate]]
    enough: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "name": self.name,
            "n_images": self.n_images,
            "n_patients": self.n_patients,
            "counts": list(self.counts),
            "measures": {
                name: each.to_dict() | {"enough": name in self.enough}
                for name, each in self.measures.items()
            },
            "per_class": {
                label: {name: each.to_dict() for name, each in row.items()}
                for label, row in self.per_class.items()
            },
        }


@dataclass(frozen=True)
class Gap:
    """How far the largest and the smallest score of the groups lie apart.

    Attributes:
        largest: Group with the largest score.
        smallest: Group with the smallest.
        estimate: Their difference. The interval is of the difference of these two groups, with
            patients resampled; where it holds 0, they may be alike.
    """

    largest: str
    smallest: str
    estimate: Estimate

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {"largest": self.largest, "smallest": self.smallest, **self.estimate.to_dict()}


@dataclass(frozen=True)
class SubgroupScores:
    """The groups that one column divides the images into.

    Attributes:
        column: The column.
        n_left_out: Images without a value, or with one outside of the bounds.
        classes: The classes of the task.
        compared: The classes that every group which is large enough for one can be scored on.
        groups: The groups in order.
        gaps: Measure to gap, for measures that two groups at least are large enough for.
    """

    column: str
    n_left_out: int
    classes: tuple[str, ...]
    compared: tuple[str, ...]
    groups: tuple[GroupScores, ...]
    gaps: dict[str, Gap]

    @property
    def too_few(self) -> tuple[str, ...]:
        """Groups that are too small for any measure."""
        return tuple(group.name for group in self.groups if not group.enough)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values, with the rule of what is too few."""
        return {
            "column": self.column,
            "n_left_out": self.n_left_out,
            "classes": list(self.classes),
            "classes_compared": list(self.compared),
            "rule": {"least_images_with_and_without": MIN_IMAGES, "widest_interval": MAX_WIDTH},
            "confidence": CONFIDENCE,
            "groups": [group.to_dict() for group in self.groups],
            "gaps": {name: gap.to_dict() for name, gap in self.gaps.items()},
        }


def score_subgroups(
    probabilities: Floats,
    targets: Bools,
    decisions: Bools,
    values: Sequence[str],
    column: SubgroupColumn,
    *,
    classes: Sequence[str],
    multi_label: bool,
    patients: Sequence[Hashable | None] | None = None,
    n_resamples: int = 1000,
    seed: int = 0,
) -> SubgroupScores:
    """Score every group by itself, and how far the groups lie apart.

    A class is compared where every group has `MIN_IMAGES` images with it and as many without it;
    groups that have so many of no class are too small and do not count here. A group is large
    enough for a measure if it is not too small and the measure's interval is at most `MAX_WIDTH`
    wide.

    Args:
        probabilities: (image, class), in [0, 1].
        targets: (image, class), booleans.
        decisions: (image, class), booleans.
        values: (image,), what the column says of each image.
        column: The column, and the bounds of its groups.
        classes: Names in the order of the columns of `targets`.
        multi_label: Whether an image may have several classes, or none.
        patients: (image,), None where unknown; they are what is resampled.
        n_resamples: Bootstrap resamples.
        seed: Of the resampling.

    Raises:
        DataError: Arrays do not fit one another, or the column gives no groups to compare.
    """
    scores, truths = check_pair(probabilities, targets, 2)
    taken, _ = check_decisions(decisions, truths, 2)
    names, order = name_groups(values, column)
    kept = np.array([name is not None for name in names])
    if not kept.any():
        raise DataError(f"No image has a value of '{column.name}'. Name another column.")
    numbers = number_groups(patients, len(names))[kept]
    # Numbers without gaps, so that a resample draws the patients that are there.
    numbers = np.unique(numbers, return_inverse=True)[1].astype(np.int64)
    member = np.array([name for name in names if name is not None])
    rows = {name: np.flatnonzero(member == name) for name in order}
    compared, sufficient = _choose_classes(truths[kept], rows)
    sheets = {
        name: ScoreSheet.of(scores[kept][own], truths[kept][own], taken[kept][own], multi_label)
        for name, own in rows.items()
    }
    as_given = _weigh(sheets, rows, np.ones((int(kept.sum()), 1)))
    resampled = [
        _weigh(sheets, rows, weights) for weights in iterate_weights(numbers, n_resamples, seed)
    ]
    groups = tuple(
        _score_group(
            name,
            as_given[name],
            [each[name] for each in resampled],
            truths[kept][rows[name]],
            numbers[rows[name]],
            classes,
            compared,
            is_sufficient=name in sufficient,
        )
        for name in order
    )
    return SubgroupScores(
        column=column.name,
        n_left_out=int((~kept).sum()),
        classes=tuple(classes),
        compared=tuple(classes[k] for k in compared),
        groups=groups,
        gaps=_measure_gaps(groups, as_given, resampled, compared),
    )


def _choose_classes(truths: Bools, rows: dict[str, Integers]) -> tuple[list[int], set[str]]:
    """Classes that can be compared, and the groups that are large enough for one at least."""
    enough = {}
    for name, own in rows.items():
        counts = truths[own].sum(axis=0)
        enough[name] = (counts >= MIN_IMAGES) & (len(own) - counts >= MIN_IMAGES)
    sufficient = {name for name, each in enough.items() if each.any()}
    if not sufficient:
        return [], sufficient
    common = np.all([enough[name] for name in sufficient], axis=0)
    return np.flatnonzero(common).tolist(), sufficient


def _weigh(
    sheets: dict[str, ScoreSheet], rows: dict[str, Integers], weights: Floats
) -> dict[str, Measures]:
    # A resample may hold nobody of a group; its measures are undefined there.
    with np.errstate(invalid="ignore", divide="ignore"):
        return {name: sheet.weigh(weights[rows[name]]) for name, sheet in sheets.items()}


def _read_measures(measures: Measures, compared: Sequence[int]) -> dict[str, Floats]:
    """Measure to (resample,): of all images, and means over the classes that are compared."""
    found: dict[str, Floats] = {}
    for name in IMAGE_MEASURES:
        if name in measures.overall:
            found[name] = measures.overall[name]
    if compared:
        for name in CLASS_MEASURES:
            found[name] = mean_defined(measures.per_class[name][:, list(compared)])
    return found


def _score_group(
    name: str,
    as_given: Measures,
    resampled: Sequence[Measures],
    truths: Bools,
    patients: Integers,
    classes: Sequence[str],
    compared: Sequence[int],
    *,
    is_sufficient: bool,
) -> GroupScores:
    several = len(np.unique(patients)) > 1
    drawn = [_read_measures(each, compared) for each in resampled] if several else []
    measures = {
        key: _estimate(value[0], [each[key] for each in drawn])
        for key, value in _read_measures(as_given, compared).items()
    }
    per_class = {
        label: {
            key: _estimate(
                as_given.per_class[key][0, k],
                [each.per_class[key][:, k] for each in resampled] if several else [],
            )
            for key in CLASS_MEASURES
        }
        for k, label in enumerate(classes)
    }
    return GroupScores(
        name=name,
        n_images=len(truths),
        n_patients=len(np.unique(patients)),
        counts=tuple(truths.sum(axis=0).tolist()),
        measures=measures,
        per_class=per_class,
        enough=tuple(key for key, each in measures.items() if is_sufficient and _is_narrow(each)),
    )


def _estimate(value: float, parts: Sequence[Floats]) -> Estimate:
    if np.isnan(value):
        return Estimate(None)
    interval = percentile_interval(np.concatenate([np.empty(0), *parts]), CONFIDENCE)
    return Estimate(float(value), *(interval or (None, None)))


def _is_narrow(estimate: Estimate) -> bool:
    if estimate.low is None or estimate.high is None:
        return False
    return estimate.high - estimate.low <= MAX_WIDTH


def _measure_gaps(
    groups: Sequence[GroupScores],
    as_given: dict[str, Measures],
    resampled: Sequence[dict[str, Measures]],
    compared: Sequence[int],
) -> dict[str, Gap]:
    gaps = {}
    for key in groups[0].measures:
        able = [group.name for group in groups if key in group.enough]
        if len(able) < 2:
            continue
        values = {name: _read_measures(as_given[name], compared)[key][0] for name in able}
        largest = max(able, key=lambda name: values[name])
        smallest = min(able, key=lambda name: values[name])
        parts = [
            _read_measures(each[largest], compared)[key]
            - _read_measures(each[smallest], compared)[key]
            for each in resampled
        ]
        gaps[key] = Gap(largest, smallest, _estimate(values[largest] - values[smallest], parts))
    return gaps
