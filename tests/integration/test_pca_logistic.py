"""`--method pca-logistic` beside the other methods: trained, evaluated, asked, compared."""

import csv
import json

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from medlora.backbones.weights import load_backbone
from medlora.data.cache import NoCache
from medlora.errors import TrainingError
from medlora.evaluate.predict import extract_rows, predict_rows
from medlora.runs.preparing import prepare_data
from medlora.task.file import load_task
from medlora.task.opening import build_model
from run_samples import FAST, TINY, assert_same_tensors, read_tensors, train, write_images


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("pca") / "data", n_per_class=16)


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pca-run") / "run"
    assert train(data, folder, method="pca-logistic").ended == "finished"
    return folder


def test_the_stored_task_answers_as_the_pipeline_does(run) -> None:
    task = load_task(run / "task.safetensors")
    card = task.card
    assert card.method == "pca-logistic"
    n_components = card.training["n_components"]
    assert set(task.tensors) == {"head.weight", "head.bias"}
    assert card.training["components_folds"] == 5
    assert card.training["components_scores"][str(n_components)] <= 1
    images = prepare_data(run / "split.csv", card.preprocessing, NoCache(), classes=card.classes)
    backbone = load_backbone(card.backbone.name, "random")
    model = build_model(task, backbone, place="task")
    every = np.arange(images.table.n_images)
    features = extract_rows(model, images.images, every, card.preprocessing)
    rows = images.table.rows_in("train")
    pipeline = make_pipeline(
        StandardScaler(), PCA(n_components, random_state=0), LogisticRegression(max_iter=5000)
    ).fit(features[rows], images.table.labels[rows])
    answers = predict_rows(model, images.images, every, card.preprocessing, multi_label=False)
    np.testing.assert_allclose(answers, pipeline.predict_proba(features), atol=1e-5)


def test_there_are_no_epochs_and_the_report_copes(run) -> None:
    assert json.loads((run / "history.json").read_text()) == []
    report = (run / "report.html").read_text()
    assert "pca-logistic: logistic regression on principal components" in report
    assert "Learning curves over" not in report


def test_the_same_again_gives_the_same_head(run, data, tmp_path) -> None:
    train(data, tmp_path / "again", method="pca-logistic")
    assert_same_tensors(read_tensors(run), read_tensors(tmp_path / "again"))


def test_a_run_that_was_stopped_goes_on(data, run, tmp_path, command) -> None:
    folder = tmp_path / "run"
    asked = iter([False, False, True])
    result = train(data, folder, method="pca-logistic", should_stop=lambda: next(asked))
    assert result.ended == "stopped"
    assert not (folder / "task.safetensors").exists()
    assert command("train", "--resume", folder) == 0
    assert_same_tensors(read_tensors(run), read_tensors(folder))


def test_it_stands_beside_others_in_a_bank_and_in_a_comparison(
    run, data, tmp_path, command, capsys
) -> None:
    other = tmp_path / "lora"
    assert command("train", run / "split.csv", *TINY, "--epochs", 1, "-o", other) == 0
    assert command("evaluate", run / "task.safetensors", run / "split.csv", *FAST) == 0
    assert command("compare", run, other) == 0
    tasks = tmp_path / "tasks"
    tasks.mkdir()
    for name, folder in (("pca", run), ("lora", other)):
        (tasks / f"{name}.safetensors").write_bytes((folder / "task.safetensors").read_bytes())
    out, alone = tmp_path / "all.csv", tmp_path / "alone.csv"
    assert command("predict", "--tasks", tasks, data, *FAST, "--csv", out) == 0
    assert command("predict", run / "task.safetensors", data, *FAST, "--csv", alone) == 0
    name = load_task(run / "task.safetensors").card.name
    together = {
        row["file"]: json.loads(row["probabilities"])["light"]
        for row in csv.DictReader(out.open(newline=""))
        if row["task"] == name
    }
    assert len(together) == 32
    for row in csv.DictReader(alone.open(newline="")):
        assert float(row["p_light"]) == pytest.approx(together[row["file"]], abs=2e-5)


def test_folds_and_a_refit(data, tmp_path, command) -> None:
    folder = tmp_path / "folds"
    given = ("--method", "pca-logistic", "--folds", 2, "--refit", "-o", folder)
    assert command("train", data, *TINY, *given) == 0
    assert load_task(folder / "refit" / "task.safetensors").card.method == "pca-logistic"
    assert torch.isfinite(read_tensors(folder / "refit")["head.weight"]).all()


def test_small_classes_are_learnt_in_fewer_folds(tmp_path) -> None:
    data = write_images(tmp_path / "data", 5, classes=("a", "b", "c"))
    result = train(data, tmp_path / "run", method="pca-logistic", test_fraction=0.0)
    card = load_task(tmp_path / "run" / "task.safetensors").card
    assert card.training["components_folds"] == 4
    told = "The number of principal components was chosen in 4 folds in place of 5"
    assert any(told in warning for warning in result.warnings)
    assert told in (tmp_path / "run" / "report.html").read_text()


def test_images_that_fill_no_two_folds_are_refused(tmp_path) -> None:
    data = write_images(tmp_path / "data", 2)
    with pytest.raises(TrainingError, match=r"the 2 training images, of 2 patient\(s\).*two folds"):
        train(data, tmp_path / "run", method="pca-logistic", test_fraction=0.0)
