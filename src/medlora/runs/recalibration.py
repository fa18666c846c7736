"""A task file calibrated anew on labelled images of one's own, without any training."""

import datetime
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from medlora.backbones.weights import Backbone
from medlora.data.cache import ImageCache, NoCache
from medlora.errors import SettingsError
from medlora.evaluate.operating import OperatingPoint
from medlora.evaluate.predict import predict_logits
from medlora.progress import Progress, silent
from medlora.runs.calibration import Trust, check_counts, settle_trust, undo_calibration
from medlora.runs.evaluation import prepare_labelled, read_point
from medlora.runs.opened import open_task
from medlora.runs.operating import bound_point, settle_thresholds
from medlora.runs.preparing import PreparedData
from medlora.runs.scoring import Scores, score_rows
from medlora.task.card import TaskCard
from medlora.task.ensemble import SUFFIX
from medlora.task.fields import JsonObject
from medlora.task.file import Task, load_task, save_task
from medlora.task.opening import build_model, record_self_check, run_self_check
from medlora.task.precision import Precision
from medlora.task.scaling import rescale_tensors
from medlora.train.settings import CalibrationChoice, ThresholdRule

SOURCE = "recalibration"
# What the card says of an operating point, which other images replace.
_CHOSEN = ("operating_point", "chosen_operating_point")

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Recalibration:
    """A task that was calibrated anew.

    Attributes:
        task: The new task; the one that it was made of is as it was.
        backbone: What it sits on.
        trust: What was found.
        scores: Scores on the same images, which flatter: everything was chosen by them.
        data: The images.
        chosen_point: What they say of the operating point; None where there is none.
        warnings: What a reader has to know.
    """

    task: Task
    backbone: Backbone
    trust: Trust
    scores: Scores
    data: PreparedData
    chosen_point: dict[str, Any] | None
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class RecalibrationChoices:
    """What is to be found on the images; None stands for what the task has.

    Attributes:
        calibration: How logits are scaled.
        coverage: Of prediction sets.
        coverage_by_class: Whether it is to be reached among the images of each class.
        thresholds: How decision thresholds are chosen.
        operating_point: What they are to reach in place of that.

    Raises:
        SettingsError: Two of them do not go together, or a word is unknown.
    """

    calibration: CalibrationChoice = "auto"
    coverage: float | None = None
    coverage_by_class: bool = False
    thresholds: ThresholdRule | None = None
    operating_point: str | None = None

    def __post_init__(self) -> None:
        """Check what can be checked without the task."""
        if self.calibration not in get_args(CalibrationChoice):
            raise SettingsError(
                f"calibration must be one of {', '.join(get_args(CalibrationChoice))}, not "
                f"{self.calibration!r}."
            )
        if self.thresholds is not None and self.operating_point is not None:
            raise SettingsError(
                "An operating point and a rule for thresholds both choose them. Leave one out."
            )


def recalibrate_task(
    path: Path,
    data_path: Path,
    choices: RecalibrationChoices,
    *,
    split: str,
    cache: ImageCache | NoCache,
    weights: Path | str | None = None,
    device: str = "auto",
    precision: Precision = "auto",
    group_by: str | None = None,
    skip_unreadable: bool = False,
    batch_size: int = 32,
    progress: Progress = silent,
) -> Recalibration:
    """Scale a task's logits, and choose its thresholds and prediction sets, on other images.

    The scaling that the task has is undone first. What was trained stays as it is.

    Args:
        path: The task file.
        data_path: Labelled images that the task was not trained on.
        choices: What is to be found.
        split: `train`, `val`, `test`, or `all`.
        cache: Where decoded images are kept.
        weights: The backbone's checkpoint; None to look for it.
        device: Where to compute.
        precision: `auto`, `bf16` or `fp32`.
        group_by: Manifest column of groups that the bootstrap resamples.
        skip_unreadable: Leave unreadable images out.
        batch_size: Images at a time.
        progress: Told of every step.

    Raises:
        SettingsError: It is an ensemble, or there are too few images.
        DataError: The split is empty, or the data are not of the task's classes or kind.
    """
    if path.suffix == SUFFIX:
        raise SettingsError(
            f"{path} is an ensemble, which is made of task files. Calibrate one task file, such "
            "as refit/task.safetensors of the same cross-validation."
        )
    opened = open_task(path, weights=weights, device=device, precision=precision)
    task = load_task(path)
    card = task.card
    data, rows = prepare_labelled(
        card,
        data_path,
        split=split,
        cache=cache,
        group_by=group_by,
        skip_unreadable=skip_unreadable,
        progress=progress,
    )
    logits = predict_logits(
        opened.model,
        data.images,
        rows,
        card.preprocessing,
        batch_size=batch_size,
        progress=progress,
    )
    trust = _settle(card, undo_calibration(card, logits), data, rows, choices)
    new_card, scores, point = _choose(card, trust, data, rows, choices, split)
    new = Task(new_card, _rescale(task, trust))
    if card.self_check is not None:
        model = build_model(new, opened.backbone, place=str(path))
        check = record_self_check(model, card.preprocessing, multi_label=card.multi_label)
        new = Task(replace(new_card, self_check=check), new.tensors)
    warnings = (*trust.warnings, *_warn_of_images(card, data, split))
    return Recalibration(new, opened.backbone, trust, scores, data, point, warnings)


