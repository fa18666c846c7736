"""What travels with a task in formats that keep a table of texts beside their tensors."""

import json
from collections.abc import Mapping

from safetensors.torch import save
from torch import Tensor

from medlora.task.card import TaskCard
from medlora.task.strict_json import format_json


def describe_task(card: TaskCard) -> dict[str, str]:
    """A card's fields that are needed to use a task, as texts.

    Args:
        card: The task's card.

    Returns:
        `task`, `backbone`, `fingerprint`, `created` and `note` as they are; `classes`,
        `multi_label`, `thresholds` and `preprocessing` as JSON.

    Example:
        >>> from medlora.preprocessing import Preprocessing
        >>> from medlora.task.card import BackboneReference
        >>> card = TaskCard(
        ...     name="demo", classes=("no", "yes"), multi_label=False, method="linear",
        ...     backbone=BackboneReference("vit_tiny_patch16_224", "0" * 64),
        ...     preprocessing=Preprocessing((224, 224), (0.5,) * 3, (0.5,) * 3),
        ...     adapter=None, thresholds=(0.5, 0.5), created="2025-01-31T12:00:00+00:00",
        ... )
        >>> describe_task(card)["classes"], describe_task(card)["thresholds"]
        ('["no","yes"]', '[0.5,0.5]')
    """
    return {
        "task": card.name,
        "classes": format_json(list(card.classes)),
        "multi_label": format_json(card.multi_label),
        "thresholds": format_json(list(card.thresholds)),
        "preprocessing": format_json(card.preprocessing.to_dict()),
        "backbone": card.backbone.name,
        "fingerprint": card.backbone.fingerprint,
        "created": card.created,
        "note": card.note,
    }


def pack_described(tensors: Mapping[str, Tensor], texts: Mapping[str, str]) -> bytes:
    """A safetensors file with texts in its metadata, the same bytes for the same content.

    The library itself writes several texts in an order that changes from call to call.

    Args:
        tensors: Name to tensor; none may share memory with another.
        texts: The metadata.
    """
    plain = save(dict(tensors))
    end = 8 + int.from_bytes(plain[:8], "little")
    header = {"__metadata__": dict(sorted(texts.items())), **json.loads(plain[8:end])}
    # Offsets count from the header's end, so that a longer header moves none of them.
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + plain[end:]
