"""The file beside PEFT's two that holds what PEFT has no place for: the task's card."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from medlora.backbones.fingerprint import compute_fingerprint
from medlora.errors import TaskFileError
from medlora.exchange.peft_config import PeftConfig
from medlora.lora.linear import Pair
from medlora.task.card import TaskCard
from medlora.task.container import MAX_METADATA_BYTES
from medlora.task.fields import check_keys, read_sequence, read_text
from medlora.task.strict_json import format_json, parse_json

CARD_FILE = "medlora_card.json"


@dataclass(frozen=True)
class Companion:
    """A card on its way beside an adapter.

    Attributes:
        card: The task's card.
        trained: Names of the backbone's tensors that were trained beside the adapter. PEFT
            keeps their whole modules, and so other values as well.
        seal: Digest over everything that was exported, see `compute_seal`.
    """

    card: TaskCard
    trained: tuple[str, ...]
    seal: str


def pack_companion(companion: Companion) -> bytes:
    """The content of the file, as a person may read it."""
    values = {
        "card": companion.card.to_dict(),
        "sha256": companion.seal,
        "trained": list(companion.trained),
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
        record = check_keys(values, ("card", "sha256", "trained"), "")
        return Companion(
            card=TaskCard.from_dict(record["card"]),
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
