import os
import threading
from dataclasses import replace

import pytest

from medlora.errors import SettingsError, StorageError, TaskFileError, WrongBackboneError
from medlora.task import folder as folder_module
from medlora.task.file import Task, pack_task, save_task
from medlora.task.folder import FolderChanges, TaskFolder
from medlora.task.heading import read_heading
from medlora.task.records import BackboneReference
from tests.unit.task.task_samples import FINGERPRINT, draw_tensor, make_card, make_task, same_task

HERE = BackboneReference("vit_base_patch16_224", FINGERPRINT)
ELSEWHERE = BackboneReference("vit_base_patch16_224", "c210aa" + "0" * 58)


def write(folder, file: str, name: str, **changes) -> Task:
    task = make_task(name=name, **changes)
    save_task(folder / file, task)
    return task


def plant_faults(folder) -> None:
    content = pack_task(make_task(name="damaged"))
    (folder / "cut.safetensors").write_bytes(content[:-3])
    (folder / "weights.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    write(folder, "other/task.safetensors", "other", backbone=ELSEWHERE)


def test_tasks_come_by_their_names(tmp_path) -> None:
    tasks = {
        "zebra": write(tmp_path, "1.safetensors", "zebra"),
        "brain": write(tmp_path, "run/task.safetensors", "brain"),
    }
    folder = TaskFolder(tmp_path)
    assert folder.names() == ("brain", "zebra")
    assert folder.place("brain") == str(tmp_path / "run/task.safetensors")
    for name, task in tasks.items():
        assert same_task(folder.load(name), task)
    assert dict(folder.refused) == {}


def test_faulty_files_are_refused_and_the_others_load(tmp_path) -> None:
    good = write(tmp_path, "good.safetensors", "good")
    plant_faults(tmp_path)
    folder = TaskFolder(tmp_path, HERE)
    assert folder.names() == ("good",)
    assert same_task(folder.load("good"), good)
    refused = folder.refused
    assert list(refused) == [
        "cut.safetensors",
        "other/task.safetensors",
        "weights.safetensors",
    ]
    assert "truncated" in refused["cut.safetensors"]
    assert "is not a task file" in refused["weights.safetensors"]
    assert refused["other/task.safetensors"] == (
        "Task 'other' was trained on backbone vit_base_patch16_224@c210aa; this is @3f9a12 "
        "(other/task.safetensors). Load that backbone's weights, or train the task again."
    )
    assert not any("\n" in reason for reason in refused.values())
    assert TaskFolder(tmp_path).names() == ("good", "other")


def test_a_flipped_byte_is_found_when_the_task_is_loaded(tmp_path) -> None:
    write(tmp_path, "a.safetensors", "a")
    write(tmp_path, "b.safetensors", "b")
    path = tmp_path / "a.safetensors"
    content = bytearray(path.read_bytes())
    content[-10] ^= 1
    path.write_bytes(content)
    folder = TaskFolder(tmp_path)
    with pytest.raises(TaskFileError, match=r"a\.safetensors: its content does not match the dig"):
        folder.load("a")
    assert folder.load("b").card.name == "b"


def test_two_tasks_of_one_name_are_refused_and_both_files_named(tmp_path) -> None:
    write(tmp_path, "seed-0/task.safetensors", "brain")
    write(tmp_path, "seed-1/task.safetensors", "brain")
    first, second = (str(tmp_path / f"seed-{seed}/task.safetensors") for seed in (0, 1))
    with pytest.raises(TaskFileError, match="are both called 'brain'; the tasks of a folder") as e:
        TaskFolder(tmp_path)
    assert str(e.value).startswith(f"{first} and {second} are both")
    assert "medlora tasks rename" in str(e.value)


def test_a_namesake_on_another_backbone_is_no_namesake(tmp_path) -> None:
    write(tmp_path, "a.safetensors", "brain")
    write(tmp_path, "b.safetensors", "brain", backbone=ELSEWHERE)
    folder = TaskFolder(tmp_path, ELSEWHERE)
    assert folder.place("brain") == str(tmp_path / "b.safetensors")
    assert list(folder.refused) == ["a.safetensors"]


def test_an_unknown_name_is_answered_with_the_known_ones(tmp_path) -> None:
    empty = TaskFolder(tmp_path)
    assert empty.names() == ()
    with pytest.raises(SettingsError, match=r"no task 'x' in .*; its tasks: none\. Check"):
        empty.load("x")
    for name in "abcdefg":
        write(tmp_path, f"{name}.safetensors", name)
    with pytest.raises(SettingsError, match=r"its tasks: a, b, c, d, e and 2 more\. Check"):
        TaskFolder(tmp_path).place("x")


def test_a_folder_that_is_not_there_is_refused(tmp_path) -> None:
    with pytest.raises(StorageError, match="nowhere does not exist"):
        TaskFolder(tmp_path / "nowhere")


def test_refreshing_sees_what_came_went_and_changed(tmp_path) -> None:
    for name in ("gone", "kept", "retrained", "renamed", "touched"):
        write(tmp_path, f"{name}.safetensors", name)
    folder = TaskFolder(tmp_path)
    (tmp_path / "gone.safetensors").unlink()
    write(tmp_path, "new/task.safetensors", "new")
    task = make_task(name="retrained")
    save_task(
        tmp_path / "retrained.safetensors",
        Task(task.card, task.tensors | {"head.bias": draw_tensor(2, seed=99)}),
    )
    write(tmp_path, "renamed.safetensors", "other name")
    os.utime(tmp_path / "touched.safetensors")
    before = folder.names()
    assert before == ("gone", "kept", "renamed", "retrained", "touched")
    assert folder.refresh() == FolderChanges(
        added=("new", "other name"), removed=("gone", "renamed"), replaced=("retrained",)
    )
    assert folder.names() == ("kept", "new", "other name", "retrained", "touched")
    assert folder.load("retrained").tensors["head.bias"].equal(draw_tensor(2, seed=99))
    assert folder.refresh() == FolderChanges((), (), ())


def test_a_file_that_was_mended_is_served(tmp_path) -> None:
    path = tmp_path / "a.safetensors"
    content = pack_task(make_task(name="a"))
    path.write_bytes(content[:-1])
    folder = TaskFolder(tmp_path)
    assert (folder.names(), list(folder.refused)) == ((), ["a.safetensors"])
    path.write_bytes(content)
    assert folder.refresh().added == ("a",)
    assert dict(folder.refused) == {}


def test_only_files_that_changed_are_read_again(tmp_path, monkeypatch) -> None:
    for name in "abc":
        write(tmp_path, f"{name}.safetensors", name)
    plant_faults(tmp_path)
    read = []

    def spy(path, place):
        read.append(place)
        return read_heading(path, place)

    monkeypatch.setattr(folder_module, "read_heading", spy)
    folder = TaskFolder(tmp_path, HERE)
    assert len(read) == 6
    read.clear()
    write(tmp_path, "b.safetensors", "b", note="another")
    folder.refresh()
    assert read == ["b.safetensors"]


def test_a_file_that_could_not_be_read_is_tried_again(tmp_path, monkeypatch) -> None:
    write(tmp_path, "a.safetensors", "a")

    def refuse(path, place):
        raise StorageError(f"The task file {place} cannot be read (Input/output error).")

    with monkeypatch.context() as patch:
        patch.setattr(folder_module, "read_heading", refuse)
        folder = TaskFolder(tmp_path)
        assert "Input/output error" in folder.refused["a.safetensors"]
    assert folder.refresh().added == ("a",)


def test_a_failed_refresh_leaves_what_was_there(tmp_path) -> None:
    write(tmp_path, "a.safetensors", "a")
    folder = TaskFolder(tmp_path)
    write(tmp_path, "b.safetensors", "b")
    write(tmp_path, "c.safetensors", "a")
    with pytest.raises(TaskFileError, match="both called 'a'"):
        folder.refresh()
    assert folder.names() == ("a",)
    assert folder.place("a") == str(tmp_path / "a.safetensors")
    (tmp_path / "c.safetensors").unlink()
    assert folder.refresh() == FolderChanges(added=("b",), removed=(), replaced=())


def test_a_file_that_changed_since_is_not_taken_for_what_it_was(tmp_path) -> None:
    for name in "abc":
        write(tmp_path, f"{name}.safetensors", name)
    folder = TaskFolder(tmp_path, HERE)
    write(tmp_path, "a.safetensors", "z")
    write(tmp_path, "b.safetensors", "b", backbone=ELSEWHERE)
    (tmp_path / "c.safetensors").unlink()
    with pytest.raises(TaskFileError, match="holds the task 'z' now, no longer 'a'"):
        folder.load("a")
    with pytest.raises(WrongBackboneError, match="@c210aa; this is @3f9a12"):
        folder.load("b")
    with pytest.raises(StorageError, match=r"c\.safetensors cannot be read"):
        folder.load("c")


def test_a_thousand_files_are_indexed_without_reading_their_tensors(tmp_path) -> None:
    """Only heads are written, under other names: room for the tensors is left."""
    first = tmp_path / "0000.safetensors"
    bare: dict = {key: {} for key in ("training", "data", "metrics", "software")}
    card = make_card(name="task 0000", method="linear", adapter=None, self_check=None, **bare)
    head = {name: make_task().tensors[name] for name in ("head.weight", "head.bias")}
    save_task(first, Task(card, head))
    start = first.read_bytes()[: read_heading(first).n_head_bytes]
    for number in range(1, 1000):
        with (tmp_path / f"{number:04d}.safetensors").open("wb") as stream:
            stream.write(start.replace(b"task 0000", f"task {number:04d}".encode()))
            stream.truncate(first.stat().st_size)
    folder = TaskFolder(tmp_path, HERE)
    assert folder.names() == tuple(f"task {number:04d}" for number in range(1000))
    assert folder.load("task 0000").card.name == "task 0000"
    with pytest.raises(TaskFileError, match="does not match the digest"):
        folder.load("task 0500")


def test_readers_meet_whole_states_while_files_come_and_go(tmp_path) -> None:
    """One state has the task `a` in one file, the other `b` in another; never both or none.

    What a reader raises beyond that makes the test fail, since no thread may end in an error.
    """
    write(tmp_path, "a.safetensors", "a")
    folder = TaskFolder(tmp_path)
    seen: set[tuple[str, ...]] = set()
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            names = folder.names()
            seen.add(names)
            try:
                task = folder.load(names[0])
                assert task.card.name == names[0]
            except (SettingsError, StorageError):
                continue  # It went after the names were taken.

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    task = make_task()
    try:
        for round_number in range(6):
            old, new = ("a", "b") if round_number % 2 == 0 else ("b", "a")
            save_task(
                tmp_path / f"{new}.safetensors", replace(task, card=replace(task.card, name=new))
            )
            (tmp_path / f"{old}.safetensors").unlink()
            threads = [threading.Thread(target=folder.refresh) for _ in range(2)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    finally:
        stop.set()
        for reader in readers:
            reader.join()
    assert seen <= {("a",), ("b",)}
    assert ("a",) in seen
