"""A search from its data to a tested task file, which any number of processes may share."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import optuna
from lightning_fabric import Fabric
from optuna.trial import TrialState

from medlora.data.cache import ImageCache, NoCache
from medlora.errors import (
    CheckpointMismatchError,
    DataError,
    MedLoRAError,
    OtherSearchError,
    SettingsError,
    StorageError,
    WeightsNotFoundError,
)
from medlora.progress import Progress, silent
from medlora.runs.demands import check_demands
from medlora.runs.ongoing import OngoingRun
from medlora.runs.preparing import PreparedData
from medlora.runs.results import RunResult
from medlora.task.precision import choose_precision
from medlora.train.loop import never
from medlora.train.settings import TrainSettings
from medlora.tune.best import run_best
from medlora.tune.identity import check_backbone, describe_images, keep_precision
from medlora.tune.plan import TuneFolder, TunePlan
from medlora.tune.results import StudyResult, collect_results, keep_results
from medlora.tune.space import Choice
from medlora.tune.study import (
    EPOCHS,
    ERROR,
    FOLDS,
    SECONDS,
    SupersededTrial,
    begin_trial,
    open_study,
    release_abandoned,
    run_trial,
    suggest_values,
    take_index,
)
from medlora.tune.trial import PrunedTrial, StoppedTrial, Trials

# What is no fault of a trial's settings, and so ends the search.
_ENDING = (
    DataError,
    StorageError,
    OtherSearchError,
    WeightsNotFoundError,
    CheckpointMismatchError,
)


@dataclass(frozen=True)
class TuneResult:
    """What a search came to.

    Attributes:
        ended: `finished`; `stopped`, where it was asked to; `shared`, where other processes
            are still at work on the last trials.
        results: All trials so far.
        best: The run with the best trial's settings; None where the search is not finished.
    """

    ended: Literal["finished", "stopped", "shared"]
    results: StudyResult
    best: RunResult | None


def run_search(
    plan: TunePlan,
    folder: TuneFolder,
    *,
    cache: ImageCache | NoCache,
    fabric: Fabric | None = None,
    progress: Progress = silent,
    should_stop: Callable[[], bool] = never,
) -> TuneResult:
    """Begin a search, go on with it, or take part in it: the trials in the database tell which.

    Test images are read when all trials are finished, by the run with the best settings, once;
    where more trials then find better ones, by the run with these.

    Args:
        plan: What to search.
        folder: Where the files go; missing, empty, or that of the same search.
        cache: Where decoded images are kept.
        fabric: Device, launched; the CPU where None.
        progress: Told of every trial, and the best score so far.
        should_stop: Asked after every step; true ends in a state to go on from.

    Raises:
        MedLoRAError: Data, weights, space or database are not usable, or no trial succeeded.
    """
    fabric = fabric or Fabric(accelerator="cpu", devices=1)
    if plan.sampler == "grid":
        plan = replace(plan, n_trials=len(plan.space.list_points()))
    folder.check_plan(plan)
    trials = Trials(
        plan.run,
        plan.n_folds,
        cache=cache,
        fabric=fabric,
        progress=progress,
        should_stop=should_stop,
    )
    run, pool = _prepare_images(plan, trials)
    with open_study(plan, folder, describe_images(pool)) as study:
        check_backbone(study, run.backbone)
        trials.precision = keep_precision(study, choose_precision("auto", fabric.device))
        folder.write_plan(plan)
        is_stopped = not _run_trials(plan, study, trials, progress, should_stop)
        results = keep_results(folder, plan, study)
    if is_stopped or not results.is_complete:
        return TuneResult("stopped" if is_stopped else "shared", results, None)
    with folder.lock_best():
        # While this process waited, another one may have done more trials, and the best of them.
        with open_study(plan, folder, describe_images(pool)) as study:
            results = collect_results(plan, study)
            settings = _find_best(plan, results)
            check_backbone(study, trials.prepare(settings)[0].backbone)
        best = run_best(
            replace(plan.run, settings=settings),
            folder,
            precision=trials.precision if settings.precision == "auto" else None,
            cache=cache,
            fabric=fabric,
            progress=progress,
            should_stop=should_stop,
        )
    return TuneResult("stopped" if best.ended == "stopped" else "finished", results, best)


def _prepare_images(plan: TunePlan, trials: Trials) -> tuple[OngoingRun, PreparedData]:
    """A trial's run, and the images outside of the test split, which allow all that is asked for.

    Raises:
        MedLoRAError: What the space asks for cannot be met on them.
    """
    settled = [plan.space.settle(probe) for probe in plan.space.list_probes()]
    run, pool = trials.prepare(settled[0])
    # The best run's validation images are those of the pool, be trials scored by folds or not.
    asked = {
        (each.operating_point, each.coverage, each.coverage_by_class, each.method): each
        for each in settled
    }
    for settings in asked.values():
        check_demands(settings, pool.table)
    # A fold that cannot be held out is found before any training.
    list(trials.split(pool))
    return run, pool


def _run_trials(
    plan: TunePlan,
    study: optuna.Study,
    trials: Trials,
    progress: Progress,
    should_stop: Callable[[], bool],
) -> bool:
    """Do trials until every index is taken; false where it was asked to stop before."""
    n_epochs = _find_most_epochs(plan)

    def objective(trial: optuna.Trial) -> float:
        begin_trial(study, trial)
        values = suggest_values(trial, plan.space.dimensions)

        def report(value: float, fold: int, epoch: int) -> bool:
            # Equal steps are compared with one another, whatever a trial's number of epochs.
            trial.report(value, fold * n_epochs + epoch)
            return trial.should_prune()

        try:
            settings = plan.space.settle(values)
            check_backbone(study, trials.prepare(settings)[0].backbone)
            score = trials.score(settings, report)
        except PrunedTrial:
            raise optuna.TrialPruned from None
        except _ENDING:
            raise
        except MedLoRAError as error:
            trial.set_user_attr(ERROR, str(error))
            raise
        trial.set_user_attr(FOLDS, list(score.folds))
        trial.set_user_attr(EPOCHS, list(score.best_epochs))
        trial.set_user_attr(SECONDS, score.seconds)
        return score.value

    while not should_stop():
        release_abandoned(study)
        _tell_progress(plan, study, progress)
        if not take_index(study, plan.n_trials):
            return True
        try:
            run_trial(study, objective)
        except StoppedTrial:
            return False
        except SupersededTrial:
            continue
        except _ENDING:
            raise
        except MedLoRAError:
            # The table says why the trial failed; others may succeed.
            continue
    return False


def _find_most_epochs(plan: TunePlan) -> int:
    """The most epochs that a trial can have."""
    epochs = plan.space.dimensions.get("epochs")
    if isinstance(epochs, Choice):
        return max(int(number) for number in epochs.options if number is not None)
    return plan.space.base.epochs if epochs is None else int(epochs.high)


def _tell_progress(plan: TunePlan, study: optuna.Study, progress: Progress) -> None:
    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
    failed = [
        trial
        for trial in study.get_trials(deepcopy=False, states=(TrialState.FAIL,))
        if ERROR in trial.user_attrs
    ]
    n_done = min(len(done) + len(failed), plan.n_trials)
    values = [t.value for t in done if t.state == TrialState.COMPLETE and t.value is not None]
    better = min if plan.measure == "loss" else max
    figures = {f"best_{plan.measure}": better(values)} if values else {}
    progress("trials", n_done, plan.n_trials, **figures)


def _find_best(plan: TunePlan, results: StudyResult) -> TrainSettings:
    """The best trial's settings.

    Raises:
        SettingsError: No trial has a score.
    """
    if results.best is None:
        reasons = [row.error for row in results.trials if row.error]
        raise SettingsError(
            f"None of the {len(results.trials)} trials could be scored. The first one's reason: "
            f"{reasons[0] if reasons else 'it was pruned'}"
        )
    return plan.space.settle(results.best.values)
