"""Several series of one case as channels, from a manifest to answers."""

import json

import numpy as np
import pytest
from PIL import Image

from medlora.task.file import load_task
from run_samples import BACKBONE, FAST, TINY, draw_pixels, read_answers, write_manifest

COLUMNS = ("path_t1", "path_t2")


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """28 cases of two series; only the second one tells their classes apart."""
    folder = tmp_path_factory.mktemp("series")
    rng = np.random.default_rng(0)
    rows = []
    for number in range(28):
        for column, level in zip(COLUMNS, (60, 130 * (number % 2)), strict=True):
            grey = draw_pixels(rng, level)[..., 0]
            Image.fromarray(grey).save(folder / f"{column}_{number}.png")
        own = {column: f"{column}_{number}.png" for column in COLUMNS}
        rows.append(own | {"label": ("dark", "light")[number % 2], "patient": f"P{number}"})
    return write_manifest(folder / "cases.csv", rows)


@pytest.fixture(scope="module")
def run(manifest, tmp_path_factory):
    from run_samples import train

    folder = tmp_path_factory.mktemp("series-run") / "run"
    settings = {"channels": COLUMNS, "epochs": 4, "learning_rate": 0.01, "prepare": ("denoise",)}
    assert train(manifest, folder, **settings).ended == "finished"
    return folder


def test_the_card_names_the_channels_and_the_backbone_is_the_adapted_one(run) -> None:
    from medlora.backbones.weights import load_backbone

    card = load_task(run / "task.safetensors").card
    assert card.preprocessing.channels == COLUMNS
    assert len(card.preprocessing.mean) == 2
    adapted = load_backbone(BACKBONE, "random", channels=COLUMNS)
    assert card.backbone.fingerprint == adapted.fingerprint
    assert card.backbone.fingerprint != load_backbone(BACKBONE, "random").fingerprint
    assert (
        json.loads((run / "evaluation.json").read_text())["all"]["overall"]["auroc"]["value"] > 0.9
    )
    assert set(COLUMNS) < set(read_answers(run / "split.csv")[0])


def test_evaluation_and_prediction_take_such_a_manifest(command, run, manifest, tmp_path) -> None:
    task, out, table = run / "task.safetensors", tmp_path / "scores.json", tmp_path / "answers.csv"
    assert command("evaluate", task, run / "split.csv", *FAST, "--json", out) == 0
    first = json.loads((run / "evaluation.json").read_text())
    assert json.loads(out.read_text())["all"] == first["all"]
    assert command("evaluate", task, manifest, *FAST, "--split", "all") == 0
    assert command("predict", task, manifest, *FAST, "--csv", table) == 0
    answers = read_answers(table)
    assert len(answers) == 28
    right = [row["decision"] == ("dark", "light")[place % 2] for place, row in enumerate(answers)]
    assert np.mean(right) > 0.9


def test_a_missing_or_unequal_series_is_one_row_with_its_name(
    command, run, manifest, tmp_path, capsys
) -> None:
    folder = manifest.parent
    Image.new("L", (10, 12)).save(folder / "small.png")
    rows = [
        {"path_t1": "path_t1_0.png", "path_t2": "path_t2_0.png", "label": "dark"},
        {"path_t1": "path_t1_1.png", "path_t2": "", "label": "light"},
        {"path_t1": "gone.png", "path_t2": "path_t2_2.png", "label": "dark"},
        {"path_t1": "path_t1_3.png", "path_t2": "small.png", "label": "light"},
    ]
    odd = write_manifest(folder / "odd.csv", rows)
    table = tmp_path / "answers.csv"
    assert command("predict", run / "task.safetensors", odd, *FAST, "--csv", table) == 0
    errors = [row["error"] for row in read_answers(table)]
    assert errors[0] == ""
    assert errors[1] == "its series path_t2 is missing"
    assert errors[2].startswith("its series path_t1: cannot be opened")
    assert "different sizes, 24 x 24, 12 x 10 pixels. Register them" in errors[3]
    given = ("--channels", ",".join(COLUMNS), "-o", tmp_path / "run")
    capsys.readouterr()
    assert command("train", odd, *TINY, *given) == 2
    said = capsys.readouterr().err
    assert "3 image(s) cannot be read" in said
    assert "its series path_t2 is missing" in said


