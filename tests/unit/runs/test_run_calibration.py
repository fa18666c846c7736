import numpy as np
import pytest

from medlora.errors import SettingsError
from medlora.runs.calibration import (
    MIN_IMAGES,
    check_counts,
    choose_method,
    describe_calibration,
    join_calibrations,
    settle_trust,
)
from medlora.runs.refit import Refit
from medlora.task.trust import CalibrationRecord

CLASSES = ("a", "b", "c")


def draw(n_images, seed=0):
    rng = np.random.default_rng(seed)
    truth = np.eye(3, dtype=bool)[np.arange(n_images) % 3]
    return rng.normal(size=(n_images, 3)) * 4 + 3 * truth, truth


def settle(logits, truth, **changes):
    values = {
        "classes": CLASSES,
        "multi_label": False,
        "choice": "auto",
        "coverage": None,
        "by_class": False,
        "source": "val",
    }
    return settle_trust(logits, truth, **(values | changes))


def test_enough_images_get_a_temperature_and_too_few_get_none() -> None:
    logits, truth = draw(MIN_IMAGES)
    found = settle(logits, truth)
    assert found.calibration is not None
    assert found.calibration.method == "temperature"
    assert found.calibration.n_images == MIN_IMAGES
    assert found.calibration.after["log_loss"] < found.calibration.before["log_loss"]
    assert found.told.startswith("temperature ")
    assert "on 100 images (val): calibration error" in found.told
    few = settle(logits[:-1], truth[:-1])
    assert few.calibration is None
    assert few.told == "none: 99 images are too few; at least 100 are needed"
    assert np.allclose(few.answers, np.exp(logits[:-1]) / np.exp(logits[:-1]).sum(1)[:, None])
    asked = settle(logits[:-1], truth[:-1], choice="temperature")
    assert asked.calibration is not None


def test_calibrated_answers_are_those_of_the_scaled_logits() -> None:
    logits, truth = draw(120)
    found = settle(logits, truth, choice="vector")
    record = found.calibration
    assert record is not None
    assert record.method == "vector"
    scaled = np.exp(logits * record.scale + np.array(record.offset))
    assert np.allclose(found.answers, scaled / scaled.sum(axis=1, keepdims=True))


@pytest.mark.parametrize(
    ("choice", "multi_label", "counts", "method", "reason"),
    [
        ("none", False, (50, 50, 50), None, "not asked for"),
        ("auto", False, (50, 50, 50), "temperature", ""),
        ("auto", True, (50, 50, 50), "vector", ""),
        ("vector", False, (5, 50, 50), "temperature", "fewer than 10 images have, or have not, a"),
        ("vector", True, (5, 50, 50), "vector", "left as they are, since fewer than 10"),
        ("vector", True, (5, 6, 7), None, "fewer than 10 images have, or have not, a, b, c"),
        ("auto", True, (5, 6, 7), None, "images are too few"),
        ("temperature", True, (5, 6, 7), "temperature", ""),
    ],
)
def test_the_method_follows_from_the_images(choice, multi_label, counts, method, reason) -> None:
    truth = np.repeat(np.eye(3, dtype=bool), counts, axis=0)
    found, why = choose_method(choice, truth, classes=CLASSES, multi_label=multi_label)
    assert found == method
    assert reason in why
    assert bool(reason) == bool(why)


def test_sets_are_those_of_calibrated_answers_and_say_what_they_rest_on() -> None:
    logits, truth = draw(120)
    found = settle(logits, truth, coverage=0.8, by_class=True)
    record = found.conformal
    assert record is not None
    assert (record.counts, record.n_images, record.by_class) == ((40, 40, 40), 120, True)
    held = found.answers >= np.array(record.least)
    for place in range(3):
        assert held[truth[:, place], place].sum() == 33
    assert found.warnings == ()


def test_too_few_images_for_a_coverage_are_named() -> None:
    logits, truth = draw(15)
    everything = settle(logits, truth, coverage=0.95)
    assert everything.conformal is not None
    assert everything.conformal.least == (0.0,) * 3
    assert "15 images are too few for a coverage of 0.95, which needs 19" in everything.warnings[0]
    labels = truth.copy()
    labels[:, 2] = False
    found = settle(logits, labels, coverage=0.8, multi_label=True)
    assert found.warnings == (
        "Fewer than 4 images tell of c, which a coverage of 0.8 needs: no prediction set can rule "
        "them out or in.",
    )
    with pytest.raises(SettingsError, match=r"needs at least 19 images .* there are 15 of all"):
        check_counts(truth, classes=CLASSES, multi_label=False, coverage=0.95, by_class=False)
    with pytest.raises(SettingsError, match=r"needs at least 9 images .* there are 5 of a"):
        check_counts(truth, classes=CLASSES, multi_label=False, coverage=0.9, by_class=True)
    check_counts(truth, classes=CLASSES, multi_label=True, coverage=0.9, by_class=True)
    check_counts(truth, classes=CLASSES, multi_label=False, coverage=0.9, by_class=False)


def make_record(scale, offset=0.0, n_images=100):
    figures = {"log_loss": 1.0 * scale, "calibration_error": 0.1}
    return CalibrationRecord(
        "temperature", (scale,) * 2, (offset, -offset), "val", n_images, figures, figures
    )


def test_folds_are_joined_by_their_means() -> None:
    joined = join_calibrations([make_record(0.25, 1.0), make_record(1.0, 3.0), None], 2)
    assert joined is not None
    assert joined.scale == pytest.approx((0.25 ** (1 / 3),) * 2)
    assert joined.offset == pytest.approx((4 / 3, -4 / 3))
    assert joined.n_images == 200
    assert joined.before["log_loss"] == pytest.approx(0.625)
    assert joined.source == "folds"
    assert join_calibrations([None, None], 2) is None
    assert describe_calibration(joined).startswith("temperature 1.59 on 200 images (folds)")


def test_a_refit_keeps_both_records_and_writes_neither_where_there_is_none() -> None:
    logits, truth = draw(120)
    trust = settle(logits, truth, coverage=0.8)
    full = Refit(3, 5, (0.5,) * 3, {"n_images": 4}, trust.calibration, trust.conformal)
    assert Refit.from_dict(full.to_dict()) == full
    plain = Refit(3, 5, (0.5,) * 3, {"n_images": 4})
    assert plain.to_dict().keys() == {"n_epochs", "n_folds", "thresholds", "scores"}
    assert Refit.from_dict(plain.to_dict()) == plain
    with pytest.raises(SettingsError, match="record of the refit is not valid"):
        Refit.from_dict({"n_epochs": 3})
