"""Chosen thresholds are the best there are, and nothing is chosen where nothing can be."""

import inspect

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medlora.errors import DataError, SettingsError
from medlora.evaluate import metrics
from medlora.evaluate.thresholds import choose_thresholds

RULES = ("f1", "youden")


def measure(rule, decided, positive):
    """What a rule maximises, by the one-image-set measures."""
    if rule == "f1":
        return metrics.f1(decided, positive)
    return metrics.recall(decided, positive) + metrics.specificity(decided, positive) - 1


@pytest.mark.parametrize(("multi_label", "expected"), [(True, 0.5), (False, 1 / 3)])
def test_fixed_thresholds(multi_label, expected):
    targets = np.eye(3) == 1
    chosen = choose_thresholds(np.full((3, 3), 1 / 3), targets, multi_label, "fixed")
    assert chosen == (expected,) * 3


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**32 - 1), n_images=st.integers(2, 25), rule=st.sampled_from(RULES))
def test_no_other_threshold_is_better(seed, n_images, rule):
    rng = np.random.default_rng(seed)
    scores = rng.integers(1, 10, (n_images, 1)) / 10
    targets = rng.random((n_images, 1)) < 0.5
    targets[:2, 0] = [True, False]
    (chosen,) = choose_thresholds(scores, targets, multi_label=True, rule=rule)
    assert 0 < chosen <= 1
    reached = measure(rule, scores[:, 0] >= chosen, targets[:, 0])
    every_cut = [measure(rule, scores[:, 0] >= cut, targets[:, 0]) for cut in np.arange(20) / 20]
    assert reached == pytest.approx(max(every_cut), abs=1e-12)


@pytest.mark.parametrize("rule", RULES)
def test_the_cut_lies_half_way(rule):
    scores = [[0.1], [0.2], [0.6], [0.9]]
    targets = np.array([[False], [False], [True], [True]])
    assert choose_thresholds(scores, targets, True, rule) == (pytest.approx(0.4),)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("low", [0.3, float(np.nextafter(0.3, 1))])
def test_neighbouring_numbers_can_be_parted(low, rule):
    # The middle of two neighbours rounds down for one of these and up for the other.
    high = float(np.nextafter(low, 1))
    targets = np.array([[False], [True]])
    (chosen,) = choose_thresholds([[low], [high]], targets, True, rule)
    assert low < chosen <= high


def test_of_equally_good_cuts_the_nearest_to_the_fixed_one_is_taken():
    # Half the images of either kind score alike, so that every cut has a Youden index of 0.
    scores = np.array([[0.1], [0.1], [0.8], [0.8]])
    targets = np.array([[True], [False], [True], [False]])
    assert choose_thresholds(scores, targets, True, "youden") == (pytest.approx(0.45),)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("positive", [True, False])
def test_without_a_choice_the_fixed_one_stays(rule, positive):
    targets = np.full((3, 1), positive)
    assert choose_thresholds([[0.1], [0.2], [0.9]], targets, True, rule) == (0.5,)


@pytest.mark.parametrize("rule", RULES)
def test_scores_of_zero_give_the_fixed_one(rule):
    targets = np.array([[True], [False]])
    assert choose_thresholds([[0.0], [0.0]], targets, True, rule) == (0.5,)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), n_classes=st.integers(2, 5), rule=st.sampled_from(RULES))
def test_single_label_thresholds_are_never_worse_than_fixed_ones(seed, n_classes, rule):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, n_classes, 30)
    targets = np.arange(n_classes) == labels[:, None]
    probabilities = rng.dirichlet(np.ones(n_classes), 30)

    def total(thresholds):
        decisions = metrics.decide(probabilities, thresholds, multi_label=False)
        return sum(measure(rule, decisions[:, k], targets[:, k]) for k in set(labels.tolist()))

    if len(set(labels.tolist())) > 1:
        chosen = choose_thresholds(probabilities, targets, False, rule)
        fixed = choose_thresholds(probabilities, targets, False, "fixed")
        assert total(chosen) >= total(fixed) - 1e-12


def test_single_label_thresholds_lift_a_class_that_always_comes_second():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], [180, 20])
    logits = rng.normal(size=200) + 2 * labels - 3
    probabilities = np.stack([1 / (1 + np.exp(logits)), 1 / (1 + np.exp(-logits))], axis=1)
    targets = np.arange(2) == labels[:, None]
    chosen = choose_thresholds(probabilities, targets, False, "youden")
    lifted = metrics.decide(probabilities, chosen, multi_label=False)
    fixed = metrics.decide(probabilities, (0.5, 0.5), multi_label=False)
    before, after = (
        metrics.balanced_accuracy(decisions, targets, False) for decisions in (fixed, lifted)
    )
    assert after > before + 0.1


def test_an_unknown_rule_is_named():
    with pytest.raises(SettingsError, match=r"no threshold rule 'best'. Use one of fixed, f1"):
        inspect.unwrap(choose_thresholds)([[0.5]], np.array([[True]]), True, "best")


def test_single_label_needs_one_class_for_each_image():
    with pytest.raises(DataError, match="exactly one class"):
        choose_thresholds([[0.5, 0.5]], np.array([[True, True]]), False, "f1")