def test_what_does_not_fit_is_said(command, run, images, manifest, tmp_path, capsys) -> None:
    task = run / "task.safetensors"
    assert command("predict", task, images, *FAST) == 2
    assert "manifest with the columns path_t1, path_t2" in capsys.readouterr().err
    assert command("evaluate", task, images, *FAST) == 2
    assert "has no columns path_t1, path_t2" in capsys.readouterr().err
    given = ("--channels", "path_t1,path_flair", "-o", tmp_path / "run")
    assert command("train", manifest, *TINY, *given) == 2
    assert "has no column path_flair" in capsys.readouterr().err
    given = ("--channels", "path_t1,path_t1", "-o", tmp_path / "run")
    assert command("train", manifest, *TINY, *given) == 2
    assert "must name each column once" in capsys.readouterr().err


def test_other_commands_know_of_series(command, run, manifest, tmp_path, capsys) -> None:
    task, given = run / "task.safetensors", ("--channels", ",".join(COLUMNS))
    assert command("check", manifest, *given) == 0
    assert "Every image can be read." in capsys.readouterr().out
    picture = ("--backbone", BACKBONE, *FAST, *given, "-o", tmp_path / "map.png")
    assert command("features", manifest, *picture) == 0
    sheet = ("--backbone", BACKBONE, *given, "--images", 3, "-o", tmp_path / "sheet.png")
    assert command("preview", manifest, *sheet) == 0
    assert "3 of 28 images" in capsys.readouterr().out
    with Image.open(tmp_path / "sheet.png") as image:
        # Six rows: two series of three cases, as they are and as the network gets them.
        assert image.height > 1.5 * image.width
    assert command("show", task, "--check", "--weights", "random") == 0
    capsys.readouterr()
    assert command("tasks", "export", task, tmp_path / "peft", "--weights", "random") == 2
    assert "takes the series path_t1, path_t2" in capsys.readouterr().err
    plain = ("--out", tmp_path / "plain.safetensors", "--weights", "random")
    assert command("tasks", "merge", task, *plain) == 2
    assert command("predict", "--tasks", run, manifest, *FAST) == 2


def test_a_run_goes_on_with_the_same_series(command, manifest, run, tmp_path) -> None:
    from run_samples import assert_same_tensors, read_tensors, train

    folder = tmp_path / "run"
    asked = iter([False] * 3 + [True] * 50)
    settings = {"channels": COLUMNS, "epochs": 4, "learning_rate": 0.01, "prepare": ("denoise",)}
    result = train(manifest, folder, should_stop=lambda: next(asked), **settings)
    assert result.ended == "stopped"
    assert command("train", "--resume", folder) == 0
    assert_same_tensors(read_tensors(run), read_tensors(folder))


@pytest.mark.parametrize("n_channels", [1, 4])
def test_any_number_of_series(command, manifest, tmp_path, n_channels) -> None:
    rows = read_answers(manifest)
    names = [f"series_{number}" for number in range(n_channels)]
    wide = [row | dict.fromkeys(names, row["path_t2"]) for row in rows]
    path = write_manifest(manifest.parent / f"wide_{n_channels}.csv", wide)
    folder = tmp_path / "run"
    given = ("--channels", ",".join(names), "--epochs", 1, "--noise", 0.1, "-o", folder)
    assert command("train", path, *TINY, *given) == 0
    task = folder / "task.safetensors"
    assert load_task(task).card.preprocessing.channels == tuple(names)
    assert command("predict", task, path, *FAST, "--csv", tmp_path / "answers.csv") == 0
