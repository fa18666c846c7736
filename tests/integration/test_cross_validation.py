"""Cross-validation as a whole: what it leaves, how it goes on, and what it never opens."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from medlora.data.cache import NoCache
from medlora.data.table import read_table
from medlora.errors import DataError, SettingsError, TaskFileError, UndefinedMetricError
from medlora.runs.folds import resume_folds, start_folds
from medlora.runs.opened import open_task
from medlora.runs.training import resume_run
from medlora.task.file import load_task
from run_samples import (
    TINY,
    assert_same_tensors,
    draw_pixels,
    make_plan,
    read_answers,
    read_tensors,
    run_command,
    write_images,
    write_labels,
    write_manifest,
    write_title,
)


def cross_validate(data, folder, *, n_folds=3, refit=True, should_stop=lambda: False, **changes):
    plan = make_plan(data, **({"epochs": 2, "learning_rate": 0.01} | changes))
    return start_folds(
        plan, folder, n_folds=n_folds, refit=refit, cache=NoCache(), should_stop=should_stop
    )


def read_answers_of_run(folder):
    return (folder / "predictions.csv").read_text()


def write_patients(folder, n_patients=8, n_test=2):
    """Two images of each of `n_patients` patients for each class, some of them for testing."""
    rng = np.random.default_rng(0)
    rows = []
    for level, name in ((0, "dark"), (130, "light")):
        for patient in range(n_patients):
            for index in range(2):
                path = f"{name}-{patient}-{index}.png"
                Image.fromarray(draw_pixels(rng, level)).save(folder / path)
                split = "test" if patient < n_test else "train"
                rows.append(
                    {"path": path, "label": name, "patient": f"{name}{patient}", "split": split}
                )
    return write_manifest(folder / "manifest.csv", rows)


@pytest.fixture(scope="module", autouse=True)
def plain_pages():
    """Each fold's run draws no figures: half of its time, and tested elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("medlora.runs.results.write_report", write_title)
        yield


@pytest.fixture(scope="module")
def patients(tmp_path_factory):
    return write_patients(tmp_path_factory.mktemp("patients"))


@pytest.fixture(scope="module")
def folded(patients, tmp_path_factory):
    """The folder of a finished cross-validation with a refit; not to be written to."""
    folder = tmp_path_factory.mktemp("folded") / "run"
    result = cross_validate(patients, folder)
    assert result.ended == "finished"
    assert result.refit.split == "test"
    return folder


def test_folds_leave_scores_a_report_an_ensemble_and_a_refit(folded, patients) -> None:
    assert {path.name for path in folded.iterdir()} == {
        "cross-validation.json",
        "ensemble.json",
        "fold-0",
        "fold-1",
        "fold-2",
        "folds.json",
        "out-of-fold.csv",
        "refit",
        "model-card.md",
        "report.html",
        "report.json",
    }
    table = read_table(patients)
    answers = read_answers(folded / "out-of-fold.csv")
    inside = [row for row in range(table.n_images) if table.splits[row] == "train"]
    assert [row["path"] for row in answers] == [table.locations[row] for row in inside]
    folds_of = {}
    for row, answer in zip(inside, answers, strict=True):
        folds_of.setdefault(table.patients[row], set()).add(answer["fold"])
    assert all(len(folds) == 1 for folds in folds_of.values())
    assert set.union(*folds_of.values()) == {"fold-0", "fold-1", "fold-2"}
    scores = json.loads((folded / "cross-validation.json").read_text())
    assert scores["all"]["n_images"] == len(answers) == 24
    assert scores["all"]["n_groups"] == 12
    right = [row["label"] == row["decision"] for row in answers]
    assert scores["all"]["overall"]["accuracy"]["value"] == pytest.approx(np.mean(right))
    assert isinstance(scores["all"]["overall"]["accuracy"]["low"], float)
    own = [fold["scores"]["overall"]["auroc"]["value"] for fold in scores["folds"]]
    assert scores["over_folds"]["auroc"]["mean"] == pytest.approx(np.mean(own))
    assert scores["over_folds"]["auroc"]["sd"] == pytest.approx(np.std(own, ddof=1))
    page = (folded / "report.html").read_text()
    assert "Fold by fold" in page
    assert "out-of-fold images" in page


def test_the_refit_learns_from_every_fold_and_stops_where_the_folds_did(folded) -> None:
    card = load_task(folded / "refit" / "task.safetensors").card
    assert card.data["n_images"] == {"train": 24, "test": 8}
    best = [
        load_task(folded / f"fold-{number}" / "task.safetensors").card.training["best_epoch"]
        for number in range(3)
    ]
    assert card.training["n_epochs_done"] == card.training["best_epoch"]
    assert card.training["best_epoch"] == sorted(best)[1]
    assert card.training["refit_after_folds"] == 3
    assert set(card.metrics) == {"out_of_fold"}
    evaluation = json.loads((folded / "refit" / "evaluation.json").read_text())
    assert evaluation["split"] == "test"
    assert evaluation["all"]["n_images"] == 8
    scores = json.loads((folded / "cross-validation.json").read_text())
    assert evaluation["out_of_fold"] == scores["all"]
    assert list(card.thresholds) == scores["thresholds"]


