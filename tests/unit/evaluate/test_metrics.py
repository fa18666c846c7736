"""Measures on cases that can be worked out by hand; scikit-learn is asked in tests/oracle."""

import numpy as np
import pytest

from medlora.errors import DataError, UndefinedMetricError
from medlora.evaluate import metrics

YES = np.array([True, True])
NO = np.array([False, False])
BOTH = np.array([True, False])
ONE_HOT = np.array([[True, False, False], [False, True, False]])


def test_single_label_decision_is_the_largest_ratio():
    decisions = metrics.decide([[0.5, 0.3, 0.2]], (0.5, 0.25, 0.25), multi_label=False)
    assert decisions.tolist() == [[False, True, False]]


def test_ties_go_to_the_first_class():
    decisions = metrics.decide([[0.2, 0.4, 0.4]], (1 / 3,) * 3, multi_label=False)
    assert decisions.tolist() == [[False, True, False]]


@pytest.mark.parametrize("threshold", [0.1, 1 / 3, 0.7])
def test_equal_thresholds_keep_the_order_of_neighbouring_numbers(threshold):
    low = 0.4
    for _ in range(8):
        high = float(np.nextafter(low, 1))
        decisions = metrics.decide([[low, high, 0.2]], (threshold,) * 3, multi_label=False)
        assert decisions.tolist() == [[False, True, False]]
        low = high


def test_multi_label_decisions_include_the_threshold():
    decisions = metrics.decide([[0.5, 0.49, 0.9]], (0.5, 0.5, 0.95), multi_label=True)
    assert decisions.tolist() == [[True, False, False]]


def test_perfect_reversed_and_constant_scores():
    assert metrics.auroc([0.9, 0.1], BOTH) == 1
    assert metrics.auroc([0.1, 0.9], BOTH) == 0
    assert metrics.auroc([0.3, 0.3], BOTH) == 0.5


def test_average_precision_of_a_constant_is_the_prevalence():
    assert metrics.average_precision([0.3] * 4, np.array([True, False, False, False])) == 0.25


def test_a_class_that_is_never_given_has_precision_0():
    assert metrics.precision(NO, BOTH) == 0
    assert metrics.f1(NO, BOTH) == 0
    assert metrics.recall(NO, BOTH) == 0
    assert metrics.specificity(NO, BOTH) == 1


@pytest.mark.parametrize("measure", [metrics.recall, metrics.precision, metrics.f1])
def test_an_absent_class_has_no_share_found(measure):
    with pytest.raises(UndefinedMetricError, match="needs an image with the class"):
        measure(YES, NO)


def test_specificity_needs_images_without_the_class():
    assert metrics.specificity(BOTH, NO) == 0.5
    with pytest.raises(UndefinedMetricError, match="specificity needs an image without"):
        metrics.specificity(YES, YES)


@pytest.mark.parametrize("positive", [YES, NO])
def test_auroc_needs_both_kinds(positive):
    with pytest.raises(UndefinedMetricError, match="AUROC needs images with and without"):
        metrics.auroc([0.1, 0.2], positive)


def test_average_precision_needs_a_positive():
    assert metrics.average_precision([0.1, 0.2], YES) == 1
    with pytest.raises(UndefinedMetricError, match="average precision needs an image with"):
        metrics.average_precision([0.1, 0.2], NO)


def test_accuracy_counts_images_or_labels():
    decisions = np.array([[True, False, False], [True, False, False]])
    assert metrics.accuracy(decisions, ONE_HOT, multi_label=False) == 0.5
    assert metrics.accuracy(decisions, ONE_HOT, multi_label=True) == pytest.approx(4 / 6)
    assert metrics.exact_match(decisions, ONE_HOT) == 0.5


def test_balanced_accuracy_leaves_out_what_is_absent():
    targets = np.array([[True, False, False]] * 3 + [[False, True, False]])
    decisions = np.array([[True, False, False]] * 4)
    assert metrics.balanced_accuracy(decisions, targets, multi_label=False) == 0.5


def test_balanced_accuracy_of_labels_takes_both_sides():
    targets = np.array([[True, True, False], [False, True, False]])
    decisions = np.array([[True, True, False], [True, False, False]])
    assert metrics.balanced_accuracy(decisions, targets, multi_label=True) == 0.5
    with pytest.raises(UndefinedMetricError, match="balanced accuracy needs a class that some"):
        metrics.balanced_accuracy(decisions[:, 1:], targets[:, 1:], multi_label=True)


def test_brier_score_in_its_three_ranges():
    wrong = np.array([[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
    assert metrics.brier_score(wrong, ONE_HOT, multi_label=False) == 2
    assert metrics.brier_score([[0.0, 1.0]], np.array([BOTH]), multi_label=False) == 1
    assert metrics.brier_score(wrong, ONE_HOT, multi_label=True) == pytest.approx(2 / 3)


def test_calibration_error_by_hand():
    sure = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4]])
    targets = np.array([[True, False], [False, True], [True, False]])
    error = metrics.expected_calibration_error(sure, targets, multi_label=False)
    assert error == pytest.approx((2 * abs(0.9 - 0.5) + abs(0.6 - 1)) / 3)


def test_calibration_error_averages_labels():
    probabilities = np.array([[0.75, 0.0], [0.75, 0.0]])
    targets = np.array([[True, False], [True, False]])
    error = metrics.expected_calibration_error(probabilities, targets, multi_label=True)
    assert error == pytest.approx((0.25 + 0) / 2)


def test_confusion_has_truth_in_rows():
    decisions = np.array([[False, False, True], [False, True, False]])
    matrix = metrics.confusion_matrix(decisions, ONE_HOT, multi_label=False)
    assert matrix.tolist() == [[0, 0, 1], [0, 1, 0], [0, 0, 0]]
    tables = metrics.confusion_matrix(decisions, ONE_HOT, multi_label=True)
    assert tables.tolist() == [[[1, 0], [1, 0]], [[1, 0], [0, 1]], [[1, 1], [0, 0]]]


def test_single_label_confusion_refuses_several_answers():
    with pytest.raises(DataError, match="1 of 2 images do not have exactly one class"):
        metrics.confusion_matrix(ONE_HOT | [[True] * 3, [False] * 3], ONE_HOT, multi_label=False)
