"""What an evaluation holds, and that its intervals know of patients."""

import math

import numpy as np
import pytest

from medlora.errors import DataError, SettingsError
from medlora.evaluate.evaluation import Estimate
from medlora.evaluate.score import OVERALL_MEASURES, score
from medlora.evaluate.scoresheet import CLASS_MEASURES

UNDEFINED = Estimate(None, None, None)


def draw_answers(seed, n_images, n_classes, skill=1.0):
    """Labels and probabilities that know a little of them."""
    rng = np.random.default_rng(seed)
    targets = np.arange(n_classes) == rng.integers(0, n_classes, n_images)[:, None]
    scores = np.exp(rng.normal(size=targets.shape) + skill * targets)
    return scores / scores.sum(axis=1, keepdims=True), targets


def evaluate(probabilities, targets, **settings):
    n_classes = targets.shape[1]
    plain = {
        "classes": tuple("abcdefgh"[:n_classes]),
        "multi_label": False,
        "thresholds": (1 / n_classes,) * n_classes,
        "n_resamples": 100,
    }
    return score(probabilities, targets, **(plain | settings))


def every_estimate(evaluation):
    yield from evaluation.overall.values()
    for estimates in evaluation.per_class.values():
        yield from estimates.values()


@pytest.mark.parametrize("multi_label", [True, False])
def test_every_measure_is_there_with_an_interval(multi_label):
    evaluation = evaluate(*draw_answers(0, 60, 3), multi_label=multi_label)
    expected = set(OVERALL_MEASURES) - (set() if multi_label else {"exact_match"})
    assert set(evaluation.overall) == expected
    assert list(evaluation.per_class) == ["a", "b", "c"]
    for estimates in evaluation.per_class.values():
        assert set(estimates) == set(CLASS_MEASURES)
    for estimate in every_estimate(evaluation):
        assert estimate.low < estimate.high
        assert 0 <= estimate.value <= 2


def test_the_facts_are_kept():
    probabilities, targets = draw_answers(1, 10, 2)
    evaluation = evaluate(probabilities, targets, groups=["p", "p", *range(8)], seed=4)
    assert (evaluation.n_images, evaluation.n_groups) == (10, 9)
    assert evaluation.counts == tuple(targets.sum(axis=0))
    assert evaluation.thresholds == (0.5, 0.5)
    assert (evaluation.n_resamples, evaluation.seed, evaluation.confidence) == (100, 4, 0.95)
    assert evaluation.undefined == ()
    assert sum(map(sum, evaluation.confusion)) == 10


def test_an_absent_class_is_undefined_and_not_in_the_means():
    probabilities, targets = draw_answers(2, 40, 3)
    # A column that takes an image now and then, and never rightly.
    wider = np.insert(probabilities * 0.8, 1, 0.2, axis=1)
    evaluation = evaluate(wider, np.insert(targets, 1, False, axis=1))
    assert evaluation.undefined == ("b",)
    assert evaluation.counts[1] == 0
    assert set(evaluation.per_class["b"].values()) == {UNDEFINED}
    for measure in CLASS_MEASURES:
        present = [evaluation.per_class[name][measure].value for name in "acd"]
        assert evaluation.overall[measure].value == pytest.approx(np.mean(present), abs=1e-12)
    assert all(not math.isnan(estimate.value) for estimate in evaluation.overall.values())


def test_a_label_on_every_image_has_a_recall_and_no_auroc():
    probabilities, targets = draw_answers(3, 30, 3)
    targets[:, 0] = True
    evaluation = evaluate(probabilities, targets, multi_label=True)
    assert evaluation.undefined == ()
    assert evaluation.per_class["a"]["auroc"] == UNDEFINED
    assert evaluation.per_class["a"]["specificity"] == UNDEFINED
    assert evaluation.per_class["a"]["recall"].value is not None
    others = [evaluation.per_class[name]["auroc"].value for name in "bc"]
    assert evaluation.overall["auroc"].value == pytest.approx(np.mean(others), abs=1e-12)


def test_one_class_only_leaves_what_needs_two_undefined():
    probabilities, _ = draw_answers(4, 10, 2)
    evaluation = evaluate(probabilities, np.array([[True, False]] * 10))
    assert evaluation.overall["auroc"] == UNDEFINED
    assert evaluation.overall["specificity"] == UNDEFINED
    assert evaluation.overall["accuracy"].value == evaluation.overall["recall"].value


def test_a_class_never_given_has_precision_0():
    probabilities, targets = draw_answers(5, 30, 3)
    evaluation = evaluate(probabilities, targets, thresholds=(0.001, 0.001, 1.0))
    assert evaluation.per_class["c"]["precision"] == Estimate(0.0, 0.0, 0.0)
    assert evaluation.per_class["c"]["f1"] == Estimate(0.0, 0.0, 0.0)


def test_the_same_seed_gives_the_same_numbers():
    answers = draw_answers(6, 50, 3)
    assert evaluate(*answers, seed=1) == evaluate(*answers, seed=1)
    first, second = evaluate(*answers, seed=1), evaluate(*answers, seed=2)
    assert first.overall["auroc"].value == second.overall["auroc"].value
    assert first.overall["auroc"].low != second.overall["auroc"].low


