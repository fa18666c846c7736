"""Searches as a whole: exhaustive grids, blindness for test images, going on, sharing."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState
from safetensors.torch import save_file

from medlora.backbones.spec import create_architecture
from medlora.backbones.weights import load_backbone
from medlora.data.cache import NoCache
from medlora.errors import BackboneError, OtherSearchError, SettingsError, UnreadableImagesError
from medlora.runs.folder import RunPlan
from medlora.task.file import load_task
from medlora.train.settings import TrainSettings
from medlora.tune.plan import TuneFolder, TunePlan
from medlora.tune.search import run_search
from medlora.tune.space import Choice, Space, read_space
from medlora.tune.trial import Trials, TrialScore
from postgresql_server import run_postgresql
from run_samples import (
    assert_same_tensors,
    read_answers,
    read_tensors,
    run_command,
    write_images,
    write_manifest,
    write_title,
)

HELD = {"backbone": "test_vit", "precision": "fp32", "epochs": 1, "batch_size": 8}
GRID = HELD | {"learning_rate": [0.001, 0.02], "rank": [1, 4]}
DRAWN = HELD | {"learning_rate": {"low": 1e-4, "high": 0.1, "log": True}, "rank": [1, 2, 4]}


@pytest.fixture(autouse=True)
def plain_pages(monkeypatch):
    monkeypatch.setattr("medlora.runs.results.write_report", write_title)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A manifest with a test split."""
    folder = write_images(tmp_path_factory.mktemp("data"), 12)
    rows = [
        {
            "path": str(path.relative_to(folder)),
            "label": path.parent.name,
            "split": "test" if int(path.stem) < 3 else "train",
        }
        for path in sorted(folder.glob("*/*.png"))
    ]
    return write_manifest(folder / "manifest.csv", rows)


def search(data, folder, space=GRID, *, sampler="grid", n_trials=4, should_stop=None, **changes):
    searched = read_space(space, "space.yaml")
    own = {name: changes.pop(name) for name in ("weights", "note") if name in changes}
    run = RunPlan(
        str(data), searched.base, "tiny", **({"weights": "random", "novelty": False} | own)
    )
    plan = TunePlan(run, searched, sampler, n_trials=n_trials, **changes)
    return run_search(
        plan, TuneFolder(folder), cache=NoCache(), should_stop=should_stop or (lambda: False)
    )


def read_trials(folder):
    rows = read_answers(folder / "trials.csv")
    return [{key: row[key] for key in row if key != "seconds"} for row in rows]


@pytest.fixture(scope="module")
def searched(data, tmp_path_factory):
    """The folder of a finished grid; not to be written to."""
    folder = tmp_path_factory.mktemp("searched") / "run"
    result = search(data, folder)
    assert result.ended == "finished"
    return folder


def test_a_grid_is_tried_as_a_whole_and_its_best_trial_tested(searched) -> None:
    rows = read_trials(searched)
    tried = {(float(row["learning_rate"]), int(row["rank"])) for row in rows}
    assert tried == {(rate, rank) for rate in (0.001, 0.02) for rank in (1, 4)}
    assert [row["index"] for row in rows] == ["0", "1", "2", "3"]
    assert {row["state"] for row in rows} == {"complete"}
    results = json.loads((searched / "trials.json").read_text())
    best = max(rows, key=lambda row: float(row["auroc"]))
    assert results["best"]["values"]["learning_rate"] == float(best["learning_rate"])
    task = load_task(searched / "best" / "task.safetensors")
    assert task.card.training["learning_rate"] == float(best["learning_rate"])
    # The best run is the best trial once more: the same images, the same score.
    assert task.card.metrics["val"]["auroc"] == pytest.approx(results["best"]["score"])
    evaluation = json.loads((searched / "best" / "evaluation.json").read_text())
    assert (evaluation["split"], evaluation["all"]["n_images"]) == ("test", 6)
    assert {path.name for path in searched.glob("*.svg")} >= {"parallel.svg"}


