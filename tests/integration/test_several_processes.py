"""Training in two processes, as a user starts it."""

import json
import os
import subprocess
import sys
from pathlib import Path

from medlora.runs.opened import open_task
from run_samples import TINY

ROOT = Path(__file__).resolve().parents[2]


def test_two_processes_write_one_task(images, tmp_path) -> None:
    folder = tmp_path / "run"
    command = ["train", str(images), *TINY, "-o", str(folder), "--epochs", "1", "--batch-size", "4"]
    environment = os.environ | {
        "PYTHONPATH": str(ROOT / "src"),
        "MEDLORA_CACHE": str(tmp_path / "cache"),
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "medlora.cli.main",
            *command,
            "--accelerator",
            "cpu",
            "--devices",
            "2",
        ],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("epoch 1: ") == 1
    assert done.stdout.count("task file") == 1
    opened = open_task(folder / "task.safetensors", weights="random", precision="fp32")
    assert opened.card.training["n_processes"] == 2
    assert json.loads((folder / "run.json").read_text())["n_processes"] == 2
    evaluation = json.loads((folder / "evaluation.json").read_text())
    assert evaluation["all"]["n_images"] == 4
    (history,) = json.loads((folder / "history.json").read_text())
    # Both processes' validation answers, put together again, score as one process's do.
    assert history["val_auroc"] == evaluation["val"]["overall"]["auroc"]["value"]
