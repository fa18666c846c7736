"""Runs whose logits are scaled after training, and tasks that are calibrated anew."""

import json

import numpy as np
import pytest
import torch

from medlora.data.cache import NoCache
from medlora.runs.folds import start_folds
from medlora.runs.opened import open_task
from medlora.runs.training import resume_run
from medlora.task.file import load_task
from medlora.task.scaling import rescale_tensors
from run_samples import (
    FAST,
    TINY,
    assert_same_tensors,
    make_plan,
    read_answers,
    read_tensors,
    train,
    write_images,
    write_manifest,
)

HEAD = ("head.weight", "head.bias")


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("many") / "images", n_per_class=60)


@pytest.fixture(scope="module")
def runs(many, tmp_path_factory):
    """Two runs that differ in nothing but the calibration."""
    folder = tmp_path_factory.mktemp("runs")
    settings = {"val_fraction": 0.4, "test_fraction": 0.2, "learning_rate": 0.01}
    train(many, folder / "plain", calibration="none", **settings)
    result = train(many, folder / "scaled", calibration="temperature", coverage=0.8, **settings)
    assert result.calibration.startswith("temperature ")
    return folder


def read_scores(folder):
    return json.loads((folder / "evaluation.json").read_text())


def test_the_scaling_is_in_the_head_and_nowhere_else(runs) -> None:
    plain, scaled = (
        load_task(runs / "plain" / "task.safetensors"),
        load_task(runs / "scaled" / "task.safetensors"),
    )
    record = scaled.card.calibration
    assert record is not None
    assert record.scale[0] != 1.0
    assert plain.card.calibration is None
    for name, tensor in plain.tensors.items():
        assert tensor.equal(scaled.tensors[name]) == (name not in HEAD), name
    none = ((1.0, 1.0), (0.0, 0.0))
    undone = rescale_tensors(scaled.tensors, (record.scale, record.offset), none)
    for name in HEAD:
        assert torch.allclose(undone[name], plain.tensors[name], rtol=1e-6, atol=1e-7)


def test_what_is_not_calibrated_is_the_same_file_as_before(runs) -> None:
    card = load_task(runs / "plain" / "task.safetensors").card.to_dict()
    assert not {"calibration", "conformal"} & card.keys()
    assert not {"calibration", "coverage", "coverage_by_class"} & card["training"].keys()


def test_the_scores_tell_of_test_images_before_and_after(runs) -> None:
    plain, scaled = read_scores(runs / "plain"), read_scores(runs / "scaled")
    figures = scaled["calibration"]
    overall = plain["all"]["overall"]
    for name in ("calibration_error", "brier_score"):
        assert figures["before"][name] == pytest.approx(overall[name]["value"], abs=1e-6)
        own = scaled["all"]["overall"][name]["value"]
        assert figures["after"][name] == pytest.approx(own, abs=1e-12)
    # One scale for all classes changes no decision and no ranking.
    for name in ("accuracy", "auroc"):
        assert scaled["all"]["overall"][name] == overall[name]
    assert scaled["conformal"]["wanted"] == 0.8
    assert 0 <= scaled["conformal"]["coverage"]["value"] <= 1
    assert set(scaled["decision_curve"]) == {"dark", "light"}
    assert scaled["risk_coverage"]["coverage"][-1] == 1.0
    assert "calibration" not in plain
    assert plain["abstaining"]["n_abstained"] == 0


def test_a_run_that_is_taken_up_again_is_calibrated_alike(runs, many, tmp_path) -> None:
    asked = 0

    def stop_at_once():
        nonlocal asked
        asked += 1
        return asked > 9

    folder = tmp_path / "run"
    settings = {"val_fraction": 0.4, "test_fraction": 0.2, "learning_rate": 0.01}
    result = train(
        many, folder, calibration="temperature", coverage=0.8, should_stop=stop_at_once, **settings
    )
    assert result.ended == "stopped"
    # The task of the epoch that was finished is calibrated, too; training goes on without it.
    assert load_task(folder / "task.safetensors").card.calibration is not None
    assert resume_run(folder, cache=NoCache()).ended == "finished"
    assert_same_tensors(read_tensors(folder), read_tensors(runs / "scaled"))
    again, first = (
        load_task(place / "task.safetensors").card for place in (folder, runs / "scaled")
    )
    assert again.calibration == first.calibration
    assert again.conformal == first.conformal


