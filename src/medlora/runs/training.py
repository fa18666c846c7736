"""One training run from its data to a scored task file, in a folder that it can go on from."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from lightning_fabric import Fabric

from medlora.data.cache import ImageCache, NoCache
from medlora.data.split_file import write_split
from medlora.progress import Progress, silent
from medlora.runs.components import fit_components
from medlora.runs.demands import check_demands
from medlora.runs.finishing import finish_refit, finish_run
from medlora.runs.folder import RunFolder, RunPlan, write_json
from medlora.runs.ongoing import OngoingRun
from medlora.runs.preparing import PreparedData, divide_data, shuffle_labels
from medlora.runs.refit import Refit
from medlora.runs.reopening import check_images, reopen_run
from medlora.runs.results import RunResult
from medlora.runs.short_audit import keep_audit
from medlora.runs.standardising import fold_inputs, standardise_inputs
from medlora.runs.versions import list_versions
from medlora.task.model import TaskModel
from medlora.task.precision import Chosen
from medlora.train.checkpoint import CheckpointFile, CheckpointStore
from medlora.train.examples import TrainingData
from medlora.train.loop import Outcome, Trainer, never, watch_nothing

__all__ = ["RunResult", "begin_run", "fit_model", "resume_run", "start_run"]


def start_run(
    plan: RunPlan,
    folder: Path,
    *,
    cache: ImageCache | NoCache,
    fabric: Fabric | None = None,
    progress: Progress = silent,
    should_stop: Callable[[], bool] = never,
    precision: Chosen | None = None,
) -> RunResult:
    """Train a task as planned, into a new folder.

    Args:
        plan: What to do.
        folder: Where the run's files go; missing or empty.
        cache: Where decoded images are kept.
        fabric: Devices and processes, launched; one process on the CPU where None.
        progress: Told of every step.
        should_stop: Asked after every step; true ends the run in a state to go on from.
        precision: What to compute in where something has settled that already, as a search does.

    Raises:
        MedLoRAError: The data, settings or weights are not usable, or training failed.
    """
    fabric = fabric or Fabric(accelerator="cpu", devices=1)
    # Every process looks, so that all of them stop; none writes before all have looked.
    RunFolder(folder).check_free()
    fabric.barrier()
    run = OngoingRun(plan, RunFolder(folder), cache, fabric, progress, precision=precision)
    data = run.prepare(Path(plan.data))
    settings = plan.settings
    data = divide_data(
        data,
        val_fraction=settings.val_fraction,
        test_fraction=settings.test_fraction,
        seed=settings.seed,
        allow_patient_overlap=plan.allow_patient_overlap,
    )
    return begin_run(run, data, should_stop=should_stop)


def begin_run(
    run: OngoingRun,
    data: PreparedData,
    *,
    refit: Refit | None = None,
    should_stop: Callable[[], bool] = never,
) -> RunResult:
    """Train on images whose splits are settled.

    Args:
        run: The run; its folder is missing or empty.
        data: The images; each has a split.
        refit: What cross-validation has settled, where the images have no validation split.
        should_stop: Asked after every step.

    Raises:
        MedLoRAError: The folder is in use, or training failed.
    """
    check_demands(run.settings, data.table)
    run.folder.check_free()
    run.fabric.barrier()
    if run.fabric.is_global_zero:
        write_split(run.folder.split, data.table, data.sha256)
        record = {
            "plan": run.plan.to_dict(),
            "classes": list(data.table.classes),
            "data_sha256": data.digest,
            "n_skipped": data.n_skipped,
            "unreadable": list(data.unreadable),
            "backbone_fingerprint": run.backbone.fingerprint,
            "n_processes": run.fabric.world_size,
            "precision": run.precision,
            "software": list_versions(),
        }
        if refit is not None:
            record["refit"] = refit.to_dict()
        write_json(run.folder.plan, record)
    run.fabric.barrier()
    return _train(run, data, refit, should_stop)


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
    record = place.read_record()
    run = reopen_run(place, record, cache, fabric, progress)
    data = run.prepare(place.split, classes=record["classes"])
    check_images(run, data, record)
    name = Path(run.plan.data).stem
    data = replace(
        data,
        table=replace(data.table, name=name),
        n_skipped=record["n_skipped"],
        unreadable=tuple(record["unreadable"]),
    )
    refit = Refit.from_dict(record["refit"]) if "refit" in record else None
    return _train(run, data, refit, should_stop)


def fit_model(
    run: OngoingRun,
    data: PreparedData,
    *,
    checkpoints: CheckpointStore,
    should_stop: Callable[[], bool] = never,
    watch: Callable[[Sequence[Mapping[str, float]]], bool] = watch_nothing,
) -> tuple[TaskModel, Outcome]:
    """Train a new model as planned on the training images, and leave its best epoch in it.

    Args:
        run: The run; nothing is written to its folder.
        data: The images, each with a split.
        checkpoints: Where the state is kept.
        should_stop: Asked after every step.
        watch: Shown the figures of every finished epoch; true ends training.

    Raises:
        TrainingError: The loss is not finite or explodes, or an adapter gets no gradient.
    """
    table = data.table
    training = TrainingData(
        images=data.images,
        targets=table.targets,
        multi_label=table.multi_label,
        train_rows=table.rows_in("train"),
        val_rows=table.rows_in("val"),
        preprocessing=run.preprocessing,
        names=data.names,
    )
    model = run.build_model(len(table.classes)).to(run.fabric.device)
    run.keep_features(model, data, training)
    if run.settings.method == "pca-logistic":
        return model, fit_components(run, data, model, training, should_stop=should_stop)
    is_standardised = run.settings.input_norm == "standard"
    if is_standardised:
        standardise_inputs(run, model, training)
    trainer = Trainer(
        model,
        training,
        run.settings,
        checkpoints=checkpoints,
        fabric=run.fabric,
        progress=run.progress,
        should_stop=should_stop,
        watch=watch,
        features=run.features,
    )
    outcome = trainer.run()
    if is_standardised:
        fold_inputs(model)
    return model, outcome


def _train(
    run: OngoingRun, data: PreparedData, refit: Refit | None, should_stop: Callable[[], bool]
) -> RunResult:
    """Audit the images, train, and finish as far as the run got."""
    if run.fabric.is_global_zero:
        keep_audit(run.folder.audit, data, seed=run.settings.seed)
    learnt = shuffle_labels(data, run.settings.seed) if run.plan.shuffle_labels else data
    model, outcome = fit_model(
        run,
        learnt,
        checkpoints=CheckpointFile(run.folder.checkpoint),
        should_stop=should_stop,
        watch=watch_nothing if refit is None else refit.watch,
    )
    split: Literal["test", "val"] = "test" if len(data.table.rows_in("test")) else "val"
    if not run.fabric.is_global_zero:
        return RunResult(outcome.ended, None, None, None, split, ())
    write_json(run.folder.history, list(outcome.history))
    has_nothing = outcome.best_epoch == 0 or refit is not None
    if outcome.ended == "stopped" and has_nothing:
        return RunResult("stopped", None, None, None, split, ())
    if refit is not None:
        return finish_refit(run, model, learnt, outcome, refit)
    return finish_run(run, model, learnt, outcome, split)
