"""Folders, manifests and array files become the same kind of table, or a clear refusal."""

import io
import os
import re
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dicom_samples import write_frames
from medlora.data.source import FolderSource
from medlora.data.split_file import write_split
from medlora.data.table import ImageTable, list_images, read_table
from medlora.errors import DataError, UnreadableImageError


def write_images(folder: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"image %d" % number)
    return folder


def write_manifest(folder: Path, text: str, name: str = "images.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def write_arrays(path: Path, **arrays: np.ndarray) -> Path:
    np.savez(path, **arrays)
    return path


# Folders


def test_class_folders_are_classes(tmp_path: Path) -> None:
    write_images(tmp_path, "normal/b.PNG", "normal/a.jpg", "tumour/deep/er/c.tiff", "tumour/d.npy")
    table = read_table(tmp_path)
    assert table.locations == (
        "normal/a.jpg",
        "normal/b.PNG",
        "tumour/d.npy",
        "tumour/deep/er/c.tiff",
    )
    assert table.classes == ("normal", "tumour")
    assert table.labels.tolist() == [0, 0, 1, 1]
    assert table.targets.tolist() == [[True, False]] * 2 + [[False, True]] * 2
    assert table.splits == table.patients == (None,) * 4
    assert not table.multi_label
    assert table.name == tmp_path.name
    assert table.source.read_bytes("normal/a.jpg") == b"image 1"


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [("train", "val", "test"), ("Training", "Validation", "Testing"), ("TR", "VALID", "TS")],
)
def test_a_level_of_splits_above_is_recognised(
    tmp_path: Path, train: str, val: str, test: str
) -> None:
    write_images(tmp_path, *(f"{s}/{c}/{s}{c}.png" for s in (test, val, train) for c in ("a", "b")))
    table = read_table(tmp_path)
    assert table.classes == ("a", "b")
    assert table.splits == ("train", "train", "val", "val", "test", "test")
    assert table.locations[0] == f"{train}/a/{train}a.png"


def test_hidden_files_other_files_and_archive_leftovers_are_left_out(tmp_path: Path) -> None:
    write_images(
        tmp_path,
        *("a/1.png", "b/2.png", "a/.hidden.png", "a/.cache/3.png", ".git/4.png", "a/notes.txt"),
        *("README.md", "__MACOSX/a/._1.png", "b/Thumbs.db"),
    )
    assert read_table(tmp_path).locations == ("a/1.png", "b/2.png")


def test_dicom_is_known_without_an_extension(tmp_path: Path) -> None:
    write_images(tmp_path, "a/1.png", "b/LICENSE", "b/2.png")
    dicom = bytes(128) + b"DICM and no more"
    for name in ("IM0001", "1.2.840.113"):
        (tmp_path / "b" / name).write_bytes(dicom)
    assert read_table(tmp_path).locations == ("a/1.png", "b/1.2.840.113", "b/2.png", "b/IM0001")


def test_a_circle_of_links_ends(tmp_path: Path) -> None:
    write_images(tmp_path, "a/1.png", "b/2.png")
    (tmp_path / "a" / "again").symlink_to(tmp_path / "a")
    assert read_table(tmp_path).locations == ("a/1.png", "b/2.png")


def test_numbers_as_classes_are_sorted_as_numbers(tmp_path: Path) -> None:
    write_images(tmp_path, "10/a.png", "9/b.png", "1/c.png")
    assert read_table(tmp_path).classes == ("1", "9", "10")


