"""Counts of decisions under weights, worked out by hand."""

import numpy as np
import pytest

from medlora.evaluate.counts import ClassCounts, mean_defined

DECISIONS = np.array([[True, False], [True, False], [False, False]])
TARGETS = np.array([[True, False], [False, False], [True, False]])
WEIGHTS = np.array([[1.0, 2.0], [1.0, 1.0], [1.0, 0.0]])


def test_each_image_counts_as_often_as_its_weight():
    counts = ClassCounts.of(DECISIONS, TARGETS, WEIGHTS)
    assert counts.hits.tolist() == [[1, 0], [2, 0]]
    assert counts.decided.tolist() == [[2, 0], [3, 0]]
    assert counts.actual.tolist() == [[2, 0], [2, 0]]
    assert counts.total.tolist() == [[3], [3]]
    assert counts.agreed().tolist() == [[1, 3], [2, 3]]
    assert counts.recall()[:, 0].tolist() == [0.5, 1]
    assert counts.precision()[:, 0].tolist() == [0.5, pytest.approx(2 / 3)]
    assert counts.specificity().tolist() == [[0, 1], [0, 1]]


def test_an_absent_class_has_neither_recall_nor_precision_nor_f1():
    counts = ClassCounts.of(~DECISIONS, TARGETS, WEIGHTS)
    for values in (counts.recall(), counts.precision(), counts.f1()):
        assert np.isnan(values[:, 1]).all()
        assert not np.isnan(values[:, 0]).any()


def test_means_leave_out_what_is_undefined():
    means = mean_defined(np.array([[1.0, np.nan, 0.5], [np.nan] * 3]))
    assert means[0] == 0.75
    assert np.isnan(means[1])
