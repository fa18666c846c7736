"""`medlora evaluate --subgroups` and `medlora compare DATA --methods` on the command line."""

import json
from pathlib import Path

import pytest

from run_samples import FAST, run_command, train, write_images, write_manifest


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("grouped")
    images = write_images(folder / "images", n_per_class=44)
    rows = [
        {
            "path": f"images/{path.parent.name}/{path.name}",
            "label": path.parent.name,
            "sex": "FM"[number % 2] if number % 22 else "",
            "age": str(20 + number % 60),
            "patient": f"hidden-{number // 2}",
            "split": "test" if number % 44 > 7 else ("train", "val")[number % 44 > 4],
        }
        for number, path in enumerate(sorted(images.rglob("*.png")))
    ]
    return write_manifest(folder / "manifest.csv", rows)


@pytest.fixture(scope="module")
def task(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("subgroups") / "run"
    train(manifest, folder, epochs=3, learning_rate=0.01, allow_patient_overlap=True)
    return folder / "task.safetensors"


def test_groups_are_scored_on_the_terminal_and_in_json(
    monkeypatch, own_cache, manifest, task, tmp_path, capsys
) -> None:
    out, page = tmp_path / "scores.json", tmp_path / "scores.html"
    arguments = ("--subgroups", "sex,age:20-50-79", "--json", out, "--resamples", "100")
    arguments = (*arguments, "--report", page, "--report", tmp_path / "scores.md")
    assert run_command(monkeypatch, "evaluate", task, manifest, *arguments, *FAST) == 0
    content = json.loads(out.read_text())
    by_sex, by_age = content["subgroups"]
    assert [group["name"] for group in by_sex["groups"]] == ["F", "M"]
    assert [group["name"] for group in by_age["groups"]] == ["20 to under 50", "50 to 79"]
    assert sum(group["n_images"] for group in by_age["groups"]) == content["all"]["n_images"]
    assert by_sex["n_left_out"] > 0
    assert "hidden" not in out.read_text()
    assert "hidden" not in page.read_text()
    assert "AUROC by sex" in page.read_text()
    assert "20 to under 50" in (tmp_path / "scores.md").read_text()
    shown = capsys.readouterr()
    assert "By sex" in shown.out
    assert "20 to under" in shown.out
    assert f"{by_sex['n_left_out']} image(s) have no value of sex" in shown.err
    assert run_command(monkeypatch, "evaluate", task, manifest, *FAST, "--json", out) == 0
    assert "subgroups" not in json.loads(out.read_text())


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ("race", "has no column 'race'; its columns are path, label, sex"),
        ("patient", "'patient' is no column of subgroups"),
        ("age", "different values, which are too many for groups"),
        ("sex:0-1", "has a value that is no number, at image"),
    ],
)
def test_columns_that_give_no_groups_are_refused(
    monkeypatch, own_cache, manifest, task, columns, reason, capsys
) -> None:
    arguments = ("--subgroups", columns, "--resamples", "0", *FAST)
    assert run_command(monkeypatch, "evaluate", task, manifest, *arguments) == 2
    error = capsys.readouterr().err
    assert reason in error
    assert "hidden" not in error


def test_methods_are_trained_and_compared(
    monkeypatch, own_cache, manifest, tmp_path, capsys
) -> None:
    folder = tmp_path / "runs"
    options = ("--methods", "pca-logistic,linear", "-o", folder, "--backbone", "test_vit")
    more = ("--epochs", "1", "--seeds", "1", "--tries", "1", "--subgroups", "sex")
    ours = manifest.with_name("own.csv")
    # Without splits and patients that lie in two of them.
    lines = [line.split(",") for line in manifest.read_text().splitlines()]
    ours.write_text("".join(f"{','.join(line[:3])}\n" for line in lines))
    command = ("compare", ours, *options, *more, "--resamples", "50", *FAST)
    assert run_command(monkeypatch, *command) == 0
    first = capsys.readouterr().out
    found = json.loads((folder / "comparison.json").read_text())
    assert [each["name"] for each in found["comparison"]["methods"]] == ["pca-logistic", "linear"]
    assert " ".join(found["comparison"]["pairs"][0]["verdict"].split()) in " ".join(first.split())
    assert "linear, by sex" in first
    page = (folder / "comparison.html").read_text()
    assert "Groups of patients: pca-logistic" in page
    assert "Groups of patients: linear" in page
    assert run_command(monkeypatch, *command) == 0
    assert capsys.readouterr().out == first


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("a", "b", "--methods", "lora,full"), "2 paths are given"),
        (("a", "--methods", "lora"), "must name two different methods"),
        (("a", "--methods", "lora,full", "--augment", "wild"), "--augment must be none, mild"),
        (("a", "-o", "b"), "--output goes with --methods"),
    ],
)
def test_what_cannot_be_compared_is_refused(monkeypatch, own_cache, arguments, reason, capsys):
    assert run_command(monkeypatch, "compare", *arguments) == 2
    assert reason in capsys.readouterr().err
