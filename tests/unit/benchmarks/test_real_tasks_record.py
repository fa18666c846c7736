"""A record of many arms is not replaced by one of fewer."""

import json
from pathlib import Path

from benchmarks.real_tasks import find_lost


def test_arms_without_runs_are_named(tmp_path: Path) -> None:
    pairs = [("vit", "lora"), ("vit", "full"), ("clip", "lora, tuned")]
    rows = [{"backbone": backbone, "method": method} for backbone, method in pairs]
    path = tmp_path / "record.json"
    path.write_text(json.dumps({"result": {"rows": [*rows, *rows]}}), encoding="utf-8")
    assert find_lost(rows, path) == []
    assert find_lost(rows[:1], path) == ["vit: full", "clip: lora, tuned"]
    assert find_lost([*rows, {"backbone": "new", "method": "lora"}], path) == []


def test_without_a_record_nothing_is_lost(tmp_path: Path) -> None:
    assert find_lost([], tmp_path / "missing.json") == []
