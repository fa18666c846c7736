"""The file beside PEFT's two that holds what PEFT has no place for: the card and what it keeps."""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medlora.backbones.fingerprint import compute_fingerprint
from medlora.errors import TaskFileError
from medlora.exchange.peft_config import PeftConfig
from medlora.lora.linear import Pair
from medlora.task.card import TaskCard
from medlora.task.container import MAX_METADATA_BYTES
from medlora.task.fields import check_keys, describe_fault, read_sequence, read_text
from medlora.task.novelty import MAX_BYTES, list_entries
from medlora.task.strict_json import format_json, parse_json

CARD_FILE = "medlora_card.json"
_NUMPY_TYPES = {"F32": "<f4", "F16": "<f2"}


@dataclass(frozen=True)
class Companion:
    """A card on its way beside an adapter.

    Attributes:
        card: The task's card.
        trained: Names of the backbone's tensors that were trained beside the adapter. PEFT
            keeps their whole modules, and so other values as well.
        seal: Digest over everything that was exported, see `compute_seal`.
        novelty: What the task keeps of its training images, by tensor; those that the card
            implies.
    """

    card: TaskCard
    trained: tuple[str, ...]
    seal: str
    novelty: Mapping[str, Tensor] = field(default_factory=dict, compare=False)


def pack_companion(companion: Companion) -> bytes:
    """The content of the file, as a person may read it."""
    values: dict[str, Any] = {
        "card": companion.card.to_dict(),
        "sha256": companion.seal,
        "trained": list(companion.trained),
    }
    if companion.novelty:
        values["novelty"] = {
            name: _spell_tensor(tensor) for name, tensor in companion.novelty.items()
        }
    return (format_json(values) + "\n").encode()


def unpack_companion(content: bytes, place: str) -> Companion:
    """Read the file as strictly as a task file's card.

    Raises:
        TaskFileError: It is damaged.
        FormatVersionError: Its card has a format that this version does not read.
    """
    values = parse_json(content, part="card", place=place, max_bytes=MAX_METADATA_BYTES)
    try:
        keys = ["card", "sha256", "trained"]
        # Adapters of earlier versions, and tasks that keep nothing, have no such key.
        keys += ["novelty"] if isinstance(values, dict) and "novelty" in values else []
        record = check_keys(values, keys, "")
        card = TaskCard.from_dict(record["card"])
        return Companion(
            card=card,
            novelty=_read_novelty(card, record.get("novelty", {})),
            trained=tuple(
                read_text(name, "trained") for name in read_sequence(record["trained"], "trained")
            ),
            seal=read_text(record["sha256"], "sha256"),
        )
    except TaskFileError as error:
        message = f"{place}: {error} Export the task again, or remove the file to import without."
        raise type(error)(message) from error


def compute_seal(
    card: TaskCard,
    trained: tuple[str, ...],
    config: PeftConfig,
    pairs: Mapping[str, Pair],
    saved: Mapping[str, Tensor],
) -> str:
    """Digest over a card and all that makes an adapter's answers.

    PEFT may write its files anew in another spelling or number format without changing it.

    Args:
        card: The task's card.
        trained: Names of the backbone's tensors that were trained.
        config: PEFT's configuration as it is read.
        pairs: Layer name to its A and B.
        saved: Tensors of modules that are kept whole.

    Returns:
        64 hexadecimal digits.
    """
    state = {
        f"{path}.{kind}": pair[i] for path, pair in pairs.items() for i, kind in enumerate("AB")
    }
    scales = {path: config.find_scale(path) for path in pairs}
    parts = [card.to_dict(), list(trained), scales, compute_fingerprint({**state, **saved})]
    return hashlib.sha256(format_json(parts).encode("utf-8")).hexdigest()


def _read_novelty(card: TaskCard, values: object) -> dict[str, Tensor]:
    """The tensors that the card implies, from their spelling."""
    entries = list_entries(card.novelty)
    texts = check_keys(values, entries, "novelty")
    tensors = {}
    for name, entry in entries.items():
        text = read_text(texts[name], f"novelty.{name}", max_length=2 * MAX_BYTES)
        try:
            content = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            content = b""
        if len(content) != entry.n_bytes:
            rule = f"{entry.n_bytes} bytes in base64"
            raise describe_fault(f"novelty.{name}", rule, f"{len(content)} bytes")
        numbers = np.frombuffer(content, dtype=_NUMPY_TYPES[entry.dtype]).reshape(entry.shape)
        tensors[name] = torch.from_numpy(numbers.copy())
    return tensors


def _spell_tensor(tensor: Tensor) -> str:
    content = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return base64.b64encode(content.tobytes()).decode("ascii")
