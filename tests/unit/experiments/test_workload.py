"""Which image asks which task, in which order, in which batch."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medlora.errors import SettingsError
from medlora.experiments.workload import Workload, cut_turns, group_tasks


@given(st.integers(1, 9), st.integers(0, 60))
def test_tasks_have_equally_many_images(n_tasks: int, n_more: int) -> None:
    counts = Counter(Workload(n_tasks, n_tasks + n_more).tasks)
    assert sorted(counts) == list(range(n_tasks))
    assert max(counts.values()) - min(counts.values()) <= 1


def test_four_tasks_and_a_hundred_images_are_the_published_workload() -> None:
    assert Counter(Workload().tasks) == {0: 25, 1: 25, 2: 25, 3: 25}


def test_both_orders_bring_every_image_once() -> None:
    workload = Workload(n_tasks=4, n_images=40, seed=3)
    in_order, shuffled = workload.arrange("task"), workload.arrange("shuffled")
    assert in_order == tuple(range(40))
    assert shuffled != in_order
    assert sorted(shuffled) == list(in_order)
    assert shuffled == Workload(n_tasks=4, n_images=40, seed=3).arrange("shuffled")
    assert shuffled != Workload(n_tasks=4, n_images=40, seed=4).arrange("shuffled")


@given(st.integers(1, 40), st.integers(1, 20))
def test_batches_hold_the_images_in_their_order(n_images: int, batch_size: int) -> None:
    workload = Workload(1, n_images)
    batches = workload.cut_batches("shuffled", batch_size)
    assert [image for batch in batches for image in batch] == list(workload.arrange("shuffled"))
    assert all(len(batch) == batch_size for batch in batches[:-1])
    assert 1 <= len(batches[-1]) <= batch_size


@given(st.integers(1, 50), st.integers(1, 8))
def test_turns_cover_all_batches_evenly(n_batches: int, n_turns: int) -> None:
    turns = cut_turns(n_batches, n_turns)
    batches = list(range(n_batches))
    assert [batch for turn in turns for batch in batches[turn]] == batches
    sizes = [len(batches[turn]) for turn in turns]
    assert len(turns) == min(n_turns, n_batches)
    assert max(sizes) - min(sizes) <= 1


def test_the_active_task_comes_first_only_where_it_is_asked() -> None:
    assert list(group_tasks([2, 0, 1], active=1)) == [1, 2, 0]
    assert group_tasks([2, 2], active=1) == {2: [0, 1]}
    assert list(group_tasks([2, 0], active=None)) == [2, 0]


def test_pixels_follow_from_the_seed() -> None:
    pixels = Workload(1, 2, seed=1).draw_pixels((4, 6))
    assert pixels.shape == (2, 3, 4, 6)
    assert pixels.equal(Workload(1, 2, seed=1).draw_pixels((4, 6)))
    assert not pixels.equal(Workload(1, 2, seed=2).draw_pixels((4, 6)))


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"n_tasks": 0}, "number of tasks must be 1 or more, not 0"),
        ({"n_tasks": 5, "n_images": 4}, "4 images are too few for 5 tasks"),
        ({"seed": -1}, "A seed is 0 or more, not -1"),
    ],
)
def test_a_workload_that_makes_no_sense_is_refused(values, match) -> None:
    with pytest.raises(SettingsError, match=match):
        Workload(**values)