def test_a_coverage_that_validation_cannot_tell_of_stops_before_training(
    command, images, tmp_path, capsys
) -> None:
    given = ("train", images, "-o", tmp_path / "run", *TINY, "--coverage", "0.95")
    assert command(*given) == 2
    assert "needs at least 19 images that were not trained on" in capsys.readouterr().err
    assert not (tmp_path / "run" / "run.json").exists()


def test_the_reason_for_no_calibration_is_shown(command, images, tmp_path, capsys) -> None:
    assert command("train", images, "-o", tmp_path / "run", *TINY, "--epochs", "1") == 0
    assert "calibrated none: 4 images are too few; at least 100" in capsys.readouterr().out


def test_folds_settle_the_calibration_of_the_run_on_everything(many, tmp_path) -> None:
    plan = make_plan(many, calibration="temperature", coverage=0.8, test_fraction=0.2, epochs=1)
    result = start_folds(plan, tmp_path / "run", n_folds=2, refit=True, cache=NoCache())
    assert result.refit is not None
    assert result.refit.calibration.startswith("mean of 2 folds: temperature")
    cards = [
        load_task(tmp_path / "run" / place / "task.safetensors").card
        for place in ("fold-0", "fold-1", "refit")
    ]
    scales = [card.calibration.scale[0] for card in cards if card.calibration]
    assert scales[2] == pytest.approx(np.sqrt(scales[0] * scales[1]))
    conformal = cards[2].conformal
    assert conformal is not None
    assert (conformal.source, conformal.n_images) == ("out-of-fold", 96)
    ensemble = open_task(tmp_path / "run" / "ensemble.json", weights="random")
    assert ensemble.card.conformal is None


@pytest.mark.parametrize("method", ["pca-logistic", "linear", "full"])
def test_other_methods_and_half_precision_are_calibrated(many, tmp_path, method) -> None:
    settings = {"val_fraction": 0.4, "test_fraction": 0.2, "save_dtype": "float16", "epochs": 1}
    train(many, tmp_path / "run", method=method, calibration="vector", **settings)
    record = load_task(tmp_path / "run" / "task.safetensors").card.calibration
    assert record is not None
    assert record.method == "vector"
    assert record.after != record.before
    opened = open_task(tmp_path / "run" / "task.safetensors", weights="random", precision="fp32")
    assert opened.difference < 1e-4


def test_a_task_is_calibrated_anew_on_other_images(command, runs, many, tmp_path, capsys) -> None:
    first, out = runs / "scaled" / "task.safetensors", tmp_path / "own.safetensors"
    other = write_images(tmp_path / "other", n_per_class=55, seed=3)
    given = ("calibrate", first, other, "-o", out, "--split", "all", *FAST)
    assert command(*given, "--operating-point", "light:sensitivity=0.9") == 0
    shown = capsys.readouterr().out
    assert "calibrated temperature" in shown
    assert "set for sensitivity 0.9 on these images: threshold" in shown
    old, new = load_task(first), load_task(out)
    record = new.card.calibration
    assert record is not None
    assert old.card.calibration is not None
    assert (record.source, record.n_images) == ("recalibration", 110)
    assert new.card.conformal is not None
    assert (new.card.conformal.coverage, new.card.conformal.n_images) == (0.8, 110)
    assert new.card.training["recalibration"]["n_images"] == 110
    assert new.card.training["operating_point"] == "light:sensitivity=0.9"
    reached = new.card.training["chosen_operating_point"]["reached"][0]
    assert reached["threshold"]["low"] <= reached["threshold"]["value"]
    assert new.card.metrics["val"] == old.card.metrics["val"]
    for name in HEAD:
        ratio = record.scale[0] / old.card.calibration.scale[0]
        assert torch.allclose(new.tensors[name], old.tensors[name] * ratio, rtol=1e-5)
    # Calibrating with none takes the scaling away.
    bare = tmp_path / "bare.safetensors"
    assert (
        command(
            "calibrate", first, other, "-o", bare, "--split", "all", "--calibration", "none", *FAST
        )
        == 0
    )
    plain = load_task(runs / "plain" / "task.safetensors")
    for name in HEAD:
        assert torch.allclose(load_task(bare).tensors[name], plain.tensors[name], atol=1e-6)
    # Scores at the new thresholds are those that evaluate finds.
    assert command("evaluate", out, other, "--split", "all", *FAST, "--json", tmp_path / "s") == 0
    scores = json.loads((tmp_path / "s").read_text())["all"]["overall"]
    assert scores["accuracy"]["value"] == pytest.approx(
        new.card.metrics["recalibration"]["accuracy"]
    )


