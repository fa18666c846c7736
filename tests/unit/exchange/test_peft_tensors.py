import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor

from medlora.errors import TaskFileError
from medlora.exchange.peft_tensors import pack_tensors, unpack_tensors
from medlora.exchange.updates import LayerUpdate
from tests.unit.task.task_samples import draw_tensor, same_bits

A, B = "base_model.model.fc.lora_A.weight", "base_model.model.fc.lora_B.weight"


def draw_file(**changes: Tensor) -> bytes:
    """A plain adapter of one layer; `A` and `B` are short for the names of its tensors."""
    tensors = {A: draw_tensor(2, 3), B: draw_tensor(4, 2)}
    return save(tensors | {{"A": A, "B": B}.get(key, key): value for key, value in changes.items()})


def test_what_is_packed_is_unpacked_in_its_own_types() -> None:
    updates = {
        "blocks.0.fc": LayerUpdate(draw_tensor(2, 3).half(), draw_tensor(4, 2).bfloat16(), 0.5),
        "conv": LayerUpdate(draw_tensor(2, 3, 3, 3), draw_tensor(4, 2, 1, 1), 0.5),
    }
    saved = {"head.fc.weight": draw_tensor(2, 5), "bn.num_batches_tracked": torch.tensor(3)}
    content = pack_tensors(updates, saved)
    assert pack_tensors(updates, saved) == content
    read = unpack_tensors(content, "here")
    assert read.pairs.keys() == updates.keys()
    for path, update in updates.items():
        assert same_bits(read.pairs[path][0], update.down)
        assert same_bits(read.pairs[path][1], update.up)
    assert read.saved.keys() == saved.keys()
    assert all(same_bits(read.saved[key], saved[key]) for key in saved)
    assert "base_model.model.blocks.0.fc.lora_A.weight" in load(content)


def test_tensors_that_share_memory_are_packed() -> None:
    both = draw_tensor(4, 4)
    update = LayerUpdate(both[:2], both[:, :2], 1.0)
    pair = unpack_tensors(pack_tensors({"fc": update}, {"head.weight": both}), "here").pairs["fc"]
    assert pair[1].equal(both[:, :2])


def test_double_precision_becomes_single() -> None:
    pair = unpack_tensors(draw_file(A=draw_tensor(2, 3).double()), "here").pairs["fc"]
    assert pair[0].dtype == torch.float32


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "here is not a whole safetensors file"),
        (draw_file()[:-1], "here is not a whole safetensors file"),
        (b"\x80\x04\x95" + bytes(40), "here is not a whole safetensors file"),
        (draw_file(A=torch.full((2, 3), torch.nan)), "'fc.lora_A.weight' holds NaN or infinity"),
        (draw_file(B=torch.full((4, 2), torch.inf)), "'fc.lora_B.weight' holds NaN or infinity"),
        (draw_file(B=torch.ones(4, 2, dtype=torch.int8)), r"is torch.int8 of shape \(4, 2\)"),
        (draw_file(A=draw_tensor(2)), r"is torch.float32 of shape \(2,\)"),
        (save({A: draw_tensor(2, 3)}), "lora_B of layer 'fc' is missing"),
        (save({B: draw_tensor(4, 2)}), "lora_A of layer 'fc' is missing"),
        (
            draw_file(**{"base_model.model.fc.lora_magnitude_vector": draw_tensor(4)}),
            "'base_model.model.fc.lora_magnitude_vector' belongs to a kind of LoRA",
        ),
        (
            draw_file(**{"base_model.model.fc.lora_B.bias": draw_tensor(4)}),
            "'base_model.model.fc.lora_B.bias' belongs to a kind of LoRA",
        ),
        (draw_file(**{"../../x": draw_tensor(4)}), "'../../x' is no name of a tensor"),
        (draw_file(**{"a." * 120 + "b": draw_tensor(4)}), "is no name of a tensor"),
    ],
)
def test_a_faulty_file_is_refused(content: bytes, fault: str) -> None:
    with pytest.raises(TaskFileError, match=fault):
        unpack_tensors(content, "here")
