"""Small tasks for the tests of task files."""

import hashlib
import json
from collections.abc import Callable
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from medlora.preprocessing import Preprocessing
from medlora.task.card import (
    AdapterSettings,
    BackboneReference,
    FactorisedSettings,
    NoveltySettings,
    SelfCheck,
    TaskCard,
)
from medlora.task.file import Task

FINGERPRINT = "3f9a12" + "0" * 58


def draw_tensor(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator)


def make_adapter(**changes: Any) -> AdapterSettings:
    values: dict[str, Any] = {
        "rank": 2,
        "alpha": 4.0,
        "scaling": "alpha/rank",
        "dropout": 0.0,
        "layers": {"blocks.0.attn.qkv": ("q", "v"), "fc": (), "conv": ()},
    }
    return AdapterSettings(**(values | changes))


def make_card(**changes: Any) -> TaskCard:
    values: dict[str, Any] = {
        "name": "tb-cxr",
        "classes": ("normal", "tuberculosis é"),
        "multi_label": False,
        "method": "lora",
        "backbone": BackboneReference("vit_base_patch16_224", FINGERPRINT),
        "preprocessing": Preprocessing((224, 224), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        "adapter": make_adapter(),
        "thresholds": (0.5, 0.1 + 0.2),
        "training": {"seed": 1, "learning_rate": 1e-3, "weights": None, "steps": (1, 2)},
        "data": {"n_images": {"train": 530, "val": 66}, "sha256": "ab" * 32},
        "metrics": {"val": {"auroc": [0.894, 0.83, 0.94], "note": 'quote " and \\ slash\n'}},
        "software": {"torch": "2.9.0", "medlora": "0.1.0"},
        "created": "2025-01-31T12:00:00+00:00",
        "note": "Second reader of adult films only.",
        "self_check": SelfCheck(7, 2, ((0.25, 0.75), (0.125, 0.875)), 1e-4),
    }
    return TaskCard(**(values | changes))


def make_tensors(n_classes: int = 2, rank: int = 2) -> dict[str, Tensor]:
    """For the adapter of `make_adapter`; the convolution has two groups."""
    return {
        "adapter.blocks.0.attn.qkv.q.A": draw_tensor(rank, 6, seed=1),
        "adapter.blocks.0.attn.qkv.q.B": draw_tensor(6, rank, seed=2),
        "adapter.blocks.0.attn.qkv.v.A": draw_tensor(rank, 6, seed=3),
        "adapter.blocks.0.attn.qkv.v.B": draw_tensor(6, rank, seed=4),
        "adapter.conv.A": draw_tensor(rank * 2, 2, 3, 3, seed=5),
        "adapter.conv.B": draw_tensor(8, rank, 1, 1, seed=6),
        "adapter.fc.A": draw_tensor(rank, 5, seed=7),
        "adapter.fc.B": draw_tensor(7, rank, seed=8),
        "head.weight": draw_tensor(n_classes, 5, seed=9),
        "head.bias": draw_tensor(n_classes, seed=10),
    }


def make_task(**changes: Any) -> Task:
    return Task(make_card(**changes), make_tensors())


def make_full_task() -> Task:
    tensors = {
        "head.weight": draw_tensor(2, 5),
        "head.bias": draw_tensor(2),
        "trained.conv.weight": draw_tensor(4, 3, 3, 3).to(torch.bfloat16),
        "trained.bn.running_var": draw_tensor(4).abs().to(torch.float64),
        "trained.bn.num_batches_tracked": torch.tensor(17),
        "trained.mask": torch.tensor([True, False, True]),
        "trained.index": torch.arange(6, dtype=torch.int32).reshape(2, 3),
        "trained.gain": torch.tensor(1.5, dtype=torch.float16),
        "trained.short": torch.tensor([-3, 4], dtype=torch.int16),
        "trained.tiny": torch.tensor([-3, 4], dtype=torch.int8),
        "trained.byte": torch.tensor([3, 255], dtype=torch.uint8),
    }
    return Task(make_card(method="full", adapter=None), tensors)


def make_factorised_task() -> Task:
    factorised = FactorisedSettings(2, 0.0, {"pre_logits.fc1": (6, 5)})
    tensors = {
        "factorised.pre_logits.fc1.U": draw_tensor(6, 2, seed=1),
        "factorised.pre_logits.fc1.V": draw_tensor(2, 5, seed=2),
        "factorised.pre_logits.fc1.bias": draw_tensor(5, seed=3),
        "head.weight": draw_tensor(2, 5, seed=4),
        "head.bias": draw_tensor(2, seed=5),
    }
    return Task(make_card(method="factorised", adapter=None, factorised=factorised), tensors)


def make_novel_task() -> Task:
    """A task that keeps where its training images lie."""
    novelty = NoveltySettings("blocks.1", 6, 2, 1.5, 0.01, 40, 99)
    tensors = {
        "head.weight": draw_tensor(2, 5, seed=1),
        "head.bias": draw_tensor(2, seed=2),
        "novelty.mean": draw_tensor(6, seed=3),
        "novelty.spread": draw_tensor(6, seed=4).abs() + 0.1,
        "novelty.variances": draw_tensor(3, seed=5).abs() + 0.1,
        "novelty.directions": draw_tensor(2, 6, seed=6).half(),
    }
    return Task(make_card(method="linear", adapter=None, novelty=novelty), tensors)


def split_file(content: bytes) -> tuple[dict[str, Any], bytes]:
    """Header and tensor bytes of a task file, read with nothing of ours."""
    n_header = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + n_header]), content[8 + n_header :]


