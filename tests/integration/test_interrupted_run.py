"""Runs that are killed or asked to stop, at many moments, and end as if nothing had happened."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from medlora.cli import train as train_command
from medlora.cli.terminal import show_progress
from run_samples import TINY, assert_same_tensors, read_tensors, run_command

ROOT = Path(__file__).resolve().parents[2]
# Dropout, augmentation and drawing of images: everything random takes part.
OPTIONS = (
    *TINY,
    *("--epochs", "3", "--batch-size", "8", "--dropout", "0.2", "--sampling", "balanced"),
    *("--rotation", "15", "--flip-horizontal", "--noise", "0.05", "--shift", "0.1"),
)
# Runs the command line with a bar that kills the process where it is told to.
KILLER = """
import contextlib, os, signal, sys
from medlora import storage
from medlora.cli import main, train

stage, done = sys.argv.pop(1).rsplit(":", 1)

def kill(now, step, total, **figures):
    if (now, step) == (stage, int(done)):
        if stage != "validation":
            os.kill(os.getpid(), signal.SIGKILL)
        # After the next write has begun: half a checkpoint lies beside the last whole one.
        storage.os.fsync = lambda stream: os.kill(os.getpid(), signal.SIGKILL)

train.show_progress = lambda **options: contextlib.nullcontext(kill)
main.run()
"""


def run_killed(moment: str, *arguments: object) -> int:
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-c", KILLER, moment, *map(str, arguments)]
    return subprocess.run(
        command, env=environment, stdout=subprocess.DEVNULL, check=False
    ).returncode


@pytest.fixture(scope="module")
def whole(images, tmp_path_factory):
    """The run that nothing interrupts."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDLORA_CACHE", str(folder.parent / "cache"))
        assert run_command(patch, "train", images, *OPTIONS, "-o", folder) == 0
    return folder


def test_kill_9_at_any_moment_changes_no_bit(images, whole, tmp_path, monkeypatch, own_cache):
    folder = tmp_path / "run"
    assert run_killed("epoch 1:2", "train", images, *OPTIONS, "-o", folder) == -signal.SIGKILL
    assert not (folder / "checkpoint.pt").exists()
    # In the middle of writing the first checkpoint, then in the middle of an epoch.
    assert run_killed("validation:4", "train", "--resume", folder) == -signal.SIGKILL
    assert list(folder.glob(".checkpoint.pt.*.part"))
    assert not (folder / "checkpoint.pt").exists()
    assert run_killed("epoch 2:1", "train", "--resume", folder) == -signal.SIGKILL
    assert (folder / "checkpoint.pt").exists()
    assert not (folder / "task.safetensors").exists()
    assert run_command(monkeypatch, "train", "--resume", folder) == 0
    assert_same_tensors(read_tensors(folder), read_tensors(whole))
    assert sorted(os.listdir(folder)) == sorted(os.listdir(whole))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", [("epoch 1", 2), ("validation", 4), ("epoch 2", 3)])
def test_a_signal_leaves_a_checkpoint_to_go_on_from(
    images, whole, tmp_path, monkeypatch, capsys, own_cache, number, moment
):
    folder = tmp_path / "run"
    raised = []

    def interrupt(stage, done, total, **figures):
        if (stage, done) == moment and not raised:
            raised.append(moment)
            signal.raise_signal(number)

    class Bars:
        def __enter__(self):
            return interrupt

        def __exit__(self, *error):
            return None

    monkeypatch.setattr(train_command, "show_progress", lambda **options: Bars())
    assert run_command(monkeypatch, "train", images, *OPTIONS, "-o", folder) == 130
    assert raised
    captured = capsys.readouterr()
    assert f"stopped; go on with: medlora train --resume {folder}" in captured.err
    assert (folder / "checkpoint.pt").is_file()
    # Once an epoch is finished there is a task to use, too.
    assert (folder / "task.safetensors").is_file() == (moment[0] != "epoch 1")
    monkeypatch.setattr(train_command, "show_progress", show_progress)
    assert run_command(monkeypatch, "train", "--resume", folder) == 0
    assert_same_tensors(read_tensors(folder), read_tensors(whole))


def test_an_interrupt_before_training_ends_at_once(images, tmp_path, monkeypatch, own_cache):
    def interrupt(*arguments, **more):
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr("medlora.runs.ongoing.prepare_table", interrupt)
    folder = tmp_path / "run"
    assert run_command(monkeypatch, "train", images, *TINY, "-o", folder) == 130
    assert not folder.exists()
