"""The end of training: logits are scaled, and prediction sets get their limits."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medlora.errors import SettingsError
from medlora.evaluate.conformal import choose_limits, count_needed
from medlora.evaluate.predict import convert_logits
from medlora.evaluate.scaling import (
    MIN_OF_EACH,
    Scaling,
    fit_scaling,
    is_told,
    measure_calibration,
)
from medlora.task.card import TaskCard
from medlora.task.trust import CalibrationRecord, ConformalRecord, ScalingMethod
from medlora.train.settings import CalibrationChoice

# Below, one wrong answer more or less moves a temperature by more than it mends.
MIN_IMAGES = 100

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Trust:
    """What labelled images say of how far a task's answers can be trusted.

    Attributes:
        answers: (image, class) calibrated probabilities of these images.
        calibration: How logits are scaled; None where they are not.
        conformal: Limits of prediction sets; None where none were asked for.
        told: What was done about calibration, and why, in words.
        warnings: What a reader has to know.
    """

    answers: Floats
    calibration: CalibrationRecord | None
    conformal: ConformalRecord | None
    told: str
    warnings: tuple[str, ...] = ()


def settle_trust(
    logits: Floats,
    targets: Bools,
    *,
    classes: Sequence[str],
    multi_label: bool,
    choice: CalibrationChoice,
    coverage: float | None,
    by_class: bool,
    source: str,
) -> Trust:
    """Calibrate, and find the limits of prediction sets, on images that were not trained on.

    Args:
        logits: (image, class) of the trained model.
        targets: (image, class).
        classes: Names in the order of the columns.
        multi_label: Whether an image may have several classes, or none.
        choice: How to calibrate.
        coverage: Of the prediction sets; None for none.
        by_class: Whether the coverage is to be reached among the images of each class.
        source: What these images are, one word for the card.
    """
    method, reason = choose_method(choice, targets, classes=classes, multi_label=multi_label)
    answers = convert_logits(logits, multi_label=multi_label)
    record = None
    told = f"none: {reason}"
    if method is not None:
        scaling = fit_scaling(logits, targets, method=method, multi_label=multi_label)
        before = measure_calibration(answers, targets, multi_label=multi_label)
        answers = convert_logits(scaling.apply(logits), multi_label=multi_label)
        record = CalibrationRecord(
            method=method,
            scale=scaling.scale,
            offset=scaling.offset,
            source=source,
            n_images=len(targets),
            before=before,
            after=measure_calibration(answers, targets, multi_label=multi_label),
        )
        told = describe_calibration(record) + (f"; {reason}" if reason else "")
    conformal, warnings = choose_sets(
        answers,
        targets,
        classes=classes,
        multi_label=multi_label,
        coverage=coverage,
        by_class=by_class,
        source=source,
    )
    return Trust(answers, record, conformal, told, warnings)


def choose_sets(
    answers: Floats,
    targets: Bools,
    *,
    classes: Sequence[str],
    multi_label: bool,
    coverage: float | None,
    by_class: bool,
    source: str,
) -> tuple[ConformalRecord | None, tuple[str, ...]]:
    """The limits of prediction sets, and what a reader has to know of them.

    Args:
        answers: (image, class) calibrated probabilities; else as `settle_trust`.
        targets: (image, class).
        classes: Names in the order of the columns.
        multi_label: Whether an image may have several classes, or none.
        coverage: What share of images is to be covered; None for no sets.
        by_class: Whether that is to be reached among the images of each class.
        source: What these images are, one word for the card.
    """
    if coverage is None:
        return None, ()
    limits = choose_limits(
        answers, targets, coverage=coverage, multi_label=multi_label, by_class=by_class
    )
    record = ConformalRecord(
        coverage=coverage,
        # A multi-label task's sets always are: of each label's presence and of its absence.
        by_class=by_class or multi_label,
        least=limits.least,
        most=limits.most,
        source=source,
        counts=tuple(targets.sum(axis=0).tolist()),
        n_images=len(targets),
    )
    return record, tuple(_warn_of_limits(record, classes))


def choose_method(
    choice: CalibrationChoice, targets: Bools, *, classes: Sequence[str], multi_label: bool
) -> tuple[ScalingMethod | None, str]:
    """How to calibrate, and why where that is not what was asked for.

    Args:
        choice: What was asked for.
        targets: (image, class) of the images to calibrate on.
        classes: Names in the order of the columns.
        multi_label: Whether an image may have several classes, or none.

    Example:
        >>> few = np.eye(2, dtype=bool).repeat(20, axis=0)
        >>> choose_method("auto", few, classes=("no", "yes"), multi_label=False)[1]
        '40 images are too few; at least 100 are needed'
    """
    if choice == "none":
        return None, "not asked for"
    method: ScalingMethod = "temperature"
    if choice == "auto":
        if len(targets) < MIN_IMAGES:
            return None, f"{len(targets)} images are too few; at least {MIN_IMAGES} are needed"
        method = "vector" if multi_label else "temperature"
    elif choice == "vector":
        method = "vector"
    if method == "temperature":
        return "temperature", ""
    untold = [name for name, own in zip(classes, targets.T, strict=True) if not is_told(own)]
    few = f"fewer than {MIN_OF_EACH} images have, or have not, {', '.join(untold)}"
    if not multi_label:
        return ("temperature", f"no vector: {few}") if untold else (method, "")
    if len(untold) == len(classes):
        return None, few
    return method, f"left as they are, since {few}" if untold else ""


def describe_calibration(record: CalibrationRecord) -> str:
    """What a calibration did, in one line."""
    how: str = record.method
    if record.method == "temperature":
        how += f" {1 / record.scale[0]:.3g}"
    figures = [
        f"{name.replace('_', ' ')} {record.before[name]:.3f} to {record.after[name]:.3f}"
        for name in ("calibration_error", "log_loss")
        if name in record.before and name in record.after
    ]
    return f"{how} on {record.n_images} images ({record.source}): {', '.join(figures)}"


def undo_calibration(card: TaskCard, logits: Floats) -> Floats:
    """The (image, class) logits of a task's stored head as they were before its calibration."""
    record = card.calibration
    if record is None:
        return logits
    return Scaling(record.method, record.scale, record.offset).undo(logits)