def test_a_task_is_not_calibrated_on_a_handful_of_images(
    command, runs, images, tmp_path, capsys
) -> None:
    task, out = runs / "scaled" / "task.safetensors", tmp_path / "own.safetensors"
    given = ("calibrate", task, images, "-o", out, "--split", "all", *FAST)
    assert command(*given) == 2
    assert "(28 images are too few; at least 100 are needed)" in capsys.readouterr().err
    assert command(*given, "--calibration", "platt") == 2
    assert "calibration must be one of auto, temperature" in capsys.readouterr().err
    assert command(*given, "--thresholds", "f1", "--operating-point", "light:sensitivity=1") == 2
    assert "Leave one out" in capsys.readouterr().err
    out.write_bytes(b"")
    assert command(*given) == 2
    assert "is there already" in capsys.readouterr().err


def test_a_task_does_not_learn_its_sureness_from_training_images(
    command, runs, tmp_path, capsys
) -> None:
    task, split = runs / "scaled" / "task.safetensors", runs / "scaled" / "split.csv"
    given = ("calibrate", task, split, "-o", tmp_path / "own", "--calibration", "temperature")
    assert command(*given, "--split", "train", *FAST) == 0
    assert "The task was trained on some of these images" in capsys.readouterr().err


def test_an_operating_point_comes_with_what_validation_allows(command, many, tmp_path, capsys):
    given = ("train", many, "-o", tmp_path / "run", *TINY, "--epochs", "1", "--val-fraction", "0.4")
    assert command(*given, "--operating-point", "light:sensitivity=0.9") == 0
    out = capsys.readouterr().out
    assert "set for sensitivity 0.9 on validation images: threshold" in out
    point = load_task(tmp_path / "run" / "task.safetensors").card.training["chosen_operating_point"]
    (reached,) = point["reached"]
    assert reached["sensitivity"]["value"] >= 0.9
    assert reached["threshold"]["low"] <= reached["threshold"]["high"]
    assert reached["sensitivity"]["low"] != "undefined"


def test_labels_are_scaled_one_by_one_and_left_open_one_by_one(command, many, tmp_path) -> None:
    rows = [
        {
            "path": str(path),
            "labels": "|".join(
                name
                for name, chosen in (("bright", path.parent.name == "light"), ("odd", number % 2))
                if chosen
            ),
        }
        for number, path in enumerate(sorted(many.rglob("*.png")))
    ]
    table = write_manifest(tmp_path / "labels.csv", rows)
    settings = {"val_fraction": 0.4, "test_fraction": 0.2, "epochs": 1}
    train(table, tmp_path / "run", calibration="vector", coverage=0.9, **settings)
    task = tmp_path / "run" / "task.safetensors"
    card = load_task(task).card
    assert card.multi_label
    assert card.calibration is not None
    assert card.calibration.scale[0] != card.calibration.scale[1]
    scores = read_scores(tmp_path / "run")
    assert scores["conformal"]["is_by_class"]
    assert scores["abstaining"]["n_answers"] == 2 * scores["all"]["n_images"]
    out = tmp_path / "answers.csv"
    assert command("predict", task, many / "light", *FAST, "--csv", out) == 0
    answers = read_answers(out)
    # Nothing in the images tells odd from even.
    assert any("odd" in row["undecided"].split("|") for row in answers)
