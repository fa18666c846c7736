import math

import numpy as np
import pytest

from medlora.errors import DataError, SettingsError
from medlora.evaluate.conformal import SetLimits, choose_limits, count_needed, find_sets


def draw_answers(rng, n_images, n_classes=3):
    """Probabilities, and truths drawn from them, so that the model is right about itself."""
    logits = rng.normal(size=(n_images, n_classes)) * 2
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (probabilities.cumsum(axis=1) < rng.random((n_images, 1))).sum(axis=1)
    return probabilities, np.eye(n_classes, dtype=bool)[np.minimum(labels, n_classes - 1)]


@pytest.mark.parametrize(
    ("coverage", "needed"), [(0.5, 1), (0.8, 4), (0.9, 9), (0.95, 19), (0.99, 99), (0.7, 3)]
)
def test_just_as_many_images_as_are_needed_give_a_limit(coverage, needed) -> None:
    assert count_needed(coverage) == needed
    own = np.linspace(0.3, 0.9, needed)
    scores, truth = np.stack([own, 1 - own], 1), np.array([[True, False]] * needed)
    limits = choose_limits(scores, truth, coverage=coverage, multi_label=False)
    assert limits.least == (0.3 if needed > 1 else own[0],) * 2
    fewer = (
        choose_limits(scores[1:], truth[1:], coverage=coverage, multi_label=False)
        if (needed > 1)
        else None
    )
    assert fewer is None or fewer.least == (0.0, 0.0)


@pytest.mark.parametrize("coverage", [0.0, 1.0, -0.1, math.nan])
def test_a_coverage_out_of_range_is_refused(coverage) -> None:
    with pytest.raises(SettingsError, match=r"coverage must be in \(0, 1\)"):
        count_needed(coverage)


@pytest.mark.parametrize("coverage", [0.6, 0.8, 0.9])
@pytest.mark.parametrize("n_images", [7, 10, 41])
def test_limits_are_those_of_a_slow_search(coverage, n_images) -> None:
    scores, truth = draw_answers(np.random.default_rng(n_images), n_images)
    limits = choose_limits(scores, truth, coverage=coverage, multi_label=False)
    own = scores[truth]
    # The highest limit that still leaves enough truths in: (n + 1) coverage of n.
    enough = [
        limit
        for limit in own
        if sum(value >= limit for value in own) >= (n_images + 1) * coverage - 1e-9
    ]
    assert limits == SetLimits((max(enough, default=0.0),) * 3, ())


def test_limits_by_class_are_those_of_each_class_alone() -> None:
    scores, truth = draw_answers(np.random.default_rng(1), 200)
    limits = choose_limits(scores, truth, coverage=0.9, multi_label=False, by_class=True)
    for number in range(3):
        own = truth[:, number]
        alone = choose_limits(scores[own], truth[own], coverage=0.9, multi_label=False)
        assert limits.least[number] == alone.least[0]


def test_a_label_has_a_limit_for_its_presence_and_one_for_its_absence() -> None:
    scores = np.array([[0.1], [0.2], [0.3], [0.4], [0.6], [0.7], [0.8], [0.9]])
    truth = np.array([[False], [False], [True], [False], [True], [False], [True], [True]])
    limits = choose_limits(scores, truth, coverage=0.6, multi_label=True)
    assert limits == SetLimits((0.6,), (0.4,))
    sets = find_sets(np.array([[0.4], [0.5], [0.6]]), limits)
    assert sets.present.ravel().tolist() == [False, False, True]
    assert sets.absent is not None
    assert sets.absent.ravel().tolist() == [True, False, False]
    assert sets.undecided.ravel().tolist() == [False, True, False]


def test_a_label_that_too_few_images_have_is_never_ruled_out() -> None:
    rng = np.random.default_rng(0)
    scores = rng.random((40, 1))
    truth = np.arange(40)[:, None] < 3
    limits = choose_limits(scores, truth, coverage=0.9, multi_label=True)
    assert limits.least == (0.0,)
    assert limits.most[0] < 1
    everywhere = choose_limits(scores, ~truth, coverage=0.9, multi_label=True)
    assert everywhere.most == (1.0,)


def test_a_limit_is_in_its_own_set() -> None:
    rng = np.random.default_rng(3)
    scores, truth = rng.random((50, 2)), rng.random((50, 2)) < 0.5
    limits = choose_limits(scores, truth, coverage=0.9, multi_label=True)
    sets = find_sets(scores, limits)
    assert sets.absent is not None
    for number in range(2):
        own = truth[:, number]
        n_present, n_absent = int(own.sum()), int((~own).sum())
        assert sets.present[own, number].sum() == math.ceil((n_present + 1) * 0.9)
        assert sets.absent[~own, number].sum() == math.ceil((n_absent + 1) * 0.9)


def test_two_classes_for_an_image_are_refused_in_a_single_label_task() -> None:
    with pytest.raises(DataError, match="exactly one class"):
        choose_limits([[0.5, 0.5]], np.array([[True, True]]), coverage=0.5, multi_label=False)


@pytest.mark.parametrize("by_class", [False, True])
def test_new_images_are_covered_as_often_as_was_asked(by_class) -> None:
    """Many small calibration sets, each with one new image: whatever the model, 80 % or more."""
    rng = np.random.default_rng(5)
    n_sets, n_images, coverage = 1500, 30, 0.8
    hits = sizes = 0
    counts = np.zeros(3)
    hits_by_class = np.zeros(3)
    for _ in range(n_sets):
        scores, truth = draw_answers(rng, n_images + 1)
        # A model that is much too sure of itself; the guarantee does not mind.
        scores = scores**3 / (scores**3).sum(axis=1, keepdims=True)
        limits = choose_limits(
            scores[:-1], truth[:-1], coverage=coverage, multi_label=False, by_class=by_class
        )
        present = find_sets(scores[-1:], limits).present
        hit = bool(present[truth[-1:]][0])
        hits += hit
        sizes += int(present.sum())
        counts += truth[-1]
        hits_by_class += truth[-1] & hit
    # Three standard errors of a share of n_sets images.
    slack = 3 * math.sqrt(coverage * (1 - coverage) / n_sets)
    assert hits / n_sets >= coverage - slack
    assert sizes / n_sets < 3
    if by_class:
        own_slack = 3 * np.sqrt(coverage * (1 - coverage) / counts)
        assert (hits_by_class / counts >= coverage - own_slack).all()
    else:
        # Without ties the coverage is between c and c + 1 / (n + 1).
        assert hits / n_sets <= coverage + 1 / (n_images + 1) + slack


def test_labels_are_covered_with_the_finding_and_without_it() -> None:
    rng = np.random.default_rng(6)
    coverage, n_sets = 0.8, 1500
    hits, counts = np.zeros(2), np.zeros(2)
    for _ in range(n_sets):
        truth = rng.random((41, 1)) < 0.3
        scores = 1 / (1 + np.exp(-(rng.normal(size=(41, 1)) + 2 * truth)))
        limits = choose_limits(scores[:-1], truth[:-1], coverage=coverage, multi_label=True)
        sets = find_sets(scores[-1:], limits)
        assert sets.absent is not None
        kind = int(truth[-1, 0])
        hits[kind] += (sets.present if kind else sets.absent)[0, 0]
        counts[kind] += 1
    slack = 3 * np.sqrt(coverage * (1 - coverage) / counts)
    assert (hits / counts >= coverage - slack).all()
