"""The tables of a report and its sentence, worked out for the template."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from medlora.report.cards import read_mapping
from medlora.report.wording import (
    LOWER_IS_BETTER,
    MACRO_MEASURES,
    Interval,
    clean_text,
    format_bounds,
    format_count,
    format_number,
    name_measure,
    read_interval,
    read_number,
)

SPLIT_WORDS = {"test": "test", "val": "validation", "train": "training"}
_FOLD_MEASURES = ("accuracy", "balanced_accuracy", "f1", "auroc", "average_precision")
_CLASS_MEASURES = ("recall", "precision", "f1", "specificity", "auroc", "average_precision")
_CLASS_HEADS = {"average_precision": "Average precision", "recall": "Recall", "f1": "F1"}
_GROUPS = (
    ("Decisions", ("accuracy", "balanced_accuracy", "exact_match")),
    (
        "Mean over classes",
        ("recall", "precision", "f1", "specificity", "auroc", "average_precision"),
    ),
    ("Probabilities", ("brier_score", "calibration_error")),
)


@dataclass(frozen=True)
class Cell:
    """A value and its interval as text, and as places from 0 to 100 for the small drawing."""

    value: str
    bounds: str
    place: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class MeasureRow:
    """One measure in the table of key figures."""

    name: str
    is_lower_better: bool
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class MeasureGroup:
    """Measures of one kind under a heading of their own."""

    heading: str
    rows: tuple[MeasureRow, ...]


@dataclass(frozen=True)
class ClassRow:
    """One class in the table of classes."""

    name: str
    count: str
    threshold: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class FoldRow:
    """One fold, or the mean over them, in the table of folds."""

    name: str
    count: str
    epoch: str
    cells: tuple[Cell, ...]


def arrange_cell(interval: Interval, digits: int = 3) -> Cell:
    """An interval as a table cell."""
    places = (None if each is None else 100 * min(1.0, max(0.0, each)) for each in interval)
    return Cell(format_number(interval.value, digits), format_bounds(interval, digits), *places)


def arrange_key_figures(evaluations: Sequence[Mapping[str, Any]]) -> list[MeasureGroup]:
    """All overall measures, a column for each evaluation; unknown ones come last.

    Args:
        evaluations: One or two of `Evaluation.to_dict`, the first with all images.
    """
    overall = [evaluation.get("overall", {}) for evaluation in evaluations]
    known = {key for _, keys in _GROUPS for key in keys}
    others = tuple(key for key in overall[0] if key not in known)
    groups = []
    for heading, keys in (*_GROUPS, ("Other", others)):
        rows = tuple(
            MeasureRow(
                name_measure(key),
                key in LOWER_IS_BETTER,
                tuple(arrange_cell(read_interval(each.get(key))) for each in overall),
            )
            for key in keys
            if key in overall[0]
        )
        if rows:
            groups.append(MeasureGroup(heading, rows))
    return groups


def arrange_class_heads() -> list[str]:
    """The measures' names above the columns of `arrange_classes`."""
    return [_CLASS_HEADS.get(key, name_measure(key)) for key in _CLASS_MEASURES]


def arrange_classes(evaluation: Mapping[str, Any], classes: Sequence[str]) -> list[ClassRow]:
    """A row for each class, in the order of the columns.

    Args:
        evaluation: `Evaluation.to_dict`.
        classes: Names of the classes.
    """
    per_class = evaluation.get("per_class", {})
    counts = read_counts(evaluation, classes)
    thresholds = evaluation.get("thresholds") or [None] * len(classes)
    return [
        ClassRow(
            clean_text(name),
            "" if count is None else format_count(count),
            "" if threshold is None else f"{threshold:.3g}",
            tuple(
                arrange_cell(read_interval(per_class.get(name, {}).get(key)), 2)
                for key in _CLASS_MEASURES
            ),
        )
        for name, count, threshold in zip(classes, counts, thresholds, strict=True)
    ]


def arrange_fold_heads(multi_label: bool) -> list[str]:
    """The measures' names above the columns of `arrange_folds`."""
    return [_CLASS_HEADS.get(key, name_measure(key)) for key in _list_fold_measures(multi_label)]


