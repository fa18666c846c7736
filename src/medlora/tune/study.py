"""A study in a database: which trials are taken, by whom, and what is drawn for each.

Every trial has an index. What is tried under an index follows from the seed and the index alone
(for `tpe`, from the finished trials as well), so that an index that a killed process leaves open is
done again by another with the same settings.
"""

import logging
import os
import socket
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import optuna
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from medlora.errors import SettingsError
from medlora.tune.identity import check_search
from medlora.tune.plan import TuneFolder, TunePlan
from medlora.tune.samplers import INDEX, GridSampler, IndexedSampler
from medlora.tune.space import Choice, Dimension, Value

OWNER, ERROR, FOLDS, EPOCHS, SECONDS = (
    "owner",
    "error",
    "folds",
    "best_epochs",
    "seconds",
)
_BEAT_SECONDS = 30
_SILENCE_SECONDS = 150
_N_STARTUP = 5
_N_ATTEMPTS = 6
_PAUSE_SECONDS = 0.4


class SupersededTrial(Exception):  # noqa: N818, it is no fault
    """Another process has taken the index a moment before, or the trial from this one."""


@contextmanager
def open_study(
    plan: TunePlan, folder: TuneFolder, images: Mapping[str, str]
) -> Iterator[optuna.Study]:
    """The study, made if it is not there yet, in which this process may take part.

    Its connections to the database are closed at the end.

    Args:
        plan: What is searched.
        folder: Where the database lies if it has no URL.
        images: Digests of what trials are scored on, as `describe_images` gives them.

    Raises:
        SettingsError: The database cannot be opened.
        OtherSearchError: It holds another search of that name; what differs is named.
    """
    # Alembic tells of every table that it makes.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    if plan.storage is None:
        folder.path.mkdir(parents=True, exist_ok=True)
    url = plan.storage or f"sqlite:///{folder.database.absolute().as_posix()}"
    sampler: BaseSampler
    if plan.sampler == "grid":
        sampler = GridSampler(plan.space.list_points())
    else:
        sampler = IndexedSampler(_BUILDERS[plan.sampler], plan.seed)
    pruner = (
        optuna.pruners.MedianPruner(n_startup_trials=_N_STARTUP)
        if plan.pruner == "median"
        else optuna.pruners.NopPruner()
    )
    storage, study = _connect(url, plan, sampler, pruner)
    try:
        check_search(study, {**plan.describe(), **images})
        yield study
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _connect(
    url: str, plan: TunePlan, sampler: BaseSampler, pruner: optuna.pruners.BasePruner
) -> tuple[optuna.storages.RDBStorage, optuna.Study]:
    from sqlalchemy.exc import SQLAlchemyError

    try:
        storage = _open_storage(url)
        higher_is_better = plan.measure != "loss"
        study = optuna.create_study(
            storage=storage,
            study_name=plan.study,
            sampler=sampler,
            pruner=pruner,
            direction="maximize" if higher_is_better else "minimize",
            load_if_exists=True,
        )
        return storage, study
    except (SQLAlchemyError, ImportError, optuna.exceptions.OptunaError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SettingsError(
            f"The study's database cannot be opened: {reason}. Check --storage; PostgreSQL needs "
            "pip install 'medlora[postgres]' and a URL such as postgresql+psycopg://host/name."
        ) from error


def _open_storage(url: str) -> optuna.storages.RDBStorage:
    """The database, with its tables made where they are missing."""
    from sqlalchemy.exc import DBAPIError, IntegrityError

    waiting = {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {}
    for n_left in reversed(range(_N_ATTEMPTS)):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                return optuna.storages.RDBStorage(
                    url,
                    engine_kwargs=waiting,
                    heartbeat_interval=_BEAT_SECONDS,
                    grace_period=_SILENCE_SECONDS,
                )
        except DBAPIError as error:
            # Of several processes that make the same tables all but one are told that they
            # are there; the next attempt finds them.
            is_race = isinstance(error, IntegrityError) or "already exists" in str(error)
            if not is_race or not n_left:
                raise
            time.sleep(_PAUSE_SECONDS)
    raise AssertionError("the last attempt returns or raises")


def take_index(study: optuna.Study, n_trials: int) -> bool:
    """Have a trial wait for the first index that nobody has; false where all are taken."""
    trials = study.get_trials(deepcopy=False)
    if any(trial.state == TrialState.WAITING for trial in trials):
        return True
    taken = {trial.user_attrs[INDEX] for trial in trials if is_valid(trial)}
    for index in range(n_trials):
        if index not in taken:
            study.enqueue_trial({}, user_attrs={INDEX: index, OWNER: describe_owner()})
            return True
    return False


def begin_trial(study: optuna.Study, trial: optuna.Trial) -> None:
    """Note who works on a trial.

    Raises:
        SupersededTrial: Another process works on the same index, or has; or it took the trial that
            waited, so that this one was made without any.
    """
    trial.set_user_attr(OWNER, describe_owner())
    index = trial.user_attrs.get(INDEX)
    if index is None:
        raise SupersededTrial
    for other in study.get_trials(deepcopy=False):
        if other.number < trial.number and is_valid(other) and other.user_attrs[INDEX] == index:
            raise SupersededTrial


def run_trial(study: optuna.Study, objective: Callable[[optuna.Trial], float]) -> None:
    """Do the trial that waits, and note its score.

    Args:
        study: The study, of which a trial waits.
        objective: What a trial is scored by.

    Raises:
        SupersededTrial: Another process gave the trial up meanwhile: since nothing was heard of
            this one for too long, as where a machine slept, or since it had not yet noted whose
            the trial is. Its index is for whoever comes first.
        Exception: What the objective raised.
    """
    is_begun, own = False, None

    def watch(trial: optuna.Trial) -> float:
        nonlocal is_begun, own
        is_begun = True
        try:
            return objective(trial)
        except Exception as error:
            own = error
            raise

    try:
        study.optimize(watch, n_trials=1)
    except (ValueError, AssertionError) as error:
        # So Optuna answers whoever has a result for a trial that is no longer running.
        if error is own or not is_begun:
            raise
        raise SupersededTrial from error


def is_valid(trial: FrozenTrial) -> bool:
    """Whether a trial counts: it waits, runs, or has come to a result, be it an error.

    One without an index does not: two processes saw one waiting trial, and only one could have it.
    """
    is_done = trial.state != TrialState.FAIL or ERROR in trial.user_attrs
    return is_done and INDEX in trial.user_attrs


def release_abandoned(study: optuna.Study) -> None:
    """Give free what processes of this machine held that are no longer there."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if _is_gone(trial.user_attrs.get(OWNER, "")):
            try:
                study.tell(trial.number, state=TrialState.FAIL)
            except (ValueError, optuna.exceptions.UpdateFinishedTrialError):
                # Another process was faster, which is as good.
                continue


def suggest_values(trial: optuna.Trial, dimensions: Mapping[str, Dimension]) -> dict[str, Value]:
    """The values to try."""
    values: dict[str, Value] = {}
    for key, each in dimensions.items():
        if isinstance(each, Choice):
            values[key] = trial.suggest_categorical(key, each.options)
        elif each.is_whole:
            step = int(each.step or 1)
            values[key] = trial.suggest_int(
                key, int(each.low), int(each.high), step=step, log=each.is_log
            )
        else:
            values[key] = trial.suggest_float(
                key, each.low, each.high, step=each.step, log=each.is_log
            )
    return values


def describe_owner() -> str:
    """This process, by machine and number, and when it began."""
    return f"{socket.gethostname()} {os.getpid()} {_read_start(os.getpid())}"


def _is_gone(owner: str) -> bool:
    host, _, rest = owner.partition(" ")
    number, _, start = rest.partition(" ")
    if os.name != "posix" or host != socket.gethostname() or not number.isdigit():
        return False
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    # The number may have been given to another process since.
    return _read_start(int(number)) != start


def _read_start(number: int) -> str:
    """When a process began, where the system tells."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def _build_tpe(seed: int) -> BaseSampler:
    return TPESampler(seed=seed, n_startup_trials=_N_STARTUP)


_BUILDERS: dict[str, Callable[[int], BaseSampler]] = {
    "random": lambda seed: RandomSampler(seed=seed),
    "tpe": _build_tpe,
}
