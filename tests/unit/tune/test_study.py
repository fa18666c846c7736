"""Indices are taken once, and what is tried under one does not depend on who tries it."""

import csv
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from medlora.data.cache import NoCache
from medlora.errors import OtherSearchError, SettingsError
from medlora.runs.folder import RunPlan
from medlora.runs.preparing import PreparedData, prepare_data
from medlora.tune.identity import check_backbone, describe_images, keep_precision
from medlora.tune.plan import TuneFolder, TunePlan
from medlora.tune.results import collect_results, keep_results
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
from run_samples import write_images
from training_samples import PREPROCESSING, make_backbone

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

        def open_one(folder, plan, **images) -> optuna.Study:
            return stack.enter_context(open_study(plan, TuneFolder(folder), images))

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


def test_the_table_that_is_written_last_is_the_newest(tmp_path, open_in) -> None:
    plan = make_plan()
    study = open_in(tmp_path / "study", plan)
    folder = TuneFolder(tmp_path / "study")
    writer = threading.Thread(target=keep_results, args=(folder, plan, study))
    # Another process is at its table: this one waits, and reads the trials when it is its turn.
    with folder.lock_results():
        writer.start()
        writer.join(timeout=1)
        study.enqueue_trial({}, user_attrs={INDEX: 0})
        study.tell(study.ask(), 0.5)
    writer.join()
    rows = list(csv.DictReader(folder.table.read_text().splitlines()))
    assert [(row["index"], row["state"]) for row in rows] == [("0", "complete")]


def test_trials_beyond_what_is_planned_do_not_stand_for_others(tmp_path, open_in) -> None:
    study = open_in(tmp_path / "study", make_plan())
    for index in (0, 2):
        study.enqueue_trial({}, user_attrs={INDEX: index})
        study.tell(study.ask(), 0.5)
    is_complete = {n: collect_results(make_plan(n_trials=n), study).is_complete for n in (1, 2, 3)}
    assert is_complete == {1: True, 2: False, 3: False}


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


@pytest.mark.parametrize(
    ("changes", "of_run", "differing"),
    [
        ({"n_folds": 3}, {}, "n_folds"),
        ({"pruner": "none", "seed": 1}, {}, "pruner, seed"),
        ({"space": GRID}, {}, "space"),
        ({}, {"weights": "random"}, "weights"),
        ({}, {"group_by": "site"}, "group_by"),
        ({}, {"skip_unreadable": True}, "skip_unreadable"),
        ({}, {"allow_patient_overlap": True}, "allow_patient_overlap"),
    ],
)
def test_another_search_is_refused_and_what_differs_named(
    tmp_path, open_in, changes, of_run, differing
) -> None:
    plan = make_plan()
    open_in(tmp_path / "study", plan)
    other = replace(plan, **changes, run=replace(plan.run, **of_run))
    fault = rf"another search under the name 'study': its {differing} differ\."
    with pytest.raises(OtherSearchError, match=fault):
        open_in(tmp_path / "study", other)
    folder = TuneFolder(tmp_path / "study")
    folder.check_plan(plan)
    folder.write_plan(plan)
    with pytest.raises(OtherSearchError, match=rf"holds another search: its {differing} differ\."):
        folder.check_plan(other)
    # More trials, and a command that is typed otherwise, are the same search.
    folder.check_plan(replace(plan, n_trials=70, run=replace(plan.run, command="medlora")))


@pytest.mark.parametrize(
    ("changes", "of_run", "differing"),
    [
        ({"study": "other"}, {}, "study"),
        ({"storage": "sqlite:///other.db"}, {}, "storage"),
        ({}, {"data": "elsewhere"}, "data"),
        ({}, {"name": "other", "note": "not for use"}, "name, note"),
    ],
)
def test_a_folder_is_that_of_one_task_and_one_study(tmp_path, changes, of_run, differing) -> None:
    plan = make_plan()
    folder = TuneFolder(tmp_path)
    folder.write_plan(plan)
    with pytest.raises(OtherSearchError, match=rf"holds another search: its {differing} differ\."):
        folder.check_plan(replace(plan, **changes, run=replace(plan.run, **of_run)))


def test_a_folder_is_free_where_nothing_but_a_killed_beginning_is_in_it(tmp_path) -> None:
    folder = TuneFolder(tmp_path)
    for name in ("study.db", "study.db-journal", ".study.json.12ab34cd.part"):
        (tmp_path / name).touch()
    folder.check_plan(make_plan())
    (tmp_path / "notes.txt").touch()
    with pytest.raises(SettingsError, match=r"is not empty\. Choose another folder"):
        folder.check_plan(make_plan())
    with pytest.raises(SettingsError, match=r"notes\.txt is a file\. Choose a folder"):
        TuneFolder(tmp_path / "notes.txt").check_plan(make_plan())


def make_pool(tmp_path, **changes) -> PreparedData:
    data = prepare_data(write_images(tmp_path, 3), PREPROCESSING, NoCache())
    table = data.table.with_splits(["train"] * 4 + ["val"] * 2)
    return data.with_table(replace(table, **changes))


@pytest.mark.parametrize(
    ("changes", "differing"),
    [
        ({"targets": np.eye(2, dtype=bool)[[0, 0, 0, 1, 1, 0]]}, "labels"),
        ({"classes": ("dark", "bright")}, "labels"),
        ({"splits": ("train",) * 5 + ("val",)}, "splits"),
        ({"patients": ("p", "p", None, None, None, None)}, "groups"),
    ],
)
def test_other_images_are_refused_and_what_differs_named(
    tmp_path, open_in, changes, differing
) -> None:
    plan = make_plan()
    pool = make_pool(tmp_path / "one")
    open_in(tmp_path / "study", plan, **describe_images(pool))
    open_in(tmp_path / "study", plan, **describe_images(make_pool(tmp_path / "same")))
    other = describe_images(make_pool(tmp_path / "other", **changes))
    fault = rf"its {differing} differ\. Put back what it was begun with, or give this one another"
    with pytest.raises(OtherSearchError, match=fault):
        open_in(tmp_path / "study", plan, **other)
    changed = replace(pool, sha256=(*pool.sha256[:5], "0" * 64))
    with pytest.raises(OtherSearchError, match=r"its images differ\."):
        open_in(tmp_path / "study", plan, **describe_images(changed))


def test_patients_are_told_apart_and_not_told(tmp_path) -> None:
    names = [make_pool(tmp_path / name, patients=(name,) * 6) for name in ("ann", "bob")]
    assert describe_images(names[0]) == describe_images(names[1])


def test_trials_have_one_precision_and_the_same_weights(tmp_path, open_in) -> None:
    study = open_in(tmp_path / "study", make_plan())
    assert keep_precision(study, "fp32") == "fp32"
    assert keep_precision(study, "bf16") == "fp32"
    backbone = make_backbone()
    check_backbone(study, backbone)
    check_backbone(study, replace(backbone, name="other", fingerprint="0" * 64))
    fault = rf"begun on tiny@{backbone.fingerprint[:6]}; the weights now found are @111111"
    with pytest.raises(OtherSearchError, match=fault):
        check_backbone(study, replace(backbone, fingerprint="1" * 64))


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