def test_a_refit_goes_on_by_itself(folded, tmp_path) -> None:
    folder = shutil.copytree(folded / "refit", tmp_path / "refit")
    (folder / "checkpoint.pt").unlink()
    result = resume_run(folder, cache=NoCache())
    assert result.split == "test"
    assert_same_tensors(read_tensors(folder), read_tensors(folded / "refit"))


@pytest.mark.parametrize("n_steps", [4, 13])
def test_folds_go_on_to_the_same_result(patients, folded, tmp_path, n_steps) -> None:
    folder = tmp_path / "run"
    left = iter([False] * n_steps)
    assert cross_validate(patients, folder, should_stop=lambda: next(left, True)).ended == "stopped"
    assert not (folder / "refit" / "report.html").exists()
    (folder / ".ensemble.json.00ff.part").write_bytes(b"left by a kill")
    assert resume_folds(folder, cache=NoCache()).ended == "finished"
    for name in ("fold-0", "fold-2", "refit"):
        assert_same_tensors(read_tensors(folder / name), read_tensors(folded / name))
    assert read_answers(folder / "out-of-fold.csv") == read_answers(folded / "out-of-fold.csv")
    assert not list(folder.rglob(".*"))


def test_a_stated_test_split_is_not_opened_by_the_folds(patients, folded, tmp_path) -> None:
    broken = tmp_path / "data"
    shutil.copytree(patients.parent, broken)
    for path in broken.glob("*-[01]-*.png"):
        path.write_bytes(b"no image")
    folder = tmp_path / "run"
    asked = iter([False] * 5)
    result = cross_validate(
        broken / "manifest.csv", folder, refit=False, should_stop=lambda: next(asked, True)
    )
    assert result.ended == "stopped"
    assert read_answers_of_run(folder / "fold-0") == read_answers_of_run(folded / "fold-0")
    assert_same_tensors(read_tensors(folder / "fold-0"), read_tensors(folded / "fold-0"))


def test_changed_images_are_not_taken_up(folded, patients, tmp_path) -> None:
    data = tmp_path / "data"
    shutil.copytree(patients.parent, data)
    folder = shutil.copytree(folded, tmp_path / "run")
    record = json.loads((folder / "folds.json").read_text())
    record["plan"]["data"] = str(data / "manifest.csv")
    (folder / "folds.json").write_text(json.dumps(record))
    Image.fromarray(np.zeros((24, 24, 3), np.uint8)).save(data / "dark-5-0.png")
    with pytest.raises(DataError, match=r"not those that the cross-validation .* was started with"):
        resume_folds(folder, cache=NoCache())


def test_answers_of_another_fold_are_noticed(folded, tmp_path) -> None:
    folder = shutil.copytree(folded, tmp_path / "run")
    path = folder / "fold-1" / "predictions.csv"
    path.write_text("\n".join(path.read_text().splitlines()[:-1]))
    with pytest.raises(SettingsError, match="does not hold the answers on fold 1"):
        resume_folds(folder, cache=NoCache())


