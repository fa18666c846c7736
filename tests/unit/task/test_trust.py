import json
from typing import Any

import pytest

from medlora.errors import TaskFileError
from medlora.task.card import TaskCard
from medlora.task.ensemble import Ensemble, Member, join_cards
from medlora.task.file import Task, pack_task, unpack_task
from medlora.task.trust import CalibrationRecord, ConformalRecord
from tests.unit.task.task_samples import make_card, make_tensors


def make_calibration(**changes: Any) -> CalibrationRecord:
    values: dict[str, Any] = {
        "method": "vector",
        "scale": (0.75, 1.5),
        "offset": (0.0, -0.25),
        "source": "val",
        "n_images": 130,
        "before": {"log_loss": 0.5, "calibration_error": 0.1, "brier_score": 0.2},
        "after": {"log_loss": 0.4, "calibration_error": 0.05, "brier_score": 0.19},
    }
    return CalibrationRecord(**(values | changes))


def make_conformal(**changes: Any) -> ConformalRecord:
    values: dict[str, Any] = {
        "coverage": 0.9,
        "by_class": False,
        "least": (0.25, 0.25),
        "most": (),
        "source": "val",
        "counts": (70, 60),
        "n_images": 130,
    }
    return ConformalRecord(**(values | changes))


RECORDS = {"calibration": make_calibration(), "conformal": make_conformal()}


def test_a_card_with_both_records_comes_back_from_a_file() -> None:
    task = Task(make_card(**RECORDS), make_tensors())
    loaded = unpack_task(pack_task(task), "a.safetensors")
    assert loaded.card == task.card
    assert loaded.card.calibration == RECORDS["calibration"]
    assert loaded.card.conformal == RECORDS["conformal"]


def test_multi_label_limits_come_back() -> None:
    conformal = make_conformal(most=(0.5, 1), by_class=True)
    card = make_card(multi_label=True, conformal=conformal)
    again = TaskCard.from_dict(json.loads(json.dumps(card.to_dict())))
    assert again.conformal == conformal


def test_a_card_without_them_says_nothing_of_them() -> None:
    values = make_card().to_dict()
    assert not {"calibration", "conformal"} & values.keys()
    assert TaskCard.from_dict(values).calibration is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "platt"}, r"'calibration\.method' must be one of temperature, vector"),
        ({"scale": (0.0, 1.0)}, r"'calibration\.scale' must be numbers from 0\.001 to 1000"),
        ({"scale": (1.0, 2e3)}, r"'calibration\.scale' must be numbers from"),
        ({"scale": (1.0, float("nan"))}, r"'calibration\.scale' must be a finite number"),
        ({"offset": (0.0,)}, r"'calibration\.offset' must be 2 numbers from"),
        ({"offset": (0.0, 1e9)}, r"'calibration\.offset' must be 2 numbers from"),
        ({"n_images": 0}, r"'calibration\.n_images' must be a whole number from 1"),
        ({"source": ""}, r"'calibration\.source' must be"),
        ({"after": {"log_loss": "low"}}, r"'calibration\.after\.log_loss' must be a finite"),
    ],
)
def test_a_calibration_that_breaks_a_rule_is_refused(changes, message) -> None:
    with pytest.raises(TaskFileError, match=message):
        make_calibration(**changes)
    values = make_card(**RECORDS).to_dict()
    plain = {
        key: list(value) if isinstance(value, tuple) else value for key, value in changes.items()
    }
    values["calibration"] |= plain
    with pytest.raises(TaskFileError, match=message):
        TaskCard.from_dict(values)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"coverage": 1.0}, r"'conformal\.coverage' must be in \(0, 1\)"),
        ({"by_class": 1}, r"'conformal\.by_class' must be true or false"),
        ({"least": (0.5, 1.5)}, r"'conformal\.least' must be numbers in \[0, 1\]"),
        ({"least": (0.5,)}, r"'conformal\.least' must be 2 numbers, one for each class"),
        ({"most": (0.5,)}, r"'conformal\.most' must be 2 numbers, one for each class"),
        ({"counts": (-1, 2)}, r"'conformal\.counts' must be a whole number from 0"),
        ({"n_images": 0}, r"'conformal\.n_images' must be a whole number from 1"),
    ],
)
def test_conformal_limits_that_break_a_rule_are_refused(changes, message) -> None:
    with pytest.raises(TaskFileError, match=message):
        make_conformal(**changes)
    values = make_card(**RECORDS).to_dict()
    plain = {
        key: list(value) if isinstance(value, tuple) else value for key, value in changes.items()
    }
    values["conformal"] |= plain
    with pytest.raises(TaskFileError, match=message):
        TaskCard.from_dict(values)


def test_records_of_another_number_of_classes_are_refused() -> None:
    with pytest.raises(TaskFileError, match=r"'calibration\.scale' must be a list of 2 numbers"):
        make_card(calibration=make_calibration(scale=(1, 1, 1), offset=(0, 0, 0)))
    with pytest.raises(TaskFileError, match=r"'conformal\.least' must be a list of 2 numbers"):
        make_card(conformal=make_conformal(least=(0.5,), counts=(3,)))


def test_limits_of_the_other_kind_of_task_are_refused() -> None:
    with pytest.raises(TaskFileError, match=r"'conformal\.most' must be empty in a single-label"):
        make_card(conformal=make_conformal(most=(0.5, 0.5)))
    with pytest.raises(TaskFileError, match=r"'conformal\.most' must be a list of 2 numbers"):
        make_card(multi_label=True, conformal=make_conformal())


def test_an_unknown_key_in_a_record_is_refused() -> None:
    values = make_card(**RECORDS).to_dict()
    values["conformal"]["seed"] = 1
    with pytest.raises(TaskFileError, match=r"the key \"?'?conformal\.seed"):
        TaskCard.from_dict(values)


def test_an_ensemble_does_not_take_over_what_was_found_for_one_member() -> None:
    ensemble = Ensemble("both", (Member("a", "0" * 64), Member("b", "1" * 64)), (0.5, 0.5))
    joined = join_cards(ensemble, [make_card(**RECORDS)] * 2, "ensemble.json")
    assert (joined.calibration, joined.conformal) == (None, None)