@pytest.mark.parametrize(
    ("names", "rule"),
    [
        ((), "holds no images. Images are files ending in bmp, dcm"),
        (("a/notes.txt", "b/notes.txt"), "holds no images"),
        (("1.png", "2.png"), r"2 image\(s\) outside of its folders, for example 1.png"),
        (("a/1.png", "b/2.png", "3.png"), r"1 image\(s\) outside of its folders"),
        (("train/1.png", "train/a/2.png", "train/b/3.png"), "outside of its folders"),
        (("a/1.png", "b/notes.txt", "c/2.png"), "class folders without images: b. Fill"),
        (("a/1.png", "a/2.png"), "one class only, 'a'. There must be at least two"),
        (("Train/a/1.png", "train/b/2.png"), "both name the split 'train'. Merge"),
        (("train/a/1.png", "testing/a/2.png", "rest/b/3.png"), "'rest' names no split"),
        (("nan/1.png", "a/2.png"), "has a class named 'nan', which is how a missing label"),
        (("Normal/1.png", "normal/2.png"), "differ in case only, 'Normal' and 'normal'"),
    ],
)
def test_folders_that_make_no_table_are_refused(
    tmp_path: Path, names: tuple[str, ...], rule: str
) -> None:
    write_images(tmp_path, *names)
    with pytest.raises(DataError, match=rule):
        read_table(tmp_path)


def test_other_paths_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"There is nothing at .*missing. Check the path"):
        read_table(tmp_path / "missing")
    (tmp_path / "data.xlsx").touch()
    with pytest.raises(DataError, match=r"data.xlsx is no labelled data"):
        read_table(tmp_path / "data.xlsx")
    write_images(tmp_path / "folder", "a/1.png", "b/2.png")
    with pytest.raises(DataError, match="cannot be grouped by 'patient'"):
        read_table(tmp_path / "folder", group_by="patient")


# Manifests


def test_manifest_with_everything(tmp_path: Path) -> None:
    path = write_manifest(
        tmp_path,
        "\ufeffpath, label ,patient,split,age\n"
        "x/1.png,tumour,p1,Training,60\n"
        "\n"
        'x/2.png,"none, really",,valid,61\n'
        "x\\3.png,tumour,p2,TS,62\n",
    )
    table = read_table(path)
    assert table.locations == ("x/1.png", "x/2.png", "x/3.png")
    assert table.classes == ("none, really", "tumour")
    assert table.labels.tolist() == [1, 0, 1]
    assert table.patients == ("p1", None, "p2")
    assert table.splits == ("train", "val", "test")
    assert table.name == "images"
    assert isinstance(table.source, FolderSource)
    assert table.source.root == tmp_path


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_multi_label_manifest(tmp_path: Path, separator: str) -> None:
    text = "path,labels,slide\n1.png,b|a,s\n2.png,,s\n3.png, c | b |b,t\n"
    table = read_table(write_manifest(tmp_path, text.replace(",", separator)), group_by="slide")
    assert table.multi_label
    assert table.classes == ("a", "b", "c")
    assert table.targets.astype(int).tolist() == [[1, 1, 0], [0, 0, 0], [0, 1, 1]]
    assert table.patients == ("s", "s", "t")
    with pytest.raises(DataError, match="is multi-label"):
        _ = table.labels


def test_a_column_to_group_by_takes_the_place_of_patient(tmp_path: Path) -> None:
    path = write_manifest(tmp_path, "path,label,patient,site\n1.png,a,p,s\n2.png,b,q,s\n")
    assert read_table(path).patients == ("p", "q")
    assert read_table(path, group_by="site").patients == ("s", "s")


def test_known_columns_are_found_in_any_case(tmp_path: Path) -> None:
    text = "PATH,Label, Split ,\xa0Patient,Age\n1.png,a,Train,p,40\n2.png,b,Test,q,\n"
    path = write_manifest(tmp_path, text)
    table = read_table(path, columns=("Age",))
    assert table.splits == ("train", "test")
    assert table.patients == ("p", "q")
    assert table.columns == {"Age": ("40", "")}
    assert read_table(path, group_by="Patient").patients == ("p", "q")
    multi = read_table(write_manifest(tmp_path, "Path,LABELS\n1.png,a|b\n2.png,\n"))
    assert multi.targets.sum(axis=1).tolist() == [2, 0]


