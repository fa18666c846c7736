"""Indices are taken once, and what is tried under one does not depend on who tries it."""

import socket
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import replace

import optuna
import pytest
from optuna.trial import TrialState

from medlora.errors import SettingsError
from medlora.runs.folder import RunPlan
from medlora.tune.plan import TuneFolder, TunePlan
from medlora.tune.samplers import INDEX
from medlora.tune.space import read_space
from medlora.tune.study import (
    ERROR,
    OWNER,
    SupersededTrial,
    begin_trial,
    describe_owner,
    is_valid,
    open_study,
    release_abandoned,
    suggest_values,
    take_index,
)

# Trials are asked for one by one here, which a study with heartbeats does not expect.
pytestmark = pytest.mark.filterwarnings("ignore:Heartbeat of storage")

SPACE = read_space(
    {
        "rank": {"low": 1, "high": 64, "log": True},
        "learning_rate": {"low": 1e-5, "high": 1e-1, "log": True},
        "optimizer": ["adam", "adamw", "sgd"],
    },
    "space.yaml",
)
GRID = read_space({"rank": [1, 2], "optimizer": ["adam", "sgd"]}, "space.yaml")


def make_plan(sampler="random", space=SPACE, **changes) -> TunePlan:
    run = RunPlan("data", space.base, "task")
    return TunePlan(run, space, sampler, **({"n_trials": 7} | changes))


@pytest.fixture
def open_in():
    """Opens studies in folders, and closes them in the end."""
    with ExitStack() as stack:

        def open_one(folder, plan, digest="0" * 64) -> optuna.Study:
            folder.mkdir(exist_ok=True)
            return stack.enter_context(open_study(plan, TuneFolder(folder), digest))

        yield open_one


def run_all(study, plan, *, fail_at=()):
    """Every trial scored by a formula; those at some numbers are dropped, as if killed."""

    def objective(trial):
        begin_trial(study, trial)
        values = suggest_values(trial, plan.space.dimensions)
        if trial.number in fail_at:
            raise KeyboardInterrupt
        return values["rank"] + values.get("learning_rate", 0)

    while take_index(study, plan.n_trials):
        try:
            study.optimize(objective, n_trials=1)
        except KeyboardInterrupt:
            continue


def list_tried(study):
    trials = [trial for trial in study.get_trials() if is_valid(trial)]
    return [trial.params for trial in sorted(trials, key=lambda each: each.user_attrs[INDEX])]


@pytest.mark.parametrize("sampler", ["random", "tpe", "grid"])
def test_dropped_trials_are_done_again_as_they_would_have_been(tmp_path, open_in, sampler) -> None:
    space = GRID if sampler == "grid" else SPACE
    plan = make_plan(sampler, space, n_trials=4 if sampler == "grid" else 7)
    whole, cut = open_in(tmp_path / "whole", plan), open_in(tmp_path / "cut", plan)
    run_all(whole, plan)
    run_all(cut, plan, fail_at=(1, 3))
    assert list_tried(cut) == list_tried(whole)
    assert len(list_tried(whole)) == plan.n_trials
    if sampler == "grid":
        assert list_tried(whole) == list(GRID.list_points())
    elif sampler == "random":
        other = open_in(tmp_path / "other", replace(plan, seed=1))
        run_all(other, plan)
        assert list_tried(other) != list_tried(whole)


def test_an_index_is_held_by_the_first_who_took_it(tmp_path, open_in) -> None:
    study = open_in(tmp_path / "study", make_plan())
    for _ in range(2):
        study.enqueue_trial({}, user_attrs={INDEX: 0})
    first, second = study.ask(), study.ask()
    begin_trial(study, first)
    with pytest.raises(SupersededTrial):
        begin_trial(study, second)
    study.tell(first, state=TrialState.FAIL)
    begin_trial(study, second)


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_who_comes_too_late_for_a_waiting_trial_gives_up(tmp_path, open_in, sampler) -> None:
    plan = make_plan(sampler)
    study = open_in(tmp_path / "study", plan)
    # Two processes see the same one wait; asked for it twice, Optuna makes another of its own.
    assert take_index(study, plan.n_trials)
    first, late = study.ask(), study.ask()
    assert INDEX not in late.user_attrs
    with pytest.raises(SupersededTrial):
        begin_trial(study, late)
    begin_trial(study, first)
    later = [take_index(study, plan.n_trials), study.ask()][1]
    begin_trial(study, later)
    assert later.user_attrs[INDEX] != first.user_attrs[INDEX]
    study.tell(late, state=TrialState.FAIL)
    assert [is_valid(trial) for trial in study.get_trials()] == [True, False, True]


def test_trials_of_dead_processes_are_given_free(tmp_path, open_in) -> None:
    study = open_in(tmp_path / "study", make_plan())
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    owners = [
        f"{socket.gethostname()} {ended.pid} 1",
        f"{describe_owner()}0",
        describe_owner(),
        f"elsewhere {ended.pid} 1",
    ]
    for index, owner in enumerate(owners):
        study.enqueue_trial({}, user_attrs={INDEX: index, OWNER: owner})
        study.ask()
    release_abandoned(study)
    states = [trial.state for trial in study.get_trials()]
    running, failed = TrialState.RUNNING, TrialState.FAIL
    assert states == [failed, failed, running, running]
    assert take_index(study, 4)
    assert study.get_trials()[-1].user_attrs[INDEX] == 0


def test_a_trial_that_failed_by_its_settings_is_not_done_again(tmp_path, open_in) -> None:
    study = open_in(tmp_path / "study", make_plan())
    assert take_index(study, 1)
    trial = study.ask()
    trial.set_user_attr(ERROR, "the loss explodes")
    study.tell(trial, state=TrialState.FAIL)
    assert not take_index(study, 1)


def test_another_search_under_the_same_name_is_refused(tmp_path, open_in) -> None:
    plan = make_plan()
    open_in(tmp_path / "study", plan)
    with pytest.raises(SettingsError, match=r"another search under the name 'study': its n_folds"):
        open_in(tmp_path / "study", replace(plan, n_folds=3))
    with pytest.raises(SettingsError, match=r"its data_sha256 differ\. Give this one another name"):
        open_in(tmp_path / "study", plan, "1" * 64)


@pytest.mark.parametrize("url", ["nonsense", "nosuchdb://host/x", "sqlite:////no/such/place.db"])
def test_a_database_that_cannot_be_opened(tmp_path, open_in, url) -> None:
    with pytest.raises(SettingsError, match=r"study's database cannot be opened: .*--storage"):
        open_in(tmp_path / "study", make_plan(storage=url))


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"sampler": "best"}, "sampler must be one of grid, random, tpe, not 'best'"),
        ({"pruner": "all"}, "pruner must be one of median, none"),
        ({"n_trials": 0}, "at least one trial"),
        ({"n_folds": 1}, "folds must be 0, or at least 2"),
    ],
)
def test_a_plan_knows_its_words(changes, fault) -> None:
    with pytest.raises(SettingsError, match=fault):
        make_plan(**changes)
