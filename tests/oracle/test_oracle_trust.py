"""Scaling, decision curves and risk-coverage against independent, slow ways to compute them."""

import numpy as np
import pytest
from scipy.optimize import minimize, minimize_scalar
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression

from medlora.evaluate.decision_curve import list_thresholds, trace_net_benefit
from medlora.evaluate.means import estimate_means
from medlora.evaluate.resampling import draw_weights
from medlora.evaluate.risk_coverage import select_answers, trace_risk
from medlora.evaluate.scaling import fit_scaling


def draw_logits(seed, n_images, n_classes):
    rng = np.random.default_rng(seed)
    truth = np.eye(n_classes, dtype=bool)[rng.integers(0, n_classes, n_images)]
    logits = rng.normal(size=(n_images, n_classes)) * 2 + 2 * truth + rng.normal(size=n_classes)
    return logits, truth


def smooth(truth):
    """Platt's targets, written out image by image."""
    wanted = np.zeros(truth.shape)
    for row, own in enumerate(truth):
        place = int(own.argmax())
        n_own = int(truth[:, place].sum())
        for other in range(truth.shape[1]):
            rest = (1 / (n_own + 2)) / (truth.shape[1] - 1)
            wanted[row, other] = (n_own + 1) / (n_own + 2) if other == place else rest
    return wanted


def cross_entropy(logits, wanted):
    return float(-(wanted * log_softmax(logits, axis=1)).sum(axis=1).mean())


@pytest.mark.parametrize("n_classes", [2, 5])
def test_the_temperature_is_that_of_a_search_over_one_number(n_classes) -> None:
    logits, truth = draw_logits(n_classes, 120, n_classes)
    wanted = smooth(truth)
    found = minimize_scalar(
        lambda scale: cross_entropy(logits * scale, wanted),
        bounds=(0.02, 50),
        method="bounded",
        options={"xatol": 1e-9},
    )
    scaling = fit_scaling(logits, truth, method="temperature", multi_label=False)
    assert scaling.scale[0] == pytest.approx(found.x, rel=1e-5)


def test_vector_scaling_of_classes_is_as_likely_as_another_solvers() -> None:
    logits, truth = draw_logits(7, 150, 3)
    wanted = smooth(truth)

    def loss(parameters):
        return cross_entropy(logits * parameters[:3] + parameters[3:], wanted)

    options = {"maxiter": 4000, "maxfev": 4000, "xatol": 1e-7, "fatol": 1e-12, "adaptive": True}
    found = minimize(loss, [1.0, 1, 1, 0, 0, 0], method="Nelder-Mead", options=options)
    scaling = fit_scaling(logits, truth, method="vector", multi_label=False)
    own = loss(np.array([*scaling.scale, *scaling.offset]))
    assert own <= found.fun + 1e-9
    assert np.abs(np.array(scaling.scale) - found.x[:3]).max() < 1e-3
    shifts = found.x[3:] - found.x[3:].mean()
    assert np.abs(np.array(scaling.offset) - shifts).max() < 1e-3


def test_vector_scaling_of_labels_is_an_unpenalised_logistic_regression() -> None:
    rng = np.random.default_rng(8)
    logits = rng.normal(size=(300, 2)) * 3
    truth = rng.random((300, 2)) < 1 / (1 + np.exp(-(0.4 * logits - 1)))
    scaling = fit_scaling(logits, truth, method="vector", multi_label=True)
    for place in range(2):
        positive = truth[:, place]
        n_with, n_without = int(positive.sum()), int((~positive).sum())
        wanted = np.where(positive, (n_with + 1) / (n_with + 2), 1 / (n_without + 2))
        # A target between 0 and 1 is one image of each kind, weighted.
        inputs = np.concatenate([logits[:, place], logits[:, place]])[:, None]
        labels = np.repeat([1, 0], 300)
        weights = np.concatenate([wanted, 1 - wanted])
        model = LogisticRegression(C=np.inf, tol=1e-10, max_iter=10_000)
        model.fit(inputs, labels, sample_weight=weights)
        assert scaling.scale[place] == pytest.approx(float(model.coef_[0, 0]), rel=1e-4)
        assert scaling.offset[place] == pytest.approx(float(model.intercept_[0]), rel=1e-3)


def plain_net_benefit(scores, positive, threshold):
    n_true = sum(s >= threshold and p for s, p in zip(scores, positive, strict=True))
    n_false = sum(s >= threshold and not p for s, p in zip(scores, positive, strict=True))
    return n_true / len(scores) - n_false / len(scores) * threshold / (1 - threshold)


