"""Curves on cases that can be worked out by hand."""

import numpy as np
import pytest

from medlora.errors import UndefinedMetricError
from medlora.evaluate.curves import precision_recall_curve, roc_curve


def test_ties_make_one_point():
    curve = roc_curve([0.5, 0.5, 0.5], np.array([True, False, True]))
    assert curve.false_positive_rate.tolist() == [0, 1]
    assert curve.true_positive_rate.tolist() == [0, 1]


def test_precision_comes_first_and_ends_at_one():
    precision, recall = precision_recall_curve([0.9, 0.8, 0.1], np.array([False, True, False]))
    assert precision.tolist() == pytest.approx([1 / 3, 0.5, 0, 1])
    assert recall.tolist() == [1, 1, 0, 0]


@pytest.mark.parametrize("positive", [[True, True], [False, False]])
def test_roc_needs_both_kinds(positive):
    with pytest.raises(UndefinedMetricError, match="ROC curve needs images with and without"):
        roc_curve([0.1, 0.2], np.array(positive))


def test_precision_recall_needs_a_positive():
    with pytest.raises(UndefinedMetricError, match="precision-recall curve needs an image"):
        precision_recall_curve([0.1, 0.2], np.array([False, False]))
