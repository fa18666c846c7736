"""No patient and no identical file in two splits, every class in each, and always the same."""

import hashlib
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medlora.data.partition import partition_groups
from medlora.data.source import FolderSource
from medlora.data.split import (
    SPLITS,
    group_rows,
    list_missing_classes,
    seen_in_training,
    split_table,
)
from medlora.data.split_file import check_paths, format_split, write_split
from medlora.data.table import ImageTable, read_table
from medlora.errors import DataError, PatientLeakError, SettingsError


def make_table(
    labels: list[int] | np.ndarray,
    *,
    patients: list[str | None] | None = None,
    splits: list[str | None] | None = None,
    folder: Path = Path("x"),
) -> ImageTable:
    n_images = len(labels)
    n_classes = max(labels) + 1
    return ImageTable(
        locations=tuple(f"{number}.png" for number in range(n_images)),
        classes=tuple("abcdefghij"[:n_classes]),
        targets=np.eye(n_classes, dtype=bool)[np.asarray(labels)],
        multi_label=False,
        splits=tuple(splits or [None] * n_images),
        patients=tuple(patients or [None] * n_images),
        source=FolderSource(folder),
        name="some",
    )


def distinct(table: ImageTable) -> list[str]:
    return [f"{row:064x}" for row in range(table.n_images)]


def hash_images(table: ImageTable) -> list[str]:
    return [
        hashlib.sha256(table.source.read_bytes(location)).hexdigest()
        for location in table.locations
    ]


def splits_by(keys: list[object], splits: tuple[str | None, ...]) -> dict[object, set[str | None]]:
    found: dict[object, set[str | None]] = {}
    for key, split in zip(keys, splits, strict=True):
        found.setdefault(key, set()).add(split)
    return found


# Groups


def test_groups_follow_links_through_patients_and_files() -> None:
    patients = ["p", "q", None, "q", None, None]
    sha256 = ["1", "2", "2", "3", "", ""]
    assert group_rows(patients, sha256).tolist() == [0, 1, 1, 1, 2, 3]
    assert group_rows([], []).tolist() == []


def link_slowly(patients: list[str | None], sha256: list[str]) -> list[int]:
    """The same groups the long way: spread each row's number until nothing changes."""
    numbers = list(range(len(patients)))
    for _ in numbers:
        for one in range(len(numbers)):
            for other in range(len(numbers)):
                same_patient = patients[one] is not None and patients[one] == patients[other]
                same_file = sha256[one] != "" and sha256[one] == sha256[other]
                if same_patient or same_file:
                    numbers[one] = numbers[other] = min(numbers[one], numbers[other])
    order = list(dict.fromkeys(numbers))
    return [order.index(number) for number in numbers]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([None, "a", "b", "c", "d"]), st.sampled_from(["", *"12345"])),
        max_size=12,
    )
)
def test_groups_are_the_connected_ones(rows: list[tuple[str | None, str]]) -> None:
    patients, sha256 = [row[0] for row in rows], [row[1] for row in rows]
    assert group_rows(patients, sha256).tolist() == link_slowly(patients, sha256)


# A split that is made


@st.composite
def grouped_tables(draw: st.DrawFn) -> tuple[ImageTable, list[str]]:
    """Tables of up to 4 classes with 3 to 12 patients each, some files copied within a class."""
    labels: list[int] = []
    patients: list[str | None] = []
    sha256: list[str] = []
    for label in range(draw(st.integers(2, 4))):
        for patient in range(draw(st.integers(5, 12))):
            for _ in range(draw(st.integers(1, 4))):
                labels.append(label)
                patients.append(draw(st.sampled_from([None, f"{label}-{patient}"])))
                # The first three patients share no file with another, so that each class has
                # three groups at least.
                file = draw(st.integers(100, 110)) if patient > 2 else patient
                sha256.append(f"{label}-{file}")
    return make_table(labels, patients=patients), sha256