def test_missing_values_in_words_are_missing(tmp_path: Path) -> None:
    text = "path,label,patient,sex\n1.png,a,nan,F\n2.png,b,NaN,nan\n3.png,b,<NA>,M\n"
    table = read_table(write_manifest(tmp_path, text), columns=("sex",))
    assert table.patients == (None, None, None)
    assert table.columns == {"sex": ("F", "", "M")}
    none = read_table(write_manifest(tmp_path, "path,labels\n1.png,nan\n2.png,a\n"))
    assert none.classes == ("a",)
    assert none.targets.tolist() == [[False], [True]]
    # A file may have such a name.
    named = read_table(write_manifest(tmp_path, "path,label\nnan,a\n2.png,b\n"))
    assert named.locations == ("nan", "2.png")


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "lists no images"),
        ("path,label\n", "lists no images"),
        ("file,label\n1.png,a\n", "no column 'path'; its columns are file, label"),
        ("path,class\n1.png,a\n", "neither a column 'label' nor 'labels'; its columns are path"),
        ("path,label,labels\n1.png,a,a\n", "both a column 'label' and a column 'labels'"),
        ("path,label,label\n1.png,a,a\n", "more than one column named label"),
        ("path,label,Label\n1.png,a,a\n", "column named label, in whatever case. Keep one"),
        ("path,label\n1.png,a\n2.png,b\n3.png,nan\n", "line 4, has no label"),
        ("path,labels\n1.png,a|nan\n2.png,b\n", "has a class named 'nan', which is how a miss"),
        ("path,label\n1.png,a\n,b\n", "line 3, has an empty path"),
        ("path,label\n1.png,a\n2.png,\n", "line 3, has no label"),
        ("path,label\n1.png,a\n2.png\n", "line 3, has 1 cells where its header has 2"),
        ("path,label\n1.png,a,b\n", "line 2, has 3 cells where its header has 2"),
        ("path,label\n1.png,a\n2.png,b\n1.png,a\n", r"lists 1.png twice \(line 2 and line 4\)"),
        (
            "path,label\n1.png,a\n./x/../1.png,b\n",
            r"1.png again as ./x/../1.png \(line 2 and",
        ),
        ("path,label,split\n1.png,a,dev\n", "line 2, has the split 'dev'. It must be one of train"),
        ('path,label\n"1.png,a\n', "is not valid CSV"),
        ("path,label\n1.png,a\n2.png,a\n", "one class only, 'a'"),
        ("path,labels\n1.png,\n2.png,|\n", "gives no label to any"),
    ],
)
def test_manifests_that_make_no_table_are_refused(tmp_path: Path, text: str, rule: str) -> None:
    with pytest.raises(DataError, match=rule):
        read_table(write_manifest(tmp_path, text))


@pytest.mark.parametrize(
    ("other", "shown"),
    [
        ("./a/1.png", "a/1.png again as ./a/1.png"),
        ("b/../a/1.png", "again as b/../a/1.png"),
        ("{folder}/a/1.png", "again as /"),
        ("a/link.png", "again as a/link.png"),
        ("linked/1.png", "again as linked/1.png"),
        ("a/1.png#frame=0", "again as a/1.png#frame=0"),
    ],
)
def test_an_image_is_listed_once_however_it_is_spelt(
    tmp_path: Path, other: str, shown: str
) -> None:
    write_images(tmp_path, "a/1.png", "b/2.png")
    (tmp_path / "a" / "link.png").symlink_to("1.png")
    (tmp_path / "linked").symlink_to("a")
    text = f"path,label\na/1.png,x\nb/2.png,y\n{other.format(folder=tmp_path)},x\n"
    with pytest.raises(DataError, match=re.escape(shown) + r".*\(line 2 and line 4\). Remove one"):
        read_table(write_manifest(tmp_path, text))


def test_what_only_looks_alike_may_be_listed(tmp_path: Path) -> None:
    write_images(tmp_path, "a/1.png", "b/1.png", "a/..1.png")
    paths = ["a/1.png", "b/1.png", "a/..1.png", "a/1.png#frame=1", "no\0file", "missing.png"]
    paths += ["x.npz#train/1", "x.npz#test/1"]
    text = "path,label\n" + "".join(f"{path},{len(path) % 2}\n" for path in paths)
    assert read_table(write_manifest(tmp_path, text)).locations == tuple(paths)


