"""A run's verdict says what its numbers support, and nothing where they support nothing."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

from medlora.report.content import ReportContent
from medlora.report.own_sections import list_sections
from medlora.report.sections import Items
from medlora.report.verdict import list_verdict
from tests.unit.report.conftest import FOUR, make_card

Maker = Callable[..., ReportContent]


def tell(content: ReportContent) -> str:
    return " ".join(list_verdict(content))


def answer_always(label: int, shares: tuple[int, ...]) -> dict[str, Any]:
    """Answers of a task that looks at nothing, and so many images of each class."""
    targets = np.eye(4, dtype=bool)[np.repeat(np.arange(4), shares)]
    probabilities = np.full(targets.shape, 0.1)
    probabilities[:, label] = 0.7
    return {"targets": targets, "probabilities": probabilities, "n_images": len(targets)}


def test_a_score_stands_beside_what_is_reached_without_looking(content_maker: Maker) -> None:
    content = content_maker(n_images=200)
    overall = content.evaluation["overall"]["accuracy"]
    found = list_verdict(content)
    assert found[0].startswith(
        f"Accuracy on 200 test images of 100 patients is {overall['value']:.3f} (95 %"
    )
    assert "Always answering glioma would give 0.250, which the interval excludes" in found[0]
    assert len(found) == 2


def test_a_constant_answer_is_no_success_however_high_its_accuracy(content_maker: Maker) -> None:
    content = content_maker(**answer_always(2, (3, 4, 90, 3)))
    assert content.evaluation["overall"]["accuracy"]["value"] == 0.9
    assert (
        "Always answering none would give 0.900, which the interval does not exclude: these images "
        "do not show that the task does better."
    ) in tell(content)


def test_a_task_that_is_worse_than_not_looking_is_called_that(content_maker: Maker) -> None:
    content = content_maker(**answer_always(1, (3, 4, 90, 3)))
    assert "the task does worse than without looking" in tell(content)


def test_several_labels_are_held_against_a_guess(content_maker: Maker) -> None:
    rng = np.random.default_rng(0)
    targets = rng.random((120, 4)) < 0.4
    content = content_maker(
        n_images=120, multi_label=True, targets=targets, probabilities=rng.random((120, 4))
    )
    assert "Mean AUROC on 120 test images" in tell(content)
    assert "Guessing would give 0.500, which the interval does not exclude" in tell(content)
    sharp = content_maker(
        n_images=120,
        multi_label=True,
        targets=targets,
        probabilities=(0.7 * targets + 0.3 * rng.random((120, 4))) * 0.9,
    )
    assert "differs by" in tell(sharp) or "cannot bound the score" in tell(sharp)


def test_images_that_are_also_in_training_carry_no_verdict(full_content: ReportContent) -> None:
    found = list_verdict(full_content)
    assert "which the interval" not in found[0]
    assert found[1] == "Of these, 20 are also in training or validation, and flatter the score."
    assert found[2].startswith("Accuracy on the 40 others is ")
    assert "which the interval" in found[2]
    assert found[3].startswith("40 images tell another method apart")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"split": "val"}, "There is no test split"),
        ({"facts": {"audit": {"n_seen": {"test": 60}}}}, "All of these images are also in"),
        ({"facts": {"n_patients_across": 3}}, "Patients with images in several splits: 3."),
    ],
)
def test_where_nothing_is_shown_of_new_images_nothing_is_claimed(
    content_maker: Maker, changes: dict[str, Any], words: str
) -> None:
    assert words not in tell(content_maker()) and "which the interval" in tell(content_maker())
    found = tell(content_maker(**changes))
    assert words in found and "which the interval" not in found


def test_shuffled_labels_have_no_verdict(content_maker: Maker) -> None:
    card = make_card(training={"shuffled_labels": True})
    assert list_verdict(content_maker(card=card)) == [
        "Labels were shuffled on purpose: the scores check the procedure, and say nothing of the "
        "task."
    ]


def test_no_mistake_in_few_images_has_an_interval_all_the_same(content_maker: Maker) -> None:
    content = content_maker(n_images=8, sharpness=50.0)
    assert content.evaluation["overall"]["accuracy"]["value"] == 1
    low = binomtest(4, 4).proportion_ci(0.95, method="wilson").low
    assert f"is 1.000 (95 % interval {low:.3f} to 1.000)" in tell(content)


def test_the_difference_that_is_told_follows_from_the_interval(content_maker: Maker) -> None:
    content = content_maker(n_images=200)
    accuracy = content.evaluation["overall"]["accuracy"]
    error = (accuracy["high"] - accuracy["low"]) / 3.92
    # Both methods' errors, of which half is shared, or none; 1.96 + 0.84 of it for 80 % power.
    expected = [2.8 * error * np.sqrt(2 * share) for share in (0.5, 1)]
    found = list_verdict(content)[-1]
    assert f"by about {expected[0]:.3f} to {expected[1]:.3f} (80 % power)" in found


def test_a_score_that_is_undefined_is_called_that(content_maker: Maker) -> None:
    content = content_maker()
    overall = {**content.evaluation["overall"], "accuracy": {"value": "undefined"}}
    found = tell(content_maker(evaluation={**content.evaluation, "overall": overall}))
    assert "is undefined." in found and "cannot bound the score" in found


def test_the_verdict_is_the_first_part_of_the_report(content_maker: Maker) -> None:
    content = content_maker(classes=FOUR)
    first = list_sections(content)[0]
    assert first.anchor == "verdict"
    assert first.blocks == (Items(tuple(list_verdict(content))),)
