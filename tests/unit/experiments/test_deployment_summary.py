"""From turns to rows: sums, medians, ratios within a turn, and differences of answers."""

import json

import pytest

from deployment_samples import make_settings
from medlora.experiments.deployment_layout import TITLES, group_rows
from medlora.experiments.deployment_summary import (
    Measured,
    compare_answers,
    summarise_deployment,
)
from medlora.experiments.strategy_process import MemoryFigures, StrategyFacts
from medlora.experiments.turns import Turn, TurnFigures
from medlora.experiments.workload import Workload

NAMES = ("plain", "switched", "mixed")
SETTINGS = make_settings(
    strategies=NAMES,
    orders=("task",),
    batch_sizes=(2,),
    n_rounds=3,
    workload=Workload(n_tasks=2, n_images=4),
)


def plant(answers: dict[str, float] | None = None) -> Measured:
    """Three rounds of two turns. Plain takes 2 s, 4 s and 8 s for all; the others a multiple."""
    measured = Measured("fp32", "cpu", load=[0.0, 1.0])
    multiples = {"plain": (1.0, 1.0, 1.0), "switched": (1.5, 1.0, 1.25), "mixed": (1.0, 1.5, 1.1)}
    for name in NAMES:
        measured.facts[name] = StrategyFacts(0 if name == "plain" else None, 100, 5.0, 2)
        measured.memory[name] = MemoryFigures(2**30, 2**29)
        for number, multiple in enumerate(multiples[name]):
            seconds = 2.0**number * multiple
            n_switches = 1 if name == "switched" else 0
            for turn in range(2):
                shift = (answers or {}).get(name, 0.0) * (number + 1)
                found = {2 * turn + image: (0.5 + shift, 0.5 - shift) for image in range(2)}
                figures = TurnFigures(seconds, 0.1 * n_switches, n_switches, [seconds], found)
                measured.add(name, Turn("task", 2, turn), figures)
    return measured


def test_rows_hold_medians_over_rounds() -> None:
    result = summarise_deployment(SETTINGS, plant())
    rows = {row["strategy"]: row for row in result["rows"]}
    assert list(rows) == list(NAMES)
    switched = rows["switched"]
    assert switched["rounds"]["inference_seconds"] == [3.0, 4.0, 10.0]
    assert switched["inference_seconds"] == 4.0
    assert switched["switching_seconds"] == pytest.approx(0.2)
    assert switched["n_switches"] == 2
    assert switched["switch_seconds"] == pytest.approx(0.1)
    assert switched["total_seconds"] == pytest.approx(4.2 + 5.0)
    # Of the batches 1.5, 1.5, 2, 2, 5, 5 seconds.
    assert switched["p50_seconds"] == 2.0
    assert switched["p99_seconds"] == pytest.approx(5.0)


def test_a_ratio_is_formed_within_its_turn() -> None:
    result = summarise_deployment(SETTINGS, plant())
    rows = {row["strategy"]: row for row in result["rows"]}
    assert rows["switched"]["rounds"]["ratio"] == [1.5, 1.0, 1.25]
    assert rows["switched"]["ratio"] == 1.25
    # The ratio of the medians would be 6 to 4.
    assert rows["mixed"]["inference_seconds"] == 6.0
    assert rows["mixed"]["ratio"] == 1.1
    assert rows["plain"]["ratio"] == 1.0


def test_a_turn_that_was_disturbed_does_not_spoil_its_round() -> None:
    measured = plant()
    answers = dict.fromkeys(range(4), (0.5, 0.5))
    for name, seconds in (("plain", 1.0), ("switched", 1.5), ("mixed", 1.2)):
        for number in range(5):
            # Other work falls on two of the bank's five turns.
            took = 3.0 if name == "mixed" and number in (1, 2) else seconds
            figures = TurnFigures(took, 0.0, 0, [took], dict(answers))
            measured.add(name, Turn("shuffled", 2, number), figures)
    settings = make_settings(
        strategies=NAMES,
        orders=("task", "shuffled"),
        batch_sizes=(2,),
        workload=SETTINGS.workload,
    )
    rows = summarise_deployment(settings, measured)["rows"]
    (mixed,) = [row for row in rows if row["order"] == "shuffled" and row["strategy"] == "mixed"]
    assert mixed["inference_seconds"] == pytest.approx(9.6)
    assert mixed["ratio"] == pytest.approx(1.2)
    assert mixed["rounds"]["ratio"] == [pytest.approx(1.2)]


def test_without_a_switch_there_is_no_time_of_one() -> None:
    rows = summarise_deployment(SETTINGS, plant())["rows"]
    assert [row["switch_seconds"] is None for row in rows] == [True, False, True]


def test_answers_are_compared_with_those_of_the_first_that_has_all_tasks() -> None:
    differences = compare_answers(SETTINGS, plant({"mixed": 0.01}))
    assert differences == {"plain": 0.0, "switched": 0.0, "mixed": pytest.approx(0.03)}
    # Switched, whose first answers are the measure, differs from itself in later rounds.
    differences = compare_answers(SETTINGS, plant({"switched": 0.01}))
    assert differences["switched"] == pytest.approx(0.02)
    assert differences["plain"] == pytest.approx(0.01)


def test_one_task_is_compared_on_its_own_images() -> None:
    measured = plant()
    for figures in measured.passes["plain", "task", 2]:
        # Images 2 and 3 ask the other task, of three classes.
        figures.answers[2] = figures.answers[3] = (0.9, 0.1)
    assert compare_answers(SETTINGS, measured)["plain"] == 0.0
    measured.passes["plain", "task", 2][1].answers[1] = (0.6, 0.4)
    assert compare_answers(SETTINGS, measured)["plain"] == pytest.approx(0.1)


def test_nothing_to_compare_with_is_said() -> None:
    measured = plant()
    only = make_settings(
        strategies=("plain",), orders=("task",), batch_sizes=(2,), workload=SETTINGS.workload
    )
    assert compare_answers(only, measured) == {"plain": None}


def test_the_result_is_plain_json() -> None:
    result = summarise_deployment(SETTINGS, plant())
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert [item["title"] for item in result["strategies"]] == [TITLES[name] for name in NAMES]
    assert list(group_rows(result)) == ["in order of task, batches of 2"]