@settings(max_examples=80, deadline=None)
@given(data=grouped_tables(), seed=st.integers(0, 2**32))
def test_a_made_split_keeps_its_promises(data: tuple[ImageTable, list[str]], seed: int) -> None:
    table, sha256 = data
    split = split_table(table, sha256, seed=seed)
    assert split.splits == split_table(table, sha256, seed=seed).splits
    groups = group_rows(table.patients, sha256).tolist()
    assert all(len(found) == 1 for found in splits_by(groups, split.splits).values())
    assert list_missing_classes(split) == {}
    assert set(split.splits) == set(SPLITS)
    # No split is off by more than the largest group of each class.
    largest = max(Counter(groups).values())
    slack = largest * len(table.classes)
    for name, fraction in (("train", 0.7), ("val", 0.15), ("test", 0.15)):
        n_images = len(split.rows_in(name))
        assert abs(n_images - fraction * table.n_images) <= slack + len(table.classes)
    assert not seen_in_training(split, sha256).any()


@settings(max_examples=40, deadline=None)
@given(
    n_each=st.lists(st.integers(20, 90), min_size=2, max_size=5),
    val=st.floats(0.1, 0.3),
    test=st.floats(0.1, 0.3),
    seed=st.integers(0, 1000),
)
def test_fractions_hold_in_each_class(
    n_each: list[int], val: float, test: float, seed: int
) -> None:
    labels = np.repeat(np.arange(len(n_each)), n_each)
    table = make_table(labels)
    split = split_table(table, distinct(table), val_fraction=val, test_fraction=test, seed=seed)
    for name, fraction in (("train", 1 - val - test), ("val", val), ("test", test)):
        counts = split.targets[split.rows_in(name)].sum(axis=0)
        assert np.abs(counts - fraction * np.array(n_each)).max() <= 1


@settings(max_examples=60, deadline=None)
@given(
    targets=st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=6, max_size=60),
    group_size=st.integers(1, 3),
    seed=st.integers(0, 1000),
)
def test_parts_of_several_labels_hold_whole_groups(
    targets: list[list[bool]], group_size: int, seed: int
) -> None:
    groups = np.arange(len(targets)) // group_size
    parts = partition_groups(
        groups, np.array(targets), [0.6, 0.2, 0.2], np.random.default_rng(seed)
    )
    again = partition_groups(
        groups, np.array(targets), [0.6, 0.2, 0.2], np.random.default_rng(seed)
    )
    assert np.array_equal(parts, again)
    assert set(parts.tolist()) <= {0, 1, 2}
    assert all(len(set(parts[groups == group])) == 1 for group in groups)


def test_rare_labels_reach_every_part_and_stay_near_their_share() -> None:
    rng = np.random.default_rng(0)
    chances = np.array([0.02, 0.05, 0.1, 0.4])
    targets = rng.random((1000, 4)) < chances
    groups = rng.permutation(np.arange(1000) // 2)
    parts = partition_groups(groups, targets, [0.7, 0.15, 0.15], np.random.default_rng(1))
    for part, fraction in enumerate((0.7, 0.15, 0.15)):
        share = targets[parts == part].sum(axis=0) / targets.sum(axis=0)
        assert np.abs(share - fraction).max() < 0.05
        assert abs((parts == part).mean() - fraction) < 0.02


def test_small_splits_do_not_get_only_patients_with_few_images() -> None:
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 9, size=200)
    patients = [f"p{number}" for number in np.repeat(np.arange(200), sizes)]
    labels = np.repeat(np.arange(200) % 2, sizes)
    table = make_table(labels, patients=patients)
    split = split_table(table, distinct(table), seed=0)
    means = {
        name: np.mean(list(Counter(patients[row] for row in split.rows_in(name)).values()))
        for name in SPLITS
    }
    assert all(4.0 < mean < 5.5 for mean in means.values()), means


def test_a_patient_with_most_images_goes_to_training() -> None:
    patients = ["big"] * 60 + [f"p{number}" for number in range(40)]
    labels = [0] * 30 + [1] * 30 + [0, 1] * 20
    table = make_table(labels, patients=patients)
    for seed in range(10):
        split = split_table(table, distinct(table), seed=seed)
        assert split.splits[0] == "train"
        assert abs(len(split.rows_in("val")) - 15) <= 2


def test_seed_decides_the_split() -> None:
    table = make_table([0, 1] * 50)
    splits = {split_table(table, distinct(table), seed=seed).splits for seed in range(5)}
    assert len(splits) == 5