def test_the_ensemble_answers_with_the_mean_of_its_members(folded, tmp_path) -> None:
    import torch

    ensemble = open_task(folded / "ensemble.json", weights="random", precision="fp32")
    members = [
        open_task(
            folded / f"fold-{number}" / "task.safetensors", weights="random", precision="fp32"
        )
        for number in range(3)
    ]
    size = ensemble.card.preprocessing.size
    images = torch.randn((5, 3, *size), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        single = [task.model(images).double().softmax(-1) for task in members]
        joint = ensemble.model(images).double().softmax(-1)
    assert torch.allclose(joint, torch.stack(single).mean(dim=0), atol=1e-6)
    assert float((single[0] - single[1]).abs().max()) > 1e-3
    folder = shutil.copytree(folded, tmp_path / "run")
    shutil.copy(folder / "fold-0" / "task.safetensors", folder / "fold-1" / "task.safetensors")
    with pytest.raises(TaskFileError, match=r"fold-1/task\.safetensors is not the file that"):
        open_task(folder / "ensemble.json", weights="random")


def test_the_commands(patients, tmp_path, monkeypatch, own_cache, capsys) -> None:
    folder = tmp_path / "run"
    options = ("--folds", 2, "--refit", "--epochs", 1, "--batch-size", 8, "-o", folder)
    point = ("--operating-point", "any-but:dark:specificity=0.5")
    assert run_command(monkeypatch, "train", patients, *TINY, *options, *point) == 0
    shown = capsys.readouterr().out
    assert "All out-of-fold answers" in shown
    assert "Fold by fold" in shown
    assert shown.count("operating point of any class but dark") == 2
    assert "All test images" in shown
    assert str(folder / "refit" / "task.safetensors") in shown.replace("\n", "")
    ensemble = folder / "ensemble.json"
    weights = ("--weights", "random")
    assert run_command(monkeypatch, "evaluate", ensemble, patients, *weights) == 0
    shown = capsys.readouterr().out
    assert "test images of" in shown
    assert "operating point of any class but dark, set for specificity 0.5: sens" in shown
    answers = tmp_path / "answers.csv"
    image = patients.parent / "dark-0-0.png"
    options = ("--csv", answers, *weights)
    assert run_command(monkeypatch, "predict", ensemble, image, *options) == 0
    assert len(answers.read_text().splitlines()) == 2
    assert run_command(monkeypatch, "train", "--resume", folder) == 0
    assert run_command(monkeypatch, "train", patients, *TINY, "--refit") == 2
    assert "--refit trains on all folds together" in capsys.readouterr().err


def test_an_ensemble_is_shown_and_not_taken_for_a_task_file(
    folded, tmp_path, monkeypatch, own_cache, capsys
) -> None:
    ensemble = folded / "ensemble.json"
    assert run_command(monkeypatch, "show", ensemble, "--check", "--weights", "random") == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "fold-2/task.safetensors: tiny-fold-2 (lora, val auroc" in shown
    assert "n_images: train 24" in shown
    assert "self-check passed" in shown
    assert run_command(monkeypatch, "show", ensemble, "--json") == 0
    record = json.loads(capsys.readouterr().out)
    assert [member["file"] for member in record["members"]] == [
        f"fold-{number}/task.safetensors" for number in range(3)
    ]
    assert record["classes"] == ["dark", "light"]
    one = folded / "refit" / "task.safetensors"
    for given in (
        ("tasks", "export", ensemble, tmp_path / "adapter"),
        ("tasks", "merge", ensemble, "--out", tmp_path / "model.safetensors"),
        ("tasks", "diff", ensemble, one),
        ("tasks", "rename", ensemble, "other"),
    ):
        assert run_command(monkeypatch, *given) == 2
        told = capsys.readouterr().err
        assert "error: ensemble.json is JSON, and no task file." in told
        assert "give refit/task.safetensors beside it" in told
    assert not list(tmp_path.glob("[am]*"))


def test_a_refit_without_test_images_has_no_report(
    images, tmp_path, monkeypatch, own_cache, capsys
) -> None:
    folder = tmp_path / "run"
    cross_validate(images, folder, n_folds=2, epochs=1, test_fraction=0.0)
    assert run_command(monkeypatch, "report", folder / "refit") == 2
    told = capsys.readouterr().err
    assert "was trained on all images, and none was kept for testing" in told
    assert f"medlora report {folder}\n" in told
    assert run_command(monkeypatch, "report", folder) == 0
    assert run_command(monkeypatch, "report", folder / "ensemble.json") == 2
    assert f"Name the folder of a finished run: {folder}\n" in capsys.readouterr().err
    for other in (folder, folder / "refit"):
        assert run_command(monkeypatch, "compare", other, folder / "fold-0") == 2
        assert "holds no finished run with answers to compare" in capsys.readouterr().err


def test_what_does_not_go_together(images, tmp_path) -> None:
    with pytest.raises(SettingsError, match="--folds does not go with --shuffle-labels"):
        cross_validate(images, tmp_path / "run", shuffle_labels=True)
    with pytest.raises(SettingsError, match="holds no cross-validation to go on with"):
        resume_folds(tmp_path, cache=NoCache())
    write_images(tmp_path / "few", 2)
    with pytest.raises(SettingsError, match=r"number of folds must be in \[2, 4\], not 9"):
        cross_validate(tmp_path / "few", tmp_path / "run", n_folds=9, test_fraction=0.0)
    # What a later fold's run would end with is found before the first.
    with pytest.raises(SettingsError, match=r"Fold 0 cannot be held out: A coverage of 0\.9 needs"):
        cross_validate(images, tmp_path / "run", coverage=0.9)
    with pytest.raises(SettingsError, match=r"^The operating point names the class 'cyst'"):
        cross_validate(images, tmp_path / "run", operating_point="cyst:sensitivity=0.9")
    labels = write_labels(tmp_path / "labels", [[own] * 2 for own in ("a", "b", "a|b", "")] * 2)
    with pytest.raises(
        UndefinedMetricError, match=r"Fold \d cannot be held out: auroc has no value"
    ):
        cross_validate(labels, tmp_path / "run", n_folds=4)
    assert not (tmp_path / "run").exists()
