"""Resamples hold whole patients, replay by seed, and come in bounded chunks."""

import numpy as np
import pytest

from medlora.errors import DataError, SettingsError
from medlora.evaluate.resampling import (
    CHUNK_CELLS,
    draw_weights,
    iterate_weights,
    number_groups,
    percentile_interval,
)


def test_unknown_groups_are_groups_of_their_own():
    assert number_groups(None, 3).tolist() == [0, 1, 2]
    assert number_groups(["x", None, "x", None, 7], 5).tolist() == [0, 1, 0, 2, 3]
    assert number_groups(np.array([4, 4, 9]), 3).tolist() == [0, 0, 1]


def test_there_is_a_group_for_each_image():
    with pytest.raises(DataError, match="2 groups for 3 images"):
        number_groups(["a", "b"], 3)


def test_images_of_a_patient_stay_together():
    numbers = np.array([0, 1, 0, 2, 1, 0])
    drawn = np.stack([draw_weights(numbers, 5, resample) for resample in range(50)])
    assert (drawn[:, 0] == drawn[:, 2]).all()
    assert (drawn[:, 0] == drawn[:, 5]).all()
    assert (drawn[:, 1] == drawn[:, 4]).all()
    assert (drawn[:, [0, 1, 3]].sum(axis=1) == 3).all()
    assert len(np.unique(drawn, axis=0)) > 5


def test_groups_are_drawn_evenly():
    numbers = np.arange(10)
    mean = np.mean([draw_weights(numbers, 0, resample) for resample in range(4000)], axis=0)
    # The standard error of each mean is sqrt(0.9 / 4000) = 0.015.
    assert np.abs(mean - 1).max() < 0.06


def test_chunks_do_not_change_the_draws():
    numbers = np.array([0, 1, 1, 2, 3])
    whole = np.concatenate(list(iterate_weights(numbers, 13, 1)), axis=1)
    parts = list(iterate_weights(numbers, 13, 1, chunk_cells=20))
    assert [part.shape for part in parts] == [(5, 4)] * 3 + [(5, 1)]
    assert (np.concatenate(parts, axis=1) == whole).all()


def test_draws_that_are_asked_for_again_are_the_same_and_stay_so():
    numbers = np.array([0, 1, 1, 2, 3])
    first = next(iterate_weights(numbers, 13, 1))
    with pytest.raises(ValueError, match="read-only"):
        first[:] = 0
    assert next(iterate_weights(numbers.copy(), 13, 1)) is first
    assert (next(iterate_weights(numbers, 13, 2)) != first).any()
    assert (next(iterate_weights(numbers[::-1], 13, 1)) != first).any()


def test_chunks_are_bounded():
    chunk = next(iterate_weights(np.arange(25_000), 1000, 0))
    assert chunk.size <= CHUNK_CELLS
    one_at_least = next(iterate_weights(np.arange(30), 2, 0, chunk_cells=10))
    assert one_at_least.shape == (30, 1)


@pytest.mark.parametrize(("n_resamples", "seed"), [(-1, 0), (10, -1)])
def test_numbers_are_not_negative(n_resamples, seed):
    with pytest.raises(SettingsError, match=rf"not {n_resamples} and {seed}"):
        next(iterate_weights(np.arange(3), n_resamples, seed))


def test_the_interval_leaves_out_what_is_undefined():
    values = np.array([np.nan, 3.0, 1.0, 2.0, np.nan])
    assert percentile_interval(values, 0.5) == (1.5, 2.5)
    assert percentile_interval(np.array([np.nan]), 0.95) is None
    assert percentile_interval(np.array([]), 0.95) is None