def test_without_a_test_fraction_there_is_no_test() -> None:
    table = make_table([0, 1] * 50)
    split = split_table(table, distinct(table), test_fraction=0.0, val_fraction=0.2, seed=0)
    assert Counter(split.splits) == {"train": 80, "val": 20}


def test_two_groups_of_a_class_go_to_training_and_validation() -> None:
    table = make_table([0] * 50 + [1] * 2)
    for seed in range(5):
        split = split_table(table, distinct(table), seed=seed)
        assert {split.splits[50], split.splits[51]} == {"train", "val"}
        assert list_missing_classes(split) == {"test": ("b",)}


@pytest.mark.parametrize("shared", ["patient", "file"])
def test_a_class_of_one_group_is_refused(shared: str) -> None:
    patients = [f"p{number}" for number in range(50)] + ["q"] * 4
    table = make_table([0] * 50 + [1] * 4, patients=patients)
    sha256 = distinct(table)
    if shared == "file":
        table = replace(table, patients=(None,) * 54)
        sha256[50:] = ["same"] * 4
    with pytest.raises(DataError, match=r"some has no image of b in the split 'val'. A class"):
        split_table(table, sha256, seed=0)


def test_a_rare_finding_may_be_missing_where_images_have_several() -> None:
    table = replace(make_table([0] * 50 + [1]), multi_label=True)
    split = split_table(table, distinct(table), seed=0)
    assert split.splits[50] == "train"
    assert list_missing_classes(split) == {"val": ("b",), "test": ("b",)}


# Splits that the data state


def test_stated_splits_are_kept() -> None:
    stated = ["train"] * 4 + ["val"] * 2 + ["test"] * 2
    table = make_table([0, 1] * 4, splits=stated)
    assert split_table(table, distinct(table), seed=0).splits == tuple(stated)
    no_test = make_table([0, 1] * 3, splits=stated[:6])
    assert split_table(no_test, distinct(no_test), seed=0).splits == tuple(stated[:6])


def test_validation_comes_out_of_training_and_test_stays() -> None:
    table = make_table([0, 1] * 60, splits=["train"] * 100 + ["test"] * 20)
    sha256 = distinct(table)
    # Copies within training stay together; a copy in test is a matter for the report.
    sha256[:10] = ["copies"] * 10
    sha256[110] = sha256[50]
    split = split_table(table, sha256, val_fraction=0.2, seed=3)
    assert Counter(split.splits) == {"train": 80, "val": 20, "test": 20}
    assert split.splits[100:] == ("test",) * 20
    assert len(set(split.splits[:10])) == 1
    assert np.flatnonzero(seen_in_training(split, sha256)).tolist() == [110]


def test_a_stated_split_without_a_class_is_refused() -> None:
    splits = ["train"] * 4 + ["val"] * 2 + ["test"]
    table = make_table([0, 1, 0, 1, 0, 0, 0], splits=splits)
    with pytest.raises(DataError, match="no image of b in the split 'val'"):
        split_table(table, distinct(table), seed=0)
    table = make_table([0, 0, 0, 0, 0, 1, 1], splits=splits)
    for multi_label in (False, True):
        with pytest.raises(DataError, match="no image of b in the split 'train'"):
            split_table(replace(table, multi_label=multi_label), distinct(table), seed=0)


def test_some_splits_stated_and_some_not_is_refused() -> None:
    table = make_table([0, 1, 0], splits=["train", None, "val"])
    with pytest.raises(DataError, match="1 of the 3 images of some have no split"):
        split_table(table, distinct(table), seed=0)


def test_nothing_to_train_on_is_refused() -> None:
    table = make_table([0, 1], splits=["test", "test"])
    with pytest.raises(DataError, match="some has no images in the split 'train'"):
        split_table(table, distinct(table), seed=0)


