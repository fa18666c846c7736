import numpy as np
import pytest

from medlora.evaluate.abstaining import NO_CLASS, Reservation, find_card_sets, judge_answers
from medlora.task.trust import ConformalRecord
from tests.unit.task.task_samples import make_card

CLASSES = ("glioma", "meningioma", "none")


def make_conformal(least, most=()):
    return ConformalRecord(0.9, False, least, most, "val", (40,) * len(least), 120)


def make_task_card(multi_label=False, **changes):
    values = {"classes": CLASSES, "thresholds": (0.5,) * 3, "self_check": None}
    return make_card(**(values | {"multi_label": multi_label} | changes))


def test_a_task_without_sets_never_abstains() -> None:
    scores = np.array([[0.4, 0.3, 0.3]])
    assert judge_answers(make_task_card(), scores) == [Reservation()]
    assert find_card_sets(make_task_card(), scores) is None


@pytest.mark.parametrize(
    ("scores", "prediction_set", "abstain"),
    [
        ((0.8, 0.1, 0.1), ("glioma",), ""),
        ((0.5, 0.4, 0.1), CLASSES[:2], "undecided between glioma and meningioma"),
        ((0.34, 0.33, 0.33), CLASSES, "undecided between glioma, meningioma and none"),
        ((0.1, 0.1, 0.8), ("none",), ""),
    ],
)
def test_a_set_of_one_class_is_an_answer_and_any_other_is_not(
    scores, prediction_set, abstain
) -> None:
    card = make_task_card(conformal=make_conformal((0.3, 0.3, 0.3)))
    expected = Reservation(abstain, prediction_set)
    assert judge_answers(card, np.array([scores])) == [expected]


def test_a_limit_belongs_to_the_set() -> None:
    card = make_task_card(conformal=make_conformal((0.5, 0.5, 0.5)))
    found = judge_answers(card, np.array([[0.5, 0.25, 0.25]]))
    assert found == [Reservation("", ("glioma",))]


def test_an_empty_set_is_a_reason_of_its_own() -> None:
    card = make_task_card(conformal=make_conformal((0.6, 0.6, 0.6)))
    found = judge_answers(card, np.array([[0.5, 0.25, 0.25], [0.2, 0.7, 0.1]]))
    assert found == [Reservation(NO_CLASS, ()), Reservation("", ("meningioma",))]


def test_a_multi_label_task_names_its_undecided_labels() -> None:
    conformal = make_conformal((0.3, 0.3, 0.8), (0.5, 0.5, 0.6))
    card = make_task_card(multi_label=True, conformal=conformal, thresholds=(0.4, 0.4, 0.7))
    scores = np.array([[0.9, 0.4, 0.7], [0.1, 0.1, 0.9], [0.4, 0.5, 0.7]])
    assert judge_answers(card, scores) == [
        Reservation("", ("glioma", "meningioma"), ("meningioma", "none")),
        Reservation("", ("none",), ()),
        Reservation("no label can be decided", ("glioma", "meningioma"), CLASSES),
    ]


def test_a_set_and_a_threshold_that_disagree_leave_the_answer_open() -> None:
    conformal = make_conformal((0.3, 0.3, 0.3))
    card = make_task_card(conformal=conformal, thresholds=(0.9, 0.1, 0.9))
    found = judge_answers(card, np.array([[0.8, 0.1, 0.1]]))
    assert found == [Reservation("the prediction set holds glioma alone", ("glioma",))]
    # A rare label: 0.2 is far more than images without it have, and less than the threshold.
    rare = make_conformal((0.1, 0.1, 0.1), (0.05, 0.05, 0.05))
    labels = make_task_card(multi_label=True, conformal=rare)
    (answer,) = judge_answers(labels, np.array([[0.2, 0.9, 0.01]]))
    assert answer == Reservation("", ("glioma", "meningioma"), ("glioma",))


def test_no_images_no_answers() -> None:
    assert judge_answers(make_task_card(), np.zeros((0, 3))) == []
