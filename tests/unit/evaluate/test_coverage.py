import numpy as np
import pytest

from medlora.evaluate.conformal import PredictionSets
from medlora.evaluate.coverage import measure_answered, measure_sets


def test_sets_of_exclusive_classes() -> None:
    present = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0], [0, 0, 1]], dtype=bool)
    targets = np.array([[1, 0, 0], [0, 0, 1], [0, 1, 0], [0, 0, 1]], dtype=bool)
    found = measure_sets(
        PredictionSets(present, None), targets, classes=("a", "b", "c"), n_resamples=50
    )
    assert found["coverage"]["value"] == 0.5
    assert found["mean_size"]["value"] == 1.0
    assert found["single"]["value"] == 0.5
    assert found["empty"]["value"] == 0.25
    own = {name: each["coverage"]["value"] for name, each in found["by_class"].items()}
    assert own == {"a": 1.0, "b": 0.0, "c": 0.5}
    assert 0 <= found["coverage"]["low"] <= 0.5 <= found["coverage"]["high"] <= 1
    assert found["by_class"]["b"]["coverage"]["low"] == "undefined"


def test_sets_of_labels() -> None:
    present = np.array([[1, 1], [0, 1], [0, 0]], dtype=bool)
    absent = np.array([[0, 1], [1, 0], [0, 1]], dtype=bool)
    targets = np.array([[1, 0], [1, 0], [0, 0]], dtype=bool)
    found = measure_sets(PredictionSets(present, absent), targets, classes=("a", "b"))
    # Held: a and b; neither; b alone, since the set of a is empty.
    assert found["coverage"]["value"] == pytest.approx(3 / 6)
    assert found["mean_size"]["value"] == pytest.approx((1 + 2 + 1 + 1 + 0 + 1) / 6)
    assert found["single"]["value"] == pytest.approx(4 / 6)
    assert found["empty"]["value"] == pytest.approx(1 / 6)
    first = found["by_class"]["a"]
    assert (first["coverage"]["value"], first["coverage_without"]["value"]) == (0.5, 0.0)
    second = found["by_class"]["b"]
    assert second["coverage"]["value"] == "undefined"
    assert second["coverage_without"]["value"] == pytest.approx(2 / 3)


def test_what_abstaining_leaves_over() -> None:
    wrong = np.array([[True], [False], [False], [True]])
    abstains = np.array([[True], [True], [False], [False]])
    found = measure_answered(wrong, abstains, n_resamples=20)
    assert (found["n_answers"], found["n_abstained"]) == (4, 2)
    values = {name: found[name]["value"] for name in found if name.startswith(("err", "ans"))}
    assert values == {
        "answered": 0.5,
        "error": 0.5,
        "error_of_all": 0.5,
        "error_withheld": 0.5,
    }


def test_a_task_that_never_abstains_withholds_nothing() -> None:
    wrong = np.array([[True, False], [False, False]])
    found = measure_answered(wrong, np.zeros((2, 2), dtype=bool), n_resamples=20)
    assert found["answered"]["value"] == 1.0
    assert found["error"]["value"] == found["error_of_all"]["value"] == 0.25
    assert found["error_withheld"]["value"] == "undefined"
    everything = measure_answered(wrong, np.ones((2, 2), dtype=bool), n_resamples=20)
    assert everything["error"]["value"] == "undefined"