def test_series_of_two_cases_may_share_a_file(tmp_path: Path) -> None:
    text = "one,two,label\n1.png,2.png,a\n1.png,,b\n1.png,3.png,b\n"
    path = write_manifest(tmp_path, text)
    assert read_table(path, channels=("one", "two")).n_images == 3
    write_manifest(tmp_path, text + "./1.png,3.png,a\n")
    with pytest.raises(DataError, match=r"lists 1.png\|3.png again as ./1.png\|3.png"):
        read_table(path, channels=("one", "two"))


def test_a_pipe_is_no_image(tmp_path: Path) -> None:
    write_images(tmp_path, "a/1.png", "b/2.png")
    os.mkfifo(tmp_path / "a" / "pipe.png")
    os.mkfifo(tmp_path / "a" / "pipe")
    os.mkfifo(tmp_path / "pipe.npz")
    table = read_table(tmp_path)
    assert table.locations == ("a/1.png", "a/pipe.png", "b/2.png")
    with pytest.raises(UnreadableImageError, match=r"pipe\.png: it is no regular file"):
        table.source.read_bytes("a/pipe.png")
    with pytest.raises(DataError, match="is no labelled data"):
        read_table(tmp_path / "pipe.npz")
    text = "path,label\npipe.npz#train/0,a\na/1.png,b\n"
    table = read_table(write_manifest(tmp_path, text))
    with pytest.raises(UnreadableImageError, match="train/0: it is no regular file"):
        table.source.read_bytes("pipe.npz#train/0")


