from typing import Any

import pytest

from medlora.experiments.verdict import judge_task


def row(method: str, low: Any, value: Any, high: Any) -> dict[str, Any]:
    return {"method": method, "metrics": {"auroc": {"low": low, "value": value, "high": high}}}


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        ([row("full", 0.70, 0.75, 0.79)], "is better than full fine-tuning (0.750)."),
        ([row("full", 0.95, 0.97, 0.99)], "is worse than full fine-tuning (0.970)."),
        (
            [row("full", 0.80, 0.84, 0.88)],
            "lies not below full fine-tuning (0.840), which these images",
        ),
        (
            [row("linear", 0.82, 0.86, 0.9)],
            "lies below the linear probe (0.860), which these images",
        ),
        (
            [row("linear", 0.1, 0.2, 0.3), row("full", 0.95, 0.97, 0.99)],
            "is better than the linear probe (0.200) and is worse than full fine-tuning (0.970).",
        ),
        ([], "nothing was run to compare it with"),
        ([row("full", "undefined", "undefined", "undefined")], "nothing was run to compare"),
    ],
)
def test_a_sentence_says_no_more_than_the_intervals(others: Any, expected: str) -> None:
    lora = [row("lora", 0.79, 0.84, 0.88), row("lora", 0.81, 0.86, 0.90)]
    assert expected in judge_task([*lora, *others])


def test_without_an_adapter_there_is_nothing_to_say() -> None:
    assert judge_task([row("full", 0.1, 0.2, 0.3)]) == "The adapter has no AUROC here yet."
