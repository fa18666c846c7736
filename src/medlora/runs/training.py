"""One training run from its data to a scored task file, in a folder that it can go on from."""

import datetime
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from lightning_fabric import Fabric

from medlora.backbones.weights import Backbone, load_backbone
from medlora.data.cache import ImageCache, NoCache
from medlora.data.split import write_split
from medlora.errors import DataError, SettingsError
from medlora.evaluate.metrics import decide
from medlora.evaluate.predict import predict_rows
from medlora.evaluate.thresholds import choose_thresholds
from medlora.preprocessing import Preprocessing
from medlora.progress import Progress, silent
from medlora.report.content import ReportContent
from medlora.report.page import render_report
from medlora.runs.folder import RunFolder, RunPlan, read_json, write_json
from medlora.runs.preparing import (
    PreparedData,
    describe_data,
    divide_data,
    find_seen,
    prepare_data,
    shuffle_labels,
    warn_of_data,
)
from medlora.runs.scoring import Scores, format_predictions, pick_mistakes, score_rows
from medlora.runs.versions import list_versions
from medlora.storage import write_atomically
from medlora.task.card import TaskCard
from medlora.task.file import Task, convert_task, load_task, save_task
from medlora.task.model import TaskModel, find_normalisations, plan_adapter
from medlora.task.opening import build_model, record_self_check, run_self_check
from medlora.task.precision import DTYPES, choose_precision
from medlora.task.records import BackboneReference
from medlora.train import sentinels
from medlora.train.checkpoint import CheckpointFile
from medlora.train.loop import Outcome, Trainer, TrainingData, never

