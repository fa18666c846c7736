"""`medlora bench deployment` as it is called, with real processes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from deployment_samples import BACKBONE
from run_samples import run_command

SMALL = (
    *("--backbone", BACKBONE, "--images", "6", "--batch-size", "3", "--order", "shuffled"),
    *("--tasks", "3", "--rounds", "1", "--threads", "1", "--precision", "fp32"),
    *("--device", "cpu", "--strategies", "plain,mixed"),
)


def test_strategies_are_measured_and_answer_alike(monkeypatch, capsys, tmp_path) -> None:
    json_file = tmp_path / "result.json"
    assert run_command(monkeypatch, "bench", "deployment", *SMALL, "--json", json_file) == 0
    result = json.loads(json_file.read_text(encoding="utf-8"))["result"]
    assert result["n_threads"] == 1
    assert [item["name"] for item in result["strategies"]] == ["plain", "mixed"]
    for item in result["strategies"]:
        assert item["largest_difference"] < 1e-5
        assert item["loading_seconds"] > 0
        assert 0 < item["peak_memory_increase_bytes"] < item["peak_memory_bytes"]
    assert [row["n_switches"] for row in result["rows"]] == [0, 0]
    assert all(row["inference_seconds"] > 0 for row in result["rows"])
    assert "mixed" in capsys.readouterr().out


def test_an_interrupt_leaves_nothing_behind(tmp_path: Path) -> None:
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    json_file = tmp_path / "result.json"
    command = [sys.executable, "-m", "medlora.cli.main", "bench", "deployment", *SMALL]
    with subprocess.Popen(
        [*command, "--strategies", "plain", "--rounds", "100000", "--json", str(json_file)],
        env=os.environ | {"TMPDIR": str(scratch), "PYTHONPATH": os.pathsep.join(sys.path)},
        stderr=subprocess.PIPE,
        text=True,
        # As in a terminal, where Ctrl-C goes to the strategies' processes as well.
        start_new_session=True,
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("loading strategies"):
                break
        time.sleep(0.2)
        assert list(scratch.iterdir())
        os.killpg(process.pid, signal.SIGINT)
        rest = process.stderr.read()
    assert process.returncode == 130
    assert "Traceback" not in rest
    assert list(scratch.iterdir()) == []
    assert not json_file.exists()
