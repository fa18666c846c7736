import numpy as np

from medlora.audit.shortcuts import predict_from_facts, select_varying
from medlora.evaluate.metrics import auroc

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 2, 300)
# The label shows in the middle of the second fact's range only, which no straight line finds.
FACTS = np.column_stack(
    [RNG.normal(size=300), np.where(LABELS, 0, RNG.choice([-5, 5], 300)) + RNG.normal(size=300)]
)
FOLDS = np.arange(300) % 5
TARGETS = np.eye(2, dtype=bool)[LABELS]


def test_a_telling_fact_is_found_and_another_is_not() -> None:
    telling, idle, both = (
        auroc(predict_from_facts(FACTS, own, TARGETS, FOLDS)[:, 1], TARGETS[:, 1])
        for own in ([1], [0], [0, 1])
    )
    assert telling > 0.95
    assert both > 0.9
    assert 0.35 < idle < 0.65


def test_labels_that_an_image_may_have_several_of_are_asked_one_by_one() -> None:
    targets = np.column_stack([LABELS == 1, np.zeros(300, bool), LABELS == 0])
    answers = predict_from_facts(FACTS, [1], targets[:, [0, 1]], FOLDS)
    assert auroc(answers[:, 0], targets[:, 0]) > 0.95
    assert (answers[:, 1] == 0).all()


def test_facts_that_are_the_same_everywhere_are_left_out() -> None:
    assert select_varying(np.column_stack([np.ones(4), np.arange(4.0)])) == [1]
