"""`medlora compare` on runs that were really trained."""

import json
import shutil
from pathlib import Path

import pytest

from run_samples import run_command, train, write_images


@pytest.fixture(scope="module")
def runs(images: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("compared")
    made = {
        "lora": {"epochs": 2, "learning_rate": 0.01},
        "lora-1": {"epochs": 2, "learning_rate": 0.01, "seed": 1, "val_fraction": 0.15},
        "linear": {"epochs": 1, "learning_rate": 1e-5, "method": "linear"},
    }
    # The same test images for every seed: those of a split that is given.
    first = folder / "lora"
    train(images, first, **made.pop("lora"))
    for name, changes in made.items():
        train(first / "split.csv", folder / name, **changes)
    return {path.name: path for path in folder.iterdir()}


@pytest.fixture
def command(monkeypatch, own_cache):
    return lambda *arguments: run_command(monkeypatch, "compare", *arguments)


def test_seeds_are_one_method_and_methods_are_compared(command, runs, tmp_path, capsys) -> None:
    path = tmp_path / "comparison.json"
    assert command(*sorted(runs.values()), "--margin", "0.02", "--json", path) == 0
    found = json.loads(path.read_text())
    assert {each["name"]: each["n_seeds"] for each in found["methods"]} == {"linear": 1, "lora": 2}
    assert found["margin"] == 0.02
    assert len(found["pairs"]) == 1
    shown = " ".join(capsys.readouterr().out.split())
    assert " ".join(found["pairs"][0]["verdict"].split()) in shown


def test_the_same_run_twice_is_refused(command, runs, capsys) -> None:
    assert command(runs["lora"], runs["lora"]) == 2
    assert "have one seed" in capsys.readouterr().err


def test_other_test_images_are_refused(command, runs, tmp_path, capsys) -> None:
    other = tmp_path / "other"
    train(write_images(tmp_path / "images", seed=9), other, epochs=1)
    assert command(runs["lora"], other) == 2
    assert "A comparison is paired" in " ".join(capsys.readouterr().err.split())


def test_tables_of_two_runs_are_refused(command, runs, tmp_path, capsys) -> None:
    mixed = tmp_path / "mixed"
    shutil.copytree(runs["lora"], mixed)
    lines = (mixed / "predictions.csv").read_text().splitlines(keepends=True)
    (mixed / "predictions.csv").write_text("".join([lines[0], *reversed(lines[1:])]))
    assert command(mixed, runs["linear"]) == 2
    assert "are not of one image" in " ".join(capsys.readouterr().err.split())
    (mixed / "predictions.csv").write_text("".join(lines[:-1]))
    assert command(mixed, runs["linear"]) == 2
    assert "They are not of one run" in " ".join(capsys.readouterr().err.split())


def test_a_table_whose_answers_fall_together_is_refused(command, runs, tmp_path, capsys) -> None:
    equal = tmp_path / "equal"
    shutil.copytree(runs["lora"], equal)
    rows = [line.split(",") for line in (equal / "predictions.csv").read_text().splitlines()]
    first = rows[0].index("decision") + 1
    for row in rows[1:]:
        row[first:] = ["0.5" for _ in row[first:]]
    text = "".join(",".join(row) + "\n" for row in rows)
    (equal / "predictions.csv").write_text(text)
    assert command(equal, runs["linear"]) == 2
    error = " ".join(capsys.readouterr().err.split())
    assert "an AUROC of" in error
    assert "medlora train --resume" in error


def test_scores_of_other_classes_are_refused(command, runs, tmp_path, capsys) -> None:
    odd = tmp_path / "odd"
    shutil.copytree(runs["lora"], odd)
    for text in ("[]", "{}", '{"all": {"per_class": {"other": {}}}}'):
        (odd / "evaluation.json").write_text(text)
        assert command(odd, runs["linear"]) == 2
        assert "does not hold the scores" in " ".join(capsys.readouterr().err.split())


def test_a_comparison_has_the_scores_of_the_runs(command, runs, tmp_path) -> None:
    path = tmp_path / "comparison.json"
    assert command(runs["lora"], runs["linear"], "--json", path) == 0
    for found in json.loads(path.read_text())["methods"]:
        scores = json.loads((runs[found["name"]] / "evaluation.json").read_text())
        assert found["auroc"] == pytest.approx(
            scores["all"]["overall"]["auroc"]["value"], abs=1e-12
        )


def test_published_counts_need_no_run(command, tmp_path, capsys) -> None:
    path = tmp_path / "counts.json"
    assert command("--counts", "66/71", "--counts", "61/71", "--json", path) == 0
    assert "cannot tell the methods apart" in capsys.readouterr().out
    assert json.loads(path.read_text())["n_right"] == [66, 61]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "Give either run folders"),
        (("--counts", "66/71"), "--counts takes two"),
        (("--counts", "66/71", "--counts", "many"), "--counts takes two"),
        (("no-such-run",), "no-such-run"),
    ],
)
def test_what_cannot_be_compared_is_one_line(command, arguments, words, capsys) -> None:
    assert command(*arguments) == 2
    error = capsys.readouterr().err
    assert words in error
    assert "Traceback" not in error
