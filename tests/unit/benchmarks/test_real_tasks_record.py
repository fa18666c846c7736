"""A record of many arms is not replaced by one of fewer."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.real_tasks import keep_arms
from benchmarks.real_tasks_table import render_real_tasks

MACHINE = {"cpu": "a processor", "cores": 2}


def make_row(backbone: str, method: str, accuracy: float = 0.5, **more: Any) -> dict[str, Any]:
    return {
        "data": "MRI",
        "test_images": "all test images",
        "n_images": 4,
        "backbone": backbone,
        "method": method,
        "seed": 0,
        "metrics": {"accuracy": {"value": accuracy}},
        **more,
    }


def compare(verdict: str) -> dict[str, Any]:
    return {"test_images": "All test images", "pairs": [{"verdict": verdict}]}


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    result = {
        "rows": [
            make_row("vit", "lora"),
            make_row("vit", "full", 0.7, origin="Measured long ago"),
            make_row("clip", "lora, tuned"),
        ],
        "comparisons": [compare("full is better than lora.")],
        "not_run": ["clip: full"],
    }
    path = tmp_path / "record.json"
    record = {
        "machine": MACHINE,
        "versions": {"torch": "2.9"},
        "date": "2026-01-31T00:00:00+00:00",
        "command": "python -m benchmarks.real_tasks",
        "result": result,
    }
    path.write_text(json.dumps(record), encoding="utf-8")
    return path


def test_arms_without_runs_keep_their_figures_and_where_they_are_from(recorded: Path) -> None:
    new = {
        "rows": [make_row("vit", "lora", 0.9), make_row("clip", "lora, new", 0.8)],
        "comparisons": [compare("lora, new is worse.")],
        "not_run": ["vit: full", "clip: lora, tuned", "clip: full"],
    }
    kept = keep_arms(new, recorded)
    arms = [(row["backbone"], row["method"], "origin" in row) for row in kept["rows"]]
    assert arms == [
        ("vit", "full", True),
        ("clip", "lora, tuned", True),
        ("vit", "lora", False),
        ("clip", "lora, new", False),
    ]
    assert kept["rows"][0]["origin"] == "Measured long ago"
    assert kept["not_run"] == ["clip: full"]
    page = render_real_tasks(kept)
    assert "Of before are full on vit. Measured long ago." in page
    assert "Of before are lora, tuned on clip. Measured on a processor (2 cores);" in page
    before, _, now = page.partition("full is better than lora.")
    assert "(AUROC, DeLong): Measured on a processor" in before
    assert "Measured" not in now
    assert "lora, new is worse." in now
    assert "0.900" in page and page.count("| lora |") == 1


def test_what_is_measured_again_is_not_told_twice(recorded: Path) -> None:
    new = {
        "rows": [make_row("clip", "lora, new", 0.8)],
        "comparisons": [compare("lora, new is worse.")],
        "not_run": [],
    }
    first = keep_arms(new, recorded)
    record = json.loads(recorded.read_text(encoding="utf-8")) | {"result": first}
    recorded.write_text(json.dumps(record), encoding="utf-8")
    assert keep_arms(new, recorded) == first


def test_what_was_all_run_again_replaces_the_record(recorded: Path) -> None:
    rows = [make_row("vit", "lora"), make_row("vit", "full"), make_row("clip", "lora, tuned")]
    new = {"rows": rows, "comparisons": [], "not_run": []}
    assert keep_arms(new, recorded) == new


def test_without_a_record_nothing_is_kept(tmp_path: Path) -> None:
    new = {"rows": [make_row("vit", "lora")], "comparisons": [], "not_run": []}
    assert keep_arms(new, tmp_path / "missing.json") == new
