import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from medlora.data.cache import NoCache
from medlora.errors import DivergenceError, SettingsError
from medlora.experiments.arms import Arm, ArmRuns
from medlora.runs.folder import RunPlan
from medlora.train.settings import TrainSettings
from run_samples import BACKBONE, write_images

SETTINGS = TrainSettings(backbone=BACKBONE, epochs=2, batch_size=8, precision="fp32")
ARM = Arm(settings=SETTINGS, rates=(1e-5, 1e-2), try_epochs=1, seeds=(0, 1))


@pytest.fixture(scope="module")
def plan(images: Path) -> RunPlan:
    return RunPlan(
        data=str(images), settings=SETTINGS, name="tiny", weights="random", novelty=False
    )


@pytest.fixture(scope="module")
def finished(plan: RunPlan, tmp_path_factory: pytest.TempPathFactory) -> ArmRuns:
    runs = ArmRuns(ARM, tmp_path_factory.mktemp("arm") / ARM.name)
    assert not runs.is_finished
    assert runs.run(plan, cache=NoCache())
    assert runs.is_finished
    return runs


def test_the_best_rate_on_validation_is_run_with_every_seed(finished: ArmRuns) -> None:
    rate, tried = finished.choose_rate()
    assert [each.learning_rate for each in tried] == [1e-5, 1e-2]
    best = max(tried, key=lambda each: (each.auroc, -each.loss))
    assert rate == best.learning_rate
    rows = finished.read()
    assert [row["seed"] for row in rows if row["test_images"] == "all test images"] == [0, 1]
    assert {row["learning_rate"] for row in rows} == {rate}
    for row in rows:
        assert row["training"]["seed"] == row["seed"]
        assert row["training"]["learning_rate"] == rate
        assert 0 <= row["metrics"]["auroc"]["low"] <= row["metrics"]["auroc"]["value"] <= 1
        assert row["method"] == "lora"
        assert len(row["tried"]) == 2
    assert json.loads(json.dumps(rows)) == rows


def test_what_is_finished_is_not_done_again(finished: ArmRuns, plan: RunPlan) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.folder.rglob("*.*")}
    told: list[str] = []
    finished.run(plan, cache=NoCache(), progress=lambda stage, *_, **__: told.append(stage))
    assert not told
    assert {path: path.stat().st_mtime_ns for path in finished.folder.rglob("*.*")} == before


def test_a_stopped_arm_goes_on_where_it_stopped(
    finished: ArmRuns, plan: RunPlan, tmp_path: Path
) -> None:
    runs = ArmRuns(ARM, tmp_path / ARM.name)
    calls = iter(range(1000))
    assert not runs.run(plan, cache=NoCache(), should_stop=lambda: next(calls) >= 5)
    assert not runs.is_finished
    assert runs.run(plan, cache=NoCache())
    whole = {row["seed"]: row["metrics"] for row in finished.read()}
    assert {row["seed"]: row["metrics"] for row in runs.read()} == whole


def test_one_rate_needs_no_try(plan: RunPlan, tmp_path: Path) -> None:
    arm = replace(ARM, rates=(1e-3,), seeds=(0,), settings=replace(SETTINGS, epochs=1))
    runs = ArmRuns(arm, tmp_path / arm.name)
    assert runs.choose_rate() == (1e-3, [])
    assert runs.run(plan, cache=NoCache())
    assert {path.name for path in runs.folder.iterdir()} == {"seed-0"}


def test_a_rate_cannot_be_chosen_before_the_tries(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="holds no finished try"):
        ArmRuns(ARM, tmp_path).choose_rate()


def test_the_best_of_whole_tries_is_the_first_seeds_run(plan: RunPlan, tmp_path: Path) -> None:
    arm = replace(ARM, settings=replace(SETTINGS, epochs=1), try_epochs=1)
    runs = ArmRuns(arm, tmp_path / arm.name)
    assert arm.has_whole_tries and not ARM.has_whole_tries
    with pytest.raises(SettingsError, match="holds no finished try"):
        runs.seed_folder(0)
    assert runs.run(plan, cache=NoCache())
    assert runs.is_finished
    assert {path.name for path in runs.folder.iterdir()} == {"try-1e-05", "try-0.01", "seed-1"}
    rate, _ = runs.choose_rate()
    assert runs.seed_folder(0).path == runs.try_folder(rate).path
    assert {(row["seed"], row["learning_rate"]) for row in runs.read()} == {(0, rate), (1, rate)}


