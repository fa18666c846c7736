import numpy as np
import pytest

from medlora.errors import DataError, SettingsError
from medlora.evaluate.scaling import (
    MAX_SHIFT,
    SCALE_BOUNDS,
    Scaling,
    fit_scaling,
    is_told,
    measure_calibration,
)


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def draw_classes(rng, n_images, n_classes=4, sureness=3.0):
    """Logits that are `sureness` times too large, and the classes that came true."""
    logits = rng.normal(size=(n_images, n_classes)) * 2
    drawn = (softmax(logits).cumsum(axis=1) < rng.random((n_images, 1))).sum(axis=1)
    return logits * sureness, np.eye(n_classes, dtype=bool)[np.minimum(drawn, n_classes - 1)]


def draw_labels(rng, n_images, scale, offset):
    """Logits of labels that the scale and the offset would make right."""
    logits = rng.normal(size=(n_images, len(scale))) * 2
    right = 1 / (1 + np.exp(-(logits * scale + offset)))
    return logits, rng.random(right.shape) < right


@pytest.mark.parametrize("sureness", [0.4, 1.0, 5.0])
def test_a_temperature_undoes_too_much_or_too_little_sureness(sureness) -> None:
    logits, truth = draw_classes(np.random.default_rng(0), 4000, sureness=sureness)
    scaling = fit_scaling(logits, truth, method="temperature", multi_label=False)
    assert len(set(scaling.scale)) == 1
    assert scaling.offset == (0.0,) * 4
    assert scaling.scale[0] * sureness == pytest.approx(1, abs=0.08)
    before = measure_calibration(softmax(logits), truth, multi_label=False)
    after = measure_calibration(softmax(scaling.apply(logits)), truth, multi_label=False)
    assert after["log_loss"] <= before["log_loss"] + 1e-4
    assert after["calibration_error"] < 0.03


def test_vector_scaling_finds_each_labels_own_scale_and_offset() -> None:
    scale, offset = np.array([0.5, 1.5, 1.0]), np.array([-2.0, 0.5, 1.0])
    logits, truth = draw_labels(np.random.default_rng(1), 6000, scale, offset)
    scaling = fit_scaling(logits, truth, method="vector", multi_label=True)
    assert np.abs(np.array(scaling.scale) - scale).max() < 0.12
    assert np.abs(np.array(scaling.offset) - offset).max() < 0.15


def test_logits_far_from_zero_are_no_harder() -> None:
    logits, truth = draw_labels(np.random.default_rng(1), 2000, np.ones(2), np.zeros(2))
    near = fit_scaling(logits, truth, method="vector", multi_label=True)
    far = fit_scaling(logits * 3 - 30, truth, method="vector", multi_label=True)
    assert np.allclose(far.apply(logits * 3 - 30), near.apply(logits), atol=1e-4)


def test_one_temperature_serves_all_labels() -> None:
    logits, truth = draw_labels(np.random.default_rng(2), 4000, np.full(3, 0.25), np.zeros(3))
    scaling = fit_scaling(logits, truth, method="temperature", multi_label=True)
    assert len(set(scaling.scale)) == 1
    assert scaling.scale[0] == pytest.approx(0.25, abs=0.02)


def test_a_few_images_that_are_all_right_give_no_infinite_sureness() -> None:
    logits = np.array([[3.0, -3.0]] * 10 + [[-3.0, 3.0]] * 10)
    truth = logits > 0
    scaling = fit_scaling(logits, truth, method="temperature", multi_label=False)
    probability = softmax(scaling.apply(logits)).max()
    # Ten images of a class: Platt's (10 + 1) / (10 + 2).
    assert probability == pytest.approx(11 / 12, abs=1e-4)
    each = fit_scaling(logits, truth, method="vector", multi_label=True)
    assert 1 / (1 + np.exp(-each.apply(logits).max())) == pytest.approx(11 / 12, abs=1e-4)


