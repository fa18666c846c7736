"""An operating point is reached on the images that it is chosen by, and no better can be had."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medlora.errors import SettingsError
from medlora.evaluate.metrics import decide
from medlora.evaluate.operating import (
    OperatingPoint,
    bound_cuts,
    measure_point,
    set_thresholds,
)
from medlora.evaluate.resampling import draw_weights

CLASSES = ("glioma", "meningioma", "none", "pituitary")


def draw(seed, n_images=60, multi_label=False, digits=None):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n_images, 4))
    targets = np.eye(4, dtype=bool)[rng.permutation(np.arange(n_images) % 4)]
    if multi_label:
        targets = rng.random((n_images, 4)) < 0.3
        probabilities = 1 / (1 + np.exp(-logits - 2 * targets))
        return probabilities if digits is None else probabilities.round(digits), targets
    probabilities = np.exp(logits + targets)
    return probabilities / probabilities.sum(axis=1, keepdims=True), targets


def set_point(probabilities, targets, text, *, multi_label=False):
    fixed = 0.5 if multi_label else 0.25
    return set_thresholds(
        probabilities,
        targets,
        OperatingPoint.parse(text),
        classes=CLASSES,
        multi_label=multi_label,
        thresholds=(fixed,) * 4,
    )


def count_rates(probabilities, targets, thresholds, positives, multi_label):
    decided = decide(probabilities, thresholds, multi_label)[:, positives].any(axis=1)
    truth = targets[:, positives].any(axis=1)
    return decided[truth].mean(), (~decided[~truth]).mean()


@given(
    seed=st.integers(0, 10**6),
    value=st.sampled_from([0.05, 0.5, 0.8, 0.9, 0.95, 0.99, 1.0]),
    measure=st.sampled_from(["sensitivity", "specificity"]),
    group=st.sampled_from(["glioma", "any-but:none"]),
    multi_label=st.booleans(),
)
@settings(max_examples=60)
def test_no_other_cut_reaches_it_and_does_better(seed, value, measure, group, multi_label) -> None:
    probabilities, targets = draw(seed, multi_label=multi_label)
    text = f"{group}:{measure}={value}"
    thresholds = set_point(probabilities, targets, text, multi_label=multi_label)
    positives = np.array([True, group != "glioma", False, group != "glioma"])
    rates = count_rates(probabilities, targets, thresholds, positives, multi_label)
    own, other = rates if measure == "sensitivity" else rates[::-1]
    assert own >= value - 1e-9
    for cut in np.linspace(0.001, 0.999, 300):
        tried = np.where(positives, cut, thresholds if multi_label else 1 - cut)
        rates = count_rates(probabilities, targets, tuple(tried), positives, multi_label)
        own_there, other_there = rates if measure == "sensitivity" else rates[::-1]
        assert own_there < value - 1e-9 or other_there <= other + 1e-9


def test_the_classes_on_one_side_are_told_apart_as_before() -> None:
    probabilities, targets = draw(1)
    thresholds = set_point(probabilities, targets, "any-but:none:sensitivity=1")
    tumours = [0, 1, 3]
    assert len({thresholds[place] for place in tumours}) == 1
    assert thresholds[0] + thresholds[2] == pytest.approx(1)
    decided = decide(probabilities, thresholds, multi_label=False)
    found = decided[:, tumours].any(axis=1)
    best = probabilities[:, tumours].argmax(axis=1)
    assert (decided[found][:, tumours].argmax(axis=1) == best[found]).all()


def test_two_classes_have_a_threshold_on_the_probability() -> None:
    scores = np.array([0.1, 0.2, 0.4, 0.45, 0.8, 0.9])
    ill = np.array([False, False, True, False, True, True])
    thresholds = set_thresholds(
        np.column_stack([1 - scores, scores]),
        np.column_stack([~ill, ill]),
        OperatingPoint.parse("ill:sensitivity=0.6"),
        classes=("well", "ill"),
        multi_label=False,
        thresholds=(0.5, 0.5),
    )
    # Two of three are enough: the cut lies half way between .45 and .8.
    assert thresholds == pytest.approx((0.375, 0.625))


def test_labels_without_a_name_are_set_one_by_one() -> None:
    probabilities, targets = draw(3, multi_label=True)
    targets[:, 3] = False
    thresholds = set_point(probabilities, targets, "sensitivity=0.9", multi_label=True)
    for place in range(3):
        found = probabilities[targets[:, place], place] >= thresholds[place]
        assert found.mean() >= 0.9
    assert thresholds[3] == 0.5
    alone = set_point(probabilities, targets, "none:specificity=0.9", multi_label=True)
    assert [value == 0.5 for value in alone] == [True, True, False, True]


def test_probabilities_of_exactly_0_and_1_are_cut_too() -> None:
    targets = np.eye(2, dtype=bool)[[0, 0, 1, 1]]
    probabilities = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.5, 0.5]])
    for text in ("b:sensitivity=1", "b:specificity=0.5", "b:sensitivity=0.5"):
        thresholds = set_thresholds(
            probabilities,
            targets,
            OperatingPoint.parse(text),
            classes=("a", "b"),
            multi_label=False,
            thresholds=(0.5, 0.5),
        )
        assert all(0 < value < 1 for value in thresholds)
        rates = count_rates(probabilities, targets, thresholds, np.array([False, True]), False)
        assert rates["specificity" in text] >= float(text.rpartition("=")[2])


def test_what_is_reached_has_intervals() -> None:
    probabilities, targets = draw(5, n_images=200)
    point = OperatingPoint.parse("any-but:none:sensitivity=0.95")
    thresholds = set_point(probabilities, targets, "any-but:none:sensitivity=0.95")
    decisions = decide(probabilities, thresholds, multi_label=False)
    options = {"classes": CLASSES, "multi_label": False, "n_resamples": 200}
    found = measure_point(decisions, targets, point, **options)
    assert found["wanted"] == {"measure": "sensitivity", "value": 0.95}
    (reached,) = found["reached"]
    assert (reached["positive"], reached["n_positive"]) == ("any class but none", 150)
    positives = np.array([True, True, False, True])
    rates = count_rates(probabilities, targets, thresholds, positives, False)
    for name, rate in zip(("sensitivity", "specificity"), rates, strict=True):
        assert reached[name]["value"] == pytest.approx(rate)
        assert reached[name]["low"] < rate < reached[name]["high"]
    pairs = np.arange(200) // 50
    grouped = measure_point(decisions, targets, point, groups=pairs, **options)
    assert grouped["reached"][0]["specificity"]["low"] != reached["specificity"]["low"]
    bare = measure_point(
        decisions[:, :1] & False,
        targets[:, :1],
        OperatingPoint.parse("sensitivity=0.5"),
        classes=("glioma",),
        multi_label=True,
        n_resamples=0,
    )
    estimate = bare["reached"][0]["sensitivity"]
    assert estimate == {"value": 0.0, "low": "undefined", "high": "undefined"}


@pytest.mark.parametrize(
    "text", ["", "sensitivity", "sensitivity=0", "sensitivity=1.1", "recall=0.9", "a:=0.9", "x=y=1"]
)
def test_other_texts_are_refused(text) -> None:
    with pytest.raises(SettingsError, match=r"An operating point is sensitivity=0\.95, CLASS"):
        OperatingPoint.parse(text)


def test_classes_that_cannot_be_meant() -> None:
    probabilities, targets = draw(0)
    with pytest.raises(SettingsError, match="needs to know what counts as positive: glioma:sens"):
        set_point(probabilities, targets, "sensitivity=0.9")
    with pytest.raises(SettingsError, match=r"names the class 'cyst'; there are glioma, menin"):
        set_point(probabilities, targets, "cyst:sensitivity=0.9")
    targets[:] = np.eye(4, dtype=bool)[1]
    with pytest.raises(SettingsError, match="No validation image tells the sensitivity of glioma"):
        set_point(probabilities, targets, "glioma:sensitivity=0.9")
    assert OperatingPoint.parse("a:b:sensitivity=0.5").class_name == "a:b"


def test_a_cut_is_bounded_by_choosing_it_anew_on_resampled_patients() -> None:
    rng = np.random.default_rng(0)
    ill = np.arange(40) < 18
    score = np.clip(0.5 + 0.2 * (ill - 0.5) + 0.2 * rng.normal(size=40), 0.01, 0.99)
    scores, truth = np.stack([1 - score, score], 1), np.stack([~ill, ill], 1)
    point = OperatingPoint.parse("ill:sensitivity=0.9")
    names: dict[str, Any] = {"classes": ("well", "ill"), "multi_label": False}
    (found,) = bound_cuts(scores, truth, point, **names, n_resamples=30, seed=4)
    assert found["positive"] == "ill"
    chosen = set_thresholds(scores, truth, point, **names, thresholds=(0.5, 0.5))
    assert found["threshold"]["value"] == chosen[1]
    drawn = []
    for resample in range(30):
        rows = np.repeat(np.arange(40), draw_weights(np.arange(40), 4, resample).astype(int))
        again = set_thresholds(scores[rows], truth[rows], point, **names, thresholds=(0.5, 0.5))
        drawn.append(again[1])
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert found["threshold"]["low"] == pytest.approx(low)
    assert found["threshold"]["high"] == pytest.approx(high)


def test_a_cut_that_no_image_tells_of_is_undefined() -> None:
    point = OperatingPoint.parse("ill:sensitivity=0.9")
    truth = np.array([[True, False]] * 4)
    (found,) = bound_cuts(
        np.full((4, 2), 0.5), truth, point, classes=("well", "ill"), multi_label=False
    )
    assert found["threshold"]["value"] == "undefined"
