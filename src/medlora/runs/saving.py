"""A trained model becomes a task file that has been seen to answer like it."""

import datetime
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from medlora.evaluate.evaluation import Evaluation
from medlora.runs.ongoing import OngoingRun
from medlora.runs.preparing import PreparedData, describe_data
from medlora.runs.refit import Refit
from medlora.runs.versions import list_versions
from medlora.task.card import TaskCard
from medlora.task.file import Task, convert_task, load_task, save_task
from medlora.task.model import TaskModel
from medlora.task.novelty import NoveltySettings
from medlora.task.opening import build_model, record_self_check, run_self_check
from medlora.task.precision import DTYPES
from medlora.task.records import BackboneReference
from medlora.task.trust import CalibrationRecord, ConformalRecord
from medlora.train import sentinels
from medlora.train.loop import Outcome

# Enough images to notice that an adapter does nothing, or that a file answers otherwise.
N_PROBES = 32
# Largest difference between a model in memory and its file, by the file's number format.
_SAVE_TOLERANCE = {"float32": 1e-3, "float16": 1e-2, "bfloat16": 5e-2}


def describe_task(
    run: OngoingRun,
    data: PreparedData,
    outcome: Outcome,
    thresholds: tuple[float, ...],
    scores: Mapping[str, Evaluation],
    *,
    calibration: CalibrationRecord | None,
    conformal: ConformalRecord | None,
    novelty: NoveltySettings | None,
    refit: Refit | None = None,
) -> TaskCard:
    """The card of what a run has trained.

    Args:
        run: The run.
        data: Its images.
        outcome: What training came to.
        thresholds: (class,) decision thresholds.
        scores: By the name of the images that they are about, `val` or `out_of_fold`.
        calibration: How the model's logits were scaled.
        conformal: Limits of its prediction sets.
        novelty: What is kept of the training images; None if nothing.
        refit: What cross-validation had settled before.
    """
    training: dict[str, Any] = {
        **run.settings.to_dict(),
        "precision": run.precision,
        "device": run.fabric.device.type,
        "n_processes": run.fabric.world_size,
        "best_epoch": outcome.best_epoch,
        "n_epochs_done": len(outcome.history),
        "ended": outcome.ended,
        "weights": run.backbone.weights,
        "shuffled_labels": run.plan.shuffle_labels,
        "features": run.caching,
        **outcome.details,
    }
    if refit is not None:
        training["refit_after_folds"] = refit.n_folds
    return TaskCard(
        name=run.plan.name,
        classes=data.table.classes,
        multi_label=data.table.multi_label,
        method=run.settings.method,
        backbone=BackboneReference(run.backbone.name, run.backbone.fingerprint),
        preprocessing=run.preprocessing,
        adapter=run.adapter,
        factorised=run.factorised,
        calibration=calibration,
        conformal=conformal,
        novelty=novelty,
        thresholds=thresholds,
        training=training,
        data=describe_data(data),
        metrics={
            name: {
                measure: estimate.value
                for measure, estimate in evaluation.overall.items()
                if estimate.value is not None
            }
            for name, evaluation in scores.items()
        },
        software=list_versions(),
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        note=run.plan.note,
    )


def save_verified(
    run: OngoingRun,
    model: TaskModel,
    card: TaskCard,
    data: PreparedData,
    rows: npt.NDArray[np.int64],
    answers: npt.NDArray[np.float64],
    *,
    kept: Mapping[str, Tensor],
) -> TaskModel:
    """Write the task file, read it again, and give the model that it makes.

    Args:
        run: The run.
        model: The trained model.
        card: Its card.
        data: The run's images.
        rows: Some of them.
        answers: (row, class), the model's probabilities for these.
        kept: What is kept of the training images, as the card says.

    Raises:
        TrainingError: The file does not answer like the model.
    """
    path = run.folder.task
    tensors = {**model.collect_tensors(), **kept}
    task = convert_task(Task(card, tensors), run.plan.save_dtype)
    exact = build_model(task, run.backbone, place=str(path))
    check = record_self_check(exact, card.preprocessing, multi_label=card.multi_label)
    save_task(path, Task(replace(card, self_check=check), task.tensors))
    loaded = load_task(path)
    run_self_check(loaded, run.backbone, place=str(path))
    saved = build_model(
        loaded,
        run.backbone,
        place=str(path),
        dtype=DTYPES[run.precision],
        device=run.fabric.device,
    )
    # Rounding in bf16 makes answers differ by more than the file's own rounding does.
    coarse = "bfloat16" if run.precision == "bf16" else run.plan.save_dtype
    sentinels.check_same_answers(
        answers[:N_PROBES],
        # All of the file's model is asked, whatever parts of the run's were kept.
        run.predict(saved, data, rows[:N_PROBES], from_images=True),
        tolerance=_SAVE_TOLERANCE[coarse],
        place=str(path),
    )
    return saved
