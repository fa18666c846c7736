"""The commands on all kinds of data."""

import csv
import io
import json
import os
import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest

from medlora.runs import prediction
from medlora.task.file import Task, load_task, save_task
from medlora.task.trust import ConformalRecord
from run_samples import FAST, TINY, draw_pixels, read_answers, write_images, write_manifest


def test_evaluate_repeats_the_scores_of_the_run(command, trained, tmp_path) -> None:
    out, table = tmp_path / "scores.json", tmp_path / "answers.csv"
    task = trained / "task.safetensors"
    given = ("evaluate", task, trained / "split.csv", *FAST, "--json", out, "--csv", table)
    assert command(*given) == 0
    scores = json.loads(out.read_text())
    run = json.loads((trained / "evaluation.json").read_text())
    assert scores["all"] == run["all"]
    assert scores["split"] == "test"
    answers, first = read_answers(table), read_answers(trained / "predictions.csv")
    assert len(answers) == len(first) == 4
    for answer, own in zip(answers, first, strict=True):
        # A split.csv outside of the data names its images by their whole paths.
        assert answer.pop("path").endswith("/" + own.pop("path"))
        assert answer == own


def test_evaluate_takes_a_folder_and_any_split(command, trained, images, tmp_path, capsys) -> None:
    task, out = trained / "task.safetensors", tmp_path / "scores.json"
    assert (
        command(
            "evaluate", task, images, *FAST, "--split", "all", "--json", out, "--resamples", "20"
        )
        == 0
    )
    assert json.loads(out.read_text())["all"]["n_images"] == 28
    capsys.readouterr()
    assert command("evaluate", task, images, *FAST) == 2
    told = capsys.readouterr().err
    assert "has no test images, since it gives no image a split. Give the split.csv" in told
    assert command("evaluate", trained, images, *FAST) == 2
    assert "cannot be read: it is a folder. Name the file in it." in capsys.readouterr().err
    assert command("evaluate", task, images, *FAST, "--split", "exam") == 2
    assert "--split must be train, val, test or all, not 'exam'" in capsys.readouterr().err


def test_evaluate_says_what_the_task_has_learnt_from(
    command, trained, images, tmp_path, capsys
) -> None:
    task, out, page = trained / "task.safetensors", tmp_path / "scores.json", tmp_path / "page.html"
    given = ("--split", "all", *FAST, "--resamples", 5, "--json", out, "--report", page)
    assert command("evaluate", task, trained / "split.csv", *given) == 0
    scores, shown = json.loads(out.read_text()), capsys.readouterr()
    told = "has learnt from 24 of these 28 images"
    assert (scores["n_seen_in_training"], scores["unseen"]["n_images"]) == (24, 4)
    assert "Those not seen in training" in shown.out
    for text in (shown.err, " ".join(scores["warnings"]), page.read_text()):
        assert told in text
        assert "24 of the 28 images are in the data" in text
    assert command("evaluate", task, images, *given) == 0
    scores, shown = json.loads(out.read_text()), capsys.readouterr()
    assert (scores["n_seen_in_training"], scores["unseen"]) == (24, None)
    for text in (shown.err, " ".join(scores["warnings"]), page.read_text()):
        assert told in text


def test_evaluate_says_undefined_where_a_class_is_missing(
    command, trained, images, tmp_path
) -> None:
    only = tmp_path / "data" / "light"
    shutil.copytree(images / "light", only)
    out = tmp_path / "scores.json"
    task = trained / "task.safetensors"
    assert (
        command(
            "evaluate",
            task,
            only.parent,
            *FAST,
            "--split",
            "all",
            "--json",
            out,
            "--resamples",
            "20",
        )
        == 0
    )
    scores = json.loads(out.read_text())["all"]
    assert scores["per_class"]["dark"]["recall"] == dict.fromkeys(
        ("value", "low", "high"), "undefined"
    )
    assert "NaN" not in out.read_text()
    assert scores["counts"] == [0, 14]


def test_evaluate_refuses_classes_that_the_task_does_not_know(command, trained, tmp_path, capsys):
    data = write_images(tmp_path / "data", 2, classes=("dark", "green"))
    assert command("evaluate", trained / "task.safetensors", data, *FAST, "--split", "all") == 2
    assert "classes that the task does not know: green" in capsys.readouterr().err


def test_evaluate_counts_what_it_leaves_out(command, trained, images, tmp_path, capsys) -> None:
    data = shutil.copytree(images, tmp_path / "data")
    (data / "dark" / "000.png").write_bytes(b"x")
    arguments = ("evaluate", trained / "task.safetensors", data, *FAST, "--split", "all")
    assert command(*arguments, "--resamples", "5") == 2
    assert "000.png" in capsys.readouterr().err
    out = tmp_path / "out.json"
    assert command(*arguments, "--skip-unreadable", "--json", out, "--resamples", "0") == 0
    assert "warning: 1 unreadable image(s) were left out." in capsys.readouterr().err
    assert json.loads(out.read_text())["all"]["n_images"] == 27