def test_copies_of_a_patients_images_change_no_interval():
    probabilities, targets = draw_answers(7, 40, 3)
    once = evaluate(probabilities, targets, groups=list(range(40)))
    rows = np.repeat(np.arange(40), 6)
    copied = evaluate(probabilities[rows], targets[rows], groups=rows.tolist())
    assert copied.n_groups == once.n_groups == 40
    for one, six in zip(every_estimate(once), every_estimate(copied), strict=True):
        assert (six.value, six.low, six.high) == pytest.approx((one.value, one.low, one.high))


def test_copies_taken_for_patients_narrow_the_interval():
    probabilities, targets = draw_answers(7, 40, 3)
    rows = np.repeat(np.arange(40), 6)
    known = evaluate(probabilities[rows], targets[rows], groups=rows.tolist())
    unknown = evaluate(probabilities[rows], targets[rows])
    for measure in ("accuracy", "auroc", "f1", "brier_score"):
        width_known = known.overall[measure].high - known.overall[measure].low
        width_unknown = unknown.overall[measure].high - unknown.overall[measure].low
        # Six copies of each narrow it by the square root of six, 2.4, give or take.
        assert width_unknown < width_known / 1.7


def test_one_patient_tells_nothing_of_others():
    probabilities, targets = draw_answers(8, 12, 2)
    evaluation = evaluate(probabilities, targets, groups=["only"] * 12)
    for estimate in every_estimate(evaluation):
        assert estimate.value is not None
        assert (estimate.low, estimate.high) == (None, None)


def test_a_class_of_one_patient_has_no_interval():
    probabilities, targets = draw_answers(9, 40, 3)
    groups = ["one" if held else number for number, held in enumerate(targets[:, 1].tolist())]
    evaluation = evaluate(probabilities, targets, groups=groups)
    for measure in ("recall", "precision", "f1", "auroc", "average_precision"):
        estimate = evaluation.per_class["b"][measure]
        assert estimate.value is not None
        assert (estimate.low, estimate.high) == (None, None)
        assert evaluation.per_class["a"][measure].low is not None
    assert evaluation.per_class["b"]["specificity"].low is not None


def test_auroc_and_specificity_need_two_patients_without_the_label():
    probabilities, targets = draw_answers(9, 40, 2)
    targets[:, 0] = True
    targets[:4, 0] = False
    groups = ["one"] * 4 + list(range(36))
    evaluation = evaluate(probabilities, targets, groups=groups, multi_label=True)
    for measure in ("auroc", "specificity"):
        estimate = evaluation.per_class["a"][measure]
        assert estimate.value is not None
        assert (estimate.low, estimate.high) == (None, None)
        assert evaluation.per_class["b"][measure].low is not None
    assert evaluation.per_class["a"]["recall"].low is not None


def test_without_resamples_there_is_no_interval():
    evaluation = evaluate(*draw_answers(10, 20, 2), n_resamples=0)
    for estimate in every_estimate(evaluation):
        assert estimate.value is not None
        assert (estimate.low, estimate.high) == (None, None)


def test_intervals_over_patients_cover_the_truth():
    n_studies, n_patients, n_copies, truth = 100, 40, 4, 0.7
    rng = np.random.default_rng(11)
    rows = np.repeat(np.arange(n_patients), n_copies)
    covered = {"patients": 0, "images": 0}
    for _ in range(n_studies):
        right = rng.random(n_patients) < truth
        truths = np.arange(2) == rng.integers(0, 2, n_patients)[:, None]
        answers = np.where(truths == right[:, None], 0.9, 0.1)
        for unit, groups in (("patients", rows.tolist()), ("images", None)):
            evaluation = evaluate(answers[rows], truths[rows], groups=groups, n_resamples=60)
            accuracy = evaluation.overall["accuracy"]
            covered[unit] += accuracy.low <= truth <= accuracy.high
    # Percentile intervals of 40 patients cover some 93 %; images, four alike, some 66 %.
    assert 0.87 < covered["patients"] / n_studies < 0.99
    assert covered["images"] / n_studies < 0.8


def test_names_fit_the_columns():
    answers = draw_answers(12, 5, 2)
    with pytest.raises(DataError, match="1 class names for 2 columns"):
        evaluate(*answers, classes=("a",))
    with pytest.raises(DataError, match="named more than once: a"):
        evaluate(*answers, classes=("a", "a"))


def test_what_does_not_fit_is_refused():
    probabilities, targets = draw_answers(13, 5, 2)
    with pytest.raises(DataError, match="do not sum to 1"):
        evaluate(probabilities / 2, targets)
    with pytest.raises(DataError, match="exactly one class"):
        evaluate(probabilities, np.ones_like(targets))
    with pytest.raises(SettingsError, match="one threshold for each of the 2 classes"):
        evaluate(probabilities, targets, thresholds=(0.5,))
    with pytest.raises(DataError, match="4 groups for 5 images"):
        evaluate(probabilities, targets, groups=["a"] * 4)
    with pytest.raises(SettingsError, match="must not be negative, not 100 and -1"):
        evaluate(probabilities, targets, seed=-1)


def test_decisions_that_were_taken_elsewhere_are_scored_as_they_are():
    probabilities, targets = draw_answers(0, 40, 3)
    right = evaluate(probabilities, targets, decisions=targets)
    assert right.overall["accuracy"].value == 1
    assert np.trace(np.array(right.confusion)) == 40
    assert right.overall["auroc"] == evaluate(probabilities, targets).overall["auroc"]
    with pytest.raises(DataError, match="decisions must be booleans"):
        evaluate(probabilities, targets, decisions=targets.astype(float))
