"""What the measures refuse, and how they say so."""

import numpy as np
import pytest

from medlora.errors import DataError, SettingsError, UndefinedMetricError
from medlora.evaluate.inputs import (
    check_booleans,
    check_decisions,
    check_defined,
    check_pair,
    check_probabilities,
    check_single_label,
    check_thresholds,
)

ONE_HOT = np.array([[True, False], [False, True]])


def test_numbers_are_not_taken_for_booleans():
    with pytest.raises(DataError, match="targets must be booleans, not int64"):
        check_booleans([0, 1], "targets", 1)


def test_a_missing_axis_is_named():
    with pytest.raises(DataError, match=r"targets must have 2 axes, not the shape \(2,\)"):
        check_booleans([True, False], "targets", 2)
    with pytest.raises(DataError, match=r"scores must have 1 axes, not the shape \(1, 1\)"):
        check_probabilities([[0.5]], "scores", 1)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -0.001, 1.001])
def test_what_is_no_probability_is_counted(bad):
    with pytest.raises(DataError, match=r"must lie in \[0, 1\]; 2 of 4 do not"):
        check_probabilities([[bad, 0.5], [0.5, bad]], "probabilities", 2)


def test_both_ends_are_probabilities():
    assert check_probabilities([0, 1], "probabilities", 1).tolist() == [0.0, 1.0]


def test_single_precision_is_widened():
    assert check_probabilities(np.float32([0.5]), "probabilities", 1).dtype == np.float64


def test_shapes_must_agree():
    with pytest.raises(DataError, match=r"shape \(1, 2\) and targets \(2, 2\)"):
        check_pair([[0.5, 0.5]], ONE_HOT, 2)
    with pytest.raises(DataError, match=r"shape \(1, 2\) and targets \(2, 2\)"):
        check_decisions(ONE_HOT[:1], ONE_HOT, 2)


def test_no_images_are_refused():
    with pytest.raises(DataError, match=r"nothing to score: the shape is \(0, 2\)"):
        check_pair(np.zeros((0, 2)), np.zeros((0, 2), dtype=bool), 2)


@pytest.mark.parametrize("row", [[False, False], [True, True]])
def test_single_label_rows_have_one_class(row):
    with pytest.raises(DataError, match="1 of 2 images do not have exactly one class"):
        check_single_label(np.array([row, [True, False]]))


def test_sigmoid_outputs_are_not_taken_for_softmax():
    with pytest.raises(DataError, match="probabilities of 1 of 2 images do not sum to 1"):
        check_single_label(ONE_HOT, np.array([[0.7, 0.3], [0.7, 0.7]]))


def test_rounding_of_softmax_is_forgiven():
    check_single_label(ONE_HOT, np.array([[0.70001, 0.3], [0.2, 0.7999]]))


def test_thresholds_fit_the_classes():
    with pytest.raises(SettingsError, match="one threshold for each of the 3 classes, not 2"):
        check_thresholds((0.5, 0.5), 3)


@pytest.mark.parametrize("bad", [0.0, -0.5, 1.5, float("nan")])
def test_thresholds_have_a_range(bad):
    with pytest.raises(SettingsError, match=rf"class number 1 is {bad}"):
        check_thresholds((1.0, bad), 2)


def test_a_missing_value_says_what_it_needs():
    with pytest.raises(UndefinedMetricError, match="AUROC needs both; there is none"):
        check_defined(np.array([[np.nan]]), "AUROC", "both")
    assert check_defined(np.array([[0.25]]), "AUROC", "both") == 0.25