def test_a_patient_in_two_splits_is_refused_unless_allowed() -> None:
    splits = ["train"] * 4 + ["val"] * 4 + ["test"] * 4
    patients = ["Doe^Jane", *"abc", "d", "e", "f", "a", "Doe^Jane", "a", "g", "h"]
    table = make_table([0, 1] * 6, patients=patients, splits=splits)
    rule = (
        r"2 patient\(s\) of some have images in more than one split "
        r"\(train and test: 2, train and val: 1, val and test: 1\).*--allow-patient-overlap"
    )
    with pytest.raises(PatientLeakError, match=rule) as caught:
        split_table(table, distinct(table), seed=0)
    assert "Doe" not in str(caught.value)
    allowed = split_table(table, distinct(table), seed=0, allow_patient_overlap=True)
    assert allowed.splits == tuple(splits)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"val_fraction": 0.0}, r"validation fraction must be in \(0, 1\), not 0.0"),
        ({"test_fraction": -0.1}, r"test fraction must be in \[0, 1\), not -0.1"),
        ({"val_fraction": 0.5, "test_fraction": 0.5}, "leave nothing to train on"),
        ({"val_fraction": float("nan")}, "not nan"),
        ({"seed": -1}, "seed must be at least 0, not -1"),
    ],
)
def test_settings_out_of_range_are_refused(change: dict[str, float], rule: str) -> None:
    table = make_table([0, 1] * 5)
    with pytest.raises(SettingsError, match=rule):
        split_table(table, distinct(table), **{"seed": 0, **change})


# Writing it down


def assert_same_table(one: ImageTable, other: ImageTable) -> None:
    for name in ("classes", "splits", "patients", "multi_label"):
        assert getattr(one, name) == getattr(other, name), name
    assert np.array_equal(one.targets, other.targets)
    assert hash_images(one) == hash_images(other)


@pytest.mark.parametrize("where", ["run", "data"])
def test_a_written_split_reads_as_the_same_table(tmp_path: Path, where: str) -> None:
    folder = tmp_path / "data"
    labels = ["a", 'b, "c"'] * 10
    for number, label in enumerate(labels):
        (folder / label).mkdir(parents=True, exist_ok=True)
        (folder / label / f"{number}.png").write_bytes(b"%d" % number)
    table = read_table(folder)
    sha256 = hash_images(table)
    split = split_table(table, sha256, seed=0)
    path = tmp_path / where / "split.csv"
    write_split(path, split, sha256)
    assert_same_table(read_table(path), split)
    text = path.read_text()
    assert text.startswith("path,label,split,sha256\n")
    assert (str(tmp_path) in text) == (where == "run")


def test_odd_names_are_written_so_that_they_are_read_again(tmp_path: Path) -> None:
    names = ["a\rb.png", "a\nb.png", 'a "b", c;.png', " a.png", "ä|#.png", "\ta.png"]
    for number, name in enumerate(names):
        for label in ("a", "b\rc"):
            (tmp_path / "data" / label).mkdir(parents=True, exist_ok=True)
            (tmp_path / "data" / label / name).write_bytes(label.encode() + b"%d" % number)
    table = read_table(tmp_path / "data")
    check_paths(table)
    write_split(tmp_path / "split.csv", table, hash_images(table))
    assert_same_table(read_table(tmp_path / "split.csv"), table)


@pytest.mark.parametrize("name", [b"a\\b.png", b"r\xf6ntgen.png", b"IM1 ", b"IM1\n"])
def test_names_that_no_table_can_list_are_refused(tmp_path: Path, name: bytes) -> None:
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        (tmp_path / label / "1.png").touch()
    (tmp_path / "a" / os.fsdecode(name)).write_bytes(bytes(128) + b"DICM")
    table = read_table(tmp_path)
    rule = r"^1 file\(s\) of .* '.*' is one. Rename them.$"
    with pytest.raises(DataError, match=rule) as caught:
        check_paths(table)
    str(caught.value).encode()
    with pytest.raises(DataError, match=rule):
        write_split(tmp_path / "split.csv", table, [""] * table.n_images)
    assert not (tmp_path / "split.csv").exists()