def test_manifest_refusals_that_are_not_of_its_text(tmp_path: Path) -> None:
    path = write_manifest(tmp_path, "path,label\n1.png,a\n2.png,b\n")
    with pytest.raises(DataError, match="no column 'slide' to group by; its columns are path, la"):
        read_table(path, group_by="slide")
    path.write_bytes("path,label\n1.png,rött\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"not encoded as UTF-8 \(byte 18\)"):
        read_table(path)


def test_an_error_never_holds_the_patient(tmp_path: Path) -> None:
    path = write_manifest(tmp_path, "path,patient,label\n1.png,Doe^Jane,\n")
    with pytest.raises(DataError) as caught:
        read_table(path)
    assert "Doe" not in str(caught.value)


def test_parquet_says_the_same_as_csv(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="needs pyarrow")
    from pyarrow import parquet

    columns = {
        "path": ["1.png", "2.png", "3.png"],
        "labels": [["a", "b"], [], None],
        "patient": [7, None, 8],
        "split": ["train", "val", None],
    }
    parquet.write_table(pyarrow.table(columns), tmp_path / "images.parquet")
    table = read_table(tmp_path / "images.parquet")
    text = "path,labels,patient,split\n1.png,a|b,7,train\n2.png,,,val\n3.png,,8,\n"
    same = read_table(write_manifest(tmp_path, text))
    for name in ("locations", "classes", "splits", "patients", "multi_label", "name"):
        assert getattr(table, name) == getattr(same, name), name
    assert np.array_equal(table.targets, same.targets)
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        read_table(tmp_path / "broken.parquet")


def write_parquet(file: Path, **columns: list[object]) -> Path:
    pyarrow = pytest.importorskip("pyarrow", reason="needs pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.table(columns), file)
    return file


def test_whole_numbers_in_parquet_are_read_as_such(tmp_path: Path) -> None:
    path = write_parquet(
        tmp_path / "images.parquet",
        path=["1.png", "2.png", "3.png"],
        Label=[0.0, 1.0, 1.0],
        patient=[7.0, float("nan"), None],
        dose=[0.5, 1.0, float("nan")],
    )
    table = read_table(path, columns=("dose",))
    assert table.classes == ("0", "1")
    assert table.patients == ("7", None, None)
    assert table.columns == {"dose": ("0.5", "1.0", "")}
    lists = [[0.0, 2.0], [], None]
    path = write_parquet(tmp_path / "lists.parquet", path=["1.png", "2.png", "3"], labels=lists)
    assert read_table(path).classes == ("0", "2")


def test_a_missing_label_in_parquet_is_refused_with_its_row(tmp_path: Path) -> None:
    for missing in (float("nan"), None):
        path = write_parquet(
            tmp_path / "images.parquet", path=["1.png", "2.png"], label=[1.0, missing]
        )
        with pytest.raises(DataError, match="row 2, has no label"):
            read_table(path)


def test_parquet_without_pyarrow_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "images.parquet").touch()
    with pytest.raises(DataError, match=re.escape("pip install 'medlora[parquet]'")):
        read_table(tmp_path / "images.parquet")


# Array files


def some_images(n_images: int, *tail: int) -> np.ndarray:
    return np.arange(n_images, dtype=np.uint8)[:, None, None].repeat(4, 1).repeat(5, 2)


def test_array_file_of_one_label_an_image(tmp_path: Path) -> None:
    path = write_arrays(
        tmp_path / "cells.npz",
        train_images=some_images(3),
        train_labels=np.array([[2], [0], [10]], dtype=np.uint8),
        test_images=np.repeat(some_images(2)[..., None], 3, axis=3),
        test_labels=np.array([0, 2]),
    )
    table = read_table(path)
    assert table.locations == ("train/0", "train/1", "train/2", "test/0", "test/1")
    assert table.classes == ("0", "2", "10")
    assert table.labels.tolist() == [1, 0, 2, 0, 1]
    assert table.splits == ("train",) * 3 + ("test",) * 2
    assert table.name == "cells"
    pixels = np.load(io.BytesIO(table.source.read_bytes("train/2")), allow_pickle=False)
    assert np.array_equal(pixels, some_images(3)[2])


def test_array_file_of_several_labels_an_image(tmp_path: Path) -> None:
    labels = np.array([[1, 0, 1], [0, 0, 0]])
    path = write_arrays(tmp_path / "x.npz", train_images=some_images(2), train_labels=labels)
    table = read_table(path)
    assert table.multi_label
    assert table.classes == ("0", "1", "2")
    assert np.array_equal(table.targets, labels.astype(bool))


@pytest.mark.parametrize(
    ("arrays", "rule"),
    [
        ({"images": some_images(2)}, "holds no images. It needs arrays named train_images"),
        ({"train_images": some_images(2)}, "train_images, but no train_labels"),
        (
            {"train_images": some_images(2), "train_labels": np.array([[1]])},
            r"one row for each of the 2 images, not shape \(1, 1\)",
        ),
        (
            {"train_images": np.zeros((2, 9)), "train_labels": np.array([0, 1])},
            r"\(image, height, width, 3\), not float64 of shape \(2, 9\)",
        ),
        (
            {"train_images": some_images(2), "train_labels": np.array([0.5, 1])},
            "must be whole numbers from 0 on",
        ),
        (
            {"train_images": some_images(2), "train_labels": np.array([-1, 1])},
            "must be whole numbers from 0 on",
        ),
        (
            {"train_images": some_images(2), "train_labels": np.array([[0, 1], [2, 0]])},
            "has 2 columns, so its values must be 0 or 1, not 2",
        ),
        (
            {
                **{"train_images": some_images(2), "train_labels": np.array([0, 1])},
                **{"val_images": some_images(2), "val_labels": np.array([[0, 1], [1, 1]])},
            },
            "differ in their number of columns",
        ),
        (
            {"train_images": some_images(2), "train_labels": np.array([{}, {}])},
            "cannot be read as an .npz file",
        ),
    ],
)
def test_array_files_that_make_no_table_are_refused(
    tmp_path: Path, arrays: dict[str, np.ndarray], rule: str
) -> None:
    with pytest.raises(DataError, match=rule):
        read_table(write_arrays(tmp_path / "x.npz", **arrays))


@pytest.mark.parametrize("keep", [0, 10, 300])
def test_a_truncated_array_file_is_refused(tmp_path: Path, keep: int) -> None:
    path = write_arrays(tmp_path / "x.npz", train_images=some_images(9), train_labels=np.arange(9))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"cannot be read as an .npz file"):
        read_table(path)


def test_a_lone_array_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", some_images(3))
    (tmp_path / "x.npy").rename(tmp_path / "x.npz")
    with pytest.raises(DataError, match=r"cannot be read as an .npz file"):
        read_table(tmp_path / "x.npz")