@pytest.mark.parametrize("n_levels", [7, 1000])
def test_net_benefit_is_that_of_the_plain_formula(n_levels) -> None:
    rng = np.random.default_rng(9)
    scores = rng.integers(0, n_levels + 1, 60) / n_levels
    positive = rng.random(60) < scores
    curve = trace_net_benefit(scores, positive, n_resamples=0)
    assert len(curve.threshold) == 99
    for place, threshold in enumerate(list_thresholds()):
        expected = plain_net_benefit(scores, positive, threshold)
        assert curve.net_benefit[place] == pytest.approx(expected, abs=1e-12)
        everybody = plain_net_benefit(np.ones(60), positive, threshold)
        assert curve.treat_all[place] == pytest.approx(everybody, abs=1e-12)


def test_the_band_is_that_of_resampled_patients() -> None:
    rng = np.random.default_rng(10)
    scores, groups = rng.random(40), rng.integers(0, 15, 40)
    positive = rng.random(40) < scores
    cuts = np.array([0.1, 0.35, 0.8])
    curve = trace_net_benefit(
        scores, positive, thresholds=cuts, groups=groups.tolist(), n_resamples=60, seed=3
    )
    numbers = np.unique(groups, return_inverse=True)[1]
    order = list(dict.fromkeys(groups.tolist()))
    numbers = np.array([order.index(group) for group in groups])
    drawn = []
    for resample in range(60):
        rows = np.repeat(np.arange(40), draw_weights(numbers, 3, resample).astype(int))
        drawn.append([plain_net_benefit(scores[rows], positive[rows], cut) for cut in cuts])
    low, high = np.quantile(np.array(drawn), [0.025, 0.975], axis=0)
    assert np.allclose(curve.low, low, atol=1e-12)
    assert np.allclose(curve.high, high, atol=1e-12)


def plain_area(confidence, wrong):
    """The mean over all answers of the error among those that are at least as sure."""
    total = 0.0
    for own in confidence:
        given = [w for c, w in zip(confidence, wrong, strict=True) if c >= own]
        total += sum(given) / len(given)
    return total / len(confidence)


@pytest.mark.parametrize("n_levels", [4, 10_000])
def test_the_area_under_risk_and_coverage_is_that_of_a_count(n_levels) -> None:
    rng = np.random.default_rng(11)
    confidence = rng.integers(1, n_levels, 50) / n_levels
    wrong = rng.random(50) < 0.4
    curve = trace_risk(confidence[:, None], wrong[:, None], n_resamples=40, seed=2)
    assert curve.area.value == pytest.approx(plain_area(confidence, wrong), abs=1e-12)
    for share, risk, least in zip(curve.coverage, curve.risk, curve.confidence, strict=True):
        given = confidence >= least
        assert share == pytest.approx(given.mean())
        assert risk == pytest.approx(wrong[given].mean())
    drawn = []
    for resample in range(40):
        rows = np.repeat(np.arange(50), draw_weights(np.arange(50), 2, resample).astype(int))
        drawn.append(plain_area(confidence[rows], wrong[rows]))
    assert (curve.area.low, curve.area.high) == pytest.approx(
        tuple(np.quantile(drawn, [0.025, 0.975])), abs=1e-12
    )


def test_the_answers_of_labels_are_drawn_with_their_image() -> None:
    rng = np.random.default_rng(12)
    scores, truth = rng.random((20, 3)), rng.random((20, 3)) < 0.5
    confidence, wrong = select_answers(scores, scores >= 0.5, truth, multi_label=True)
    assert np.array_equal(confidence, np.maximum(scores, 1 - scores))
    curve = trace_risk(confidence, wrong, n_resamples=30, seed=1)
    assert curve.area.value == pytest.approx(plain_area(confidence.ravel(), wrong.ravel()))
    drawn = []
    for resample in range(30):
        rows = np.repeat(np.arange(20), draw_weights(np.arange(20), 1, resample).astype(int))
        drawn.append(plain_area(confidence[rows].ravel(), wrong[rows].ravel()))
    assert curve.area.high == pytest.approx(float(np.quantile(drawn, 0.975)), abs=1e-12)


def test_means_and_their_intervals_are_those_of_resampled_images() -> None:
    rng = np.random.default_rng(13)
    values, counted = rng.random((30, 2)), rng.random((30, 2)) < 0.7
    found = estimate_means(values, counted, n_resamples=50, seed=4)
    for place in range(2):
        own = counted[:, place]
        assert found[place].value == pytest.approx(values[own, place].mean())
        drawn = []
        for resample in range(50):
            rows = np.repeat(np.arange(30), draw_weights(np.arange(30), 4, resample).astype(int))
            drawn.append(values[rows, place][own[rows]].mean())
        assert found[place].low == pytest.approx(float(np.quantile(drawn, 0.025)), abs=1e-12)
