import os

import pytest

from medlora.errors import StorageError
from medlora.task.catalogue import find_task_files, read_catalogue
from medlora.task.file import pack_task, save_task
from medlora.task.heading import read_heading
from tests.unit.task.task_samples import make_task


@pytest.fixture
def folder(tmp_path):
    """Run folders, a file beside them, and much that is no task file."""
    for name in ("run/b/task", "run/a/task", "c", ".hidden", ".cache/task", "a.part"):
        save_task(tmp_path / f"{name}.safetensors", make_task(name=name.replace("/", "-")))
    (tmp_path / "run/a/checkpoint.pt").write_bytes(b"x")
    (tmp_path / "folder.safetensors").mkdir()
    os.mkfifo(tmp_path / "pipe.safetensors")
    return tmp_path


FILES = [
    "a.part.safetensors",
    "c.safetensors",
    "run/a/task.safetensors",
    "run/b/task.safetensors",
]


def test_files_are_found_at_any_depth_in_order(folder) -> None:
    found = find_task_files(folder)
    assert list(found) == FILES
    assert all(path == folder / file for file, path in found.items())


def test_links_to_files_count_and_links_to_folders_do_not(folder, tmp_path_factory) -> None:
    other = tmp_path_factory.mktemp("other")
    save_task(other / "d.safetensors", make_task())
    (folder / "loop").symlink_to(folder)
    (folder / "other").symlink_to(other)
    (folder / "z.safetensors").symlink_to(other / "d.safetensors")
    (folder / "dead.safetensors").symlink_to(other / "nothing")
    assert list(find_task_files(folder)) == [*FILES, "z.safetensors"]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"caf\xe9.safetensors", "caf\\udce9.safetensors"),
        (b"red\x1b[31m\n.safetensors", "red\\x1b[31m\\n.safetensors"),
    ],
)
def test_odd_file_names_can_be_printed(tmp_path, name, shown) -> None:
    path = tmp_path / os.fsdecode(name)
    path.write_bytes(pack_task(make_task()))
    assert find_task_files(tmp_path) == {shown: path}
    path.write_bytes(b"")
    assert shown in read_catalogue(tmp_path).refused[shown]


def test_what_is_no_folder_is_refused(folder) -> None:
    with pytest.raises(StorageError, match=r"nowhere does not exist; a folder of task files"):
        find_task_files(folder / "nowhere")
    with pytest.raises(StorageError, match=r"c\.safetensors is a file; a folder of task files"):
        find_task_files(folder / "c.safetensors")


@pytest.mark.parametrize("which", ["", "run/a"])
def test_a_folder_that_cannot_be_listed_is_named(folder, monkeypatch, which) -> None:
    scan = os.scandir
    closed = str(folder / which)

    def refuse(path):
        if str(path) == closed:
            raise PermissionError(13, "Permission denied", closed)
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(StorageError, match=f"^{closed} cannot be looked into .Permission denied"):
        find_task_files(folder)


def test_headings_and_reasons_are_told_apart(folder) -> None:
    (folder / "weights.safetensors").write_bytes(
        (2).to_bytes(8, "little") + b"{}",
    )
    cut = pack_task(make_task())[:-8]
    (folder / "run/cut.safetensors").write_bytes(cut)
    catalogue = read_catalogue(folder)
    assert list(catalogue.headings) == FILES
    assert catalogue.headings["c.safetensors"] == read_heading(folder / "c.safetensors")
    assert list(catalogue.refused) == ["run/cut.safetensors", "weights.safetensors"]
    assert catalogue.refused["run/cut.safetensors"].startswith("run/cut.safetensors is truncated")
    assert "is not a task file" in catalogue.refused["weights.safetensors"]
    assert catalogue.find_namesakes() == {}


def test_namesakes_are_found(folder) -> None:
    for file in ("x.safetensors", "run/x.safetensors"):
        save_task(folder / file, make_task(name="c"))
    namesakes = read_catalogue(folder).find_namesakes()
    assert namesakes == {"c": ["c.safetensors", "run/x.safetensors", "x.safetensors"]}


def test_an_empty_folder_holds_nothing(tmp_path) -> None:
    catalogue = read_catalogue(tmp_path)
    assert (catalogue.headings, catalogue.refused) == ({}, {})
