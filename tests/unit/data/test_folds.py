"""No patient and no identical file in two folds, classes in equal shares, always the same."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medlora.data.folds import assign_folds, assign_most_folds, split_fold
from medlora.data.source import FolderSource
from medlora.data.split import group_rows
from medlora.data.table import ImageTable
from medlora.errors import DataError, SettingsError


def make_table(targets: np.ndarray, patients: list[str | None] | None = None) -> ImageTable:
    n_images, n_classes = targets.shape
    return ImageTable(
        locations=tuple(f"{number}.png" for number in range(n_images)),
        classes=tuple("abcdefgh"[:n_classes]),
        targets=targets,
        multi_label=bool((targets.sum(axis=1) != 1).any()),
        splits=(None,) * n_images,
        patients=tuple(patients or [None] * n_images),
        source=FolderSource(Path("x")),
        name="some",
    )


def one_hot(labels: list[int]) -> np.ndarray:
    return np.eye(max(labels) + 1, dtype=bool)[labels]


def distinct(table: ImageTable) -> list[str]:
    return [f"{row:064x}" for row in range(table.n_images)]


@given(
    labels=st.lists(st.integers(0, 2), min_size=30, max_size=60),
    n_folds=st.integers(2, 5),
    seed=st.integers(0, 99),
    data=st.data(),
)
@settings(max_examples=30)
def test_groups_lie_in_one_fold(labels, n_folds, seed, data) -> None:
    n_images = len(labels)
    ids = data.draw(st.lists(st.integers(0, 14), min_size=n_images, max_size=n_images))
    files = data.draw(st.lists(st.integers(0, 40), min_size=n_images, max_size=n_images))
    patients = [None if number == 0 else f"p{number}" for number in ids]
    sha256 = [f"{number:064x}" for number in files]
    table = make_table(np.eye(3, dtype=bool)[labels], patients)
    try:
        folds = assign_folds(table, sha256, n_folds, seed=seed)
    except SettingsError:
        assert group_rows(patients, sha256).max() + 1 < 3 * n_folds
        return
    for keys in (patients, sha256):
        of_key = {}
        for key, fold in zip(keys, folds, strict=True):
            if key is not None:
                assert of_key.setdefault(key, fold) == fold
    assert set(folds) == set(range(n_folds))


def test_every_fold_has_its_share_of_every_class() -> None:
    table = make_table(one_hot([0] * 60 + [1] * 30 + [2] * 10))
    folds = assign_folds(table, distinct(table), 5, seed=3)
    counts = np.stack([table.targets[folds == fold].sum(axis=0) for fold in range(5)])
    assert counts.tolist() == [[12, 6, 2]] * 5
    again = assign_folds(table, distinct(table), 5, seed=3)
    other = assign_folds(table, distinct(table), 5, seed=4)
    assert (again == folds).all()
    assert (other != folds).any()


def test_labels_of_a_multi_label_table_are_shared_out() -> None:
    rng = np.random.default_rng(0)
    targets = rng.random((200, 3)) < np.array([0.5, 0.2, 0.05])
    table = make_table(targets)
    folds = assign_folds(table, distinct(table), 4, seed=0)
    counts = np.stack([targets[folds == fold].sum(axis=0) for fold in range(4)])
    assert (np.ptp(counts, axis=0) <= np.array([4, 3, 1])).all()
    assert np.ptp(np.bincount(folds)) <= 8


def test_too_few_groups_leave_folds_empty() -> None:
    table = make_table(one_hot([0, 0, 1, 1]), ["a", "b", "c", "d"])
    folds = [assign_folds(table, distinct(table), n, seed=0) for n in (2,)]
    assert len(set(folds[0])) == 2
    with pytest.raises(SettingsError, match=r"Only [23] of 4 folds get an image: the 4 groups"):
        assign_folds(table, distinct(table), 4, seed=0)


def test_as_many_folds_as_can_be_filled() -> None:
    table = make_table(one_hot([0, 0, 1, 1]), ["a", "b", "c", "d"])
    folds = assign_most_folds(table, distinct(table), 5, seed=0)
    assert folds is not None
    assert sorted(set(folds)) == [*range(folds.max() + 1)]
    assert folds.max() + 1 in (2, 3)
    many = make_table(one_hot([0, 1] * 10))
    same = assign_folds(many, distinct(many), 5, seed=3)
    np.testing.assert_array_equal(assign_most_folds(many, distinct(many), 5, seed=3), same)
    one = make_table(one_hot([0, 1, 0, 1]), ["a"] * 4)
    assert assign_most_folds(one, distinct(one), 5, seed=0) is None


@pytest.mark.parametrize("n_folds", [1, 7])
def test_a_number_of_folds_that_cannot_be(n_folds) -> None:
    table = make_table(one_hot([0, 1, 0, 1, 0, 1]))
    with pytest.raises(SettingsError, match=rf"must be in \[2, 6\], not {n_folds}: some has 6"):
        assign_folds(table, distinct(table), n_folds, seed=0)


def test_a_folds_run_is_tested_on_the_fold_and_validates_elsewhere() -> None:
    table = make_table(one_hot([0, 1] * 20), [f"p{row // 2}" for row in range(40)])
    folds = assign_folds(table, distinct(table), 4, seed=0)
    for number in range(4):
        split = split_fold(table, distinct(table), folds, number, val_fraction=0.2, seed=0)
        assert (split.rows_in("test") == np.flatnonzero(folds == number)).all()
        assert len(split.rows_in("val")) == 6
        inside = {split.patients[row] for row in split.rows_in("val")}
        assert not inside & {split.patients[row] for row in split.rows_in("train")}


def test_a_class_of_one_patient_cannot_be_held_out() -> None:
    patients = [f"p{row}" for row in range(20)] + ["rare"] * 4
    table = make_table(one_hot([0, 1] * 10 + [2] * 4), patients)
    folds = assign_folds(table, distinct(table), 3, seed=0)
    number = int(folds[-1])
    with pytest.raises(DataError, match=rf"Fold {number} cannot be held out: .* no image of c"):
        split_fold(table, distinct(table), folds, number, val_fraction=0.2, seed=0)
    stated = replace(table, splits=("train",) * 24)
    assert (assign_folds(stated, distinct(table), 3, seed=0) == folds).all()