# Enough images to notice that an adapter does nothing, or that a file answers otherwise.
N_PROBES = 64
# Largest difference between a model in memory and its file, by the file's number format.
_SAVE_TOLERANCE = {"float32": 1e-3, "float16": 1e-2, "bfloat16": 5e-2}


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
    """

    ended: Literal["finished", "early", "stopped"]
    task: Path | None
    report: Path | None
    scores: Scores | None
    split: Literal["test", "val"]
    warnings: tuple[str, ...]


def start_run(
    plan: RunPlan,
    folder: Path,
    *,
    cache: ImageCache | NoCache,
    fabric: Fabric | None = None,
    progress: Progress = silent,
    should_stop: Callable[[], bool] = never,
) -> RunResult:
    """Train a task as planned, into a new folder.

    Args:
        plan: What to do.
        folder: Where the run's files go; missing or empty.
        cache: Where decoded images are kept.
        fabric: Devices and processes, launched; one process on the CPU where None.
        progress: Told of every step.
        should_stop: Asked after every step; true ends the run in a state to go on from.

    Raises:
        MedLoRAError: The data, settings or weights are not usable, or training failed.
    """
    fabric = fabric or Fabric(accelerator="cpu", devices=1)
    if fabric.is_global_zero and folder.exists() and any(folder.iterdir()):
        raise SettingsError(
            f"The run folder {folder} is not empty. Choose another with --output, or go on with "
            f"what is there: medlora train --resume {folder}"
        )
    fabric.barrier()
    run = _Run(plan, RunFolder(folder), cache, fabric, progress)
    data = run.prepare(Path(plan.data))
    settings = plan.settings
    data = divide_data(
        data,
        val_fraction=settings.val_fraction,
        test_fraction=settings.test_fraction,
        seed=settings.seed,
        allow_patient_overlap=plan.allow_patient_overlap,
    )
    if fabric.is_global_zero:
        write_split(run.folder.split, data.table, data.sha256)
        record = {
            "plan": plan.to_dict(),
            "classes": list(data.table.classes),
            "data_sha256": data.digest,
            "n_skipped": data.n_skipped,
            "unreadable": list(data.unreadable),
            "backbone_fingerprint": run.backbone.fingerprint,
            "software": list_versions(),
        }
        write_json(run.folder.plan, record)
    fabric.barrier()
    return run.train(data, should_stop)


def resume_run(
    folder: Path,
    *,
    cache: ImageCache | NoCache,
    fabric: Fabric | None = None,
    progress: Progress = silent,
    should_stop: Callable[[], bool] = never,
) -> RunResult:
    """Go on with a run from its last checkpoint, to the result it would have had anyway.

    Args:
        folder: The run's folder.
        cache: Where decoded images are kept.
        fabric: Devices and processes, launched; as many as the run was started with.
        progress: Told of every step.
        should_stop: Asked after every step.

    Raises:
        SettingsError: The folder holds no run.
        DataError: The images are no longer those the run was started with.
        MedLoRAError: Something else that is needed has changed.
    """
    place = RunFolder(folder)
    if not place.plan.is_file() or not place.split.is_file():
        raise SettingsError(
            f"{folder} holds no run to go on with: run.json or split.csv is missing. "
            "Start it again with medlora train DATA."
        )
    record = read_json(place.plan, "run plan")
    if not isinstance(record, dict) or not isinstance(record.get("plan"), dict):
        raise SettingsError(f"{place.plan} is not a run plan. Start the run again.")
    plan = RunPlan.from_dict(record["plan"])
    run = _Run(plan, place, cache, fabric or Fabric(accelerator="cpu", devices=1), progress)
    if run.backbone.fingerprint != record["backbone_fingerprint"]:
        raise SettingsError(
            f"The run was started on {plan.settings.backbone}@"
            f"{record['backbone_fingerprint'][:6]}; the weights now found are "
            f"@{run.backbone.fingerprint[:6]}. Put the first ones back, or start a new run."
        )
    data = run.prepare(place.split, classes=record["classes"])
    if data.digest != record["data_sha256"]:
        raise DataError(
            f"The images of {plan.data} are not those that the run in {folder} was started "
            "with: a file has changed. Put them back, or start a new run."
        )
    name = Path(plan.data).stem
    data = replace(
        data,
        table=replace(data.table, name=name),
        n_skipped=record["n_skipped"],
        unreadable=tuple(record["unreadable"]),
    )
    return run.train(data, should_stop)


class _Run:
    """A run under way: its plan, its folder, its backbone."""

    def __init__(
        self,
        plan: RunPlan,
        folder: RunFolder,
        cache: ImageCache | NoCache,
        fabric: Fabric,
        progress: Progress,
    ) -> None:
        self.plan = plan
        self.folder = folder
        self.cache = cache
        self.fabric = fabric
        self.progress = progress
        self.settings = plan.settings.resolve()
        self.backbone: Backbone = load_backbone(
            self.settings.backbone, plan.weights, seed=self.settings.seed
        )
        self.preprocessing: Preprocessing = replace(
            self.backbone.preprocessing, contrast=self.settings.contrast
        )
        self.precision = choose_precision(self.settings.precision, fabric.device)

    def prepare(self, path: Path, classes: list[str] | None = None) -> PreparedData:
        return prepare_data(
            path,
            self.preprocessing,
            self.cache,
            # A split.csv names its groups "patient", whatever the data called them.
            group_by=self.plan.group_by if classes is None else None,
            classes=classes,
            skip_unreadable=self.plan.skip_unreadable,
            progress=self.progress,
        )

    def train(self, data: PreparedData, should_stop: Callable[[], bool]) -> RunResult:
        """Train, and finish as far as the run got."""
        table = data.table
        learnt = shuffle_labels(data, self.settings.seed) if self.plan.shuffle_labels else data
        training = TrainingData(
            images=data.images,
            targets=learnt.table.targets,
            multi_label=table.multi_label,
            train_rows=table.rows_in("train"),
            val_rows=table.rows_in("val"),
            preprocessing=self.preprocessing,
        )
        model = self._build_model(len(table.classes))
        trainer = Trainer(
            model,
            training,
            self.settings,
            checkpoints=CheckpointFile(self.folder.checkpoint),
            fabric=self.fabric,
            progress=self.progress,
            should_stop=should_stop,
        )
        outcome = trainer.run()
        split: Literal["test", "val"] = "test" if len(table.rows_in("test")) else "val"
        if not self.fabric.is_global_zero:
            return RunResult(outcome.ended, None, None, None, split, ())
        write_json(self.folder.history, list(outcome.history))
        if outcome.best_epoch == 0:
            return RunResult("stopped", None, None, None, split, ())
        return self._finish(model, learnt, outcome, split)

    def _build_model(self, n_classes: int) -> TaskModel:
        settings = self.settings
        adapter = None
        if settings.method == "lora":
            adapter = plan_adapter(
                self.backbone,
                rank=settings.rank,
                alpha=settings.alpha or float(settings.rank),
                scaling=settings.scaling,
                dropout=settings.dropout,
                targets=settings.targets,
            )
        self.adapter = adapter
        with torch.random.fork_rng():
            torch.manual_seed(settings.seed)
            return TaskModel(
                self.backbone,
                n_classes,
                method=settings.method,
                adapter=adapter,
                dtype=DTYPES[self.precision],
                trained=find_normalisations(self.backbone.model) if settings.train_norm else (),
            )

    def _finish(
        self,
        model: TaskModel,
        data: PreparedData,
        outcome: Outcome,
        split: Literal["test", "val"],
    ) -> RunResult:
        """Choose thresholds, save and verify the task file, score it, write the report."""
        table = data.table
        warnings = warn_of_data(data, allow_patient_overlap=self.plan.allow_patient_overlap)
        val_rows = table.rows_in("val")
        val_answers = self._predict(model, data, val_rows)
        warnings += self._watch_model(model, data, val_answers)
        thresholds = choose_thresholds(
            val_answers, table.targets[val_rows], table.multi_label, self.settings.thresholds
        )
        val_scores = self._score(data, val_rows, val_answers, thresholds)
        if self.plan.shuffle_labels:
            auroc = val_scores.overall.overall["auroc"]
            found = sentinels.find_shuffled_skill(auroc.low, auroc.value)
            warnings += [found] if found else []
        card = self._describe(data, outcome, thresholds, val_scores)
        saved = self._save(model, card, data, val_answers)
        if outcome.ended == "stopped":
            return RunResult("stopped", self.folder.task, None, None, split, tuple(warnings))
        scores = val_scores
        if split == "test":
            rows = table.rows_in("test")
            scores = self._score(data, rows, self._predict(saved, data, rows), thresholds)
        warnings += scores.warnings
        self._write_results(data, scores, val_scores, outcome, card, split, warnings)
        return RunResult(
            outcome.ended, self.folder.task, self.folder.report, scores, split, tuple(warnings)
        )

    def _predict(
        self, model: TaskModel, data: PreparedData, rows: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float64]:
        return predict_rows(
            model,
            data.images,
            rows,
            self.preprocessing,
            multi_label=data.table.multi_label,
            batch_size=self.settings.batch_size,
            progress=self.progress,
        )

    def _score(
        self,
        data: PreparedData,
        rows: npt.NDArray[np.int64],
        answers: npt.NDArray[np.float64],
        thresholds: tuple[float, ...],
    ) -> Scores:
        return score_rows(
            data.table,
            rows,
            answers,
            thresholds=thresholds,
            seen=find_seen(data, rows),
            seed=self.settings.seed,
        )

    def _watch_model(
        self, model: TaskModel, data: PreparedData, val_answers: npt.NDArray[np.float64]
    ) -> list[str]:
        """Warnings about answers that are constant, or that the adapter has no part in."""
        rows = data.table.rows_in("val")
        targets = data.table.targets[rows]
        fixed = choose_thresholds(val_answers, targets, data.table.multi_label, "fixed")
        decisions = decide(val_answers, fixed, data.table.multi_label)
        found = [sentinels.find_constant_answer(decisions, targets, data.table.classes)]
        if self.settings.method == "lora":
            tensors = model.collect_tensors()
            idle = {
                name: torch.zeros_like(tensor) if name.endswith(".B") else tensor
                for name, tensor in tensors.items()
            }
            model.load_tensors(idle)
            without = self._predict(model, data, rows[:N_PROBES])
            model.load_tensors(tensors)
            found.append(sentinels.find_idle_adapter(val_answers[:N_PROBES], without))
        return [warning for warning in found if warning]

    def _describe(
        self,
        data: PreparedData,
        outcome: Outcome,
        thresholds: tuple[float, ...],
        val_scores: Scores,
    ) -> TaskCard:
        training: dict[str, Any] = {
            **self.settings.to_dict(),
            "precision": self.precision,
            "device": self.fabric.device.type,
            "n_processes": self.fabric.world_size,
            "best_epoch": outcome.best_epoch,
            "n_epochs_done": len(outcome.history),
            "ended": outcome.ended,
            "weights": self.backbone.weights,
            "shuffled_labels": self.plan.shuffle_labels,
        }
        return TaskCard(
            name=self.plan.name,
            classes=data.table.classes,
            multi_label=data.table.multi_label,
            method=self.settings.method,
            backbone=BackboneReference(self.backbone.name, self.backbone.fingerprint),
            preprocessing=self.preprocessing,
            adapter=self.adapter,
            thresholds=thresholds,
            training=training,
            data=describe_data(data),
            metrics={
                "val": {
                    name: estimate.value
                    for name, estimate in val_scores.overall.overall.items()
                    if estimate.value is not None
                }
            },
            software=list_versions(),
            created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            note=self.plan.note,
        )

    def _save(
        self,
        model: TaskModel,
        card: TaskCard,
        data: PreparedData,
        val_answers: npt.NDArray[np.float64],
    ) -> TaskModel:
        """Write the task file, read it again, and give the model that it makes.

        Raises:
            TrainingError: The file does not answer like the model.
        """
        path = self.folder.task
        task = convert_task(Task(card, model.collect_tensors()), self.plan.save_dtype)
        exact = build_model(task, self.backbone, place=str(path))
        check = record_self_check(exact, card.preprocessing, multi_label=card.multi_label)
        save_task(path, Task(replace(card, self_check=check), task.tensors))
        loaded = load_task(path)
        run_self_check(loaded, self.backbone, place=str(path))
        saved = build_model(
            loaded,
            self.backbone,
            place=str(path),
            dtype=DTYPES[self.precision],
            device=self.fabric.device,
        )
        rows = data.table.rows_in("val")[:N_PROBES]
        # Rounding in bf16 makes answers differ by more than the file's own rounding does.
        coarse = "bfloat16" if self.precision == "bf16" else self.plan.save_dtype
        sentinels.check_same_answers(
            val_answers[:N_PROBES],
            self._predict(saved, data, rows),
            tolerance=_SAVE_TOLERANCE[coarse],
            place=str(path),
        )
        return saved

    def _write_results(
        self,
        data: PreparedData,
        scores: Scores,
        val_scores: Scores,
        outcome: Outcome,
        card: TaskCard,
        split: Literal["test", "val"],
        warnings: list[str],
    ) -> None:
        table = data.table
        write_atomically(self.folder.predictions, format_predictions(table, scores))
        write_json(
            self.folder.evaluation,
            {
                "task": card.name,
                "split": split,
                **scores.to_dict(),
                "warnings": warnings,
                "val": val_scores.overall.to_dict(),
            },
        )
        content = ReportContent(
            title=card.name,
            card=card.to_dict(),
            command=self.plan.command,
            history=outcome.history,
            evaluation=scores.overall.to_dict(),
            probabilities=scores.probabilities,
            targets=table.targets[scores.rows],
            classes=table.classes,
            multi_label=table.multi_label,
            locations=[table.locations[row] for row in scores.rows],
            evaluation_unseen=scores.unseen.to_dict() if scores.unseen else None,
            mistakes=pick_mistakes(table, scores, data.images),
            warnings=warnings,
            n_skipped=data.n_skipped,
            split=split,
        )
        write_atomically(self.folder.report, render_report(content).encode())
