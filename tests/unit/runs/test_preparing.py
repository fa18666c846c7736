from dataclasses import replace

import numpy as np
import pytest

from medlora.data.cache import NoCache
from medlora.errors import UnreadableImagesError
from medlora.preprocessing import Preprocessing
from medlora.runs.preparing import (
    describe_data,
    divide_data,
    find_seen,
    prepare_data,
    shuffle_labels,
    warn_of_data,
)
from run_samples import write_images

SMALL = Preprocessing((8, 8), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
PARTS = {"val_fraction": 0.2, "test_fraction": 0.2, "seed": 1, "allow_patient_overlap": False}


@pytest.fixture
def folder(tmp_path):
    return write_images(tmp_path / "data", 10)


def prepare(folder, **changes):
    return prepare_data(folder, SMALL, NoCache(), **changes)


def test_images_are_read_hashed_and_counted(folder) -> None:
    data = prepare(folder)
    assert data.table.n_images == len(data.sha256) == len(set(data.sha256)) == 20
    assert data.images.read([0]).shape == (1, 3, 8, 8)
    assert data.digest == prepare(folder).digest
    (folder / "dark" / "000.png").write_bytes((folder / "dark" / "001.png").read_bytes())
    assert prepare(folder).digest != data.digest


def test_unreadable_images_stop_or_are_counted(folder) -> None:
    for name in ("dark/003.png", "light/007.png"):
        (folder / name).write_bytes(b"\x89PNG damaged")
    with pytest.raises(UnreadableImagesError, match=r"2 image.*(?s:.*)003\.png(?s:.*)007\.png"):
        prepare(folder)
    data = prepare(folder, skip_unreadable=True)
    assert (data.table.n_images, data.n_skipped, len(data.unreadable)) == (18, 2, 2)
    assert "2 unreadable image(s) were left out." in warn_of_data(data, allow_patient_overlap=False)
    assert describe_data(divide_data(data, **PARTS))["n_skipped"] == 2


def test_the_description_counts_every_image_once(folder) -> None:
    data = divide_data(prepare(folder), **PARTS)
    described = describe_data(data)
    assert sum(described["n_images"].values()) == 20
    assert sum(n for counts in described["counts"].values() for n in counts.values()) == 20
    assert (described["n_groups"], described["patients_known"]) == (20, False)
    assert described["sha256"] == data.digest


def test_an_overlap_that_was_allowed_is_told(folder) -> None:
    assert warn_of_data(prepare(folder), allow_patient_overlap=True) == [
        "Patients may be in several splits (--allow-patient-overlap)."
    ]
    assert warn_of_data(prepare(folder), allow_patient_overlap=False) == []


def test_a_class_without_images_in_a_split_is_told(folder) -> None:
    data = prepare(folder)
    splits = ["train"] * 9 + ["val"] + ["train"] * 9 + ["test"]
    warned = warn_of_data(
        data.with_table(data.table.with_splits(splits)), allow_patient_overlap=False
    )
    assert warned == [
        "The val split has no image of light.",
        "The test split has no image of dark.",
    ]


def test_shuffled_labels_are_the_same_ones_elsewhere(folder) -> None:
    data = prepare(folder)
    shuffled = shuffle_labels(data, 0)
    assert (shuffled.table.targets.sum(0) == data.table.targets.sum(0)).all()
    assert 4 <= (shuffled.table.labels != data.table.labels).sum() <= 16
    np.testing.assert_array_equal(shuffle_labels(data, 0).table.targets, shuffled.table.targets)
    assert (shuffle_labels(data, 1).table.targets != shuffled.table.targets).any()


def test_shuffling_keeps_copies_and_patients_together(folder) -> None:
    data = prepare(folder)
    patients = [str(row // 4) for row in range(20)]
    data = data.with_table(replace(data.table, patients=tuple(patients)))
    for seed in range(5):
        labels = shuffle_labels(data, seed).table.labels.reshape(5, 4)
        assert (labels == labels[:, :1]).all()
    (folder / "light" / "000.png").write_bytes((folder / "dark" / "001.png").read_bytes())
    copied = prepare(folder)
    for seed in range(5):
        labels = shuffle_labels(copied, seed).table.labels
        assert labels[1] == labels[10]


def test_test_images_that_training_has_seen_are_found(folder) -> None:
    (folder / "light" / "000.png").write_bytes((folder / "light" / "001.png").read_bytes())
    data = prepare(folder)
    splits = ["train"] * 10 + ["test", "val"] + ["test"] * 8
    data = data.with_table(data.table.with_splits(splits))
    rows = data.table.rows_in("test")
    assert find_seen(data, rows).tolist() == [True] + [False] * 8
