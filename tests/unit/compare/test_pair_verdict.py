import pytest

from medlora.compare.paired import AurocDifference, PairComparison
from medlora.compare.verdict import judge_pair


def pair(value: float, low: float, high: float) -> PairComparison:
    difference = AurocDifference(value, low, high, 0.5, 0.01, None, 0.12)
    return PairComparison("lora", "full", difference, {}, ())


@pytest.mark.parametrize(
    ("found", "p_value", "expected"),
    [
        ((0.05, 0.01, 0.09), 0.01, "lora is better than full in AUROC (difference +0.050,"),
        ((-0.05, -0.09, -0.01), 0.01, "lora is worse than full in AUROC (difference -0.050,"),
        ((0.004, -0.006, 0.013), 0.4, "lora is not worse than full by more than 0.02 AUROC"),
        ((-0.01, -0.05, 0.03), 0.6, "71 images cannot tell lora and full apart"),
        ((-0.01, -0.05, 0.03), 0.6, "they would need a difference of 0.120."),
    ],
)
def test_a_sentence_says_what_the_interval_supports(found, p_value, expected) -> None:
    assert expected in judge_pair(pair(*found), p_value, n_images=71, margin=0.02)


def test_without_a_margin_nothing_is_called_not_worse() -> None:
    words = judge_pair(pair(0.004, -0.006, 0.013), 0.4, n_images=71)
    assert words.startswith("71 images cannot tell lora and full apart")


def test_a_difference_that_holds_by_itself_alone_is_not_called_one() -> None:
    words = judge_pair(pair(-0.05, -0.09, -0.01), 0.08, n_images=71, n_comparisons=3)
    assert "cannot tell" in words
    assert "p 0.080 after Holm" in words
    assert words.endswith("corrected for 3, it does not count.")


@pytest.mark.parametrize("margin", [None, 0.02])
def test_equal_answers_leave_nothing_to_judge_by(margin) -> None:
    words = judge_pair(pair(0.0, 0.0, 0.0), 1.0, n_images=6, margin=margin)
    assert words == (
        "6 images cannot tell lora and full apart: their answers are as good for every one of "
        "them, which leaves no interval."
    )
