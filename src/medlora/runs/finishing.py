"""The end of a run: thresholds, warnings, the task file, the scores and the report."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from medlora.evaluate.evaluation import Evaluation
from medlora.evaluate.metrics import decide
from medlora.evaluate.predict import convert_logits
from medlora.evaluate.thresholds import choose_thresholds
from medlora.runs.calibration import Trust, describe_calibration, settle_trust
from medlora.runs.components import warn_of_folds
from medlora.runs.folder import read_json
from medlora.runs.novelty import (
    KeptNovelty,
    describe_kept,
    fit_run,
    measure_unlike,
    spread_rows,
)
from medlora.runs.ongoing import OngoingRun
from medlora.runs.operating import bound_point
from medlora.runs.preparing import PreparedData, warn_of_data
from medlora.runs.refit import Refit
from medlora.runs.results import Ended, RunResult, write_results
from medlora.runs.saving import N_PROBES, describe_task, save_verified
from medlora.runs.scoring import Scores
from medlora.task.model import TaskModel
from medlora.task.scaling import scale_head
from medlora.train import sentinels
from medlora.train.loop import Outcome


def finish_run(
    run: OngoingRun,
    model: TaskModel,
    data: PreparedData,
    outcome: Outcome,
    split: Literal["test", "val"],
) -> RunResult:
    """Choose thresholds, save and verify the task file, score it, write the report."""
    table = data.table
    warnings = warn_of_data(data, allow_patient_overlap=run.plan.allow_patient_overlap)
    warnings += read_json(run.folder.audit, "short audit")["sentences"]
    warnings += warn_of_folds(outcome.details)
    val_rows = table.rows_in("val")
    trust = _calibrate(run, model, data, val_rows)
    warnings += trust.warnings
    thresholds = run.choose_thresholds(table, val_rows, trust.answers)
    val_scores = run.score(data, val_rows, trust.answers, thresholds)
    if run.plan.shuffle_labels:
        auroc = val_scores.overall.overall["auroc"]
        n_epochs = max(len(outcome.history), 1)
        found = sentinels.find_shuffled_skill(auroc.low, auroc.value, n_epochs=n_epochs)
        warnings += [found] if found else []
    point = bound_point(
        run.operating_point, val_scores, table, trust.answers, seed=run.settings.seed
    )
    if point is not None:
        outcome = replace(outcome, details={**outcome.details, "chosen_operating_point": point})
    return _save_and_score(
        run,
        model,
        data,
        outcome,
        split,
        rows=val_rows,
        trust=trust,
        thresholds=thresholds,
        chosen_by={"val": val_scores.overall},
        warnings=warnings,
        val_scores=val_scores,
        point=point,
    )


def finish_refit(
    run: OngoingRun, model: TaskModel, data: PreparedData, outcome: Outcome, refit: Refit
) -> RunResult:
    """Save and verify a task file that was trained on all but the test images, and score it."""
    warnings = warn_of_data(data, allow_patient_overlap=run.plan.allow_patient_overlap)
    warnings += read_json(run.folder.audit, "short audit")["sentences"]
    warnings += warn_of_folds(outcome.details)
    rows = spread_rows(data.table.rows_in("train"), N_PROBES)
    answers = run.predict(model, data, rows)
    warnings += _watch_model(run, model, data, rows, answers)
    told = "none: the folds' runs have none"
    if refit.calibration is not None:
        scale_head(model.head, refit.calibration.scale, refit.calibration.offset)
        answers = run.predict(model, data, rows)
        told = f"mean of {refit.n_folds} folds: {describe_calibration(refit.calibration)}"
    return _save_and_score(
        run,
        model,
        data,
        outcome,
        "test",
        rows=rows,
        trust=Trust(answers, refit.calibration, refit.conformal, told),
        thresholds=refit.thresholds,
        chosen_by={"out_of_fold": Evaluation.from_dict(refit.scores)},
        warnings=warnings,
        refit=refit,
    )


def _save_and_score(
    run: OngoingRun,
    model: TaskModel,
    data: PreparedData,
    outcome: Outcome,
    split: Literal["test", "val"],
    *,
    rows: npt.NDArray[np.int64],
    trust: Trust,
    thresholds: tuple[float, ...],
    chosen_by: Mapping[str, Evaluation],
    warnings: list[str],
    val_scores: Scores | None = None,
    point: Mapping[str, Any] | None = None,
    refit: Refit | None = None,
) -> RunResult:
    """The task file with what has been settled, and unless the run was stopped all the rest.

    `trust` is of the images of `rows`; `val_scores` stand where there is no test image.
    """
    # A refit ends after the epoch that the folds chose, which is no early end.
    ended: Ended = "finished" if refit else outcome.ended
    kept = KeptNovelty()
    if ended != "stopped":
        limit = refit.novelty if refit else None
        kept = fit_run(run, model, data, data.table.rows_in("val"), limit=limit)
    warnings = [*warnings, *([kept.hindrance] if kept.hindrance else [])]
    card = describe_task(
        run,
        data,
        outcome,
        thresholds,
        chosen_by,
        calibration=trust.calibration,
        conformal=trust.conformal,
        novelty=kept.settings,
        refit=refit,
    )
    saved = save_verified(run, model, card, data, rows, trust.answers, kept=kept.tensors)
    told = (run.caching, trust.told, point)
    result = RunResult(ended, run.folder.task, None, None, split, tuple(warnings), *told)
    test_rows = data.table.rows_in("test")
    if ended == "stopped":
        return result
    scores, novelty = val_scores, describe_kept(kept)
    if len(test_rows):
        scores = run.score_task(saved, card, data, test_rows)
        if novelty is not None and kept.measure is not None:
            novelty["scored"] = measure_unlike(run, saved, card, data, scores, kept.measure)
    if scores is None:
        return result
    warnings = list(dict.fromkeys([*warnings, *scores.warnings]))
    result = replace(result, scores=scores, warnings=tuple(warnings), novelty=novelty)
    write_results(run, data, saved, card, result, scores, chosen_by, outcome.history)
    return replace(result, report=run.folder.report)


def _calibrate(
    run: OngoingRun,
    model: TaskModel,
    data: PreparedData,
    rows: npt.NDArray[np.int64],
) -> Trust:
    """Look at the model as it was trained, then scale its logits."""
    table, settings = data.table, run.settings
    logits = run.predict_logits(model, data, rows)
    trained = convert_logits(logits, multi_label=table.multi_label)
    warnings = _watch_model(run, model, data, rows, trained)
    trust = settle_trust(
        logits,
        table.targets[rows],
        classes=table.classes,
        multi_label=table.multi_label,
        choice=settings.calibration,
        coverage=settings.coverage,
        by_class=settings.coverage_by_class,
        source="val",
    )
    if trust.calibration is not None:
        scale_head(model.head, trust.calibration.scale, trust.calibration.offset)
    return replace(trust, warnings=(*warnings, *trust.warnings))


def _watch_model(
    run: OngoingRun,
    model: TaskModel,
    data: PreparedData,
    rows: npt.NDArray[np.int64],
    answers: npt.NDArray[np.float64],
) -> list[str]:
    """Warnings about answers that are constant, or that the adapter has no part in."""
    targets = data.table.targets[rows]
    fixed = choose_thresholds(answers, targets, data.table.multi_label, "fixed")
    decisions = decide(answers, fixed, data.table.multi_label)
    found = [sentinels.find_constant_answer(decisions, targets, data.table.classes)]
    if run.settings.method == "lora":
        tensors = model.collect_tensors()
        idle = {
            name: torch.zeros_like(tensor) if name.endswith(".B") else tensor
            for name, tensor in tensors.items()
        }
        model.load_tensors(idle)
        without = run.predict(model, data, rows[:N_PROBES])
        model.load_tensors(tensors)
        found.append(sentinels.find_idle_adapter(answers[:N_PROBES], without))
    return [warning for warning in found if warning]
