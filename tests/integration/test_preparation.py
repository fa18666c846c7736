"""Steps of preparation from training to every later use of the task file."""

import json

import pytest
from PIL import Image

from medlora.task.file import load_task
from run_samples import FAST, TINY, read_answers, write_images


def test_a_task_prepares_images_as_in_training_wherever_it_is_used(
    command, tmp_path, capsys
) -> None:
    data, run = write_images(tmp_path / "data"), tmp_path / "run"
    given = ("--epochs", 1, "--prepare", "denoise,crop", "-o", run)
    assert command("train", data, *TINY, *given) == 0
    task = run / "task.safetensors"
    assert load_task(task).card.preprocessing.steps == ("crop", "denoise")
    assert load_task(task).card.training["prepare"] == ["crop", "denoise"]
    own = {row["path"]: row for row in read_answers(run / "predictions.csv")}
    out = tmp_path / "one.csv"
    assert command("predict", task, data, *FAST, "--csv", out) == 0
    assert command("tasks", "list", run) == 0
    many = tmp_path / "many.csv"
    assert command("predict", "--tasks", run, data, *FAST, "--csv", many) == 0
    again = tmp_path / "scores.json"
    assert command("evaluate", task, run / "split.csv", *FAST, "--json", again) == 0
    first = json.loads((run / "evaluation.json").read_text())
    assert json.loads(again.read_text())["all"] == first["all"]
    for row, other in zip(read_answers(out), read_answers(many), strict=True):
        light = json.loads(other["probabilities"])["light"]
        assert float(row["p_light"]) == pytest.approx(light, abs=1e-5)
    compared = 0
    for row in read_answers(out):
        for path, answer in own.items():
            if row["file"].endswith(path):
                compared += 1
                assert float(row["p_light"]) == pytest.approx(float(answer["p_light"]), abs=1e-5)
    assert compared == len(own)
    capsys.readouterr()
    assert command("show", task, "--json") == 0
    assert json.loads(capsys.readouterr().out)["preprocessing"]["steps"] == ["crop", "denoise"]


def test_preview_draws_a_sheet(command, tmp_path, capsys) -> None:
    data, sheet = write_images(tmp_path / "data", n_per_class=3), tmp_path / "sheet.png"
    given = ("--backbone", "test_vit", "--images", 3, "--prepare", "crop,denoise", "-o", sheet)
    assert command("preview", data, *given) == 0
    assert "3 of 6 images" in capsys.readouterr().out
    with Image.open(sheet) as image:
        assert image.format == "PNG"
        assert image.width > image.height > 500
    assert command("preview", data, "-o", tmp_path / "sheet.doc") == 2
    assert "must end in .svg or .png" in capsys.readouterr().err
    assert command("preview", data, "--prepare", "sharpen") == 2
    assert "one of crop, denoise, bias-field, not 'sharpen'" in capsys.readouterr().err
    assert command("preview", data, "--backbone", "test_vitt") == 2
    assert "timm has no usable model 'test_vitt'" in capsys.readouterr().err