# The table itself


def small_table() -> ImageTable:
    return ImageTable(
        locations=("1.png", "2.png", "3.png"),
        classes=("a", "b"),
        targets=np.array([[True, False], [False, True], [True, False]]),
        multi_label=False,
        splits=("train", "test", None),
        patients=("p", None, "q"),
        source=FolderSource(Path("x")),
        name="small",
    )


def test_select_and_splits() -> None:
    table = small_table()
    picked = table.select(np.array([2, 0]))
    assert picked.locations == ("3.png", "1.png")
    assert picked.splits == (None, "train")
    assert picked.patients == ("q", "p")
    assert picked.labels.tolist() == [0, 0]
    assert picked.classes == table.classes
    assert table.rows_in("train").tolist() == [0]
    assert table.rows_in("val").tolist() == []
    assert table.rows_in(None).tolist() == [2]
    assert table.with_splits(["val"] * 3).rows_in("val").tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match=r"3 images and 2 classes cannot have .* 1 splits"):
        table.with_splits(["val"])


def test_other_columns_are_kept_on_request(tmp_path: Path) -> None:
    path = write_manifest(tmp_path, "path,label,sex,age\n1.png,a,F,40\n2.png,b,,\n3.png,a,M,50\n")
    assert read_table(path).columns == {}
    table = read_table(path, columns=("age", "sex"))
    assert table.columns == {"age": ("40", "", "50"), "sex": ("F", "", "M")}
    assert table.select(np.array([2, 0])).columns == {"age": ("50", "40"), "sex": ("M", "F")}
    assert table.with_splits(["val"] * 3).columns == table.columns
    with pytest.raises(DataError, match=r"has no column 'race'; its columns are path, label, sex"):
        read_table(path, columns=("race",))
    write_images(tmp_path / "folder", "a/1.png", "b/2.png")
    with pytest.raises(DataError, match=r"has no columns such as sex. List its images in a CSV"):
        read_table(tmp_path / "folder", columns=("sex",))


def test_kept_columns_are_written_with_the_splits(tmp_path: Path) -> None:
    path = write_manifest(tmp_path, "path,label,sex\n1.png,a,F\n2.png,b,\n")
    table = read_table(path, columns=("sex",)).with_splits(["train", "test"])
    write_split(tmp_path / "split.csv", table, ["x", "y"])
    again = read_table(tmp_path / "split.csv", columns=("sex",))
    assert again.columns == {"sex": ("F", "")}
    assert again.splits == ("train", "test")


def test_classes_are_aligned_by_name() -> None:
    aligned = small_table().align_classes(("z", "b", "a"))
    assert aligned.classes == ("z", "b", "a")
    assert aligned.targets.astype(int).tolist() == [[0, 0, 1], [0, 1, 0], [0, 0, 1]]
    with pytest.raises(DataError, match=r"the task does not know: a. The task's are b, c"):
        small_table().align_classes(("b", "c"))


def test_a_tasks_classes_allow_data_of_one(tmp_path: Path) -> None:
    write_images(tmp_path, "b/1.png", "b/2.png")
    table = read_table(tmp_path, classes=("a", "b"))
    assert table.classes == ("a", "b")
    assert table.labels.tolist() == [1, 1]


# Lists of images to predict


def test_listing_keeps_the_order_and_takes_named_files_as_they_are(tmp_path: Path) -> None:
    write_images(tmp_path, "f/b.png", "f/a.png", "f/deep/c.jpg", "f/x.txt", "z.odd")
    paths = [tmp_path / name for name in ("z.odd", "f", "missing.png", "f/a.png")]
    source, locations = list_images(paths)
    names = [Path(location).relative_to(tmp_path).as_posix() for location in locations]
    assert names == ["z.odd", "f/a.png", "f/b.png", "f/deep/c.jpg", "missing.png", "f/a.png"]
    assert source.read_bytes(locations[0]) == b"image 4"
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty holds no images"):
        list_images([tmp_path / "empty"])


