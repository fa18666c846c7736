"""Weights at the levels of a ranking, worked out by hand."""

import numpy as np

from medlora.evaluate.ranking import Ranking, divide, find_level_starts

SCORES = np.array([0.5, 0.1, 0.5, 0.9, 0.7, 0.2])
POSITIVE = np.array([True, False, False, True, False, False])


def test_levels_are_the_scores_of_positive_images():
    weights = np.array([[1, 2], [1, 0], [1, 3], [1, 1], [1, 5], [1, 1]], dtype=float)
    levels = Ranking.of(SCORES, POSITIVE).weigh(weights)
    assert levels.below.tolist() == [[2, 1], [5, 11]]
    assert levels.level.tolist() == [[2, 5], [1, 1]]
    assert levels.positive.tolist() == [[1, 2], [1, 1]]
    assert levels.total.tolist() == [6, 12]


def test_what_has_no_weight_has_no_value():
    only_negative = (~POSITIVE).astype(float)[:, None]
    only_positive = POSITIVE.astype(float)[:, None]
    ranking = Ranking.of(SCORES, POSITIVE)
    assert np.isnan(ranking.weigh(only_negative).auroc()).all()
    assert np.isnan(ranking.weigh(only_negative).average_precision()).all()
    assert np.isnan(ranking.weigh(only_positive).auroc()).all()
    assert ranking.weigh(only_positive).average_precision().tolist() == [1]


def test_a_class_without_images_has_no_value():
    levels = Ranking.of(SCORES, np.zeros(6, dtype=bool)).weigh(np.ones((6, 3)))
    assert np.isnan(levels.auroc()).tolist() == [True] * 3
    assert np.isnan(levels.average_precision()).tolist() == [True] * 3


def test_level_starts():
    assert find_level_starts(np.array([0.1, 0.1, 0.2, 0.3, 0.3])).tolist() == [0, 2, 3]
    assert find_level_starts(np.array([])).tolist() == []


def test_nothing_is_divided_by_zero():
    quotient = divide(np.array([1.0, 0.0]), np.array([0.0, 2.0]))
    assert np.isnan(quotient[0])
    assert quotient[1] == 0
