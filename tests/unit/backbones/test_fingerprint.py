import hashlib

import pytest
import torch
from torch import Tensor, nn

from medlora.backbones.fingerprint import compute_fingerprint


def make_state() -> dict[str, Tensor]:
    return {
        "conv.weight": torch.tensor([[1.0, -2.5], [0.0, 3.0]]),
        "bn.running_mean": torch.tensor([0.5]),
        "index": torch.tensor([3, -1], dtype=torch.int64),
        "scalar": torch.tensor(2.0),
    }


def test_it_is_a_digest_of_names_types_shapes_and_bytes() -> None:
    content = (
        b"a.x\0float32\0(2, 1)\0"
        + bytes.fromhex("0000803f 000020c0")  # 1.0 and -2.5, least significant byte first
        + b"b\0int64\0()\0"
        + bytes.fromhex("0300000000000000")
    )
    state = {"b": torch.tensor(3), "a.x": torch.tensor([[1.0], [-2.5]])}
    assert compute_fingerprint(state) == hashlib.sha256(content).hexdigest()


def test_the_order_of_the_tensors_does_not_matter() -> None:
    state = make_state()
    backwards = dict(reversed(state.items()))
    assert list(backwards) != list(state)
    assert compute_fingerprint(backwards) == compute_fingerprint(state)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_same_numbers_in_another_precision_have_the_same_fingerprint(
    dtype: torch.dtype,
) -> None:
    state = make_state()
    other = {k: v.to(dtype) if v.is_floating_point() else v for k, v in state.items()}
    assert compute_fingerprint(other) == compute_fingerprint(state)


def test_memory_layout_and_gradients_do_not_matter() -> None:
    state = make_state()
    weight = state["conv.weight"]
    transposed = nn.Parameter(weight.T.contiguous().T)
    assert not transposed.is_contiguous()
    assert compute_fingerprint(state | {"conv.weight": transposed}) == compute_fingerprint(state)


def test_counters_of_training_steps_are_left_out() -> None:
    counted = make_state() | {"bn.num_batches_tracked": torch.tensor(7)}
    assert compute_fingerprint(counted) == compute_fingerprint(make_state())


@pytest.mark.parametrize(
    "changes",
    [
        {"conv.weight": torch.tensor([[1.0, -2.5], [0.0, 3.0000002]])},
        {"conv.weight": torch.tensor([[1.0, -2.5, 0.0, 3.0]])},
        {"bn.running_mean": torch.tensor([0.5, 0.5])},
        {"index": torch.tensor([3, -1], dtype=torch.int32)},
        {"index": torch.tensor([3.0, -1.0])},
        {"another": torch.zeros(0)},
    ],
    ids=["value", "shape", "length", "integer type", "kind", "name"],
)
def test_any_change_gives_another_fingerprint(changes: dict[str, Tensor]) -> None:
    assert compute_fingerprint(make_state() | changes) != compute_fingerprint(make_state())


def test_a_renamed_tensor_gives_another_fingerprint() -> None:
    renamed = {name.replace("conv", "conv1"): value for name, value in make_state().items()}
    assert compute_fingerprint(renamed) != compute_fingerprint(make_state())