def check_counts(
    targets: Bools,
    *,
    classes: Sequence[str],
    multi_label: bool,
    coverage: float,
    by_class: bool,
) -> None:
    """Refuse a coverage that so few images cannot tell of.

    In a multi-label task rare labels may have too few; they stay undecided, with a warning.

    Args:
        targets: (image, class) of the images to find the limits on.
        classes: Names in the order of the columns.
        multi_label: Whether an image may have several classes, or none.
        coverage: What share of images is to be covered.
        by_class: Whether that is to be reached among the images of each class.

    Raises:
        SettingsError: There are too few; the least number is named.
    """
    needed = count_needed(coverage)
    counts = {"all classes together": len(targets)}
    if by_class and not multi_label:
        counts = dict(zip(classes, targets.sum(axis=0).tolist(), strict=True))
    for name, count in counts.items():
        if count < needed:
            raise SettingsError(
                f"A coverage of {coverage:g} needs at least {needed} images that were not trained "
                f"on; there are {count} of {name}. Give more, or choose a lower coverage."
            )


def join_calibrations(
    records: Sequence[CalibrationRecord | None], n_classes: int
) -> CalibrationRecord | None:
    """One calibration for a model that learns from all folds: the folds' means.

    Args:
        records: That of each fold's run.
        n_classes: Number of classes.

    Returns:
        The geometric mean of the scales and the mean of the offsets, a fold without a calibration
        counting as one that changes nothing; None where no fold has any.
    """
    known = [record for record in records if record is not None]
    if not known:
        return None
    plain = Scaling(known[0].method, (1.0,) * n_classes, (0.0,) * n_classes)
    scalings = [plain if record is None else record for record in records]
    logs = np.log([each.scale for each in scalings])
    offsets = np.mean([each.offset for each in scalings], axis=0)

    def join(figures: Sequence[dict[str, float]]) -> dict[str, float]:
        return {name: float(np.mean([each[name] for each in figures])) for name in figures[0]}

    return CalibrationRecord(
        method=known[0].method,
        scale=tuple(np.exp(logs.mean(axis=0)).tolist()),
        offset=tuple(offsets.tolist()),
        source="folds",
        n_images=sum(record.n_images for record in known),
        before=join([record.before for record in known]),
        after=join([record.after for record in known]),
    )


def _warn_of_limits(record: ConformalRecord, classes: Sequence[str]) -> list[str]:
    """Which classes no prediction set can leave out, and how many images would mend it."""
    needed = count_needed(record.coverage)
    if record.by_class:
        few = [name for name, n in zip(classes, record.counts, strict=True) if n < needed]
        few_without = [
            name
            for name, n in zip(classes, record.counts, strict=True)
            if record.most and record.n_images - n < needed
        ]
        names = list(dict.fromkeys([*few, *few_without]))
        if not names:
            return []
        return [
            f"Fewer than {needed} images tell of {', '.join(names)}, which a coverage of "
            f"{record.coverage:g} needs: no prediction set can rule them out or in."
        ]
    if record.n_images >= needed:
        return []
    return [
        f"{record.n_images} images are too few for a coverage of {record.coverage:g}, which needs "
        f"{needed}: every prediction set holds all classes."
    ]
