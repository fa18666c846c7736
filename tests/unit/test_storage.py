import csv
import io
import shutil

import pytest

from medlora import storage
from medlora.errors import StorageError
from medlora.storage import format_csv, replace_folder


@pytest.fixture
def folders(tmp_path):
    """A finished folder, and an older one in its place."""
    new, place = tmp_path / "new", tmp_path / "place"
    for folder in (new, place):
        folder.mkdir()
        (folder / "task").write_text(folder.name)
    return new, place


def test_a_folder_takes_the_place_of_another(folders, monkeypatch) -> None:
    new, place = folders
    remove = shutil.rmtree
    seen = []

    def look_and_remove(path):
        seen.append((place / "task").read_text())
        remove(path)

    monkeypatch.setattr(storage.shutil, "rmtree", look_and_remove)
    replace_folder(new, place)
    # What is removed is removed when the new one stands there.
    assert seen == ["new"]
    assert [path.name for path in place.parent.iterdir()] == ["place"]


def test_a_free_place_is_taken(folders) -> None:
    new, place = folders
    shutil.rmtree(place)
    replace_folder(new, place)
    assert (place / "task").read_text() == "new"
    assert not new.exists()


def test_the_older_folder_comes_back_where_the_new_one_cannot_follow(folders) -> None:
    new, place = folders
    shutil.rmtree(new)
    with pytest.raises(StorageError, match=r"new could not take the place of .*place \(No such"):
        replace_folder(new, place)
    assert (place / "task").read_text() == "place"
    assert [path.name for path in place.parent.iterdir()] == ["place"]


def test_what_a_killed_process_left_is_cleared_away(folders) -> None:
    new, place = folders
    (place.parent / ".place.replaced").mkdir()
    replace_folder(new, place)
    assert [path.name for path in place.parent.iterdir()] == ["place"]


def test_a_process_killed_in_between_loses_nothing(folders) -> None:
    new, place = folders
    place.rename(place.parent / ".place.replaced")
    replace_folder(new, place)
    assert (place / "task").read_text() == "new"
    assert [path.name for path in place.parent.iterdir()] == ["place"]


def test_csv_gives_back_every_cell() -> None:
    rows = [["path", "label"], ["a\rb", "c\nd"], ['"e", f', ""], ["\r\n", "g\r"], ["h|i;j", 7]]
    text = format_csv(rows)
    again = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    assert again == [[str(cell) for cell in row] for row in rows]
    assert text.startswith('path,label\n"a\rb","c\nd"\n')
