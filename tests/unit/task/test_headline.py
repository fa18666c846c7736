import pytest

from medlora.task.headline import Headline, find_headline
from tests.unit.task.task_samples import make_card

WITH_INTERVAL = {"value": 0.9, "low": 0.85, "high": 0.93}


@pytest.mark.parametrize(
    ("metrics", "expected"),
    [
        ({"val": {"auroc": 0.8, "f1": 0.7}}, Headline("val", "auroc", 0.8)),
        ({"val": {"accuracy": 1, "f1": 0.7}}, Headline("val", "f1", 0.7)),
        (
            {"val": {"auroc": 0.8}, "test": {"accuracy": 0.75}},
            Headline("test", "accuracy", 0.75),
        ),
        ({"test": {"auroc": WITH_INTERVAL}}, Headline("test", "auroc", 0.9, 0.85, 0.93)),
        (
            {"test": {"auroc": {"value": 1, "low": "undefined", "high": "undefined"}}},
            Headline("test", "auroc", 1.0),
        ),
        (
            {"test": {"auroc": "undefined", "accuracy": 0.5}},
            Headline("test", "accuracy", 0.5),
        ),
        (
            {"test": {"auroc": {"value": "undefined"}}, "val": {"f1": 0.5}},
            Headline("val", "f1", 0.5),
        ),
        (
            {"val": {"auroc": 0.95}, "out_of_fold": {"auroc": 0.8}},
            Headline("out_of_fold", "auroc", 0.8),
        ),
        ({"val": {"auroc": [0.894, 0.83, 0.94]}}, None),
        ({"val": {"auroc": True}}, None),
        ({"test": "good", "train": {"auroc": 1.0}}, None),
        ({}, None),
    ],
)
def test_the_headline_is_the_first_score_that_is_one(metrics, expected) -> None:
    assert find_headline(make_card(metrics=metrics)) == expected