@pytest.mark.parametrize("n_columns", [1, 3])
def test_array_files_are_trained_and_evaluated(command, tmp_path, n_columns, capsys) -> None:
    rng = np.random.default_rng(0)
    arrays = {}
    for split, n_images in (("train", 24), ("val", 9), ("test", 6)):
        if n_columns == 1:
            labels = (np.arange(n_images) % 3)[:, np.newaxis].astype(np.uint8)
            levels = labels[:, 0] * 60
        else:
            labels = (rng.random((n_images, 3)) < 0.4).astype(np.uint8)
            labels[:2] = [[1, 1, 1], [0, 0, 0]]
            levels = labels.sum(1) * 40
        arrays[f"{split}_images"] = np.stack([draw_pixels(rng, int(level)) for level in levels])
        arrays[f"{split}_labels"] = labels
    data = tmp_path / "tinymnist.npz"
    np.savez(data, **arrays)
    run, out = tmp_path / "run", tmp_path / "out.json"
    assert (
        command("train", data, *TINY, "-o", run, "--epochs", "1", "--class-weights", "balanced")
        == 0
    )
    task = load_task(run / "task.safetensors")
    assert (task.card.classes, task.card.multi_label) == (("0", "1", "2"), n_columns == 3)
    assert task.card.name == "tinymnist"
    for place in (data, run / "split.csv"):
        assert command("evaluate", run / "task.safetensors", place, *FAST, "--json", out) == 0
        assert (
            json.loads(out.read_text())["all"]
            == json.loads((run / "evaluation.json").read_text())["all"]
        )
    assert ("exact_match" in json.loads(out.read_text())["all"]["overall"]) == (n_columns == 3)
    assert command("train", "--resume", run) == 0
    capsys.readouterr()


def test_a_manifest_of_several_labels_and_patients(command, images, tmp_path) -> None:
    rows = []
    for index in range(14):
        for name in ("dark", "light"):
            labels = {"dark": "", "light": "bright"}[name]
            labels += "|even" if index % 2 == 0 and labels else "even" if index % 2 == 0 else ""
            path = str(images / name / f"{index:03d}.png")
            rows.append({"path": path, "labels": labels, "case": str(index)})
    data = write_manifest(tmp_path / "films.csv", rows)
    run = tmp_path / "run"
    assert command("train", data, *TINY, "-o", run, "--epochs", "1", "--group-by", "case") == 0
    card = load_task(run / "task.safetensors").card
    assert (card.classes, card.multi_label) == (("bright", "even"), True)
    assert (card.data["n_groups"], card.data["patients_known"]) == (14, True)
    out = tmp_path / "out.json"
    assert (
        command(
            "evaluate",
            run / "task.safetensors",
            data,
            *FAST,
            "--split",
            "all",
            "--group-by",
            "case",
            "--json",
            out,
            "--resamples",
            "20",
        )
        == 0
    )
    scores = json.loads(out.read_text())["all"]
    assert (scores["n_images"], scores["n_groups"]) == (28, 14)
    assert command("train", "--resume", run) == 0


def test_predict_keeps_the_order_and_both_formats_agree(command, trained, images, tmp_path, capsys):
    broken = tmp_path / "broken.png"
    broken.write_bytes((images / "dark" / "000.png").read_bytes()[:60])
    given = [
        images / "light" / "005.png",
        broken,
        images / "dark" / "009.png",
        tmp_path / "missing.png",
        images / "light" / "001.png",
    ]
    as_json, as_csv = tmp_path / "out.json", tmp_path / "out.csv"
    task = trained / "task.safetensors"
    assert (
        command(
            "predict", task, *given, *FAST, "--json", as_json, "--csv", as_csv, "--batch-size", "2"
        )
        == 0
    )
    assert "warning: 2 image(s) could not be read." in capsys.readouterr().err
    answers, rows = json.loads(as_json.read_text()), read_answers(as_csv)
    assert [a["file"] for a in answers] == [r["file"] for r in rows] == list(map(str, given))
    assert [a.get("decision") for a in answers] == ["light", None, "dark", None, "light"]
    for answer, row in zip(answers, rows, strict=True):
        assert answer.get("error", "") == row["error"]
        assert (answer.get("decision") or "") == row["decision"]
        for name in ("dark", "light"):
            shown = row[f"p_{name}"]
            assert (float(shown) if shown else None) == answer.get("probabilities", {}).get(name)


