"""Bins, their edges, and what is claimed."""

import numpy as np
import pytest

from medlora.errors import DataError, SettingsError
from medlora.evaluate.calibration import assign_bins, reliability_curve


def test_an_edge_belongs_to_the_bin_below():
    confidence = np.array([0.0, 0.25, np.nextafter(0.25, 1), 0.5, 0.75, 1.0])
    assert assign_bins(confidence, 4).tolist() == [0, 0, 1, 1, 2, 3]


def test_no_bins_are_refused():
    with pytest.raises(SettingsError, match="number of bins must be at least 1, not 0"):
        reliability_curve([[0.5]], np.array([[True]]), multi_label=True, n_bins=0)


def test_single_label_judges_the_most_probable_class():
    curve = reliability_curve(
        [[0.2, 0.8], [0.9, 0.1]], np.array([[True, False], [True, False]]), multi_label=False
    )
    assert curve.confidence.tolist() == [0.8, 0.9]
    assert curve.accuracy.tolist() == [0.0, 1.0]
    assert curve.count.tolist() == [1, 1]


def test_multi_label_pools_every_probability():
    curve = reliability_curve(
        [[0.25, 0.75], [0.25, 0.75]],
        np.array([[True, True], [False, True]]),
        multi_label=True,
        n_bins=2,
    )
    assert curve.confidence.tolist() == [0.25, 0.75]
    assert curve.accuracy.tolist() == [0.5, 1.0]
    assert curve.count.tolist() == [2, 2]


def test_single_label_needs_one_class_for_each_image():
    with pytest.raises(DataError, match="exactly one class"):
        reliability_curve([[0.5, 0.5]], np.array([[True, True]]), multi_label=False)
