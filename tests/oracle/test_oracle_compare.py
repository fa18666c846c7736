"""Comparisons against slow, independent ways to the same numbers, and against simulation."""

import itertools
import math

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from medlora.compare.auroc import estimate_variance, logit_interval, trace_auroc
from medlora.compare.counts import McNemar, compare_counts, wilson_interval
from medlora.compare.multiple import adjust_holm
from medlora.compare.paired import MethodAnswers, compare_pair

N_SIMULATED = 2000


def compare_all_pairs(scores: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """(positive, negative): 1 where the positive image scores more, one half for a tie."""
    above = scores[positive][:, None] - scores[~positive][None, :]
    return (above > 0) + 0.5 * (above == 0)


def covariance_of(first: np.ndarray, second: np.ndarray, positive: np.ndarray) -> float:
    """DeLong's covariance of two AUROCs, from the kernel of all pairs."""
    one, other = compare_all_pairs(first, positive), compare_all_pairs(second, positive)
    from_positives = np.cov(one.mean(axis=1), other.mean(axis=1))[0, 1] / positive.sum()
    from_negatives = np.cov(one.mean(axis=0), other.mean(axis=0))[0, 1] / (~positive).sum()
    return float(from_positives + from_negatives)


def draw_answers(rng: np.random.Generator, n_images: int) -> tuple[np.ndarray, np.ndarray]:
    """Rounded scores, so that there are ties, and which images are positive."""
    positive = rng.random(n_images) < 0.4
    positive[:4] = [True, True, False, False]
    scores = np.round(1 / (1 + np.exp(-rng.normal(positive * 1.2, 1.0))), 1)
    return scores, positive


@pytest.mark.parametrize("seed", range(5))
def test_auroc_and_variance_are_those_of_all_pairs(seed: int) -> None:
    scores, positive = draw_answers(np.random.default_rng(seed), 60)
    traced = trace_auroc(scores[:, None], positive[:, None])
    assert traced.value == pytest.approx(roc_auc_score(positive, scores), abs=1e-12)
    expected = covariance_of(scores, scores, positive)
    assert estimate_variance(traced.images) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("seed", range(3))
def test_the_variance_of_a_difference_is_that_of_all_pairs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, positive = draw_answers(rng, 80)
    second = np.clip(np.round(first + rng.normal(0, 0.2, 80), 1), 0, 1)
    traced = [trace_auroc(scores[:, None], positive[:, None]) for scores in (first, second)]
    expected = (
        covariance_of(first, first, positive)
        + covariance_of(second, second, positive)
        - 2 * covariance_of(first, second, positive)
    )
    found = estimate_variance(traced[0].images - traced[1].images)
    assert found == pytest.approx(expected, rel=1e-10)


def test_the_variance_of_a_mean_over_classes_is_that_of_the_bootstrap() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 300)
    targets = labels[:, None] == np.arange(3)
    logits = rng.normal(size=(300, 3)) + 1.2 * targets
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    traced = trace_auroc(probabilities, targets)
    assert traced.value == pytest.approx(
        roc_auc_score(labels, probabilities, multi_class="ovr", average="macro"), abs=1e-12
    )
    drawn = []
    for _ in range(1500):
        rows = rng.integers(0, 300, 300)
        drawn.append(trace_auroc(probabilities[rows], targets[rows]).value)
    deviation = math.sqrt(estimate_variance(traced.images))
    assert deviation == pytest.approx(np.std(drawn), rel=0.08)


def test_copies_of_every_image_change_no_variance_when_grouped() -> None:
    scores, positive = draw_answers(np.random.default_rng(1), 90)
    once = trace_auroc(scores[:, None], positive[:, None])
    rows = np.tile(np.arange(90), 3)
    copied = trace_auroc(scores[rows][:, None], positive[rows][:, None], rows)
    assert copied.value == pytest.approx(once.value, abs=1e-12)
    assert estimate_variance(copied.images, rows) == pytest.approx(
        estimate_variance(once.images), rel=1e-10
    )
    assert estimate_variance(copied.images) < 0.5 * estimate_variance(once.images)


