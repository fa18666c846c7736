import json

import numpy as np
import pytest

from medlora.errors import DataError, SettingsError
from medlora.evaluate.decision_curve import list_thresholds, trace_net_benefit


def test_a_perfect_model_has_the_prevalence_and_a_useless_one_that_of_treating_all() -> None:
    positive = np.arange(40) < 10
    perfect = trace_net_benefit(positive * 1.0, positive, n_resamples=10)
    assert np.allclose(perfect.net_benefit, 0.25)
    assert perfect.prevalence == 0.25
    useless = trace_net_benefit(np.full(40, 0.25), positive, n_resamples=0)
    below = useless.threshold <= 0.25
    assert np.allclose(useless.net_benefit[below], useless.treat_all[below])
    assert np.allclose(useless.net_benefit[~below], 0)


def test_a_score_at_the_threshold_is_treated() -> None:
    curve = trace_net_benefit([0.5, 0.4], np.array([True, False]), thresholds=np.array([0.5]))
    assert curve.net_benefit.tolist() == [0.5]


def test_the_band_holds_the_curve_and_needs_several_patients() -> None:
    rng = np.random.default_rng(0)
    scores = rng.random(200)
    positive = rng.random(200) < scores
    curve = trace_net_benefit(scores, positive, n_resamples=200)
    assert (curve.low <= curve.net_benefit + 1e-12).all()
    assert (curve.high >= curve.net_benefit - 1e-12).all()
    assert (curve.high - curve.low).max() > 0.01
    alone = trace_net_benefit(scores, positive, groups=["a"] * 200, n_resamples=20)
    assert alone.low.size == alone.high.size == 0


@pytest.mark.parametrize("truth", [True, False])
def test_images_of_one_kind_have_a_curve_too(truth) -> None:
    curve = trace_net_benefit([0.2, 0.8], np.array([truth, truth]), n_resamples=5)
    assert curve.prevalence == float(truth)
    content = json.loads(json.dumps(curve.to_dict(), allow_nan=False))
    assert len(content["threshold"]) == len(content["treat_all"]) == len(list_thresholds())


@pytest.mark.parametrize("cuts", [[0.0, 0.5], [0.5, 1.0], [0.5, 0.5], [0.6, 0.5], []])
def test_thresholds_that_make_no_curve_are_refused(cuts) -> None:
    with pytest.raises(SettingsError, match=r"must rise and lie in \(0, 1\)"):
        trace_net_benefit([0.5], np.array([True]), thresholds=np.array(cuts))


def test_scores_that_are_no_probabilities_are_refused() -> None:
    with pytest.raises(DataError, match=r"must lie in \[0, 1\]"):
        trace_net_benefit([2.0], np.array([True]))