def test_predict_tells_which_answers_should_not_be_used(
    command, trained, images, tmp_path, capsys
) -> None:
    task = load_task(trained / "task.safetensors")
    # Of two classes both are in the set, or none, where one limit lies on either side of 0.5.
    never = ConformalRecord(0.9, False, (0.0, 1.0), (), "val", (5, 5), 10)
    save_task(tmp_path / "a.safetensors", Task(replace(task.card, conformal=never), task.tensors))
    (tmp_path / "broken.png").write_bytes(b"no image")
    given = [images / "dark" / "009.png", tmp_path / "broken.png"]
    as_json, as_csv = tmp_path / "out.json", tmp_path / "out.csv"
    names = ("--json", as_json, "--csv", as_csv)
    assert command("predict", tmp_path / "a.safetensors", *given, *FAST, *names) == 0
    rows, answers = read_answers(as_csv), json.loads(as_json.read_text())
    assert list(rows[0])[-5:-1] == ["error", "abstain", "prediction_set", "undecided"]
    assert [row["prediction_set"] for row in rows] == ["dark", ""]
    assert [row["abstain"] for row in rows] == ["", ""]
    assert (answers[0]["abstain"], answers[0]["prediction_set"]) == ("", ["dark"])
    assert "abstain" not in answers[1]
    both = replace(never, least=(0.0, 0.0))
    save_task(tmp_path / "b.safetensors", Task(replace(task.card, conformal=both), task.tensors))
    capsys.readouterr()
    assert command("predict", tmp_path / "b.safetensors", *given[:1], *FAST, *names) == 0
    assert "1 of 1 image(s) should not be decided so; 'abstain' says why" in capsys.readouterr().err
    (row,) = read_answers(as_csv)
    assert row["decision"] == "dark"
    assert row["abstain"] == "undecided between dark and light"
    assert row["prediction_set"] == "dark|light"
    # A task without sets has the same columns.
    assert command("predict", trained / "task.safetensors", *given[:1], *FAST, *names) == 0
    (row,) = read_answers(as_csv)
    assert (row["abstain"], row["prediction_set"], row["undecided"]) == ("", "", "")
    assert "prediction_set" not in json.loads(as_json.read_text())[0]


def test_predict_agrees_with_evaluate_and_writes_to_the_terminal(command, trained, images, capsys):
    assert command("predict", trained / "task.safetensors", images, *FAST) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(rows) == 28
    assert [row["file"] for row in rows] == sorted(row["file"] for row in rows)
    by_file = {row["file"]: row for row in rows}
    scored = read_answers(trained / "predictions.csv")
    assert len(scored) == 4
    for row in scored:
        answer = by_file[str(images / row["path"])]
        assert answer["decision"] == row["decision"]
        assert float(answer["p_dark"]) == pytest.approx(float(row["p_dark"]), abs=2e-6)
    # Rounded, the answers of a confident model would fall together.
    values = [float(row["p_dark"]) for row in rows]
    assert any(value != round(value, 6) for value in values)


def test_predict_reads_paths_from_standard_input(command, trained, images, tmp_path, monkeypatch):
    odd = os.fsencode(tmp_path) + b"/caf\xe9.png"
    shutil.copy(os.fsencode(images / "light" / "002.png"), odd)
    lines = [os.fsencode(images / "dark" / "001.png"), odd, b"missing.png"]
    stream = io.TextIOWrapper(io.BytesIO(b"\n".join(lines) + b"\r\n\n"), encoding="utf-8")
    monkeypatch.setattr(sys, "stdin", stream)
    out, table = tmp_path / "out.json", tmp_path / "out.csv"
    assert (
        command("predict", trained / "task.safetensors", "-", *FAST, "--json", out, "--csv", table)
        == 0
    )
    answers = json.loads(out.read_text("utf-8"))
    assert [answer.get("decision") for answer in answers] == ["dark", "light", None]
    assert answers[1]["file"].endswith("caf\\udce9.png")
    assert len(read_answers(table)) == 3


def test_where_no_image_can_be_read_the_answers_are_kept(command, trained, tmp_path, capsys):
    out = tmp_path / "out.json"
    task = trained / "task.safetensors"
    assert command("predict", task, tmp_path / "a.png", *FAST, "--json", out) == 2
    assert "error: No image could be read; each answer says why." in capsys.readouterr().err
    assert json.loads(out.read_text())[0]["error"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_prediction_leaves_no_half_file(
    command, trained, images, tmp_path, monkeypatch, error
):
    answer = prediction.answer_batch
    calls = []

    def fail(*arguments, **more):
        calls.append(1)
        if len(calls) == 3:
            raise error
        return answer(*arguments, **more)

    monkeypatch.setattr(prediction, "answer_batch", fail)
    out, table = tmp_path / "out.json", tmp_path / "out.csv"
    table.write_text("from before")
    given = ("predict", trained / "task.safetensors", images, *FAST, "--json", out, "--csv", table)
    if error is KeyboardInterrupt:
        assert command(*given, "--batch-size", "4") == 130
    else:
        with pytest.raises(RuntimeError):
            command(*given, "--batch-size", "4")
    assert len(calls) == 3
    assert not out.exists()
    assert table.read_text() == "from before"
    assert not list(tmp_path.glob(".*"))


def test_show_tells_what_a_task_is(command, trained, capsys) -> None:
    task = trained / "task.safetensors"
    assert command("show", task, "--json") == 0
    assert json.loads(capsys.readouterr().out) == load_task(task).card.to_dict()
    assert command("show", task, "--check", "--weights", "random") == 0
    shown = capsys.readouterr().out
    assert "self-check passed" in shown
    assert "test_vit" in shown
