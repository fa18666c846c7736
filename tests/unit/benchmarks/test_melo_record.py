"""Four tasks are recorded with what was measured of them before, and say where."""

import json
from pathlib import Path
from typing import Any

from benchmarks.melo import keep_tasks
from benchmarks.melo_table import render_melo

SCORE = {"value": 0.8, "low": 0.7, "high": 0.9}
MEASURES = ("accuracy", "recall", "precision", "f1", "auroc", "exact_match")


def make_task(name: str, *methods: str) -> dict[str, Any]:
    rows = [
        {
            **{"method": method, "trainable_parameters": 12, "learning_rate": 0.001},
            **{"tried": [{"learning_rate": 0.001}, {"learning_rate": 0.003}]},
            **{"training": {"epochs": 2}, "metrics": dict.fromkeys(MEASURES, SCORE)},
        }
        for method in methods
    ]
    about = {"stands_for": "another", "limits": "Small.", "published": {}, "verdict": "It is so."}
    return {"name": name, "rows": rows, "not_run": [], "comparison": None, **about}


def make_result(*tasks: dict[str, Any]) -> dict[str, Any]:
    return {"quick": False, "backbone": {"name": "b", "parameters": 100}, "tasks": list(tasks)}


def test_a_task_without_as_many_runs_keeps_its_figures(tmp_path: Path) -> None:
    recorded = make_result(make_task("blood", "lora", "full"), make_task("breast", "lora"))
    record = {
        **{"machine": {"cpu": "Old CPU", "cores": 2}, "versions": {"python": "3.11.7"}},
        **{"date": "2026-01-31T00:00:00+00:00", "commit": "0123456789abcdef"},
        **{"command": "python -m benchmarks.melo", "result": recorded},
    }
    path = tmp_path / "melo.json"
    path.write_text(json.dumps(record), encoding="utf-8")
    found = make_result(
        make_task("blood", "lora"), make_task("breast", "lora"), make_task("chest", "full")
    )
    kept = keep_tasks(found, path)["tasks"]
    assert [len(task["rows"]) for task in kept] == [2, 1, 1]
    assert [task.get("origin", "")[:19] for task in kept] == ["Measured on Old CPU", "", ""]
    text = render_melo(keep_tasks(found, path))
    assert text.count("Limits: Small. Measured on Old CPU (2 cores)") == 1


def test_a_first_record_is_what_was_found(tmp_path: Path) -> None:
    found = make_result(make_task("blood"))
    assert keep_tasks(found, tmp_path / "missing.json") == found


def test_the_table_says_which_rate_was_taken_and_for_how_long() -> None:
    text = render_melo(make_result(make_task("blood", "linear", "lora"), make_task("breast")))
    rates = "0.001 of 0.001/0.003 (2 epochs)"
    said = f"linear probe {rates}; adapter {rates}."
    assert text.count(f"Rates chosen on validation: {said}") == 1
