"""The part of a report about images unlike the training images."""

from typing import Any

import pytest

from medlora.report.novelty import arrange_novelty
from medlora.report.sections import Entries, Paragraph, Table

COUNTS = {"n_answers": 96, "n_abstained": 2}


def estimate(
    value: float | str, low: float | str = 0.01, high: float | str = 0.2
) -> dict[str, Any]:
    return {"value": value, "low": low, "high": high}


def make(**changes: Any) -> dict[str, Any]:
    scored: dict[str, Any] = {
        "n_images": 96,
        "n_unlike": 2,
        "share": estimate(0.021, 0.006),
        "abstaining": {
            **COUNTS,
            "error": estimate(0.1),
            "error_withheld": estimate(0.5),
            "error_of_all": estimate(0.11),
        },
    }
    return {
        "place": "blocks.4",
        "n_values": 384,
        "n_train": 1234,
        "limit": 1.3456,
        "promised": {"false_alarms": 1 / 56, "most": 0.053, "n_units": 55},
        "validation": {"n_images": 55, "n_unlike": 0},
        "scored": scored | changes,
    }


def read_entries(content: dict[str, Any]) -> dict[str, str]:
    (section,) = arrange_novelty(content)
    (entries,) = (block for block in section.blocks if isinstance(block, Entries))
    return dict(entries.pairs)


def test_statistic_limit_and_shares_are_told() -> None:
    found = read_entries(make())
    assert "what enters blocks.4 of the network" in found["statistic"]
    assert "384 values), from 1\u202f234 training images" in found["statistic"]
    assert found["limit"].startswith("1.346, chosen by 55 images or patients")
    assert "at most 1.8 % lie beyond it on average" in found["limit"]
    assert "may be up to 5.3 % (95 % confidence)" in found["limit"]
    assert found["validation images"].startswith("0 of 55 (0.0 %) lie beyond the limit")
    assert found["test images"].startswith("2 of 96 lie beyond it: a share of 0.021 (0.006–0.200).")


@pytest.mark.parametrize(
    ("low", "words"),
    [
        (0.006, "agrees with what is promised"),
        (0.03, "more than promised on average, and as much as so few validation images may"),
        (0.06, "more than chance explains"),
    ],
)
def test_the_share_is_held_against_the_promise(low: float, words: str) -> None:
    assert words in read_entries(make(share=estimate(0.1, low)))["test images"]


def test_what_abstaining_does_is_a_table() -> None:
    (section,) = arrange_novelty(
        make(with_sets={**make()["scored"]["abstaining"], "n_abstained": 9})
    )
    (table,) = (block for block in section.blocks if isinstance(block, Table))
    assert [row[:2] for row in table.rows] == [
        ("images unlike the training images", "2 of 96"),
        ("these, and doubtful prediction sets", "9 of 96"),
    ]
    assert table.rows[0][2:] == (
        "0.100 (0.010–0.200)",
        "0.500 (0.010–0.200)",
        "0.110 (0.010–0.200)",
    )


def test_where_every_image_is_answered_no_score_changes() -> None:
    none = {**make()["scored"]["abstaining"], "n_abstained": 0}
    (section,) = arrange_novelty(make(abstaining=none))
    assert not [block for block in section.blocks if isinstance(block, Table)]
    (words,) = (block.text for block in section.blocks if isinstance(block, Paragraph))
    assert "no score changes" in words


def test_without_test_images_the_others_are_told() -> None:
    content = make()
    del content["scored"]
    content["validation"] = {"n_images": 0, "n_unlike": 0}
    assert set(read_entries(content)) == {"statistic", "limit"}


def test_a_task_that_keeps_nothing_has_no_such_part() -> None:
    assert arrange_novelty(None) == ()
