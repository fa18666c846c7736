"""A result file says what was measured, where and with what."""

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import record


def test_a_record_can_be_judged_and_repeated(tmp_path: Path) -> None:
    path = record.write_result("scores", "real-tasks", {"rows": []}, seed=7, folder=tmp_path)
    assert path == tmp_path / "scores.json"
    assert list(tmp_path.iterdir()) == [path]
    written = json.loads(path.read_text(encoding="utf-8"))
    assert list(written) == [
        *("format", "name", "kind", "date", "command", "commit"),
        *("seed", "machine", "versions", "result"),
    ]
    assert (written["name"], written["kind"], written["seed"]) == ("scores", "real-tasks", 7)
    assert written["date"].endswith("+00:00")
    assert written["machine"]["cores"] >= 1
    assert written["machine"]["cpu"]
    assert written["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert written["versions"]["numpy"] == np.__version__
    assert record.read_record(path) == written


def test_what_was_never_recorded_is_no_record(tmp_path: Path) -> None:
    assert record.read_record(tmp_path / "scores.json") is None


@pytest.mark.parametrize(
    ("value", "message"),
    [(math.nan, "Out of range float"), (np.float32(0.5), "'scores' holds a value")],
)
def test_a_value_that_json_does_not_know_is_refused(
    value: Any, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        record.write_result("scores", "real-tasks", {"x": value}, seed=None, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_command_is_told_from_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    inside = record.ROOT / "docs" / "results"
    beside = record.ROOT.parent / "shared" / "my data"
    monkeypatch.setattr(sys, "argv", ["x", "--to", str(inside), str(beside)])
    command = record.describe_command()
    assert str(record.ROOT.parent) not in command
    assert command.endswith("--to docs/results '../shared/my data'")


@pytest.mark.parametrize("change", ["", "changed"])
def test_a_commit_tells_whether_its_sources_were_changed(
    change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    source = tmp_path / "src" / "code.py"
    source.parent.mkdir()
    source.write_text("", encoding="utf-8")
    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "--message", "first")
    source.write_text(change, encoding="utf-8")
    monkeypatch.setattr(record, "ROOT", tmp_path)
    expected = git("rev-parse", "HEAD") + ("+changes" if change else "")
    assert record.describe_commit() == expected


def test_without_git_the_commit_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "ROOT", tmp_path / "absent")
    assert record.describe_commit() is None
