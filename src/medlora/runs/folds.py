"""Cross-validation: a run for each fold, their answers put together, and a run on everything."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from lightning_fabric import Fabric

from medlora.data.cache import ImageCache, NoCache
from medlora.data.folds import assign_folds, split_fold
from medlora.data.table import ImageTable
from medlora.errors import SettingsError, UndefinedMetricError
from medlora.progress import Progress, silent
from medlora.runs.demands import check_demands
from medlora.runs.fold_scores import ENSEMBLE_NAME, FoldScores, score_folds, write_fold_results
from medlora.runs.folder import RunFolder, RunPlan, read_json, write_json
from medlora.runs.naming import check_words
from medlora.runs.ongoing import OngoingRun
from medlora.runs.preparing import PreparedData, divide_data
from medlora.runs.refit import Refit
from medlora.runs.reopening import check_images, reopen_run
from medlora.runs.results import RunResult
from medlora.runs.training import begin_run, resume_run
from medlora.train.loop import never
from medlora.train.settings import TrainSettings

RECORD_NAME = "folds.json"
_RECORD_KEYS = {"plan", "n_folds", "refit", "data_sha256", "backbone_fingerprint", "n_processes"}


@dataclass(frozen=True)
class FoldsResult:
    """What cross-validation came to.

    Attributes:
        ended: `finished`, or `stopped` where it was asked to stop.
        scores: Each fold's and those of all out-of-fold answers; None where it was stopped
            before all folds were done.
        refit: The run on everything; None where there is none, or it was not begun.
        ensemble: The card of the folds' ensemble; None where it was stopped before.
        report: The report; None where it was stopped before.
    """

    ended: Literal["finished", "stopped"]
    scores: FoldScores | None
    refit: RunResult | None
    ensemble: Path | None
    report: Path | None


def holds_folds(folder: Path) -> bool:
    """Whether a folder is that of a cross-validation."""
    return (folder / RECORD_NAME).is_file()


def start_folds(
    plan: RunPlan,
    folder: Path,
    *,
    n_folds: int,
    refit: bool,
    cache: ImageCache | NoCache,
    fabric: Fabric | None = None,
    progress: Progress = silent,
    should_stop: Callable[[], bool] = never,
) -> FoldsResult:
    """Train and test a task once for each fold, into a new folder.

    The folds are made of all images outside of the test split. Each fold's run learns from
    the others, and chooses its epoch by images of these; what it answers on its own fold is an
    out-of-fold answer. A test split that the data state is not opened but by the refit, once.

    Args:
        plan: What each run is to do.
        folder: Where the files go; missing or empty.
        n_folds: Number of folds.
        refit: Whether to train on all folds together in the end.
        cache: Where decoded images are kept.
        fabric: Devices and processes, launched; one process on the CPU where None.
        progress: Told of every step.
        should_stop: Asked after every step; true ends in a state to go on from.

    Raises:
        MedLoRAError: The data, settings or weights are not usable, or training failed.
    """
    if plan.shuffle_labels:
        raise SettingsError("--folds does not go with --shuffle-labels: shuffle in a plain run.")
    # The longest name of a fold's run.
    check_words(_name_fold(plan.name, n_folds - 1))
    fabric = fabric or Fabric(accelerator="cpu", devices=1)
    RunFolder(folder).check_free()
    fabric.barrier()
    run = OngoingRun(plan, RunFolder(folder), cache, fabric, progress)
    pool = run.prepare_pool()
    folds = assign_folds(pool.table, pool.sha256, n_folds, seed=plan.settings.seed)
    job = _Job(run, pool, folds, refit, should_stop)
    for number, table in enumerate(job.tables):
        _check_fold(run.settings, table, number)
    if fabric.is_global_zero:
        record = {
            "plan": plan.to_dict(),
            "n_folds": n_folds,
            "refit": refit,
            "data_sha256": pool.digest,
            "backbone_fingerprint": run.backbone.fingerprint,
            "n_processes": fabric.world_size,
            "precision": run.precision,
        }
        write_json(folder / RECORD_NAME, record)
    fabric.barrier()
    return job.run_all()


def resume_folds(
    folder: Path,
    *,
    cache: ImageCache | NoCache,
    fabric: Fabric | None = None,
    progress: Progress = silent,
    should_stop: Callable[[], bool] = never,
) -> FoldsResult:
    """Go on with a cross-validation from where it stopped, to the result it would have had.

    Args:
        folder: Its folder.
        cache: Where decoded images are kept.
        fabric: Devices and processes, launched; as many as it was started with.
        progress: Told of every step.
        should_stop: Asked after every step.

    Raises:
        SettingsError: The folder holds no cross-validation, or something else has changed.
        DataError: The images are no longer those that it was started with.
    """
    record = _read_record(folder)
    what = "cross-validation"
    run = reopen_run(RunFolder(folder), record, cache, fabric, progress, what=what)
    pool = run.prepare_pool()
    check_images(run, pool, record, what=what)
    seed = run.plan.settings.seed
    folds = assign_folds(pool.table, pool.sha256, record["n_folds"], seed=seed)
    return _Job(run, pool, folds, record["refit"], should_stop).run_all()


def _check_fold(settings: TrainSettings, table: ImageTable, number: int) -> None:
    """See, before any fold is trained, that a fold's images allow what is asked for."""
    try:
        check_demands(settings, table)
    except (SettingsError, UndefinedMetricError) as error:
        raise type(error)(f"Fold {number} cannot be held out: {error}") from error


