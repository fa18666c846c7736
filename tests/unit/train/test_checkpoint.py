import io
import os

import pytest
import torch

from medlora.errors import TrainingError
from medlora.train.checkpoint import (
    CHECKPOINT_VERSION,
    CheckpointFile,
    CheckpointMemory,
    TrainingState,
    pack_state,
    unpack_state,
)


def make_state() -> TrainingState:
    weight = torch.nn.Parameter(torch.arange(4.0))
    optimizer = torch.optim.AdamW([weight], lr=0.1)
    weight.sum().backward()
    optimizer.step()
    return TrainingState(
        epoch=2,
        step=3,
        loss_sum=0.1 + 0.2,
        smoothed_loss=1 / 3,
        first_loss=1.5,
        history=[{"epoch": 1.0, "val_auroc": 0.75}],
        best_epoch=1,
        best_score=(0.75, -0.5),
        best_tensors={"head.bias": torch.tensor([1 / 7])},
        tensors={"head.bias": weight.detach().clone()},
        optimizer=optimizer.state_dict(),
    )


def test_a_state_comes_back_bit_for_bit() -> None:
    state = make_state()
    again = unpack_state(pack_state(state))
    plain = {"tensors", "best_tensors", "optimizer"}
    for name in TrainingState.__dataclass_fields__.keys() - plain:
        assert getattr(again, name) == getattr(state, name), name
    for name in ("tensors", "best_tensors"):
        assert getattr(again, name).keys() == getattr(state, name).keys()
        for key, tensor in getattr(state, name).items():
            assert torch.equal(getattr(again, name)[key], tensor)
    assert again.optimizer["param_groups"] == state.optimizer["param_groups"]
    moments, kept = state.optimizer["state"][0], again.optimizer["state"][0]
    assert all(torch.equal(kept[key], moments[key]) for key in ("step", "exp_avg", "exp_avg_sq"))


@pytest.mark.parametrize("n_bytes", [0, 1, 100, -1])
def test_damaged_bytes_are_refused(n_bytes) -> None:
    with pytest.raises(TrainingError, match=r"checkpoint cannot be read .* Start the run again"):
        unpack_state(pack_state(make_state())[:n_bytes])


def test_an_unknown_field_is_refused() -> None:
    stream = io.BytesIO()
    torch.save({"version": CHECKPOINT_VERSION, "surprise": 1}, stream)
    with pytest.raises(TrainingError, match="cannot be read"):
        unpack_state(stream.getvalue())


def test_another_version_is_refused() -> None:
    stream = io.BytesIO()
    torch.save({"version": 99}, stream)
    with pytest.raises(TrainingError, match=r"has version 99, this MedLoRA reads version 1"):
        unpack_state(stream.getvalue())


class Malicious:
    def __reduce__(self):
        return os.mkdir, ("/tmp/medlora-was-here",)


def test_code_in_a_checkpoint_is_not_run(monkeypatch) -> None:
    stream = io.BytesIO()
    torch.save({"version": CHECKPOINT_VERSION, "epoch": Malicious()}, stream)
    called = []
    monkeypatch.setattr(os, "mkdir", lambda *arguments: called.append(arguments))
    with pytest.raises(TrainingError, match="cannot be read"):
        unpack_state(stream.getvalue())
    assert called == []


def test_a_file_keeps_the_last_content(tmp_path) -> None:
    store = CheckpointFile(tmp_path / "deep" / "checkpoint.pt")
    assert store.load() is None
    store.save(b"one")
    store.save(b"two")
    assert store.load() == b"two"
    assert [path.name for path in store.path.parent.iterdir()] == ["checkpoint.pt"]


def test_memory_keeps_the_last_content() -> None:
    store = CheckpointMemory()
    assert store.load() is None
    store.save(b"one")
    assert store.load() == b"one"
