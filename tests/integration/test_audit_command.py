import json

import pytest

from audit_samples import write_data
from run_samples import TINY, run_command


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("command") / "data")


@pytest.mark.usefixtures("own_cache")
def test_an_audit_writes_its_files_and_says_what_it_found(
    folder, tmp_path, monkeypatch, capsys
) -> None:
    place = tmp_path / "found"
    fixed = tmp_path / "fixed.csv"
    code = run_command(monkeypatch, "audit", folder, "-o", place, "--strict", "--fix", fixed, *TINY)
    shown = capsys.readouterr()
    assert code == 1, shown.err
    assert {path.name for path in place.iterdir()} == {
        "audit.html",
        "audit.json",
        "duplicates.csv",
        "label_errors.csv",
    }
    assert "to mend: 1 of the 26 test images are also in training" in " ".join(shown.out.split())
    assert "have to be mended" in shown.err
    record = json.loads((place / "audit.json").read_text())
    assert record["backbone"]["name"] == "test_vit"
    assert record["drift"][0]["splits"] == ["train", "test"]
    assert "left out: 2 of test" in shown.out
    code = run_command(
        monkeypatch,
        *("audit", fixed, "-o", tmp_path / "again", "--group-by", "group"),
        *("--backbone", "none"),
    )
    assert code == 0
    again = json.loads((tmp_path / "again" / "audit.json").read_text())
    assert not any("also in training" in own["sentence"] for own in again["findings"])


@pytest.mark.usefixtures("own_cache")
def test_a_fixed_manifest_can_be_trained_on(folder, tmp_path, monkeypatch, capsys) -> None:
    fixed = tmp_path / "fixed.csv"
    arguments = ("--backbone", "none", "-o", tmp_path / "found", "--fix", fixed)
    assert run_command(monkeypatch, "audit", folder, *arguments) == 0
    options = ("--epochs", 1, "--batch-size", 8, "-o", tmp_path / "run", "--group-by", "group")
    assert run_command(monkeypatch, "train", fixed, *options, *TINY) == 0, capsys.readouterr().err


@pytest.mark.usefixtures("own_cache")
def test_a_wrong_place_for_the_manifest_is_refused_first(
    folder, tmp_path, monkeypatch, capsys
) -> None:
    arguments = ("-o", tmp_path / "found", "--fix", tmp_path / "fixed.txt")
    assert run_command(monkeypatch, "audit", folder, *arguments) == 2
    assert "must end in .csv" in capsys.readouterr().err
    assert not (tmp_path / "found").exists()