def join_file(header: dict[str, Any], data: bytes) -> bytes:
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data


def edit_header(content: bytes, edit: Callable[[dict[str, Any]], None]) -> bytes:
    header, data = split_file(content)
    edit(header)
    return join_file(header, data)


def edit_envelope(content: bytes, edit: Callable[[dict[str, Any]], None]) -> bytes:
    """The file with its metadata changed; the digest stays as it was."""
    header, data = split_file(content)
    envelope = json.loads(header["__metadata__"]["medlora"])
    edit(envelope)
    header["__metadata__"]["medlora"] = json.dumps(
        envelope, sort_keys=True, separators=(",", ":"), ensure_ascii=False
    )
    return join_file(header, data)


SAFETENSORS_TYPES = {
    torch.int64: "I64",
    torch.float64: "F64",
    torch.float32: "F32",
    torch.int32: "I32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


def format_plainly(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def forge_file(card: Any, tensors: dict[str, Tensor]) -> bytes:
    """A file with a valid digest for any card and any tensors: the format's second spelling.

    It shares no code with the package: the container comes from the safetensors library.
    """
    parts = [format_plainly(card).encode()]
    for name, tensor in sorted(tensors.items()):
        kind = SAFETENSORS_TYPES[tensor.dtype]
        parts.append(format_plainly([name, kind, list(tensor.shape)]).encode())
        parts.append(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    framed = b""
    for index, part in enumerate(parts):
        is_text = index == 0 or index % 2 == 1
        framed += (len(part).to_bytes(8, "little") if is_text else b"") + part
    envelope = {"card": card, "sha256": hashlib.sha256(framed).hexdigest()}
    return save(tensors, {"medlora": format_plainly(envelope)})


def same_bits(left: Tensor, right: Tensor) -> bool:
    return (
        left.dtype == right.dtype
        and left.shape == right.shape
        and left.reshape(-1).view(torch.uint8).equal(right.reshape(-1).view(torch.uint8))
    )


def same_task(left: Task, right: Task) -> bool:
    return (
        left.card == right.card
        and left.tensors.keys() == right.tensors.keys()
        and all(same_bits(left.tensors[name], right.tensors[name]) for name in left.tensors)
    )
