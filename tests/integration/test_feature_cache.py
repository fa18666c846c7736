"""Runs with the frozen part computed once, against runs that compute it at every step."""

import json
import os
import signal
from pathlib import Path

import pytest

from medlora.task.file import load_task
from run_samples import TINY, assert_same_tensors, read_tensors, run_command
from tests.integration.test_interrupted_run import run_killed

# Everything random that goes with views takes part.
VIEWS = (
    *("--epochs", "3", "--batch-size", "8", "--sampling", "balanced", "--views", "2"),
    *("--rotation", "15", "--flip-horizontal", "--noise", "0.05", "--shift", "0.1"),
)
PROBE = (*TINY, *VIEWS, "--method", "linear")


def do_run(data: Path, folder: Path, *options: str) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDLORA_CACHE", str(folder.parent / f"cache-{folder.name}"))
        assert run_command(patch, "train", data, *options, "-o", folder) == 0
    return folder


@pytest.fixture(scope="module")
def cached(images, tmp_path_factory):
    """A linear probe on kept features that nothing interrupts."""
    folder = tmp_path_factory.mktemp("features") / "cached"
    return do_run(images, folder, *PROBE, "--cache-features", "on")


def read_kept(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "features").glob("??/*")}


def test_the_task_is_the_same_with_and_without_the_cache(images, cached, tmp_path) -> None:
    plain = do_run(images, tmp_path / "plain", *PROBE, "--cache-features", "off")
    assert not read_kept(tmp_path / "cache-plain")
    one, other = read_tensors(cached), read_tensors(plain)
    assert one.keys() == other.keys()
    for name in one:
        # The first part is computed in batches of another size, which may round otherwise.
        assert (one[name] - other[name]).abs().max() <= 1e-5 * other[name].abs().max(), name
    scores = [json.loads((run / "evaluation.json").read_text())["all"] for run in (cached, plain)]
    assert scores[0]["confusion"] == scores[1]["confusion"]
    training = load_task(cached / "task.safetensors").card.training
    assert training["features"].startswith("cached at behind: 100 % of a forward pass")
    assert training["views"] == 2
    assert load_task(plain / "task.safetensors").card.training["features"] == "not cached, as asked"
    # Two views of each training image, and the others as they are.
    n_images = load_task(cached / "task.safetensors").card.data["n_images"]
    kept = read_kept(cached.parent / "cache-cached")
    assert len(kept) <= 2 * n_images["train"] + n_images["val"] + n_images["test"]
    assert len(kept) > n_images["train"] + n_images["val"] + n_images["test"]


def test_an_adapter_on_the_last_block_is_trained_on_what_the_others_gave(images, tmp_path) -> None:
    options = (*TINY, *VIEWS, "--last-blocks", "1", "--dropout", "0.2")
    one = do_run(images, tmp_path / "kept", *options, "--cache-features", "on")
    other = do_run(images, tmp_path / "plain", *options, "--cache-features", "off")
    card = load_task(one / "task.safetensors").card
    assert list(card.adapter.layers) == ["blocks.5.attn.qkv"]
    assert card.training["features"].startswith("cached at blocks.5: 8")
    for name, tensor in read_tensors(other).items():
        difference = (read_tensors(one)[name] - tensor).abs().max()
        assert difference <= 1e-4 * tensor.abs().max(), name


def test_kill_9_while_filling_and_while_training_changes_no_bit(
    images, cached, tmp_path, monkeypatch, own_cache
) -> None:
    folder, on = tmp_path / "run", ("--cache-features", "on")
    start = ("train", images, *PROBE, *on, "-o", folder)
    assert run_killed("features, view 1:20", *start) == -signal.SIGKILL
    # What killing it earlier would have left: half of the entries, one of them being written,
    # and one that the disk lost the end of.
    entries = sorted((own_cache / "features").glob("??/*"))
    assert len(entries) == 20
    for entry in entries[::2]:
        entry.rename(entry.with_name(f"{entry.name}.0123.part"))
    entries[1].write_bytes(entries[1].read_bytes()[:-3])
    assert run_killed("epoch 2:1", "train", "--resume", folder) == -signal.SIGKILL
    assert run_command(monkeypatch, "train", "--resume", folder) == 0
    assert_same_tensors(read_tensors(folder), read_tensors(cached))
    assert sorted(os.listdir(folder)) == sorted(os.listdir(cached))


def test_a_second_run_computes_nothing_again(images, cached, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("MEDLORA_CACHE", str(cached.parent / "cache-cached"))
    before = read_kept(cached.parent / "cache-cached")
    assert run_command(monkeypatch, "train", images, *PROBE, "-o", tmp_path / "again") == 0
    captured = capsys.readouterr()
    assert "features   cached at behind" in captured.out
    assert "features, view" not in captured.err
    assert read_kept(cached.parent / "cache-cached") == before
    assert_same_tensors(read_tensors(tmp_path / "again"), read_tensors(cached))


def test_what_cannot_be_cached_is_said(images, tmp_path, monkeypatch, capsys, own_cache) -> None:
    fresh = (*TINY, "--method", "linear", "--epochs", "2", "--flip-horizontal")
    assert run_command(monkeypatch, "train", images, *fresh, "-o", tmp_path / "run") == 0
    assert "features   not cached: augmentation is drawn anew at every step" in (
        capsys.readouterr().out
    )
    forced = (*fresh, "--cache-features", "on", "-o", tmp_path / "other")
    assert run_command(monkeypatch, "train", images, *forced) == 2
    assert "(--views K draws K views once)" in capsys.readouterr().err