def test_the_test_split_has_no_part_in_the_choice(data, searched, tmp_path) -> None:
    """With unreadable test images every trial is the same, and only the final test fails."""
    folder = tmp_path / "data"
    shutil.copytree(data.parent, folder)
    for path in folder.glob("*/00[0-2].png"):
        path.write_bytes(b"no image")
    with pytest.raises(UnreadableImagesError, match="6 image"):
        search(folder / "manifest.csv", tmp_path / "run")
    assert read_trials(tmp_path / "run") == read_trials(searched)


def test_flipped_test_labels_give_the_same_study(data, searched, tmp_path) -> None:
    folder = tmp_path / "data"
    shutil.copytree(data.parent, folder)
    rows = read_answers(folder / "manifest.csv")
    flipped = {"dark": "light", "light": "dark"}
    for row in rows:
        row["label"] = flipped[row["label"]] if row["split"] == "test" else row["label"]
    search(write_manifest(folder / "manifest.csv", rows), tmp_path / "run")
    assert read_trials(tmp_path / "run") == read_trials(searched)
    assert_same_tensors(read_tensors(tmp_path / "run/best"), read_tensors(searched / "best"))


def test_a_stopped_search_goes_on_to_the_same_result(data, tmp_path) -> None:
    options = {"sampler": "tpe", "n_trials": 7, "n_folds": 2}
    whole = search(data, tmp_path / "whole", DRAWN, **options)
    left = iter([False] * 12)
    first = search(data, tmp_path / "cut", DRAWN, should_stop=lambda: next(left, True), **options)
    assert first.ended == "stopped"
    assert len(first.results.trials) < 7
    again = search(data, tmp_path / "cut", DRAWN, **options)
    assert again.ended == "finished"
    assert read_trials(tmp_path / "cut") == read_trials(tmp_path / "whole")
    assert all(len(row.folds) == 2 for row in whole.results.trials)
    assert_same_tensors(read_tensors(tmp_path / "cut/best"), read_tensors(tmp_path / "whole/best"))


def test_poor_trials_are_pruned_and_faulty_ones_named(data, tmp_path, monkeypatch) -> None:
    ends = iter([0.9, 0.9, 0.9, 0.9, 0.9, 0.1, 0.95])

    def score(trials, settings, report):
        from medlora.tune.trial import PrunedTrial

        end = next(ends)
        for epoch in (1, 2):
            if report(end, 0, epoch):
                raise PrunedTrial
        return TrialScore((end,), (2,), 1.0)

    monkeypatch.setattr(Trials, "score", score)
    result = search(data, tmp_path / "run", DRAWN, sampler="random", n_trials=7)
    states = [row.state for row in result.results.trials]
    assert states == ["complete"] * 5 + ["pruned", "complete"]
    assert result.results.best.index == 6
    monkeypatch.undo()
    monkeypatch.setattr("medlora.runs.results.write_report", write_title)
    space = HELD | {"optimizer": "sgd", "epochs": 3, "learning_rate": [0.001, 1e5]}
    result = search(data, tmp_path / "faulty", space, pruner="none")
    complete, failed = result.results.trials
    assert (complete.state, failed.state) == ("complete", "failed")
    assert "loss" in failed.error
    assert "loss" in read_trials(tmp_path / "faulty")[1]["error"]
    assert result.results.best.index == 0
    with pytest.raises(SettingsError, match=r"None of the 2 trials could be scored\. The first"):
        search(data, tmp_path / "none", space | {"learning_rate": [2e5, 1e5]})


def score_by(monkeypatch, scores):
    """Have the trials of one search reach these scores, in their order."""
    left = iter(scores)

    def score(trials, settings, report):
        return TrialScore((next(left),), (1,), 1.0)

    monkeypatch.setattr(Trials, "score", score)


