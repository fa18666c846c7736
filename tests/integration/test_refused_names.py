"""What a task file's card refuses is refused before anything is decoded or trained."""

import os
import shutil
from pathlib import Path

import pytest

from run_samples import TINY, write_images

LINE = "'classes' must be one line of text without control characters or spaces other than"


@pytest.fixture
def nothing_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments, **more):
        raise AssertionError("images are decoded")

    for place in ("preparing", "ongoing"):
        monkeypatch.setattr(f"medlora.runs.{place}.prepare_table", refuse)
    monkeypatch.setattr("medlora.experiments.splits.prepare_table", refuse)
    monkeypatch.setattr("medlora.data.scan.scan_images", refuse)


def list_commands(data: Path, folder: Path) -> dict[str, tuple[object, ...]]:
    """Every command that trains, and the one that says whether it could."""
    space = folder / "space.yaml"
    space.write_text("backbone: test_vit\nepochs: 1\nlearning_rate: [0.1, 0.01]\n")
    out = ("-o", folder / "run")
    weights = ("--weights", "random")
    return {
        "train": ("train", data, *TINY, *out),
        "folds": ("train", data, *TINY, *out, "--folds", 2),
        "tune": ("tune", data, "--space", space, "--sampler", "grid", *weights, *out),
        "compare": ("compare", data, "--methods", "linear,lora", *out, *TINY),
        "check": ("check", data),
    }


@pytest.mark.parametrize("name", ["train", "folds", "tune", "compare", "check"])
@pytest.mark.usefixtures("nothing_decoded")
def test_a_class_that_no_card_takes(command, tmp_path, capsys, name) -> None:
    data = write_images(tmp_path / "data", 4, classes=("dark\u00a0one", "light"))
    assert command(*list_commands(data, tmp_path)[name]) == 2
    shown = capsys.readouterr().err.replace("\n", " ")
    assert LINE in shown
    assert "Rename the class in data." in shown
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["train", "folds", "compare"])
@pytest.mark.usefixtures("nothing_decoded")
def test_a_file_that_no_table_can_name(command, tmp_path, capsys, name) -> None:
    data = write_images(tmp_path / "data", 4)
    shutil.copy(data / "dark" / "000.png", os.fsencode(data / "dark") + b"/\xff.png")
    assert command(*list_commands(data, tmp_path)[name]) == 2
    shown = capsys.readouterr().err
    assert "1 file(s) of data have a name or a folder that is not UTF-8" in shown
    assert r"/dark/\udcff.png' is one. Rename them." in shown


@pytest.mark.parametrize("name", ["train", "folds", "tune", "compare"])
@pytest.mark.usefixtures("nothing_decoded")
def test_data_whose_own_name_no_task_can_have(command, tmp_path, capsys, name) -> None:
    data = write_images(tmp_path / "da\u00a0ta", 4)
    assert command(*list_commands(data, tmp_path)[name]) == 2
    shown = capsys.readouterr().err
    assert "'name' must be one line of text" in shown
    assert "rename the data" in shown


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (("--name", "two\nlines"), "'name' must be one line of text"),
        (("--name", "n" * 201), "'name' must be text of 1 to 200 characters"),
        (("--name", "n" * 195, "--folds", 2), "'name' must be text of 1 to 200 characters"),
        (("--note", "n" * 100_001), "'note' must be text of 0 to 100000 characters"),
    ],
)
@pytest.mark.usefixtures("nothing_decoded")
def test_words_that_no_card_takes(command, images, tmp_path, capsys, options, fault) -> None:
    assert command("train", images, *TINY, "-o", tmp_path / "run", *options) == 2
    assert fault in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