class _Job:
    """The runs of a cross-validation, done one after another."""

    def __init__(
        self,
        run: OngoingRun,
        pool: PreparedData,
        folds: npt.NDArray[np.int64],
        refit: bool,
        should_stop: Callable[[], bool],
    ) -> None:
        self.run = run
        self.pool = pool
        self.folds = folds
        self.refit = refit
        self.should_stop = should_stop
        # All at once, so that a fold that cannot be held out is found before any training.
        self.tables = [self._split(number) for number in range(int(folds.max()) + 1)]

    def run_all(self) -> FoldsResult:
        """Do what is left to do."""
        run, folder = self.run, self.run.folder
        for number, table in enumerate(self.tables):
            run.progress("folds", number, len(self.tables))
            place = RunFolder(folder.path / f"fold-{number}")
            # The report is the last file of a run.
            if place.report.is_file():
                continue
            name = _name_fold(run.plan.name, number)
            result = self._do(place, name, self.pool.with_table(table))
            if result is None or result.ended == "stopped":
                return FoldsResult("stopped", None, None, None, None)
        run.progress("folds", len(self.tables), len(self.tables))
        scores = score_folds(run, self.pool, self.folds)
        if run.fabric.is_global_zero:
            write_fold_results(run, self.pool, self.folds, scores)
        run.fabric.barrier()
        finished = FoldsResult("finished", scores, None, folder.path / ENSEMBLE_NAME, folder.report)
        if not self.refit:
            return finished
        result = self._do(
            RunFolder(folder.path / "refit"), run.plan.name, self._join_folds(), scores.settle()
        )
        if result is None or result.ended == "stopped":
            return replace(finished, ended="stopped", refit=result)
        return replace(finished, refit=result)

    def _do(
        self, place: RunFolder, name: str, data: PreparedData, refit: Refit | None = None
    ) -> RunResult | None:
        """Begin a run, or go on with it; None where it was not begun."""
        run = self.run
        if self.should_stop():
            return None
        if place.plan.is_file():
            return resume_run(
                place.path,
                cache=run.cache,
                fabric=run.fabric,
                progress=run.progress,
                should_stop=self.should_stop,
            )
        plan = replace(run.plan, name=name)
        own = OngoingRun(
            plan, place, run.cache, run.fabric, run.progress, run.backbone, run.precision
        )
        return begin_run(own, data, refit=refit, should_stop=self.should_stop)

    def _split(self, number: int) -> ImageTable:
        settings = self.run.settings
        return split_fold(
            self.pool.table,
            self.pool.sha256,
            self.folds,
            number,
            val_fraction=settings.val_fraction,
            seed=settings.seed,
        )

    def _join_folds(self) -> PreparedData:
        """Every image, those of all folds to learn from and the test split as it was."""
        run = self.run
        data = run.prepare(Path(run.plan.data))
        data = divide_data(
            data,
            val_fraction=run.settings.val_fraction,
            test_fraction=run.settings.test_fraction,
            seed=run.settings.seed,
            allow_patient_overlap=run.plan.allow_patient_overlap,
        )
        splits = ["test" if split == "test" else "train" for split in data.table.splits]
        return data.with_table(data.table.with_splits(splits))


def _name_fold(name: str, number: int) -> str:
    return f"{name}-fold-{number}"


def _read_record(folder: Path) -> dict[str, Any]:
    if not holds_folds(folder):
        raise SettingsError(
            f"{folder} holds no cross-validation to go on with: {RECORD_NAME} is missing. Start "
            "it with medlora train DATA --folds 5."
        )
    record = read_json(folder / RECORD_NAME, "record of the folds")
    if not isinstance(record, dict) or not record.keys() >= _RECORD_KEYS:
        raise SettingsError(f"{folder / RECORD_NAME} is not what a run writes. Start anew.")
    return record
