"""A part of the VGG16 experiment is recorded with what was measured before, and says where."""

import json
from pathlib import Path
from typing import Any

from benchmarks.vgg16_lora import keep_recorded
from benchmarks.vgg16_lora_table import render_vgg16_lora

TRIALS = ["factorised", "linear probe", "full", "odd"]
SCORE = {"value": 0.8, "low": 0.7, "high": 0.9}


def make_row(name: str, **more: Any) -> dict[str, Any]:
    measures = dict.fromkeys(("accuracy", "recall", "precision", "auroc"), SCORE)
    return {
        **{"name": name, "published": "", "constant": "", "seed": 0, "n_images": 394},
        **{"trainable_parameters": 12, "test_images": "all", "recalls": {"glioma": SCORE}},
        **{"metrics": measures, **more},
    }


def make_part(*names: str, failed: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "part": "method",
        "title": "Methods",
        "trials": TRIALS,
        "rows": [make_row(name) for name in names],
        "failed": [{"name": name, "published": "", "error": "It explodes."} for name in failed],
        "not_run": [name for name in TRIALS if name not in {*names, *failed}],
        "grid": None,
    }


def write_record(path: Path, result: dict[str, Any]) -> Path:
    record = {
        **{"machine": {"cpu": "Old CPU", "cores": 2}, "versions": {"python": "3.11.7"}},
        **{"date": "2026-01-31T00:00:00+00:00", "commit": "0123456789abcdef"},
        **{"command": "python -m benchmarks.vgg16_lora", "result": result},
    }
    path.write_text(json.dumps(record), encoding="utf-8")
    return path


def test_what_was_run_here_replaces_what_was_recorded(tmp_path: Path) -> None:
    path = write_record(tmp_path / "part.json", make_part("factorised", "full", failed=("odd",)))
    found = keep_recorded(make_part("linear probe", "full"), path)
    assert [row["name"] for row in found["rows"]] == ["factorised", "linear probe", "full"]
    assert ["Old CPU" in row.get("origin", "") for row in found["rows"]] == [True, False, False]
    assert [(row["name"], "Old CPU" in row["origin"]) for row in found["failed"]] == [("odd", True)]
    assert found["not_run"] == []


def test_an_origin_stays_through_later_records(tmp_path: Path) -> None:
    path = write_record(tmp_path / "part.json", make_part("factorised"))
    first = keep_recorded(make_part("full"), path)
    origin = first["rows"][0]["origin"]
    write_record(path, first)
    record = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(record | {"commit": "fedcba9876543210"}), encoding="utf-8")
    second = keep_recorded(make_part("odd"), path)
    assert [row["name"] for row in second["rows"]] == ["factorised", "full", "odd"]
    assert second["rows"][0]["origin"] == origin
    assert "commit fedcba9876" in second["rows"][1]["origin"]
    assert "origin" not in second["rows"][2]
    assert second["not_run"] == ["linear probe"]


def test_a_first_record_is_what_was_found(tmp_path: Path) -> None:
    found = make_part("full")
    assert keep_recorded(found, tmp_path / "missing.json") == found


def test_a_grid_is_kept(tmp_path: Path) -> None:
    grid = {"trials": [], "best": {}}
    path = write_record(tmp_path / "part.json", make_part() | {"grid": grid})
    assert keep_recorded(make_part(), path)["grid"] == grid
    other = {"trials": [1], "best": {}}
    assert keep_recorded(make_part() | {"grid": other}, path)["grid"] == other


def test_the_table_says_where_the_rest_was_measured(tmp_path: Path) -> None:
    path = write_record(tmp_path / "part.json", make_part("factorised", "full", failed=("odd",)))
    text = render_vgg16_lora(keep_recorded(make_part("full"), path))
    assert "factorised; odd: Measured on Old CPU (2 cores)" in text
    assert text.endswith("Not run yet: linear probe.")
    assert "Measured" not in render_vgg16_lora(make_part(*TRIALS))


def test_a_mean_says_over_how_many_seeds(tmp_path: Path) -> None:
    part = make_part("full")
    part["rows"] += [make_row("full", seed=1), make_row("linear probe")]
    text = render_vgg16_lora(part)
    assert "| full (2 seeds) |" in text
    assert "| linear probe |" in text