def test_more_trials_may_find_another_best(data, tmp_path, monkeypatch) -> None:
    folder = tmp_path / "run"

    def go_on(n_trials, **options):
        result = search(data, folder, DRAWN, sampler="random", n_trials=n_trials, **options)
        rates = [row.values["learning_rate"] for row in result.results.trials]
        names = {path.name for path in folder.iterdir() if path.name.startswith(("best", ".best."))}
        card = load_task(folder / "best" / "task.safetensors").card
        return result, names, rates.index(card.training["learning_rate"])

    score_by(monkeypatch, [0.5, 0.6, 0.6, 0.8, 0.7])
    first, names, best = go_on(2)
    assert (best, names) == (1, {"best", ".best.lock"})
    assert first.best.task == folder / "best" / "task.safetensors"
    kept = read_tensors(folder / "best")
    # As good is not better.
    assert go_on(3)[1:] == ({"best", ".best.lock"}, 1)
    assert_same_tensors(read_tensors(folder / "best"), kept)
    # Stopped in the new best run, the finished one still is the best there is.
    left = iter([False, False, True])
    stopped, names, best = go_on(4, should_stop=lambda: next(left, True))
    assert (stopped.ended, best, names) == ("stopped", 1, {"best", "best-unfinished", ".best.lock"})
    assert_same_tensors(read_tensors(folder / "best"), kept)
    last, names, best = go_on(5)
    assert (last.ended, best, names) == ("finished", 3, {"best", ".best.lock"})
    assert last.best.report == folder / "best" / "report.html"
    for path in folder.rglob("*.*"):
        assert b"best-unfinished" not in path.read_bytes(), path


def test_an_unfinished_run_of_a_former_best_is_begun_anew(data, tmp_path, monkeypatch) -> None:
    folder = tmp_path / "run"
    score_by(monkeypatch, [0.5, 0.6])
    space = DRAWN | {"epochs": 3}
    left = iter([False] * 3)
    options = {"sampler": "random", "should_stop": lambda: next(left, True)}
    assert search(data, folder, space, n_trials=1, **options).ended == "stopped"
    assert (folder / "best-unfinished" / "run.json").is_file()
    assert not (folder / "best").exists()
    result = search(data, folder, space, n_trials=2, sampler="random")
    best = load_task(folder / "best" / "task.safetensors").card.training["learning_rate"]
    assert best == result.results.trials[1].values["learning_rate"]
    assert not (folder / "best-unfinished").exists()


def test_the_best_run_computes_in_what_the_trials_computed_in(data, tmp_path, monkeypatch) -> None:
    folder, space = tmp_path / "run", GRID | {"precision": "auto"}
    left = iter([False])
    for place in ("medlora.tune.search", "medlora.runs.ongoing"):
        monkeypatch.setattr(f"{place}.choose_precision", lambda asked, device: "bf16")
    search(data, folder, space, should_stop=lambda: next(left, True))
    monkeypatch.undo()
    monkeypatch.setattr("medlora.runs.results.write_report", write_title)
    for place in ("medlora.tune.search", "medlora.runs.ongoing"):
        monkeypatch.setattr(f"{place}.choose_precision", lambda asked, device: "fp32")
    assert search(data, folder, space).ended == "finished"
    assert json.loads((folder / "best" / "run.json").read_text())["precision"] == "bf16"


def test_only_networks_of_the_space_are_loaded(data, tmp_path, monkeypatch) -> None:
    loaded = []

    def load(name, *arguments, **options):
        loaded.append(name)
        return load_backbone(name, *arguments, **options)

    monkeypatch.setattr("medlora.runs.ongoing.load_backbone", load)
    space = HELD | {"backbone": ["test_vit", "test_resnet"], "method": "linear"}
    result = search(data, tmp_path / "run", space)
    assert [row.state for row in result.results.trials] == ["complete"] * 2
    assert set(loaded) == {"test_vit", "test_resnet"}
    # A space of one's own may hold anything behind what it varies.
    loaded.clear()
    own = Space(TrainSettings(epochs=1), {"backbone": Choice(("test_vit",))}, "here")
    plan = TunePlan(RunPlan(str(data), own.base, "tiny", weights="random"), own, "grid", 1)
    run_search(plan, TuneFolder(tmp_path / "own"), cache=NoCache(), should_stop=lambda: True)
    assert loaded == ["test_vit"]


@pytest.mark.parametrize(
    ("asked", "fault"),
    [
        ({"coverage": 0.95}, "A coverage of 0.95 needs at least 19 images"),
        ({"coverage": [0.5, 0.95]}, "A coverage of 0.95 needs at least 19 images"),
        ({"coverage": 0.7, "coverage_by_class": [False, True]}, "0.7 needs at least 3 images"),
        ({"operating_point": "cyst:sensitivity=0.9"}, "names the class 'cyst'"),
        (
            {"operating_point": ["dark:sensitivity=0.9", "sensitivity=0.9"]},
            "needs to know what counts as positive",
        ),
    ],
)
@pytest.mark.parametrize("n_folds", [0, 2])
def test_what_the_best_run_asks_for_is_looked_at_before_any_trial(
    data, tmp_path, asked, fault, n_folds
) -> None:
    with pytest.raises(SettingsError, match=fault):
        search(data, tmp_path / "run", GRID | asked, n_folds=n_folds)
    assert not (tmp_path / "run").exists()


