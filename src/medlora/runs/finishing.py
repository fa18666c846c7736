"""The end of a run: thresholds, warnings, the task file, the scores and the report."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from medlora.evaluate.evaluation import Evaluation
from medlora.evaluate.metrics import decide
from medlora.evaluate.thresholds import choose_thresholds
from medlora.report.content import ReportContent
from medlora.report.sections import Section
from medlora.runs.folder import write_json
from medlora.runs.mistake_maps import add_heat_maps
from medlora.runs.ongoing import OngoingRun
from medlora.runs.preparing import PreparedData, warn_of_data
from medlora.runs.refit import Refit
from medlora.runs.report_files import read_facts, write_report
from medlora.runs.saving import N_PROBES, describe_task, save_verified
from medlora.runs.scoring import Scores, format_predictions, pick_mistakes
from medlora.runs.short_audit import audit_shortly
from medlora.storage import write_atomically
from medlora.task.card import TaskCard
from medlora.task.model import TaskModel
from medlora.train import sentinels
from medlora.train.loop import Outcome


@dataclass(frozen=True)
class RunResult:
    """What a run came to.

    Attributes:
        ended: `finished`, `early` (patience ran out) or `stopped` (it was asked to).
        task: The task file; None where no epoch was finished.
        report: The report; None where the run was stopped.
        scores: Scores on the test images, or on validation where there are none; None where
            the run was stopped.
        split: Which images those are.
        warnings: What a reader has to know before believing the scores.
        caching: Whether the frozen part was computed once for each image, and why.
    """

    ended: Literal["finished", "early", "stopped"]
    task: Path | None
    report: Path | None
    scores: Scores | None
    split: Literal["test", "val"]
    warnings: tuple[str, ...]
    caching: str = ""


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
    warnings += audit_shortly(data)
    val_rows = table.rows_in("val")
    val_answers = run.predict(model, data, val_rows)
    warnings += _watch_model(run, model, data, val_rows, val_answers)
    thresholds = run.choose_thresholds(table, val_rows, val_answers)
    val_scores = run.score(data, val_rows, val_answers, thresholds)
    if run.plan.shuffle_labels:
        auroc = val_scores.overall.overall["auroc"]
        n_epochs = max(len(outcome.history), 1)
        found = sentinels.find_shuffled_skill(auroc.low, auroc.value, n_epochs=n_epochs)
        warnings += [found] if found else []
    card = describe_task(run, data, outcome, thresholds, {"val": val_scores.overall})
    saved = save_verified(run, model, card, data, val_rows, val_answers)
    if outcome.ended == "stopped":
        return RunResult(
            "stopped", run.folder.task, None, None, split, tuple(warnings), run.caching
        )
    scores = val_scores
    if split == "test":
        rows = table.rows_in("test")
        scores = run.score(data, rows, run.predict(saved, data, rows), thresholds)
    warnings = list(dict.fromkeys([*warnings, *scores.warnings]))
    chosen_by = {"val": val_scores.overall}
    _write_results(run, data, saved, scores, chosen_by, outcome, card, split, warnings)
    return RunResult(
        outcome.ended,
        run.folder.task,
        run.folder.report,
        scores,
        split,
        tuple(warnings),
        run.caching,
    )


def finish_refit(
    run: OngoingRun, model: TaskModel, data: PreparedData, outcome: Outcome, refit: Refit
) -> RunResult:
    """Save and verify a task file that was trained on all but the test images, and score it."""
    warnings = warn_of_data(data, allow_patient_overlap=run.plan.allow_patient_overlap)
    warnings += audit_shortly(data)
    rows = _spread_rows(data.table.rows_in("train"), N_PROBES)
    answers = run.predict(model, data, rows)
    warnings += _watch_model(run, model, data, rows, answers)
    chosen_by = {"out_of_fold": Evaluation.from_dict(refit.scores)}
    card = describe_task(run, data, outcome, refit.thresholds, chosen_by, refit)
    saved = save_verified(run, model, card, data, rows, answers)
    rows = data.table.rows_in("test")
    if not len(rows):
        return RunResult(
            "finished", run.folder.task, None, None, "test", tuple(warnings), run.caching
        )
    scores = run.score(data, rows, run.predict(saved, data, rows), refit.thresholds)
    warnings = list(dict.fromkeys([*warnings, *scores.warnings]))
    _write_results(run, data, saved, scores, chosen_by, outcome, card, "test", warnings)
    return RunResult(
        "finished", run.folder.task, run.folder.report, scores, "test", tuple(warnings), run.caching
    )


def _spread_rows(rows: npt.NDArray[np.int64], n_rows: int) -> npt.NDArray[np.int64]:
    """At most so many of the rows, from all over: images often lie in the order of their class."""
    places = np.linspace(0, len(rows) - 1, min(n_rows, len(rows))).astype(np.int64)
    return rows[places]


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


def _write_results(
    run: OngoingRun,
    data: PreparedData,
    model: TaskModel,
    scores: Scores,
    chosen_by: Mapping[str, Evaluation],
    outcome: Outcome,
    card: TaskCard,
    split: Literal["test", "val"],
    warnings: list[str],
) -> None:
    table = data.table
    write_atomically(run.folder.predictions, format_predictions(table, scores))
    write_json(
        run.folder.evaluation,
        {
            "task": card.name,
            "split": split,
            **scores.to_dict(),
            "warnings": warnings,
            **{name: evaluation.to_dict() for name, evaluation in chosen_by.items()},
        },
    )
    mistakes = pick_mistakes(table, scores, data.images)
    sections: tuple[Section, ...] = ()
    if run.plan.heat_maps:
        mistakes, sections = add_heat_maps(mistakes, table, scores, data.images, model, card)
    content = ReportContent(
        title=card.name,
        card=card.to_dict(),
        command=run.plan.command,
        history=outcome.history,
        evaluation=scores.overall.to_dict(),
        probabilities=scores.probabilities,
        targets=table.targets[scores.rows],
        classes=table.classes,
        multi_label=table.multi_label,
        locations=[table.locations[row] for row in scores.rows],
        evaluation_unseen=scores.unseen.to_dict() if scores.unseen else None,
        mistakes=mistakes,
        warnings=warnings,
        n_skipped=data.n_skipped,
        split=split,
        operating_point=scores.operating_point,
        facts=read_facts(run.folder.split),
        sections=sections,
    )
    write_report(run.folder.path, content)
