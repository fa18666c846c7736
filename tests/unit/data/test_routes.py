from pathlib import Path

import numpy as np
import pytest

from medlora.data.routes import Routes, read_routes
from medlora.data.source import FolderSource
from medlora.errors import DataError


def write_table(folder: Path, text: str) -> Path:
    path = folder / "route.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_tasks_are_read_in_the_order_of_the_lines(tmp_path: Path) -> None:
    routes = read_routes(write_table(tmp_path, 'path,tasks,note\nb.png,x|y,1\na.png," y | y ",2\n'))
    assert routes.locations == ("b.png", "a.png")
    assert routes.tasks == (("x", "y"), ("y",))
    assert routes.source == FolderSource(tmp_path)


def test_a_single_task_may_have_a_bar_in_its_name(tmp_path: Path) -> None:
    routes = read_routes(write_table(tmp_path, "Path;Task\na.png;left|right\n"))
    assert routes.tasks == (("left|right",),)


def test_images_of_an_array_file_can_be_routed(tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", test_images=np.zeros((2, 4, 4), np.uint8), test_labels=[0, 1])
    routes = read_routes(write_table(tmp_path, "path,task\nset.npz#test/1,x\n"))
    assert routes.source.read_bytes("set.npz#test/1").startswith(b"\x93NUMPY")
    with pytest.raises(DataError, match="give no images beside them"):
        routes.choose(["set.npz#test/1"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label\na.png,x\n", "a column 'task' or a column 'tasks', and not both"),
        ("path,task,tasks\na.png,x,x\n", "and not both"),
        ("path,task\na.png,\n", "line 2, names no task"),
        ("path,tasks\na.png,|\n", "line 2, names no task"),
        ("path,task\na.png,x\na.png,y\n", "lists a.png twice"),
        ("image,task\na.png,x\n", "no column 'path'"),
        ("path,task\n", "lists no images"),
    ],
)
def test_tables_that_make_no_sense_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_routes(write_table(tmp_path, text))


def test_images_find_their_routes_however_their_path_is_spelt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "images").mkdir()
    routes = Routes(FolderSource(tmp_path), ("images/a.png", "b.dcm#frame=1"), (("x",), ("y",)))
    monkeypatch.chdir(tmp_path / "images")
    asked = ["../b.dcm#frame=1", "a.png", str(tmp_path / "images" / "a.png")]
    chosen = routes.choose(asked)
    assert chosen.locations == tuple(asked)
    assert chosen.tasks == (("y",), ("x",), ("x",))
    with pytest.raises(DataError, match=r"1 of 2 images have no route: \.\./b\.dcm#frame=0"):
        routes.choose(["a.png", "../b.dcm#frame=0"])