def save_recalibrated(path: Path, found: Recalibration) -> None:
    """Write the new task file, and see that it answers as it should.

    Args:
        path: Where it goes.
        found: The recalibration.

    Raises:
        StorageError: It cannot be written.
        SelfCheckError: It does not answer as the task in memory.
    """
    save_task(path, found.task)
    run_self_check(load_task(path), found.backbone, place=str(path))


def _settle(
    card: TaskCard,
    logits: Floats,
    data: PreparedData,
    rows: npt.NDArray[np.int64],
    choices: RecalibrationChoices,
) -> Trust:
    targets = data.table.targets[rows]
    coverage, by_class = choices.coverage, choices.coverage_by_class
    if coverage is None and card.conformal is not None:
        coverage = card.conformal.coverage
        by_class = by_class or card.conformal.by_class
    if by_class and coverage is None:
        raise SettingsError("coverage_by_class needs a coverage, for example 0.9.")
    kind: dict[str, Any] = {"classes": card.classes, "multi_label": card.multi_label}
    if coverage is not None:
        check_counts(targets, coverage=coverage, by_class=by_class, **kind)
    trust = settle_trust(
        logits,
        targets,
        **kind,
        choice=choices.calibration,
        coverage=coverage,
        by_class=by_class,
        source=SOURCE,
    )
    if trust.calibration is None and choices.calibration != "none":
        raise SettingsError(
            f"The task cannot be calibrated on these images ({trust.told.removeprefix('none: ')})."
            " Give more of them, or name the method: --calibration temperature."
        )
    return trust


def _choose(
    card: TaskCard,
    trust: Trust,
    data: PreparedData,
    rows: npt.NDArray[np.int64],
    choices: RecalibrationChoices,
    split: str,
) -> tuple[TaskCard, Scores, dict[str, Any] | None]:
    """The new card, with thresholds chosen on the calibrated answers, and the scores there."""
    table = data.table
    point = read_point(card)
    if choices.operating_point is not None:
        point = OperatingPoint.parse(choices.operating_point)
    elif choices.thresholds is not None:
        point = None
    rule = "fixed" if point else choices.thresholds or _read_rule(card)
    thresholds = settle_thresholds(
        trust.answers,
        table.targets[rows],
        rule,
        point,
        classes=card.classes,
        multi_label=card.multi_label,
    )
    seen = np.zeros(len(rows), dtype=bool)
    scores = score_rows(
        table, rows, trust.answers, thresholds=thresholds, seen=seen, operating_point=point
    )
    bounds = bound_point(point, scores, table, trust.answers)
    training: dict[str, Any] = {
        **{key: value for key, value in card.training.items() if key not in _CHOSEN},
        "thresholds": rule,
        "recalibration": {
            "n_images": len(rows),
            "split": split,
            "sha256": data.digest,
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        },
    }
    if point is not None:
        training["operating_point"] = choices.operating_point or card.training["operating_point"]
        training["chosen_operating_point"] = bounds
    values: JsonObject = {
        name: each.value for name, each in scores.overall.overall.items() if each.value is not None
    }
    new = replace(
        card,
        thresholds=thresholds,
        calibration=trust.calibration,
        conformal=trust.conformal,
        training=training,
        metrics={**card.metrics, SOURCE: values},
        self_check=None,
    )
    return new, scores, bounds


def _read_rule(card: TaskCard) -> ThresholdRule:
    """The rule by which the task's thresholds were chosen; `fixed` where the card does not say."""
    said = card.training.get("thresholds")
    return next((rule for rule in get_args(ThresholdRule) if rule == said), "fixed")


def _rescale(task: Task, trust: Trust) -> dict[str, Any]:
    n_classes = len(task.card.classes)
    plain = ((1.0,) * n_classes, (0.0,) * n_classes)
    old, new = task.card.calibration, trust.calibration
    return rescale_tensors(
        task.tensors,
        (old.scale, old.offset) if old else plain,
        (new.scale, new.offset) if new else plain,
    )


def _warn_of_images(card: TaskCard, data: PreparedData, split: str) -> list[str]:
    if split == "train" or (split == "all" and data.digest == card.data.get("sha256")):
        return [
            "The task was trained on some of these images, about which it is surer than about "
            "others: its probabilities will be too high. Use images that it was not trained on."
        ]
    return []
