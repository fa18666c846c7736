import hashlib

import numpy as np

from audit_samples import crop, draw_picture, shrink
from medlora.audit.duplicates import (
    DuplicatePairs,
    find_near_pairs,
    find_same,
    group_duplicates,
    join_pairs,
    link_rows,
)
from medlora.data.table import read_table

SIDES = np.full(10, 96.0)


def make_pairs(rows, words) -> DuplicatePairs:
    n_pairs = len(rows)
    return DuplicatePairs(
        np.array(rows, dtype=np.int64).reshape(-1, 2),
        np.array(words, dtype=np.str_),
        np.full(n_pairs, 0.9, dtype=np.float32),
        np.zeros(n_pairs, dtype=np.int64),
    )


def test_rows_with_one_key_are_paired_with_the_first() -> None:
    assert find_same(["a", "b", "a", "", "", "a"]).tolist() == [[0, 2], [0, 5]]
    assert find_same(["a", "b"]).shape == (0, 2)


def test_near_copies_are_found_with_and_without_features() -> None:
    pictures = [draw_picture(seed) for seed in range(8)]
    pictures += [crop(pictures[2])[:, ::-1], np.rot90(pictures[5])]
    small = np.stack([shrink(np.ascontiguousarray(own)) for own in pictures])
    found = find_near_pairs(small, SIDES, None, np.arange(10))
    assert found.rows.tolist() == [[2, 8], [5, 9]]
    features = np.eye(10, dtype=np.float32)
    assert find_near_pairs(small, SIDES, features, np.arange(10)).rows.tolist() == [[2, 8], [5, 9]]
    # A row that is not asked for is not compared.
    assert find_near_pairs(small, SIDES, None, np.arange(9)).rows.tolist() == [[2, 8]]


def test_a_pair_stands_once_under_its_closest_likeness() -> None:
    near = make_pairs([(0, 5)], ["near"])
    same_pixels = np.array([[0, 2], [0, 3]])
    joined = join_pairs(np.array([[0, 2]]), same_pixels, near)
    assert joined.rows.tolist() == [[0, 2], [0, 3], [0, 5]]
    assert joined.likeness.tolist() == ["bytes", "pixels", "near"]
    assert joined.detail.tolist() == [1.0, 1.0, np.float32(0.9)]


def test_linked_rows_have_one_number() -> None:
    numbers = link_rows(np.array([[0, 3], [3, 4]]), 6)
    assert numbers[0] == numbers[3] == numbers[4]
    assert len(set(numbers.tolist())) == 4


def test_groups_are_described_and_the_serious_come_first() -> None:
    pairs = make_pairs([(0, 1), (2, 3), (3, 4), (5, 6)], ["bytes", "bytes", "near", "pixels"])
    targets = np.eye(2, dtype=bool)[[0, 0, 0, 0, 1, 1, 1]]
    splits = ["train", "train", "train", "train", "train", "train", "test"]
    groups = group_duplicates(pairs, targets, splits, ["a", "a", "b", "c", None, None, None])
    assert [group.rows for group in groups] == [(5, 6), (2, 3, 4), (0, 1)]
    assert [group.likeness for group in groups] == ["pixels", "near", "bytes"]
    assert [group.crosses_splits for group in groups] == [True, False, False]
    assert [group.differs_in_labels for group in groups] == [False, True, False]
    assert [group.n_patients for group in groups] == [0, 2, 1]
    assert groups[0].splits == ("train", "test")


def test_identical_files_of_a_public_collection_are_all_found(shared_dir) -> None:
    table = read_table(shared_dir / "data" / "brain_tumor_mri")
    read = table.source.read_bytes
    same = find_same([hashlib.sha256(read(place)).hexdigest() for place in table.locations])
    pairs = join_pairs(same, np.empty((0, 2), np.int64), make_pairs([], []))
    groups = group_duplicates(pairs, table.targets, table.splits, table.patients)
    assert (len(groups), sum(group.crosses_splits for group in groups)) == (300, 213)
    numbers = link_rows(pairs.rows, table.n_images)
    test_rows = table.rows_in("test")
    is_leak = np.isin(numbers[test_rows], numbers[table.rows_in("train")])
    of_none = table.targets[test_rows, table.classes.index("no_tumor")]
    assert (int(is_leak.sum()), int((is_leak & of_none).sum())) == (251, 105)
    assert int(of_none.sum()) == 105
