"""`medlora predict --tasks`: images of which each asks its own tasks."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bank_samples import answer_apart, make_task
from medlora.backbones.weights import load_backbone
from medlora.task.file import Task, save_task
from run_samples import BACKBONE, FAST, read_answers, write_images, write_manifest

BRAIN, CHEST, QUALITY = "brain", "chest", "quality"


@pytest.fixture(scope="module")
def tasks() -> dict[str, Task]:
    backbone = load_backbone(BACKBONE, "random")
    return {
        BRAIN: make_task(backbone, BRAIN, n_classes=3, checked=True),
        CHEST: make_task(backbone, CHEST, rank=4, seed=1, checked=True),
        QUALITY: make_task(backbone, QUALITY, method="linear", multi_label=True, seed=2),
    }


@pytest.fixture
def folder(tasks: dict[str, Task], tmp_path: Path) -> Path:
    for name, task in tasks.items():
        save_task(tmp_path / "tasks" / f"{name}.safetensors", task)
    return tmp_path / "tasks"


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    root = write_images(tmp_path / "pictures", n_per_class=3)
    return sorted(root.rglob("*.png"))


def test_each_image_asks_its_own_tasks_in_the_order_of_the_images(
    command, folder, tasks, pictures, tmp_path
) -> None:
    asked = [BRAIN, f"{CHEST}|{QUALITY}", QUALITY, BRAIN, f"{QUALITY}|{BRAIN}|{CHEST}", CHEST]
    rows = [
        {"path": str(path.relative_to(tmp_path)), "tasks": names}
        for path, names in zip(pictures, asked, strict=True)
    ]
    route = write_manifest(tmp_path / "route.csv", rows[::-1])
    table, records = tmp_path / "answers.csv", tmp_path / "answers.json"
    given = ("predict", "--tasks", folder, *pictures, "--route", route, *FAST)
    assert command(*given, "--csv", table, "--json", records, "--batch-size", "4") == 0
    answers = read_answers(table)
    expected = [
        (str(path), name)
        for path, names in zip(pictures, asked, strict=True)
        for name in names.split("|")
    ]
    assert [(row["file"], row["task"]) for row in answers] == expected
    backbone = load_backbone(BACKBONE, "random")
    for row in answers:
        with Image.open(row["file"]) as image:
            values = answer_apart(tasks[row["task"]], backbone, np.array(image.convert("RGB")))
        found = json.loads(row["probabilities"])
        assert tuple(found) == tasks[row["task"]].card.classes
        assert np.abs(np.array(list(found.values())) - values).max() < 2e-5
    listed = json.loads(records.read_text())
    assert [record["file"] for record in listed] == [str(path) for path in pictures]
    assert [
        (record["file"], name, answer["decision"])
        for record in listed
        for name, answer in record["answers"].items()
    ] == [(row["file"], row["task"], row["decision"]) for row in answers]


def test_a_route_stands_for_its_images_and_no_route_for_every_task(
    command, folder, pictures, tmp_path
) -> None:
    rows = [{"path": str(path), "task": BRAIN} for path in pictures[:2]]
    route, table = write_manifest(tmp_path / "route.csv", rows), tmp_path / "answers.csv"
    assert command("predict", "--tasks", folder, "--route", route, *FAST, "--csv", table) == 0
    assert [row["task"] for row in read_answers(table)] == [BRAIN, BRAIN]
    assert command("predict", "--tasks", folder, pictures[0], *FAST, "--csv", table) == 0
    assert [row["task"] for row in read_answers(table)] == [BRAIN, CHEST, QUALITY]


def test_an_image_that_cannot_be_read_says_so_for_each_of_its_tasks(
    command, folder, pictures, tmp_path, capsys
) -> None:
    pictures[1].write_bytes(b"no image")
    table, records = tmp_path / "answers.csv", tmp_path / "answers.json"
    given = ("predict", "--tasks", folder, *pictures[:3], *FAST, "--json", records)
    assert command(*given, "--csv", table) == 0
    assert "1 image(s) could not be read" in capsys.readouterr().err
    errors = [row for row in read_answers(table) if row["error"]]
    assert [row["task"] for row in errors] == [BRAIN, CHEST, QUALITY]
    assert {row["file"] for row in errors} == {str(pictures[1])}
    assert not any(row["decision"] for row in errors)
    assert json.loads(records.read_text())[1]["tasks"] == [BRAIN, CHEST, QUALITY]


def test_a_small_memory_for_tasks_changes_no_answer(command, folder, pictures, tmp_path) -> None:
    wide, narrow = tmp_path / "wide.csv", tmp_path / "narrow.csv"
    given = ("predict", "--tasks", folder, *pictures, *FAST)
    assert command(*given, "--csv", wide) == 0
    assert command(*given, "--csv", narrow, "--task-memory", "0") == 0
    assert narrow.read_text() == wide.read_text()


def test_files_that_are_not_served_are_named_and_the_others_answer(
    command, folder, tasks, pictures, tmp_path, capsys
) -> None:
    other = load_backbone(BACKBONE, "random", seed=5)
    save_task(folder / "stranger.safetensors", make_task(other, "stranger"))
    (folder / "cut.safetensors").write_bytes(b"\x10")
    table = tmp_path / "answers.csv"
    assert command("predict", "--tasks", folder, pictures[0], *FAST, "--csv", table) == 0
    assert [row["task"] for row in read_answers(table)] == [BRAIN, CHEST, QUALITY]
    warnings = capsys.readouterr().err
    theirs = other.fingerprint[:6]
    ours = tasks[BRAIN].card.backbone.fingerprint[:6]
    assert f"@{theirs}" in warnings
    assert f"@{ours}" in warnings
    assert "cut.safetensors" in warnings


def test_what_cannot_be_answered_is_refused_in_one_line(
    command, folder, tasks, pictures, tmp_path, capsys
) -> None:
    def fails(*arguments: object) -> str:
        capsys.readouterr()
        assert command("predict", *arguments, *FAST) == 2
        lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
        assert len(lines) == 1
        return lines[0]

    one = pictures[0]
    route = write_manifest(tmp_path / "r.csv", [{"path": str(one), "task": "liver"}])
    assert "no task 'liver' in the bank" in fails("--tasks", folder, "--route", route)
    route = write_manifest(tmp_path / "r.csv", [{"path": str(one), "task": BRAIN}])
    wrong = fails("--tasks", folder, *pictures, "--route", route)
    assert "5 of 6 images have no route" in wrong
    route = write_manifest(tmp_path / "r.csv", [{"path": str(one), "task": ""}])
    assert "line 2, names no task" in fails("--tasks", folder, "--route", route)
    route = write_manifest(tmp_path / "r.csv", [{"path": str(one), "label": BRAIN}])
    assert "a column 'task' or a column 'tasks'" in fails("--tasks", folder, "--route", route)
    assert "Give images, or a table" in fails("--tasks", folder)
    assert "go with --tasks" in fails(folder / "brain.safetensors", one, "--route", route)
    assert "a task file and images" in fails()
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "no usable task file" in fails("--tasks", empty, one)
    small = make_task(load_backbone("test_resnet", "random"), "small")
    save_task(folder / "small.safetensors", small)
    assert "are of 2 backbones: test_vit (3), test_resnet (1)" in fails("--tasks", folder, one)
    wrong = fails("--tasks", folder, one, "--backbone", "resnet18")
    assert "No task of" in wrong
    (folder / "small.safetensors").unlink()
    shutil.copy(folder / "brain.safetensors", folder / "copy.safetensors")
    assert "both called 'brain'" in fails("--tasks", folder, one)


def test_a_task_that_does_not_answer_as_it_did_is_not_served(
    command, folder, tasks, pictures, capsys
) -> None:
    brain = tasks[BRAIN]
    tensors = brain.tensors | {"head.bias": brain.tensors["head.bias"] * -9 + 2}
    save_task(folder / "brain.safetensors", Task(brain.card, tensors))
    assert command("predict", "--tasks", folder, pictures[0], *FAST) == 2
    assert "'brain' answers differently from when it was saved" in capsys.readouterr().err
