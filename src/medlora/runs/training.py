"""One training run from its data to a scored task file, in a folder that it can go on from."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

from lightning_fabric import Fabric

from medlora.data.cache import ImageCache, NoCache
from medlora.data.split import write_split
from medlora.errors import DataError, SettingsError
from medlora.progress import Progress, silent
from medlora.runs.finishing import RunResult, finish_run
from medlora.runs.folder import RunFolder, RunPlan, write_json
from medlora.runs.ongoing import OngoingRun
from medlora.runs.preparing import PreparedData, divide_data, shuffle_labels
from medlora.runs.versions import list_versions
from medlora.train.checkpoint import CheckpointFile
from medlora.train.loop import Trainer, TrainingData, never

__all__ = ["RunResult", "resume_run", "start_run"]


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
    # Every process looks, so that all of them stop; none writes before all have looked.
    RunFolder(folder).check_free()
    fabric.barrier()
    run = OngoingRun(plan, RunFolder(folder), cache, fabric, progress)
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
            "n_processes": fabric.world_size,
            "software": list_versions(),
        }
        write_json(run.folder.plan, record)
    fabric.barrier()
    return _train(run, data, should_stop)


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
    plan = RunPlan.from_dict(record["plan"])
    fabric = fabric or Fabric(accelerator="cpu", devices=1)
    if fabric.world_size != record["n_processes"]:
        raise SettingsError(
            f"The run in {folder} was started with {record['n_processes']} process(es), not "
            f"{fabric.world_size}. Go on with --devices {record['n_processes']}."
        )
    fabric.barrier()
    if fabric.is_global_zero:
        place.remove_parts()
    run = OngoingRun(plan, place, cache, fabric, progress)
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
    return _train(run, data, should_stop)


def _train(run: OngoingRun, data: PreparedData, should_stop: Callable[[], bool]) -> RunResult:
    """Train, and finish as far as the run got."""
    table = data.table
    learnt = shuffle_labels(data, run.settings.seed) if run.plan.shuffle_labels else data
    training = TrainingData(
        images=data.images,
        targets=learnt.table.targets,
        multi_label=table.multi_label,
        train_rows=table.rows_in("train"),
        val_rows=table.rows_in("val"),
        preprocessing=run.preprocessing,
    )
    model = run.build_model(len(table.classes))
    trainer = Trainer(
        model,
        training,
        run.settings,
        checkpoints=CheckpointFile(run.folder.checkpoint),
        fabric=run.fabric,
        progress=run.progress,
        should_stop=should_stop,
    )
    outcome = trainer.run()
    split: Literal["test", "val"] = "test" if len(table.rows_in("test")) else "val"
    if not run.fabric.is_global_zero:
        return RunResult(outcome.ended, None, None, None, split, ())
    write_json(run.folder.history, list(outcome.history))
    if outcome.best_epoch == 0:
        return RunResult("stopped", None, None, None, split, ())
    return finish_run(run, model, learnt, outcome, split)