def test_another_search_does_not_mix_with_one(data, searched) -> None:
    with pytest.raises(SettingsError, match="holds another search: its sampler differ"):
        search(data, searched, sampler="random")


def test_other_weights_or_labels_do_not_go_on_with_a_search(data, tmp_path, monkeypatch) -> None:
    folder, weights = tmp_path / "run", tmp_path / "weights"
    weights.mkdir()
    monkeypatch.setenv("MEDLORA_WEIGHTS", str(weights))
    for name in ("test_vit", "test_vit2"):
        save_file(create_architecture(name).state_dict(), weights / f"{name}.safetensors")
    own = shutil.copytree(data.parent, tmp_path / "data") / "manifest.csv"
    space = HELD | {"backbone": ["test_vit", "test_vit2"]}
    search(own, folder, space, weights=None, should_stop=iter([False] * 4 + [True] * 9).__next__)
    before = (folder / "study.json").read_text()
    # The first network is looked at before any trial, the second one when its turn comes.
    for name in ("test_vit", "test_vit2"):
        path = weights / f"{name}.safetensors"
        kept = path.read_bytes()
        save_file(create_architecture(name).state_dict(), path)
        with pytest.raises(OtherSearchError, match=f"begun on {name}@.* weights now found are @"):
            search(own, folder, space, weights=None)
        path.write_bytes(kept)
    rows = read_answers(own)
    next(row for row in rows if row["split"] == "train")["label"] = "light"
    content = own.read_bytes()
    write_manifest(own, rows)
    with pytest.raises(OtherSearchError, match=r"its labels.* differ\. Put back what it was"):
        search(own, folder, space, weights=None)
    assert (folder / "study.json").read_text() == before
    own.write_bytes(content)
    result = search(own, folder, space, weights=None)
    assert [row.state for row in result.results.trials] == ["complete"] * 2


def test_weights_that_are_missing_here_are_no_fault_of_a_trial(data, tmp_path, monkeypatch) -> None:
    folder, weights = tmp_path / "run", tmp_path / "weights"
    weights.mkdir()
    monkeypatch.setenv("MEDLORA_WEIGHTS", str(weights))
    states = [create_architecture(name).state_dict() for name in ("test_vit", "test_vit2")]
    save_file(states[0], weights / "test_vit.safetensors")
    (weights / "test_vit2.safetensors").write_bytes(b"cut short")
    space = HELD | {"backbone": ["test_vit", "test_vit2"]}
    with pytest.raises(BackboneError, match="test_vit2"):
        search(data, folder, space, weights=None)
    save_file(states[1], weights / "test_vit2.safetensors")
    result = search(data, folder, space, weights=None)
    assert [row.state for row in result.results.trials] == ["complete"] * 2