def simulate(rng: np.random.Generator, n_images: int, shift: float) -> tuple[np.ndarray, ...]:
    positive = np.zeros(n_images, dtype=bool)
    positive[: n_images // 2] = True
    common = rng.normal(size=n_images)
    own = rng.normal(size=(2, n_images))
    scores = 0.8 * common + 0.6 * own + shift * positive
    return positive, *norm.cdf(scores)


@pytest.mark.parametrize(
    ("n_images", "auroc"), [(50, 0.7), (50, 0.9), (200, 0.8), (200, 0.95), (1000, 0.99)]
)
def test_an_interval_covers_the_true_auroc_as_often_as_it_says(n_images: int, auroc: float) -> None:
    rng = np.random.default_rng(7)
    shift = math.sqrt(2) * norm.ppf(auroc)
    n_covered = 0
    for _ in range(N_SIMULATED):
        positive, scores, _ = simulate(rng, n_images, shift)
        traced = trace_auroc(scores[:, None], positive[:, None])
        interval = logit_interval(traced.value, estimate_variance(traced.images), 0.95)
        n_covered += interval is not None and interval[0] <= auroc <= interval[1]
    assert 0.93 <= n_covered / N_SIMULATED <= 0.97


@pytest.mark.parametrize(("n_images", "auroc"), [(50, 0.7), (200, 0.9), (1000, 0.99)])
def test_the_interval_of_a_difference_covers_zero_where_there_is_none(
    n_images: int, auroc: float
) -> None:
    rng = np.random.default_rng(8)
    shift = math.sqrt(2) * norm.ppf(auroc)
    n_covered = 0
    for _ in range(N_SIMULATED):
        positive, first, second = simulate(rng, n_images, shift)
        one, other = (trace_auroc(each[:, None], positive[:, None]) for each in (first, second))
        error = math.sqrt(estimate_variance(one.images - other.images))
        n_covered += abs(one.value - other.value) <= norm.ppf(0.975) * error
    assert 0.93 <= n_covered / N_SIMULATED <= 0.97


def test_mcnemar_counts_all_ways_to_toss_a_coin() -> None:
    for only_first, only_second in itertools.product(range(8), repeat=2):
        total = only_first + only_second
        extreme = [
            math.comb(total, k)
            for k in range(total + 1)
            if abs(k - total / 2) >= abs(only_first - total / 2)
        ]
        expected = min(1.0, sum(extreme) / 2**total)
        assert McNemar.of(only_first, only_second).p_value == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("right", "images"), [(66, 71), (0, 10), (10, 10), (1, 3)])
def test_wilsons_interval_solves_his_equation(right: int, images: int) -> None:
    share, z = right / images, norm.ppf(0.975)
    for bound in wilson_interval(right, images):
        gap = (share - bound) ** 2 - z**2 * bound * (1 - bound) / images
        assert gap == pytest.approx(0, abs=1e-12)


def test_published_counts_agree_with_newcombes_example() -> None:
    # Newcombe 1998, table II: 56 of 70 against 48 of 80, method 10.
    found = compare_counts((56, 70), (48, 80))
    assert (found.low, found.high) == (
        pytest.approx(0.0524, abs=5e-5),
        pytest.approx(0.3339, abs=5e-5),
    )


def test_holm_rejects_what_the_stepwise_rule_rejects() -> None:
    rng = np.random.default_rng(3)
    for _ in range(200):
        p_values = rng.random(6) ** 3
        adjusted = adjust_holm(p_values.tolist())
        rejected = np.zeros(6, dtype=bool)
        for n_before, place in enumerate(np.argsort(p_values)):
            if p_values[place] > 0.05 / (6 - n_before):
                break
            rejected[place] = True
        assert (np.array(adjusted) <= 0.05).tolist() == rejected.tolist()


def test_the_paired_bootstrap_is_that_of_a_plain_loop() -> None:
    rng = np.random.default_rng(5)
    n_images = 120
    targets = rng.integers(0, 2, n_images)[:, None] == np.arange(2)
    answers = []
    for noise in (0.3, 0.5):
        positive = np.clip(targets[:, 1] * 0.5 + 0.25 + rng.normal(0, noise, n_images), 0.01, 0.99)
        answers.append(np.stack([1 - positive, positive], axis=1))
    right = [(each.argmax(axis=1) == targets.argmax(axis=1)) for each in answers]
    methods = [
        MethodAnswers(name, (each,), (each >= 0.5,))
        for name, each in zip("ab", answers, strict=True)
    ]
    found = compare_pair(
        methods[0],
        methods[1],
        targets,
        multi_label=False,
        group_numbers=np.arange(n_images),
        n_resamples=4000,
    ).differences["accuracy"]
    drawn = []
    for _ in range(4000):
        rows = rng.integers(0, n_images, n_images)
        drawn.append(right[0][rows].mean() - right[1][rows].mean())
    assert found.value == pytest.approx(right[0].mean() - right[1].mean(), abs=1e-12)
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert (found.low, found.high) == (
        pytest.approx(low, abs=0.015),
        pytest.approx(high, abs=0.015),
    )
