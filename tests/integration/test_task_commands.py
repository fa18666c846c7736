"""The commands about task files, on a folder as it is found in the field."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from medlora.task.file import Task, load_task, save_task
from medlora.task.records import BackboneReference
from run_samples import assert_same_tensors, run_command


@pytest.fixture
def command(monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    return lambda *arguments: run_command(monkeypatch, "tasks", *arguments)


@pytest.fixture
def folder(trained, tmp_path) -> Path:
    """A run folder, and a file beside it that holds another task."""
    shutil.copytree(trained, tmp_path / "tasks" / "run")
    change_task(trained / "task.safetensors", tmp_path / "tasks" / "b.safetensors", name="second")
    return tmp_path / "tasks"


def change_task(source: Path, target: Path, **changes) -> None:
    task = load_task(source)
    save_task(target, Task(replace(task.card, **changes), task.tensors))


def plant_faults(folder: Path) -> None:
    content = bytearray((folder / "b.safetensors").read_bytes())
    (folder / "cut.safetensors").write_bytes(content[:-1])
    (folder / "weights.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")


def test_list_shows_the_tasks_of_a_folder(command, folder, capsys) -> None:
    assert command("list", folder) == 0
    shown = capsys.readouterr()
    card = load_task(folder / "b.safetensors").card
    auroc = card.metrics["val"]["auroc"]
    for text in (
        "second",
        "b.safetensors",
        "tiny",
        "run/task.safetensors",
        f"test_vit@{card.backbone.fingerprint[:6]}",
        "2 classes: dark, light",
        "rank 4",
        "val auroc",
        f"{auroc:.3f}",
        f"{(folder / 'b.safetensors').stat().st_size:,}",
        card.created[:10],
    ):
        assert text in shown.out, text
    assert shown.err == ""


def test_list_as_json_tells_what_the_cards_hold(command, folder, capsys) -> None:
    path = folder / "b.safetensors"
    score = {"value": 0.91, "low": 0.84, "high": 0.96}
    change_task(path, path, metrics={"test": {"auroc": score}})
    assert command("list", folder, "--json") == 0
    content = json.loads(capsys.readouterr().out)
    assert (content["folder"], content["refused"]) == (str(folder), {})
    card = load_task(path).card
    first, other = content["tasks"]
    assert first.pop("sha256") != other["sha256"]
    assert first == {
        "name": "second",
        "file": "b.safetensors",
        "classes": ["dark", "light"],
        "multi_label": False,
        "method": "lora",
        "rank": 4,
        "backbone": card.backbone.to_dict(),
        "n_bytes": path.stat().st_size,
        "score": {"split": "test", "measure": "auroc", **score},
        "created": card.created,
    }
    assert (other["name"], other["file"]) == ("tiny", "run/task.safetensors")
    assert other["score"]["split"] == "val"
    command("list", folder)
    assert "0.840 to 0.960" in capsys.readouterr().out


def test_list_warns_of_what_it_cannot_read(command, folder, capsys) -> None:
    plant_faults(folder)
    assert command("list", folder, "--json") == 0
    shown = capsys.readouterr()
    content = json.loads(shown.out)
    assert [task["name"] for task in content["tasks"]] == ["second", "tiny"]
    assert list(content["refused"]) == ["cut.safetensors", "weights.safetensors"]
    assert shown.err.splitlines() == [f"warning: {text}" for text in content["refused"].values()]
    assert "warning: cut.safetensors is truncated" in shown.err


def test_list_warns_of_namesakes(command, folder, capsys) -> None:
    shutil.copy(folder / "b.safetensors", folder / "run" / "copy.safetensors")
    assert command("list", folder) == 0
    error = capsys.readouterr().err
    assert "2 files hold a task called 'second': b.safetensors, run/copy.safetensors." in error
    assert "medlora tasks rename" in error


def test_list_fails_where_there_is_no_task(command, folder, tmp_path, capsys) -> None:
    plant_faults(folder)
    shutil.rmtree(folder / "run")
    (folder / "b.safetensors").unlink()
    assert command("list", folder) == 2
    error = capsys.readouterr().err
    assert "warning: weights.safetensors is not a task file" in error
    assert f"error: {folder} holds no task file (none of 2 can be read)" in error
    (tmp_path / "empty").mkdir()
    for place, match in (
        ("empty", "holds no task file (none)"),
        ("nowhere", "nowhere does not exist; a folder of task files is needed"),
    ):
        assert command("list", tmp_path / place) == 2
        assert match in capsys.readouterr().err


def test_list_says_when_a_folder_is_closed(command, folder, monkeypatch, capsys) -> None:
    scan = os.scandir

    def refuse(path):
        if str(path) == str(folder / "run"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert command("list", folder) == 2
    expected = f"error: {folder / 'run'} cannot be looked into (Permission denied)."
    assert expected in capsys.readouterr().err


def test_list_takes_the_tasks_of_one_backbone(command, folder, capsys) -> None:
    path = folder / "other.safetensors"
    other = BackboneReference("test_resnet", "ab" * 32)
    change_task(folder / "b.safetensors", path, name="other", backbone=other)
    assert command("list", folder, "--backbone", "test_resnet", "--json") == 0
    content = json.loads(capsys.readouterr().out)
    assert [task["name"] for task in content["tasks"]] == ["other"]
    assert command("list", folder, "--backbone", "resnet18") == 2
    error = capsys.readouterr().err
    assert (
        "no task on the backbone 'resnet18'; its 3 task(s) are on test_resnet, test_vit." in error
    )


def test_list_cuts_many_classes_short_and_takes_no_name_for_markup(
    command, trained, tmp_path, capsys
) -> None:
    task = load_task(trained / "task.safetensors")
    classes = [f"[red]class{number}" for number in range(20)]
    card = replace(
        task.card,
        name="[bold]brain[/bold]",
        classes=tuple(classes),
        thresholds=(0.5,) * 20,
        multi_label=True,
        self_check=None,
        method="linear",
        adapter=None,
        metrics={},
    )
    head = task.tensors["head.weight"][:1].repeat(20, 1)
    tensors = {"head.weight": head, "head.bias": head[:, 0].clone()}
    save_task(tmp_path / "a.safetensors", Task(card, tensors))
    assert command("list", tmp_path) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "[bold]brain[/bold]" in shown
    assert "20 labels: [red]class0, [red]class1," in shown
    assert "and 15 more" in shown
    assert "class19" not in shown


def test_verify_repeats_every_self_check(command, folder, capsys) -> None:
    assert command("verify", folder, "--weights", "random") == 0
    shown = capsys.readouterr()
    lines = shown.out.splitlines()
    assert len(lines) == 2
    for file, line in zip(("b.safetensors", "run/task.safetensors"), lines, strict=True):
        assert line.startswith(f"ok      {folder / file}: answers differ by at most ")
        assert float(line.rpartition(" ")[2]) < 1e-5
    assert "verifying: 2 done" in shown.err


def test_verify_tells_every_fault_in_the_order_given(command, folder, tmp_path, capsys) -> None:
    plant_faults(folder)
    good, gone = folder / "run" / "task.safetensors", tmp_path / "gone.safetensors"
    flipped, other = tmp_path / "flipped.safetensors", tmp_path / "other.safetensors"
    plain = tmp_path / "plain.safetensors"
    content = bytearray(good.read_bytes())
    content[-1] ^= 1
    flipped.write_bytes(content)
    card = load_task(good).card
    change_task(good, other, backbone=BackboneReference("test_vit", "c210aa" + "0" * 58))
    change_task(good, plain, self_check=None)
    given = [gone, flipped, folder, other, plain, good]
    assert command("verify", *given, "--weights", "random", "--json") == 2
    shown = capsys.readouterr()
    found = json.loads(shown.out)
    expected = {
        gone: "cannot be read (No such file",
        flipped: "does not match the digest",
        folder / "b.safetensors": None,
        folder / "cut.safetensors": "is truncated",
        good: None,
        folder / "weights.safetensors": "is not a task file",
        other: f"@c210aa; this is @{card.backbone.fingerprint[:6]}",
        plain: None,
    }
    assert [item["file"] for item in found] == [str(path) for path in expected]
    for item, match in zip(found, expected.values(), strict=True):
        assert item["ok"] is (match is None)
        assert (match or "") in (item["fault"] or "")
    by_file = {item["file"]: item for item in found}
    assert by_file[str(good)]["task"] == "tiny"
    assert by_file[str(good)]["backbone"] == card.backbone.to_dict()
    assert 0 <= by_file[str(good)]["largest_difference"] < 1e-5
    assert by_file[str(plain)]["largest_difference"] is None
    assert "error: 5 of 8 file(s) failed; what is said of each tells why." in shown.err


def test_verify_has_one_line_for_each_file(command, folder, tmp_path, capsys) -> None:
    plant_faults(folder)
    cut, plain = folder / "cut.safetensors", tmp_path / "plain.safetensors"
    change_task(folder / "b.safetensors", plain, self_check=None)
    assert command("verify", cut, plain, "--weights", "random") == 2
    shown = capsys.readouterr()
    first, second = shown.out.splitlines()
    assert first.startswith(f"FAILED  {cut} is truncated")
    assert second == f"ok      {plain}: its card holds no answers to repeat"
    assert "error: 1 of 2 file(s) failed" in shown.err


def test_verify_needs_a_file(command, tmp_path, capsys) -> None:
    assert command("verify", tmp_path) == 2
    assert "there is no .safetensors file" in capsys.readouterr().err


def test_a_file_with_an_odd_name_is_listed_and_verified(command, trained, tmp_path, capsys) -> None:
    shutil.copy(trained / "task.safetensors", os.fsencode(tmp_path) + b"/caf\xe9\x1b.safetensors")
    assert command("list", tmp_path) == 0
    assert "caf\\udce9\\x1b.safetensors" in capsys.readouterr().out
    assert command("verify", tmp_path, "--weights", "random") == 0
    assert "caf\\udce9\\x1b.safetensors: answers" in capsys.readouterr().out


def test_diff_knows_the_same_task(command, folder, tmp_path, capsys) -> None:
    copy = shutil.copy(folder / "b.safetensors", tmp_path / "copy.safetensors")
    assert command("diff", folder / "b.safetensors", copy) == 0
    assert capsys.readouterr().out == "the same task: the files are equal byte by byte\n"
    assert command("diff", folder / "b.safetensors", copy, "--json") == 0
    content = json.loads(capsys.readouterr().out)
    assert content.pop("same") is True
    assert {item["relative_difference"] for item in content.pop("updates")} == {0.0}
    n_tensors = len(load_task(copy).tensors)
    assert content == {"card": [], "tensors": [], "n_tensors_alike": n_tensors}


def test_diff_tells_what_differs(command, folder, tmp_path, capsys) -> None:
    first, second = folder / "b.safetensors", tmp_path / "second.safetensors"
    task = load_task(first)
    tensors = {name: t * 2 if name.endswith(".B") else t for name, t in task.tensors.items()}
    tensors["head.bias"] = tensors["head.bias"] + 3
    check = task.card.self_check
    shifted = tuple(tuple(value + 0.25 for value in row) for row in check.expected)
    card = replace(
        task.card,
        note="[red]another",
        self_check=replace(check, expected=shifted),
        data={**task.card.data, "extra": 1},
    )
    save_task(second, Task(card, tensors))
    assert command("diff", first, second) == 0
    shown = capsys.readouterr().out
    for text in (
        "[red]another",
        "data.extra",
        "(none)",
        "4 stored answers differ, by up to 0.25",
        "largest difference of a value: 3 in head.bias",
        "median 0.5, from 0.5 (",
    ):
        assert text in shown, text
    assert command("diff", first, second, "--json") == 0
    content = json.loads(capsys.readouterr().out)
    fields = {item.pop("field"): item for item in content["card"]}
    assert fields["note"] == {"first": task.card.note, "second": "[red]another"}
    assert fields["data.extra"] == {"second": 1}
    n_updates = sum(name.endswith(".B") for name in tensors)
    assert len(content["updates"]) == n_updates
    assert [item["relative_difference"] for item in content["updates"]] == [
        pytest.approx(0.5)
    ] * n_updates
    by_name = {item["name"]: item for item in content["tensors"]}
    assert len(by_name) == n_updates + 1
    assert by_name["head.bias"]["largest_difference"] == pytest.approx(3)
    assert content["n_tensors_alike"] == len(tensors) - n_updates - 1


def test_diff_takes_tasks_that_have_little_in_common(command, folder, tmp_path, capsys) -> None:
    first, second = folder / "b.safetensors", tmp_path / "second.safetensors"
    task = load_task(first)
    check = task.card.self_check
    head = task.tensors["head.weight"]
    tensors = {"head.weight": head[[0, 0, 1]], "head.bias": head[[0, 0, 1], 0]}
    card = replace(
        task.card,
        method="linear",
        adapter=None,
        classes=("a", "b", "c"),
        thresholds=(0.5,) * 3,
        self_check=replace(check, expected=((0.2, 0.3, 0.5),) * check.n_images),
    )
    save_task(second, Task(card, tensors))
    for pair in ((first, second), (second, first)):
        assert command("diff", *pair) == 0
        shown = capsys.readouterr().out
        assert "self_check.expected[1]" in shown
        n_odd = len(task.tensors)
        assert f"tensors: 0 are equal, {n_odd} are not" in shown
        assert f"and {n_odd - 8} more that differ in shape or type" in shown
        assert "updates" not in shown


def test_diff_says_when_only_the_card_differs(command, folder, capsys) -> None:
    assert command("diff", folder / "b.safetensors", folder / "run" / "task.safetensors") == 0
    shown = capsys.readouterr().out
    assert "name" in shown
    assert "0 are not" in shown
    assert "compared, all equal" in shown


def test_diff_refuses_a_damaged_file(command, folder, capsys) -> None:
    plant_faults(folder)
    assert command("diff", folder / "b.safetensors", folder / "cut.safetensors") == 2
    assert "error: cut.safetensors is truncated" in capsys.readouterr().err


def test_rename_changes_the_name_alone(command, folder, capsys) -> None:
    path = folder / "b.safetensors"
    before, content = load_task(path), path.read_bytes()
    assert command("rename", path, "Hirntumor, Würzburg") == 0
    assert "'second' is now called 'Hirntumor, Würzburg'" in capsys.readouterr().out
    after = load_task(path)
    assert after.card == replace(before.card, name="Hirntumor, Würzburg")
    assert_same_tensors(after.tensors, before.tensors)
    assert command("rename", path, "second") == 0
    assert path.read_bytes() == content
    assert not list(folder.glob(".*"))


def test_rename_to_a_new_file_leaves_the_old_one(command, folder, tmp_path, capsys) -> None:
    path, out = folder / "b.safetensors", tmp_path / "new" / "c.safetensors"
    content = path.read_bytes()
    assert command("rename", path, "third", "--out", out) == 0
    assert path.read_bytes() == content
    assert load_task(out).card.name == "third"
    assert command("rename", path, "fourth", "--out", out) == 2
    assert "is there already" in capsys.readouterr().err
    assert load_task(out).card.name == "third"


def test_rename_follows_a_link(command, folder, tmp_path) -> None:
    link = tmp_path / "link.safetensors"
    link.symlink_to(folder / "b.safetensors")
    assert command("rename", link, "third") == 0
    assert link.is_symlink()
    assert load_task(folder / "b.safetensors").card.name == "third"


@pytest.mark.parametrize("name", ["", " padded", "two\nlines", "x" * 201])
def test_rename_keeps_to_the_rules_for_names(command, folder, capsys, name) -> None:
    path = folder / "b.safetensors"
    content = path.read_bytes()
    assert command("rename", path, name) == 2
    assert "error: Task card: 'name' must be " in capsys.readouterr().err
    assert path.read_bytes() == content


def test_rename_refuses_a_damaged_file_and_leaves_it(command, folder, capsys) -> None:
    plant_faults(folder)
    path = folder / "cut.safetensors"
    content = path.read_bytes()
    assert command("rename", path, "x") == 2
    assert "is truncated" in capsys.readouterr().err
    assert path.read_bytes() == content


def test_show_is_there_under_both_names(command, monkeypatch, folder, capsys) -> None:
    path = folder / "b.safetensors"
    assert command("show", path, "--json") == 0
    shown = capsys.readouterr().out
    assert json.loads(shown) == load_task(path).card.to_dict()
    assert run_command(monkeypatch, "show", path, "--json") == 0
    assert capsys.readouterr().out == shown
