"""What a task has learnt from is told apart from what it has not, as far as that can be known."""

from dataclasses import replace

import numpy as np
import pytest

from medlora.data.cache import NoCache
from medlora.preprocessing import Preprocessing
from medlora.runs.overlap import find_overlap
from medlora.runs.preparing import describe_data, divide_data, prepare_data
from medlora.task.ensemble import Ensemble, Member, join_cards
from run_samples import write_images
from tests.unit.task.task_samples import make_card

PARTS = {"val_fraction": 0.2, "test_fraction": 0.2, "seed": 1}
SMALL = Preprocessing((8, 8), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """Twenty images without a split."""
    folder = write_images(tmp_path_factory.mktemp("overlap") / "images", 10)
    return prepare_data(folder, SMALL, NoCache())


@pytest.fixture(scope="module")
def split(bare):
    return divide_data(bare, **PARTS, allow_patient_overlap=False)


def card_of(data, **changes):
    return make_card(training=PARTS, data=describe_data(data) | changes)


STRANGE = make_card()


def test_the_datas_own_training_and_validation_images_count(split) -> None:
    every = np.arange(20)
    overlap = find_overlap(STRANGE, split, every)
    inside = [own in ("train", "val") for own in split.table.splits]
    assert overlap.seen.tolist() == inside
    assert (overlap.n_seen, overlap.warnings) == (16, ())
    for name, n_seen in (("train", 12), ("val", 4), ("test", 0)):
        assert find_overlap(STRANGE, split, split.table.rows_in(name)).n_seen == n_seen


def test_a_copy_of_a_training_image_counts(split) -> None:
    train, test = split.table.rows_in("train"), split.table.rows_in("test")
    sha256 = list(split.sha256)
    sha256[test[0]] = sha256[train[0]]
    overlap = find_overlap(STRANGE, replace(split, sha256=tuple(sha256)), test)
    assert overlap.seen.tolist() == [True, False, False, False]


def test_the_tasks_own_data_are_told(split) -> None:
    card = card_of(split)
    overlap = find_overlap(card, split, np.arange(20))
    assert overlap.n_seen == 16
    assert overlap.warnings == (
        "Task 'tb-cxr' was trained on these data: it has learnt from 16 of these 20 images.",
    )
    assert find_overlap(card, split, split.table.rows_in("test")).warnings == ()


def test_the_tasks_own_data_without_a_split_are_counted_by_the_card(bare, split) -> None:
    overlap = find_overlap(card_of(split), bare, np.arange(20))
    assert (overlap.n_seen, overlap.seen.any()) == (16, False)
    assert "it has learnt from 16 of these 20 images, so that the" in overlap.warnings[0]
    unknown = find_overlap(card_of(split, n_images="many"), bare, np.arange(20))
    assert unknown.n_seen == 20


def test_the_tasks_own_data_with_another_split_are_told(bare, split) -> None:
    other = bare.with_table(bare.table.with_splits(["train", "test"] * 10))
    rows = other.table.rows_in("test")
    overlap = find_overlap(card_of(split), other, rows)
    assert "may have learnt from any of these 10 images" in overlap.warnings[0]


def test_an_ensemble_has_learnt_from_every_fold(bare, split) -> None:
    pool = split.select(np.flatnonzero(np.array(split.table.splits) != "test"))
    members = tuple(Member(name, "0" * 64) for name in ("one", "two"))
    counts = ({"train": 6, "val": 2, "test": 8}, {"train": 7, "val": 1, "test": 8})
    cards = [card_of(pool, n_images=own) for own in counts]
    card = join_cards(Ensemble("both", members, (0.5, 0.5)), cards, "ensemble.json")
    # The test images that the cross-validation never saw are the only ones that are new.
    assert find_overlap(card, bare, np.arange(20)).n_seen == 16
    strange = [cards[0], replace(cards[1], data={"sha256": "00"})]
    assert join_cards(Ensemble("both", members, (0.5, 0.5)), strange, "ensemble.json").data == {}


@pytest.mark.parametrize("training", [{}, PARTS | {"val_fraction": "x"}, PARTS | {"seed": 2}])
def test_other_data_are_not_the_tasks(bare, split, training) -> None:
    pool = split.select(np.flatnonzero(np.array(split.table.splits) != "test"))
    card = make_card(training=training, data=describe_data(pool))
    assert find_overlap(card, bare, np.arange(20)).warnings == ()
