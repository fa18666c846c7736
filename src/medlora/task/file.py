"""The task file: a trained task as bytes, and back, to the bit.

A safetensors file whose metadata hold one key, `medlora`: the card and a SHA-256 digest over
the card and every tensor. There is one spelling for each task, so that a file which loads is
byte for byte the file that was saved. Nothing in it is ever executed.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from medlora.errors import SettingsError, TaskFileError
from medlora.storage import read_file, write_atomically
from medlora.task.card import TaskCard
from medlora.task.container import (
    MAX_HEADER_BYTES,
    MAX_METADATA_BYTES,
    TensorEntry,
    format_header,
    order_names,
)
from medlora.task.heading import check_card_backbone, parse_heading
from medlora.task.layout import check_layout
from medlora.task.novelty import NOVELTY_PREFIX
from medlora.task.strict_json import format_json, show_value

SaveType = Literal["float32", "float16", "bfloat16"]

_TORCH_TYPES = {
    "I64": torch.int64,
    "F64": torch.float64,
    "F32": torch.float32,
    "I32": torch.int32,
    "BF16": torch.bfloat16,
    "F16": torch.float16,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_TYPE_NAMES = {torch_type: name for name, torch_type in _TORCH_TYPES.items()}
_SAVE_TYPES = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}


@dataclass(frozen=True, eq=False)
class Task:
    """A trained task: its card and its numbers.

    Attributes:
        card: What the task is.
        tensors: Its tensors by name; `medlora.task.layout.check_layout` says which.
    """

    card: TaskCard
    tensors: dict[str, Tensor]


def pack_task(task: Task) -> bytes:
    """The task as the content of a task file.

    The same task gives the same bytes in every process and on every machine.

    Raises:
        TaskFileError: The tensors are not those which the card implies, a number is NaN or
            infinite, or the card is too large to be read again.

    Example:
        >>> from medlora.preprocessing import Preprocessing
        >>> from medlora.task.card import BackboneReference
        >>> card = TaskCard(
        ...     name="demo", classes=("no", "yes"), multi_label=False, method="linear",
        ...     backbone=BackboneReference("vit_tiny_patch16_224", "0" * 64),
        ...     preprocessing=Preprocessing((224, 224), (0.5,) * 3, (0.5,) * 3),
        ...     adapter=None, thresholds=(0.5, 0.5), created="2025-01-31T12:00:00+00:00",
        ... )
        >>> tensors = {"head.weight": torch.ones(2, 192), "head.bias": torch.zeros(2)}
        >>> loaded = unpack_task(pack_task(Task(card, tensors)), "demo.safetensors")
        >>> loaded.card == card
        True
    """
    place = f"Task {task.card.name!r}"
    tensors = {name: _lay_out(name, tensor, place) for name, tensor in task.tensors.items()}
    entries = {name: _describe_tensor(tensor) for name, tensor in tensors.items()}
    check_layout(task.card, entries, place)
    for name, tensor in tensors.items():
        _check_numbers(name, tensor, place)
    views = {name: _view_bytes(tensor) for name, tensor in tensors.items()}
    card_text = format_json(task.card.to_dict())
    metadata = _format_metadata(card_text, _digest_task(card_text, entries, views))
    header = format_header(metadata, entries)
    n_metadata = len(metadata.encode("utf-8"))
    if n_metadata > MAX_METADATA_BYTES or len(header) > MAX_HEADER_BYTES:
        raise TaskFileError(
            f"{place}: its card takes {n_metadata} bytes; at most {MAX_METADATA_BYTES} can be "
            "kept. Shorten its training, data or metrics."
        )
    return b"".join([header, *(views[name] for name in order_names(entries))])


def unpack_task(content: bytes, place: str) -> Task:
    """The task in the content of a task file, checked to the last byte.

    Args:
        content: The whole file.
        place: The file's name, for errors.

    Returns:
        The task, on the CPU; its tensors own their memory.

    Raises:
        FormatVersionError: The file has a format that this version does not read.
        TaskFileError: It is truncated, tampered with, no task file, or not what its card
            says.
    """
    heading = parse_heading(content, len(content), place)
    card, entries = heading.card, heading.entries
    views = {
        name: memoryview(content)[begin : begin + entries[name].n_bytes]
        for name, begin in heading.offsets.items()
    }
    card_text = format_json(card.to_dict())
    if _digest_task(card_text, entries, views) != heading.sha256:
        raise TaskFileError(
            f"{place}: its content does not match the digest in its metadata. It was damaged "
            "or changed after it was saved; copy it again from where it was saved."
        )
    # The digest speaks of the values; this leaves no second spelling of them either.
    head = format_header(_format_metadata(card_text, heading.sha256), entries)
    if head != content[: heading.n_head_bytes]:
        raise TaskFileError(
            f"{place}: its header is not spelt as MedLoRA spells it. Another program rewrote "
            "the file; copy it again from where it was saved."
        )
    tensors = {name: _copy_tensor(entries[name], view) for name, view in views.items()}
    for name, tensor in tensors.items():
        _check_numbers(name, tensor, place)
    return Task(card, tensors)


def save_task(path: Path, task: Task) -> None:
    """Write a task file; what lay at `path` before stays whole until the new one is complete.

    Raises:
        TaskFileError: As for `pack_task`.
        StorageError: The file cannot be written.
    """
    write_atomically(path, pack_task(task))


def load_task(path: Path) -> Task:
    """Read a task file, as strictly as `unpack_task`.

    Raises:
        StorageError: The file is missing or cannot be read.
        FormatVersionError: The file has a format that this version does not read.
        TaskFileError: It is truncated, tampered with, no task file, or not what its card
            says.
    """
    return unpack_task(read_file(path, "task file"), path.name)


def convert_task(task: Task, dtype: SaveType) -> Task:
    """The same task with its floating-point tensors in another type; whole numbers stay.

    What is kept of the training images has types of its own and stays too.

    Args:
        task: The task; it is not changed. Tensors that have the type already are shared.
        dtype: `float32`, or `float16` and `bfloat16` for half the size.

    Raises:
        SettingsError: The type is none of these.
        TaskFileError: A number is too large for the type.
    """
    if dtype not in _SAVE_TYPES:
        raise SettingsError(
            f"The type to save in must be one of {', '.join(_SAVE_TYPES)}, not {dtype!r}."
        )
    converted = {}
    for name, tensor in task.tensors.items():
        is_float = tensor.is_floating_point() and not name.startswith(NOVELTY_PREFIX)
        converted[name] = tensor.detach().to(_SAVE_TYPES[dtype]) if is_float else tensor
        if is_float and not bool(torch.isfinite(converted[name]).all()):
            largest = float(tensor.detach().abs().max())
            raise TaskFileError(
                f"Task {task.card.name!r}: the tensor {name!r} holds {largest:.4g}, which "
                f"{dtype} cannot. Save it in float32 or bfloat16."
            )
    return Task(task.card, converted)


def check_backbone(task: Task, name: str, fingerprint: str, place: str) -> None:
    """Refuse a backbone that the task was not trained on.

    Args:
        task: The task.
        name: The backbone's timm name.
        fingerprint: The fingerprint of its weights, 64 hexadecimal digits.
        place: The task file's name, for the error.

    Raises:
        WrongBackboneError: Name or fingerprint differ.
    """
    check_card_backbone(task.card, name, fingerprint, place)


def _format_metadata(card_text: str, digest: str) -> str:
    return f'{{"card":{card_text},"sha256":{format_json(digest)}}}'


def _digest_task(
    card_text: str, entries: Mapping[str, TensorEntry], views: Mapping[str, memoryview]
) -> str:
    digest = hashlib.sha256()
    _add_framed(digest, card_text)
    for name in sorted(entries):
        entry = entries[name]
        _add_framed(digest, format_json([name, entry.dtype, list(entry.shape)]))
        digest.update(views[name])
    return digest.hexdigest()


def _add_framed(digest: "hashlib._Hash", text: str) -> None:
    # With its length in front, no text can pass for the beginning of another.
    content = text.encode("utf-8")
    digest.update(len(content).to_bytes(8, "little"))
    digest.update(content)


def _lay_out(name: Any, tensor: Any, place: str) -> Tensor:
    if not isinstance(name, str):
        raise TaskFileError(f"{place}: a tensor's name must be text, not {show_value(name)}.")
    if not isinstance(tensor, Tensor) or tensor.layout != torch.strided or tensor.is_meta:
        raise TaskFileError(f"{place}: {show_value(name)} is not a plain tensor with values.")
    if tensor.dtype not in _TYPE_NAMES:
        raise TaskFileError(
            f"{place}: the tensor {show_value(name)} has the type {tensor.dtype}; a task file "
            f"keeps {', '.join(str(item) for item in _TYPE_NAMES)}."
        )
    if not tensor.numel():
        raise TaskFileError(f"{place}: the tensor {show_value(name)} is empty; leave it out.")
    return tensor.detach().cpu().contiguous()


def _describe_tensor(tensor: Tensor) -> TensorEntry:
    return TensorEntry(_TYPE_NAMES[tensor.dtype], tuple(tensor.shape))


def _view_bytes(tensor: Tensor) -> memoryview:
    return tensor.reshape(-1).view(torch.uint8).numpy().data


def _copy_tensor(entry: TensorEntry, content: memoryview) -> Tensor:
    # Memory from torch, not from numpy: products then see the alignment that training saw.
    tensor = torch.empty(entry.shape, dtype=_TORCH_TYPES[entry.dtype])
    target = tensor.reshape(-1).view(torch.uint8).numpy()
    target[:] = np.frombuffer(content, dtype=np.uint8)
    return tensor


def _check_numbers(name: str, tensor: Tensor, place: str) -> None:
    if tensor.dtype == torch.bool:
        if int(tensor.view(torch.uint8).max()) > 1:
            raise TaskFileError(f"{place}: the tensor {name!r} holds neither true nor false.")
    elif tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
        raise TaskFileError(
            f"{place}: the tensor {name!r} holds NaN or infinity, so its answers would be "
            "meaningless. Train the task again, with a lower learning rate."
        )