def test_a_written_split_holds_labels_and_patients(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text(
        "path,labels,patient,split\n1.png,a|b,p,train\n2.png,,,test\n3.png,b,q,train\n"
    )
    for number in (1, 2, 3):
        (tmp_path / f"{number}.png").write_bytes(b"%d" % number)
    table = read_table(tmp_path / "m.csv")
    content = format_split(table, ["x", "y", "z"], tmp_path)
    assert content.decode().splitlines() == [
        "path,labels,split,sha256,patient",
        "1.png,a|b,train,x,p",
        "2.png,,test,y,",
        "3.png,b,train,z,q",
    ]
    (tmp_path / "again.csv").write_bytes(content)
    assert_same_table(read_table(tmp_path / "again.csv"), table)


@pytest.mark.parametrize("where", ["", "run"])
def test_a_written_split_of_arrays_reads_again(tmp_path: Path, where: str) -> None:
    rng = np.random.default_rng(0)
    arrays = {"train_images": rng.integers(0, 255, (40, 4, 4), dtype=np.uint8)}
    np.savez(tmp_path / "x.npz", train_labels=np.arange(40) % 11, **arrays)
    table = read_table(tmp_path / "x.npz")
    split = split_table(table, hash_images(table), seed=0)
    path = tmp_path / where / "split.csv"
    write_split(path, split, hash_images(split))
    again = read_table(path)
    assert_same_table(again, split)
    write_split(tmp_path / "third.csv", again, hash_images(again))
    assert_same_table(read_table(tmp_path / "third.csv"), split)


# Real data


@pytest.fixture(scope="module")
def brain(shared_dir: Path) -> tuple[ImageTable, list[str]]:
    table = read_table(shared_dir / "data/brain_tumor_mri")
    return table, hash_images(table)


def test_identical_brain_images_are_found_across_the_given_splits(
    brain: tuple[ImageTable, list[str]],
) -> None:
    table, sha256 = brain
    given = splits_by(sha256, table.splits)
    copied = {key for key, n_files in Counter(sha256).items() if n_files > 1}
    # More than the 166 groups, 64 across, that were identical in the original: files that
    # differed in their encoding only have become identical when they were made smaller.
    assert len(copied) == 300
    assert sum(len(given[key]) == 2 for key in copied) == 213
    seen = seen_in_training(table, sha256)
    assert seen.sum() == 251
    assert table.targets[seen].sum(axis=0).tolist() == [18, 106, 105, 22]


def test_no_copy_spans_training_and_validation_of_brain_images(
    brain: tuple[ImageTable, list[str]],
) -> None:
    table, sha256 = brain
    split = split_table(table, sha256, seed=0)
    assert Counter(split.splits) == {"train": 2440, "val": 430, "test": 394}
    for found in splits_by(sha256, split.splits).values():
        assert not {"train", "val"} <= found
    assert split.rows_in("test").tolist() == table.rows_in("test").tolist()
    assert seen_in_training(split, sha256).sum() == 251


def test_a_split_made_from_nothing_has_no_copy_in_two_splits(
    brain: tuple[ImageTable, list[str]],
) -> None:
    table, sha256 = brain
    split = split_table(table.with_splits([None] * table.n_images), sha256, seed=0)
    assert all(len(found) == 1 for found in splits_by(sha256, split.splits).values())
    for name, fraction in (("train", 0.7), ("val", 0.15), ("test", 0.15)):
        counts = split.targets[split.rows_in(name)].sum(axis=0)
        assert np.abs(counts / table.targets.sum(axis=0) - fraction).max() < 0.01


@pytest.mark.parametrize(
    ("name", "group_by"),
    [("blood_cells", "source_image"), ("chest_xray_pneumonia", None), ("nih_chest_xray14", None)],
)
def test_real_patients_stay_in_one_split(shared_dir: Path, name: str, group_by: str | None) -> None:
    table = read_table(shared_dir / "data" / name / "manifest.csv", group_by=group_by)
    sha256 = hash_images(table)
    assert split_table(table, sha256, seed=0).splits == table.splits
    split = split_table(table.with_splits([None] * table.n_images), sha256, seed=0)
    by_patient = splits_by(list(table.patients), split.splits)
    assert all(len(found) == 1 for found in by_patient.values())
    for part, fraction in (("train", 0.7), ("val", 0.15), ("test", 0.15)):
        assert abs(len(split.rows_in(part)) / table.n_images - fraction) < 0.01


def test_findings_that_the_given_validation_lacks_are_named(shared_dir: Path) -> None:
    table = read_table(shared_dir / "data/nih_chest_xray14/manifest.csv")
    assert list_missing_classes(table) == {
        "val": ("Fibrosis", "Hernia", "Pneumothorax"),
        "test": ("Fibrosis", "Hernia"),
    }


def test_array_file_splits_are_kept(shared_dir: Path) -> None:
    table = read_table(shared_dir / "data/medmnist/breastmnist.npz")
    assert split_table(table, hash_images(table), seed=0).splits == table.splits
