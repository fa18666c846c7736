"""From which distance on an image is unlike the training images: what is promised, and kept."""

import numpy as np
import pytest
from scipy import stats

from medlora.errors import TrainingError
from medlora.evaluate.novelty_limit import NoveltyLimit, bound_false_alarms, choose_limit


def draw_distances(rng: np.random.Generator, shape: tuple[int, ...], kind: str) -> np.ndarray:
    """Positive numbers with tails of different weight."""
    if kind == "chi":
        return np.sqrt(rng.chisquare(30, shape) / 30)
    return rng.lognormal(0, 0.3, shape) if kind == "log-normal" else 1 + rng.pareto(3, shape)


def test_the_limit_lets_the_promised_share_pass() -> None:
    distances = np.random.default_rng(3).permutation(np.arange(1.0, 500.0))
    assert choose_limit(distances, 0.05) == NoveltyLimit(475.0, 0.05, 499)


@pytest.mark.parametrize("kind", ["chi", "log-normal", "pareto"])
@pytest.mark.parametrize("n_val", [12, 55, 120])
def test_the_promise_holds_over_many_drawn_validation_sets(kind: str, n_val: int) -> None:
    rng = np.random.default_rng(5)
    n_tries, n_others = 300, 400
    shares, promised = [], []
    for _ in range(n_tries):
        limit = choose_limit(draw_distances(rng, (n_val,), kind))
        shares.append((draw_distances(rng, (n_others,), kind) > limit.distance).mean())
        promised.append(limit.false_alarms)
    error = np.std(shares) / np.sqrt(n_tries)
    assert np.mean(shares) < np.mean(promised) + 3 * error
    # An unlucky choice of validation images is told beforehand.
    most = bound_false_alarms(promised[0], n_val)
    assert np.mean(np.array(shares) > most + 0.01) < 0.05


@pytest.mark.parametrize("kind", ["chi", "log-normal"])
def test_few_images_keep_the_rate_where_tails_are_thin(kind: str) -> None:
    rng = np.random.default_rng(8)
    shares = []
    for _ in range(400):
        limit = choose_limit(draw_distances(rng, (30,), kind))
        shares.append((draw_distances(rng, (300,), kind) > limit.distance).mean())
    # The largest distance of 30 would let 3.2 % pass.
    assert 0.002 < np.mean(shares) < 0.013


def test_few_images_widen_the_limit_as_for_normal_logarithms() -> None:
    distances = np.exp(np.random.default_rng(1).normal(size=40))
    limit = choose_limit(distances)
    logs = np.log(distances)
    # A regression on nothing but a constant predicts the next value within the same bounds.
    interval = stats.t.interval(0.98, 39, logs.mean(), stats.sem(logs) * np.sqrt(41))
    assert limit.distance == pytest.approx(np.exp(interval[1]))
    assert limit.distance > distances.max()
    assert limit.false_alarms == pytest.approx(1 / 41)


def test_a_largest_distance_that_lies_further_out_is_the_limit() -> None:
    distances = np.array([1.0, 1.01, 0.99, 1.02, 0.98, 1.0, 1.01, 0.99, 1.0, 9.0])
    distances = np.concatenate([distances, np.repeat(1.0, 60)])
    assert choose_limit(distances).distance == 9


def test_images_of_one_patient_count_as_one() -> None:
    rng = np.random.default_rng(2)
    once = rng.lognormal(size=200)
    twice, patients = np.repeat(once, 2), np.repeat(np.arange(200), 2).tolist()
    alone = choose_limit(once)
    limit = choose_limit(twice, groups=patients)
    assert limit == NoveltyLimit(alone.distance, alone.false_alarms, 400, 200)
    # One patient's many strange images move the limit no further than one image would.
    strange = np.concatenate([once, np.full(300, 50.0)])
    groups = [*range(200), *[999] * 300]
    assert choose_limit(strange, groups=groups).distance < 50
    assert choose_limit(strange).distance == 50


def test_the_promise_holds_for_new_patients() -> None:
    rng = np.random.default_rng(4)
    n_patients, n_own = 120, 5
    shares = []
    for _ in range(300):
        centres = rng.normal(size=(n_patients, 1))
        distances = np.exp(centres + 0.3 * rng.normal(size=(n_patients, n_own))).ravel()
        groups = np.repeat(np.arange(n_patients), n_own).tolist()
        limit = choose_limit(distances, 0.02, groups=groups)
        others = np.exp(rng.normal(size=500) + 0.3 * rng.normal(size=500))
        shares.append((others > limit.distance).mean())
    assert np.mean(shares) < 0.02 + 3 * np.std(shares) / np.sqrt(len(shares))


@pytest.mark.parametrize(("distances", "groups"), [([1.0], None), ([1.0, 2.0], ["a", "a"])])
def test_one_image_or_patient_tells_nothing(distances: list[float], groups: list[str]) -> None:
    with pytest.raises(TrainingError, match=r"too few to choose a limit of novelty by; at least 2"):
        choose_limit(np.array(distances), groups=groups)


def test_equal_distances_do_not_divide_by_nothing() -> None:
    assert choose_limit(np.ones(5)).distance == pytest.approx(1)
    assert choose_limit(np.zeros(5)).distance > 0


def test_the_bound_is_that_of_order_statistics() -> None:
    # All of 55 others lie below what 1 - .05 ** (1 / 55) of the distances lie below, in 5 %.
    assert bound_false_alarms(1 / 56, 55) == pytest.approx(1 - 0.05 ** (1 / 55))
    rng = np.random.default_rng(0)
    # Uniform distances: the share above the k-th smallest of n is one minus it.
    shares = 1 - np.sort(rng.random((20_000, 199)), axis=1)[:, 197]
    assert np.mean(shares > bound_false_alarms(0.01, 199)) == pytest.approx(0.05, abs=0.006)