def start_process(data, folder, space):
    command = [sys.executable, "-m", "medlora.cli.main", "tune", data, "--space", space]
    command += ["--sampler", "random", "--trials", "6", "--weights", "random", "-o", folder]
    source = Path(__file__).resolve().parents[2] / "src"
    cache = {"MEDLORA_CACHE": str(folder.parent / "cache"), "PYTHONPATH": str(source)}
    return subprocess.Popen(
        [str(word) for word in command],
        env=os.environ | cache,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("moment", ["before its score", "at an epoch", "in an error"])
def test_a_trial_that_was_given_up_for_silent_is_done_again(
    data, tmp_path, monkeypatch, moment
) -> None:
    """As when a machine slept for so long that another process no longer waited for it."""
    folder, lost = tmp_path / "run", []

    def score(self, settings, report):
        if not lost:
            url = f"sqlite:///{folder / 'study.db'}"
            other = optuna.load_study(study_name="given up", storage=url)
            (running,) = other.get_trials(states=(TrialState.RUNNING,))
            other.tell(running.number, state=TrialState.FAIL)
            lost.append(running.number)
            if moment == "at an epoch":
                report(0.5, 0, 1)
            if moment == "in an error":
                raise SettingsError("This is no good.")
        return TrialScore((settings.learning_rate,), (1,), 1.0)

    monkeypatch.setattr(Trials, "score", score)
    result = search(data, folder, study="given up")
    assert (result.ended, lost) == ("finished", [0])
    expected = [(index, "complete") for index in range(4)]
    assert [(row.index, row.state) for row in result.results.trials] == expected


def test_two_processes_share_a_study_and_one_may_be_killed(data, tmp_path) -> None:
    space = tmp_path / "space.yaml"
    space.write_text(json.dumps(DRAWN))
    folder = tmp_path / "run"
    doomed = start_process(data, folder, space)
    # Killed without warning, in the middle of a trial.
    while not (folder / "study.db").exists() and doomed.poll() is None:
        time.sleep(0.05)
    time.sleep(1.5)
    doomed.kill()
    doomed.communicate()
    pair = [start_process(data, folder, space) for _ in range(2)]
    errors = [process.communicate()[1] for process in pair]
    assert [process.returncode for process in pair] == [0, 0], errors
    rows = read_trials(folder)
    assert [row["index"] for row in rows] == [str(index) for index in range(6)]
    alone = search(data, tmp_path / "alone", DRAWN, sampler="random", n_trials=6)
    expected = [row.values["learning_rate"] for row in alone.results.trials]
    assert [float(row["learning_rate"]) for row in rows] == expected
    assert (folder / "best" / "task.safetensors").is_file()


def test_a_postgresql_server_holds_a_study(data, tmp_path) -> None:
    with run_postgresql() as url:
        first = search(data, tmp_path / "one", sampler="grid", storage=url, study="shared")
        second = search(data, tmp_path / "two", sampler="grid", storage=url, study="shared")
    assert first.ended == second.ended == "finished"
    assert read_trials(tmp_path / "one") == read_trials(tmp_path / "two")
    assert not (tmp_path / "one" / "study.db").exists()


def test_the_command(data, tmp_path, monkeypatch, own_cache, capsys) -> None:
    space = tmp_path / "space.yaml"
    space.write_text(json.dumps(GRID))
    folder = tmp_path / "run"
    command = ("tune", data, "--space", space, "--weights", "random", "-o", folder)
    assert run_command(monkeypatch, *command, "--sampler", "grid") == 0
    shown = capsys.readouterr()
    assert "4 of 4 trials (4 complete), best first" in shown.out
    assert "trials: 4 of 4 done best_auroc=" in shown.err
    assert "All test images" in shown.out
    assert str(folder / "best" / "task.safetensors") in shown.out.replace("\n", "")
    assert run_command(monkeypatch, "tune", "--resume", folder) == 0
    assert "4 of 4 trials" in capsys.readouterr().out
    for arguments, fault in (
        (("tune", data), "Give DATA and --space FILE to start a search"),
        (("tune", data, "--resume", folder), "--resume FOLDER goes on with what is there"),
        (("tune", "--resume", tmp_path / "none"), "holds no search to go on with"),
        ((*command, "--sampler", "grid", "--trials", 3), "A grid is tried as a whole"),
        (("tune", "--resume", folder, "--trials", 9), "A grid is tried as a whole"),
        (("tune", "--resume", folder, "--folds", 3), "so that --folds has no effect beside it"),
        ((*command, "--sampler", "best"), "sampler must be one of grid, random, tpe"),
    ):
        assert run_command(monkeypatch, *arguments) == 2
        assert fault in capsys.readouterr().err
    drawn = ("tune", data, "--space", space, "--weights", "random", "-o", tmp_path / "drawn")
    assert run_command(monkeypatch, *drawn, "--sampler", "random", "--trials", 1) == 0
    longer = ("tune", "--resume", tmp_path / "drawn", "--trials", 2, "--accelerator", "cpu")
    assert run_command(monkeypatch, *longer) == 0
    assert "2 of 2 trials" in capsys.readouterr().out
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert run_command(monkeypatch, *command) == 2
    assert "pip install 'medlora[tune]'" in capsys.readouterr().err
