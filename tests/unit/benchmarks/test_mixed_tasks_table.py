"""The tables of mixed batches: ratios, aims, and what they refuse."""

import copy
from typing import Any

import pytest

from benchmarks.mixed_tasks_table import compare_rows, render_mixed_tasks
from benchmarks.result_fields import ResultError


def batch(size: int, *repeats: float) -> dict[str, Any]:
    middle = sorted(repeats)[len(repeats) // 2]
    return {"batch_size": size, "images_per_second": middle, "repeats": list(repeats)}


RESULT: dict[str, Any] = {
    "setting": "Rank 4.",
    "networks": [
        {
            "backbone": "vit",
            "device": "cpu",
            "precision": "bf16",
            "reference": "bare",
            "rows": [
                {
                    "name": "bare",
                    "how": "so",
                    "batches": [batch(16, 10, 5, 8), batch(64, 10, 10, 10)],
                },
                {
                    "name": "bank",
                    "how": "so",
                    "bytes_per_task": 305_000,
                    "batches": [batch(16, 9.8, 5.1, 7.9), batch(64, 9.6, 9.6, 9.7)],
                },
            ],
            "ratios": [
                {"of": "bank", "to": "bare", "at_least": 0.96},
                {"of": "bank", "to": "bare", "at_least": 0.97},
                {"of": "bare", "to": "bank"},
            ],
            "matrix": {
                "side": 8,
                "operations_per_second": 2e12,
                "operations_per_image": 1e11,
                "of": ["bare"],
            },
        }
    ],
    "adding": {
        "at_most_seconds": 0.005,
        "rows": [
            {"from": 1, "to": 1, "seconds": 0.005},
            {"from": 992, "to": 1000, "seconds": 0.002, "repeats": [0.001, 0.002, 0.003]},
        ],
        "bytes": {"file": 600_000, "held": 305_000, "resident": 310_000},
    },
    "strategies": [
        {
            "batch_size": 64,
            "n_distinct": 4,
            "base_seconds": 0.1197,
            "extra": {"gathered": 0.051, "merged": -0.004},
        }
    ],
    "figure": "images/mixed.svg",
    "notes": ["It rained."],
}


def changed(change: Any) -> dict[str, Any]:
    result = copy.deepcopy(RESULT)
    change(result)
    return result


def test_a_ratio_is_the_median_of_those_of_the_rounds() -> None:
    rows = [
        {"name": "bare", "batches": [batch(16, 10, 5, 8)]},
        {"name": "bank", "batches": [batch(16, 9.8, 5.1, 10)]},
    ]
    # 0.98, 1.02 and 1.25; the ratio of the medians would be 1.225.
    assert compare_rows({"rows": rows}, "bank", "bare", 16) == pytest.approx(1.02)
    assert compare_rows({"rows": rows}, "bare", "bank", 16) == pytest.approx(1 / 1.02)


def test_a_ratio_is_formed_of_the_rounds_that_both_took_part_in() -> None:
    rows = [
        {"name": "bare", "batches": [batch(16, 10, 5, 8, 100, 100)]},
        {"name": "peer", "batches": [batch(16, 9, 4.5, 7.2)]},
    ]
    assert compare_rows({"rows": rows}, "peer", "bare", 16) == pytest.approx(0.9)


def test_contestants_are_compared_with_the_reference() -> None:
    table = render_mixed_tasks(RESULT)
    assert table.startswith("Rank 4.\n\n**vit on the processor, bf16**\n\n| who answers |")
    speeds = "7.90 (5.10 to 9.80) | 0.988 | 9.60 (9.60 to 9.70) | 0.960"
    assert f"| bank | 0.30 | {speeds} | as above |" in table
    assert "| bare | – | 8.00 (5.00 to 10.00) | 1.000 | 10.00" in table


def test_an_aim_is_reached_where_it_is_for_every_batch_size() -> None:
    table = render_mixed_tasks(RESULT)
    assert (
        "| bank to bare | 0.988 (0.98 to 1.02) | 0.960 (0.96 to 0.97) | at least 0.96 | yes |"
        in table
    )
    assert (
        "| bank to bare | 0.988 (0.98 to 1.02) | 0.960 (0.96 to 0.97) | at least 0.97 | no |"
        in table
    )
    assert "| bare to bank | 1.013 (0.98 to 1.02) | 1.042 (1.03 to 1.04) | – | – |" in table


def test_shares_of_the_matrix_rate_are_told() -> None:
    table = render_mixed_tasks(RESULT)
    assert "Square matrices of 8 rows are multiplied at 2 TFLOP/s here." in table
    assert "An image takes 100.0 GFLOP; of that rate batches of 64 reach 50 % by bare." in table


def test_additions_are_judged_one_by_one() -> None:
    table = render_mixed_tasks(RESULT)
    assert "| 1 | 5.00 ms (5.00 to 5.00) | under 5 ms | no |" in table
    assert "| 992 to 1,000 | 2.00 ms (1.00 to 3.00) | under 5 ms | yes |" in table
    assert "take 0.60 MB in its file, in float32. The bank holds them in 0.30 MB; the" in table
    assert "the process grew by 0.31 MB for each task." in table


def test_strategies_and_what_is_added_are_told() -> None:
    table = render_mixed_tasks(RESULT)
    assert "| images | different tasks | the layer alone | gathered | merged |" in table
    assert "| 64 | 4 | 119.7 ms | +5.1 % | -0.4 % |" in table
    assert "(images/mixed.svg)\n\nIt rained." in table


def test_only_the_contests_are_needed() -> None:
    network = {
        key: value
        for key, value in RESULT["networks"][0].items()
        if key not in ("ratios", "matrix")
    }
    table = render_mixed_tasks({"networks": [network | {"device": "cuda"}]})
    assert "**vit on the GPU, bf16**" in table
    assert "ratio" not in table


def test_a_batch_of_different_tasks_is_said_to_be_one() -> None:
    result = changed(lambda result: result["networks"][0].update(every_row_differs=True))
    assert "bf16**, every image of a batch asks another task\n" in render_mixed_tasks(result)


def drop_batch(result: Any) -> None:
    del result["networks"][0]["rows"][1]["batches"][1]


def drop_rounds(result: Any) -> None:
    result["networks"][0]["rows"][1]["batches"][0]["repeats"].clear()


def stand_still(result: Any) -> None:
    result["networks"][0]["rows"][0]["batches"][0]["repeats"][0] = 0


def name_nobody(result: Any) -> None:
    result["networks"][0]["ratios"][0]["of"] = "nobody"


def forget_limit(result: Any) -> None:
    del result["adding"]["at_most_seconds"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop_batch, r"batches of \[\[16, 64\], \[16\]\], and all must have the same"),
        (drop_rounds, "'bank' and 'bare' have no round in common"),
        (stand_still, "a speed of 'bare' is 0, and a ratio needs a positive one"),
        (name_nobody, "a ratio names 'nobody'"),
        (forget_limit, "the field 'at_most_seconds' is missing"),
        (lambda result: result.pop("networks"), "the field 'networks' is missing"),
    ],
)
def test_figures_that_do_not_fit_together_are_refused(change: Any, message: str) -> None:
    with pytest.raises(ResultError, match=message):
        render_mixed_tasks(changed(change))


def test_a_ratio_of_a_batch_that_was_not_measured_is_refused() -> None:
    with pytest.raises(ResultError, match="'bank' has no batches of 4"):
        compare_rows(RESULT["networks"][0], "bank", "bare", 4)