def test_listing_is_relative_to_where_one_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_images(tmp_path, "f/a.png")
    monkeypatch.chdir(tmp_path)
    source, locations = list_images([Path("f")])
    assert locations == ("f/a.png",)
    assert source.read_bytes("f/a.png") == b"image 0"


def test_frames_of_dicom_files_are_images_of_their_own(tmp_path: Path) -> None:
    write_frames(tmp_path / "a" / "loop.dcm", 3)
    write_frames(tmp_path / "b" / "still.dcm", 1)
    frames = tuple(f"a/loop.dcm#frame={frame}" for frame in range(3))
    table = read_table(tmp_path)
    assert table.locations == (*frames, "b/still.dcm")
    assert table.labels.tolist() == [0, 0, 0, 1]
    text = "path,label,patient\na/loop.dcm,x,p\nb/still.dcm#frame=0,y,q\n"
    table = read_table(write_manifest(tmp_path, text))
    assert table.locations == (*frames, "b/still.dcm#frame=0")
    assert table.patients == ("p", "p", "p", "q")
    write_manifest(tmp_path, text + "a/loop.dcm#frame=2,x,p\n")
    with pytest.raises(DataError, match=r"lists a/loop\.dcm again as a/loop\.dcm#frame=2"):
        read_table(tmp_path / "images.csv")
    _, locations = list_images([tmp_path / "a"])
    assert [location.rpartition("/")[2] for location in locations] == [
        f"loop.dcm#frame={frame}" for frame in range(3)
    ]


# Real data


def test_brain_tumour_folders(shared_dir: Path) -> None:
    table = read_table(shared_dir / "data/brain_tumor_mri")
    assert Counter(table.splits) == {"train": 2870, "test": 394}
    assert table.classes == ("glioma_tumor", "meningioma_tumor", "no_tumor", "pituitary_tumor")
    test = table.select(table.rows_in("test"))
    assert test.targets.sum(axis=0).tolist() == [100, 115, 105, 74]
    with Image.open(io.BytesIO(test.source.read_bytes(test.locations[0]))) as image:
        assert min(image.size) == 256


@pytest.mark.parametrize(
    ("name", "group_by", "n_classes", "n_groups", "sizes"),
    [
        ("blood_cells", "source_image", 4, 348, {"train": 1600, "val": 400, "test": 600}),
        ("chest_xray_pneumonia", None, 2, 1765, {"train": 1500, "val": 300, "test": 624}),
        ("nih_chest_xray14", None, 14, 682, {"train": 704, "val": 77, "test": 219}),
    ],
)
def test_real_manifests(
    shared_dir: Path,
    name: str,
    group_by: str | None,
    n_classes: int,
    n_groups: int,
    sizes: dict[str, int],
) -> None:
    table = read_table(shared_dir / "data" / name / "manifest.csv", group_by=group_by)
    assert len(table.classes) == n_classes
    assert None not in table.patients
    assert len(set(table.patients)) == n_groups
    assert Counter(table.splits) == sizes
    assert table.multi_label == (name == "nih_chest_xray14")
    assert table.source.read_bytes(table.locations[-1])[:2] == b"\xff\xd8"


def test_findings_are_none_or_several(shared_dir: Path) -> None:
    table = read_table(shared_dir / "data/nih_chest_xray14/manifest.csv")
    n_findings = Counter(table.targets.sum(axis=1).tolist())
    assert n_findings[0] == 500
    assert n_findings[2] > 100
    assert dict(zip(table.classes, table.targets.sum(axis=0), strict=True))["Hernia"] == 3


@pytest.mark.parametrize(
    ("name", "sizes", "positive"),
    [("breastmnist", [546, 78, 156], 570), ("pneumoniamnist", [4708, 524, 624], 4273)],
)
def test_real_array_files(shared_dir: Path, name: str, sizes: list[int], positive: int) -> None:
    table = read_table(shared_dir / f"data/medmnist/{name}.npz")
    assert [len(table.rows_in(split)) for split in ("train", "val", "test")] == sizes
    assert table.classes == ("0", "1")
    assert table.labels.sum() == positive
    pixels = np.load(io.BytesIO(table.source.read_bytes(table.locations[-1])))
    assert pixels.shape == (28, 28)
