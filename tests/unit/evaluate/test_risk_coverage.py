import numpy as np
import pytest

from medlora.errors import DataError
from medlora.evaluate.risk_coverage import select_answers, trace_risk


def test_answers_of_one_confidence_are_given_together() -> None:
    confidence = np.array([[0.9], [0.7], [0.7], [0.5]])
    wrong = np.array([[False], [True], [False], [True]])
    curve = trace_risk(confidence, wrong, n_resamples=0)
    assert curve.coverage.tolist() == [0.25, 0.75, 1.0]
    assert curve.risk.tolist() == pytest.approx([0, 1 / 3, 0.5])
    assert curve.confidence.tolist() == [0.9, 0.7, 0.5]
    assert curve.area.value == pytest.approx(0.25 * 0 + 0.5 / 3 + 0.25 * 0.5)
    assert curve.area.low is None


def test_the_confidence_is_that_of_what_was_decided() -> None:
    scores = np.array([[0.3, 0.7], [0.9, 0.1]])
    decisions = np.array([[True, False], [True, False]])
    targets = np.array([[False, True], [True, False]])
    confidence, wrong = select_answers(scores, decisions, targets, multi_label=False)
    assert confidence.tolist() == [[0.3], [0.9]]
    assert wrong.tolist() == [[True], [False]]
    confidence, wrong = select_answers(scores, decisions, targets, multi_label=True)
    assert np.allclose(confidence, [[0.3, 0.3], [0.9, 0.9]])
    assert wrong.tolist() == [[True, True], [False, False]]


def test_answers_and_truths_of_different_images_are_refused() -> None:
    truth = np.array([[True, False]])
    with pytest.raises(DataError, match="must be the same"):
        select_answers(np.array([[0.5, 0.5]]), np.ones((2, 2), bool), truth, multi_label=False)


def test_a_long_curve_is_written_thinned_with_its_end() -> None:
    rng = np.random.default_rng(0)
    confidence, wrong = rng.random((1500, 1)), rng.random((1500, 1)) < 0.2
    curve = trace_risk(confidence, wrong, n_resamples=5)
    content = curve.to_dict()
    assert len(content["coverage"]) == len(content["risk"]) == len(content["confidence"]) == 100
    assert content["coverage"][0] == pytest.approx(0.01)
    assert content["coverage"][-1] == 1.0
    assert content["risk"][-1] == pytest.approx(wrong.mean(), abs=1e-6)
    assert content["aurc"]["value"] == curve.area.value
    short = trace_risk(confidence[:7], wrong[:7], n_resamples=0).to_dict()
    assert len(short["coverage"]) == 7
    assert short["aurc"]["low"] == "undefined"