def test_a_rate_at_which_training_diverges_has_been_tried(plan: RunPlan, tmp_path: Path) -> None:
    # No warm-up and plain steps: at 9e5 the second loss is out of all bounds.
    settings = replace(
        SETTINGS, epochs=1, optimizer="sgd", schedule="constant", warmup_fraction=0.0
    )
    arm = replace(ARM, settings=settings, rates=(1e-3, 9e5), seeds=(0,))
    runs = ArmRuns(arm, tmp_path / arm.name)
    assert runs.run(plan, cache=NoCache())
    assert runs.is_finished
    rate, tried = runs.choose_rate()
    assert rate == 1e-3
    assert not tried[0].fault
    assert "loss" in tried[1].fault
    fault = runs.read()[0]["tried"][1]
    assert fault == {"learning_rate": 9e5, "fault": tried[1].fault}
    # Nothing is trained anew, and a try of other settings is not taken for this one.
    told: list[str] = []
    assert runs.run(plan, cache=NoCache(), progress=lambda stage, *_, **__: told.append(stage))
    assert not told
    other = ArmRuns(replace(arm, rates=(1e-3, 9e5), try_epochs=2), runs.folder)
    with pytest.raises(SettingsError, match=r"holds another run \(epochs 1"):
        other.run(plan, cache=NoCache())


def test_an_arm_that_diverges_at_every_rate_says_so(plan: RunPlan, tmp_path: Path) -> None:
    settings = replace(
        SETTINGS, epochs=1, optimizer="sgd", schedule="constant", warmup_fraction=0.0
    )
    arm = replace(ARM, settings=settings, rates=(9e5, 5e5), seeds=(0,))
    runs = ArmRuns(arm, tmp_path / arm.name)
    for _ in range(2):
        with pytest.raises(
            DivergenceError, match=r"each of the 2 learning rates.*900000.*The loss"
        ):
            runs.run(plan, cache=NoCache())
        assert not runs.is_finished


def test_a_finished_run_with_other_settings_is_not_taken_for_this_one(
    finished: ArmRuns, plan: RunPlan
) -> None:
    longer = ArmRuns(replace(ARM, try_epochs=2), finished.folder)
    with pytest.raises(SettingsError, match=r"try-1e-05 holds another run \(epochs 1"):
        longer.run(plan, cache=NoCache())


def test_a_finished_run_on_other_data_is_not_taken_for_this_one(
    finished: ArmRuns, plan: RunPlan, tmp_path: Path
) -> None:
    other = write_images(tmp_path / "other", n_per_class=8)
    for changed, words in (
        (replace(plan, data=str(other)), f"data '{plan.data}' instead of '{other}'"),
        (replace(plan, weights=None), "weights 'random' instead of None"),
        (replace(plan, group_by="patient"), "group_by None instead of 'patient'"),
        (replace(plan, skip_unreadable=True), "skip_unreadable False instead of True"),
    ):
        with pytest.raises(SettingsError, match=re.escape(f"holds another run ({words})")):
            finished.run(changed, cache=NoCache())
        with pytest.raises(SettingsError, match=re.escape(words)):
            finished.check(changed)
    finished.check(plan)


def test_the_only_run_of_an_arm_without_tries_is_checked(plan: RunPlan, tmp_path: Path) -> None:
    arm = replace(ARM, rates=(1e-3,), seeds=(0,), settings=replace(SETTINGS, epochs=1))
    runs = ArmRuns(arm, tmp_path / arm.name)
    runs.check(plan)
    assert runs.run(plan, cache=NoCache())
    runs.check(plan)
    with pytest.raises(SettingsError, match="seed-0 holds another run"):
        runs.check(replace(plan, data=str(tmp_path)))
