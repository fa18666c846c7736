"""An evaluation survives JSON, and nothing else is taken for one."""

import dataclasses
import json

import numpy as np
import pytest

from medlora.errors import DataError
from medlora.evaluate.evaluation import Estimate, Evaluation
from medlora.evaluate.score import score

NAMES = ("a", "b", "c")


def evaluate_example(multi_label):
    """Class "c" has no image."""
    rng = np.random.default_rng(3)
    probabilities = rng.dirichlet([1, 1, 1], 20)
    targets = np.arange(3) == rng.integers(0, 2, 20)[:, None]
    return score(
        probabilities,
        targets,
        classes=NAMES,
        multi_label=multi_label,
        thresholds=(0.3, 0.3, 0.4),
        n_resamples=20,
    )


@pytest.mark.parametrize("multi_label", [True, False])
def test_json_keeps_every_number(multi_label):
    evaluation = evaluate_example(multi_label)
    text = json.dumps(evaluation.to_dict(), allow_nan=False)
    assert Evaluation.from_dict(json.loads(text)) == evaluation


def test_undefined_is_a_word():
    content = evaluate_example(False).to_dict()
    assert content["undefined"] == ["c"]
    undefined = {"value": "undefined", "low": "undefined", "high": "undefined"}
    assert set(map(str, content["per_class"]["c"].values())) == {str(undefined)}


def test_only_lists_dicts_and_plain_values_are_in_it():
    def plain(value):
        if isinstance(value, dict):
            return all(type(key) is str and plain(item) for key, item in value.items())
        if isinstance(value, list):
            return all(map(plain, value))
        return type(value) in (str, int, float, bool)

    assert plain(evaluate_example(True).to_dict())


def test_keys_are_checked():
    content = evaluate_example(False).to_dict()
    with pytest.raises(DataError, match=r"an evaluation .* missing \[\], unknown \['extra'\]"):
        Evaluation.from_dict(content | {"extra": 1})
    del content["seed"]
    with pytest.raises(DataError, match=r"missing \['seed'\], unknown \[\]"):
        Evaluation.from_dict(content)
    with pytest.raises(DataError, match=r"an estimate .* missing \['high'\]"):
        Estimate.from_dict({"value": 1, "low": 1})


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"overall": 0.5}, "a set of estimates"),
        ({"overall": {"auroc": 0.5}}, "an estimate"),
        ({"per_class": 0.5}, "per_class"),
        ({"per_class": {"a": 0.5}}, "a set of estimates"),
    ],
)
def test_a_number_is_no_estimate(change, what):
    content = evaluate_example(False).to_dict() | change
    with pytest.raises(DataError, match=rf"{what} must be a JSON object, not 0\.5"):
        Evaluation.from_dict(content)


@pytest.mark.parametrize("bad", ["much", True, None, [1], float("nan"), float("inf")])
def test_values_of_estimates_are_checked(bad):
    with pytest.raises(DataError, match="'low' of an estimate must be a number or 'undefined'"):
        Estimate.from_dict({"value": 0.5, "low": bad, "high": 1})


def test_an_evaluation_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError, match="n_images"):
        evaluate_example(False).n_images = 3
