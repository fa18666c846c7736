"""`medlora reproduce melo` on small stand-ins for the four data sets."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medlora.data.table import read_table
from medlora.experiments import sampling
from medlora.experiments.melo import TASKS
from run_samples import BACKBONE, draw_pixels, run_command, write_manifest


@pytest.fixture
def command(monkeypatch, own_cache):
    monkeypatch.setattr(sampling, "COUNTS", {"train": 8, "val": 4, "test": 4})
    return lambda *arguments: run_command(monkeypatch, *arguments)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("melo")
    rng = np.random.default_rng(0)
    splits = ["train"] * 12 + ["val"] * 6 + ["test"] * 6
    for task in TASKS:
        path = folder / task.data
        path.parent.mkdir(exist_ok=True)
        pictures = [draw_pixels(rng, 130 * (row % 2)) for row in range(len(splits))]
        if path.suffix == ".npz":
            arrays = {}
            for split in ("train", "val", "test"):
                rows = [row for row, word in enumerate(splits) if word == split]
                arrays[f"{split}_images"] = np.stack([pictures[row] for row in rows])
                arrays[f"{split}_labels"] = np.array([[row % 2] for row in rows])
            np.savez(path, **arrays)
            continue
        column = "labels" if task.name == "chest-findings" else "label"
        rows = []
        for row, split in enumerate(splits):
            Image.fromarray(pictures[row]).save(path.parent / f"{row}.png")
            value = "light|round" if row % 4 == 1 else ("light" if row % 2 else "")
            label = value if column == "labels" else ("light" if row % 2 else "dark")
            rows.append(
                {
                    "path": f"{row}.png",
                    column: label,
                    "patient": f"p{row}",
                    "source_image": f"s{row // 2}",
                    "split": split,
                }
            )
        write_manifest(path, rows)
    return folder


def test_four_tasks_and_three_methods_end_in_a_table(command, data, tmp_path, capsys) -> None:
    given = ("reproduce", "melo", "--data", data, "--output", tmp_path / "runs", "--quick")
    tiny = ("--backbone", BACKBONE, "--weights", "random", "--precision", "fp32")
    assert command(*given, *tiny) == 0
    shown = capsys.readouterr().out
    result = json.loads((tmp_path / "runs" / "quick" / BACKBONE / "melo.json").read_text())
    assert [task["name"] for task in result["tasks"]] == [task.name for task in TASKS]
    for task in result["tasks"]:
        assert [row["method"] for row in task["rows"]] == ["linear", "lora", "full"]
        assert not task["not_run"]
        assert task["stands_for"] in shown
        sizes = [row["trainable_parameters"] for row in task["rows"]]
        assert sizes == sorted(sizes)
        assert sizes[-1] > result["backbone"]["parameters"]
    assert "0.898" in shown, "the published figures stand beside"
    assert "no figure here means anything" in shown


def test_what_is_missing_or_unknown_is_said_first(command, data, tmp_path, capsys) -> None:
    given = ("reproduce", "melo", "--data", tmp_path, "--output", tmp_path / "runs")
    assert command(*given, "--weights", "random") == 2
    assert "manifest.csv is missing: the task 'blood-cells' needs it" in capsys.readouterr().err
    assert command(*given, "--only", "knees") == 2
    assert "no task 'knees'; there are blood-cells" in capsys.readouterr().err
    assert command(*given, "--methods", "boosting") == 2
    assert "no method 'boosting'" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_a_sample_keeps_splits_groups_and_every_class(data, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(sampling, "COUNTS", {"train": 4, "val": 2, "test": 2})
    path = sampling.write_sample(
        data / "blood_cells" / "manifest.csv", "source_image", tmp_path / "sample.csv"
    )
    table = read_table(path)
    whole = read_table(data / "blood_cells" / "manifest.csv", group_by="source_image")
    assert table.classes == whole.classes
    assert {split: len(table.rows_in(split)) >= n for split, n in sampling.COUNTS.items()} == {
        "train": True,
        "val": True,
        "test": True,
    }
    assert all(patient is not None for patient in table.patients)
    first = path.read_bytes()
    sampling.write_sample(data / "blood_cells" / "manifest.csv", "source_image", path)
    assert path.read_bytes() == first