def test_hopeless_logits_stop_at_the_bounds() -> None:
    rng = np.random.default_rng(3)
    logits, truth = draw_classes(rng, 300)
    wrong = np.roll(truth, 1, axis=1)
    scaling = fit_scaling(logits, wrong, method="temperature", multi_label=False)
    assert scaling.scale[0] == SCALE_BOUNDS[0]
    tiny = fit_scaling(logits * 1e-6, truth, method="temperature", multi_label=False)
    assert tiny.scale[0] == SCALE_BOUNDS[1]
    vector = fit_scaling(logits, wrong, method="vector", multi_label=True)
    assert min(vector.scale) == SCALE_BOUNDS[0]
    assert max(abs(value) for value in vector.offset) < MAX_SHIFT + 20


def test_a_label_that_few_images_have_stays_as_it_is() -> None:
    rng = np.random.default_rng(4)
    logits, truth = draw_labels(rng, 400, np.full(3, 0.5), np.zeros(3))
    truth[:, 1] = np.arange(400) < 9
    truth[:, 2] = np.arange(400) >= 9
    scaling = fit_scaling(logits, truth, method="vector", multi_label=True)
    assert scaling.scale[0] < 0.8
    assert (scaling.scale[1], scaling.offset[1]) == (1.0, 0.0)
    assert (scaling.scale[2], scaling.offset[2]) == (1.0, 0.0)
    assert [is_told(own) for own in truth.T] == [True, False, False]


def test_equal_logits_leave_their_scale_alone() -> None:
    truth = np.arange(40)[:, None] < 20
    scaling = fit_scaling(np.full((40, 1), 2.0), truth, method="vector", multi_label=True)
    assert scaling.scale == (1.0,)
    assert scaling.apply(np.array([[2.0]]))[0, 0] == pytest.approx(0, abs=1e-5)


def test_what_is_applied_can_be_undone() -> None:
    scaling = Scaling("vector", (0.25, 3.0), (1.5, -0.5))
    logits = np.random.default_rng(5).normal(size=(20, 2)) * 9
    assert np.allclose(scaling.undo(scaling.apply(logits)), logits, rtol=1e-14)


def test_the_same_images_give_the_same_bits() -> None:
    logits, truth = draw_classes(np.random.default_rng(6), 200)
    first, second = (
        fit_scaling(logits, truth, method="vector", multi_label=False) for _ in range(2)
    )
    assert first == second


def test_what_cannot_be_fitted_is_refused() -> None:
    truth = np.array([[True, False], [False, True]])
    with pytest.raises(SettingsError, match="logit of a validation image is NaN or infinite"):
        fit_scaling([[np.nan, 0], [0, 1]], truth, method="temperature", multi_label=False)
    with pytest.raises(DataError, match="must be the same"):
        fit_scaling([[1.0, 0.0]], truth, method="temperature", multi_label=False)
    with pytest.raises(DataError, match="exactly one class"):
        fit_scaling([[1.0, 0.0]], ~truth[:1] | True, method="temperature", multi_label=False)


def test_figures_are_those_of_scoring() -> None:
    scores = np.array([[0.8, 0.2], [0.6, 0.4], [0.3, 0.7]])
    truth = np.array([[True, False], [False, True], [False, True]])
    found = measure_calibration(scores, truth, multi_label=False)
    assert found["log_loss"] == pytest.approx(-np.log([0.8, 0.4, 0.7]).mean())
    assert found["brier_score"] == pytest.approx(np.mean([0.2**2, 0.6**2, 0.3**2]))
    assert found["calibration_error"] == pytest.approx((0.2 + 0.6 + 0.3) / 3)
    labels = measure_calibration(scores, truth, multi_label=True)
    assert labels["log_loss"] == pytest.approx(-np.log([0.8, 0.4, 0.7] * 2).mean())
    certain = measure_calibration(np.array([[0.0, 1.0]]), truth[:1], multi_label=False)
    assert np.isfinite(certain["log_loss"])