def arrange_folds(folds: Sequence[Mapping[str, Any]], multi_label: bool) -> list[FoldRow]:
    """A row for each fold, then their mean with the standard deviation in place of bounds.

    Args:
        folds: `Evaluation.to_dict` of each fold, with `best_epoch`.
        multi_label: Whether an image may have several classes.
    """
    keys = _list_fold_measures(multi_label)
    rows = [
        FoldRow(
            str(number),
            format_count(int(fold["n_images"])),
            str(fold["best_epoch"]),
            tuple(arrange_cell(read_interval(fold["overall"].get(key))) for key in keys),
        )
        for number, fold in enumerate(folds)
    ]
    if not rows:
        return []
    found = [[read_interval(fold["overall"].get(key)).value for fold in folds] for key in keys]
    cells = tuple(_average([value for value in values if value is not None]) for values in found)
    return [*rows, FoldRow("mean ± SD", "", "", cells)]


def _list_fold_measures(multi_label: bool) -> tuple[str, ...]:
    return ("exact_match", *_FOLD_MEASURES[1:]) if multi_label else _FOLD_MEASURES


def _average(values: Sequence[float]) -> Cell:
    mean = fmean(values) if values else None
    spread = f"± {stdev(values):.3f}" if len(values) > 1 else ""
    return Cell(format_number(mean), spread, None, None, None)


def read_counts(evaluation: Mapping[str, Any], classes: Sequence[str]) -> list[int | None]:
    """Number of images of each class; None where the evaluation does not say."""
    counts = evaluation.get("counts")
    if isinstance(counts, Mapping):
        return [counts.get(name) for name in classes]
    return list(counts) if counts else [None] * len(classes)


def write_result(
    evaluation: Mapping[str, Any], unseen: Mapping[str, Any] | None, split: str
) -> str:
    """The result in one sentence.

    Args:
        evaluation: `Evaluation.to_dict` of all images.
        unseen: The same of those whose bytes are in no training image, or None.
        split: "test" or "val".
    """
    keys = ("auroc", "average_precision") if evaluation["multi_label"] else ("accuracy", "auroc")
    first, second = (_quote(evaluation, key) for key in keys)
    names = ["mean " + _in_sentence(key) if key in MACRO_MEASURES else key for key in keys]
    n_images, n_groups = int(evaluation["n_images"]), int(evaluation["n_groups"])
    patients = f" ({format_count(n_groups)} patient groups)" if n_groups < n_images else ""
    sentence = (
        f"On {format_count(n_images)} {SPLIT_WORDS.get(split, split)} images{patients}, "
        f"{names[0]} is {first} and {names[1]} {second}"
    )
    if unseen is None:
        return f"{sentence}."
    others = (format_number(read_interval(unseen["overall"].get(key)).value) for key in keys)
    return (
        f"{sentence}; on the {format_count(int(unseen['n_images']))} images whose bytes are not "
        f"in training, {' and '.join(others)}."
    )


def write_operating_points(point: Mapping[str, Any] | None) -> list[str]:
    """A sentence on what is reached of an operating point, for each set of positive classes.

    Args:
        point: `wanted` and `reached`, as `measure_point` gives them; None where none was asked
            for.
    """
    if point is None:
        return []
    wanted = f"{point['wanted']['measure']} {point['wanted']['value']:g}"
    return [
        f"Thresholds were set for {wanted} of {clean_text(each['positive'])} on images that were "
        f"not trained on. Here sensitivity is {_quote_estimate(each['sensitivity'])} and "
        f"specificity {_quote_estimate(each['specificity'])}, on "
        f"{format_count(each['n_positive'])} positive and {format_count(each['n_negative'])} "
        "negative images."
        for each in point["reached"]
    ]


def write_kicker(card: Mapping[str, Any]) -> str:
    """The line above a report's title: method, backbone and day."""
    backbone = read_mapping(card, "backbone").get("name", "")
    day = str(card.get("created", ""))[:10]
    words = [card.get("method", ""), backbone, day]
    return " · ".join(clean_text(str(word)) for word in words if word)


def sum_seconds(history: Sequence[Mapping[str, Any]]) -> str:
    """The training time of all epochs in words, or "" where it was not recorded."""
    seconds = [read_number(record.get("seconds")) for record in history]
    total = sum(value for value in seconds if value is not None)
    if total <= 0:
        return ""
    if total < 120:
        return f"{total:.0f} seconds"
    return f"{total / 60:.0f} minutes" if total < 7200 else f"{total / 3600:.1f} hours"


def _in_sentence(key: str) -> str:
    name = name_measure(key)
    return name if name.isupper() else name.lower()


def _quote(evaluation: Mapping[str, Any], key: str) -> str:
    return _quote_estimate(evaluation["overall"].get(key))


def _quote_estimate(estimate: Any) -> str:
    interval = read_interval(estimate)
    bounds = format_bounds(interval).replace("–", "\u00a0to\u00a0")
    value = format_number(interval.value)
    return f"{value} (95\u00a0% interval {bounds})" if bounds else value
