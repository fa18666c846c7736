"""What stands at the head of a task file: its card, and which tensors follow, but not the tensors.

No tensor library is needed to read it, and its cost does not depend on the file's size.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from medlora.errors import StorageError, TaskFileError, WrongBackboneError
from medlora.task.card import TaskCard, check_format_version
from medlora.task.container import (
    MAX_METADATA_BYTES,
    TensorEntry,
    read_entries,
    read_head,
    read_header,
    read_metadata,
)
from medlora.task.fields import check_keys
from medlora.task.layout import check_layout
from medlora.task.strict_json import parse_json, show_value


@dataclass(frozen=True)
class TaskHeading:
    """What a task file says of itself before its tensors begin.

    Attributes:
        card: What the task is.
        sha256: The digest that the file states; nothing here has computed it.
        entries: Type and shape of each tensor.
        offsets: Where each tensor's bytes begin in the file.
        n_head_bytes: Bytes before the first tensor.
        n_bytes: Size of the whole file in bytes.
    """

    card: TaskCard
    sha256: str
    entries: Mapping[str, TensorEntry]
    offsets: Mapping[str, int]
    n_head_bytes: int
    n_bytes: int


def parse_heading(content: bytes, n_bytes: int, place: str) -> TaskHeading:
    """The heading of a task file.

    Args:
        content: The file, or as much of it as `read_head` gives.
        n_bytes: Size of the whole file.
        place: The file's name, for errors.

    Raises:
        FormatVersionError: The file has a format that this version does not read.
        TaskFileError: It is truncated, no task file, or its tensors' names, shapes and sizes
            are not what its card says.
    """
    header, begin = read_header(content, place)
    metadata = read_metadata(header, place).encode("utf-8", errors="replace")
    envelope = parse_json(metadata, part="card", place=place, max_bytes=MAX_METADATA_BYTES)
    _check_version(envelope, place)
    located = read_entries(header, n_bytes - begin, place)
    card, digest = _read_envelope(envelope, place)
    entries = {name: entry for name, (entry, _) in located.items()}
    check_layout(card, entries, place)
    offsets = {name: begin + offset for name, (_, offset) in located.items()}
    return TaskHeading(card, digest, entries, offsets, begin, n_bytes)


def read_heading(path: Path, place: str | None = None) -> TaskHeading:
    """The heading of a task file, without reading its tensors.

    A file whose tensors were damaged can have a sound heading: the digest is NOT checked
    here. `medlora.task.file.load_task` checks it, and everything else.

    Args:
        path: The task file.
        place: What to call it in errors; its name if None.

    Raises:
        StorageError: The file is missing or cannot be read.
        FormatVersionError: The file has a format that this version does not read.
        TaskFileError: As for `parse_heading`.
    """
    try:
        with path.open("rb") as stream:
            head = read_head(stream)
            n_bytes = os.fstat(stream.fileno()).st_size
    except OSError as error:
        raise StorageError(
            f"The task file {place or path} cannot be read ({error.strerror or error}). "
            "Check the path."
        ) from error
    return parse_heading(head, n_bytes, place or path.name)


def check_card_backbone(card: TaskCard, name: str, fingerprint: str, place: str) -> None:
    """Refuse a backbone that a task was not trained on.

    Args:
        card: The task's card.
        name: The backbone's timm name.
        fingerprint: The fingerprint of its weights, 64 hexadecimal digits.
        place: The task file's name, for the error.

    Raises:
        WrongBackboneError: Name or fingerprint differ; both fingerprints are named.
    """
    expected = card.backbone
    if (name, fingerprint) == (expected.name, expected.fingerprint):
        return
    shown = "" if name == expected.name else name
    raise WrongBackboneError(
        f"Task {card.name!r} was trained on backbone "
        f"{expected.name}@{expected.fingerprint[:6]}; this is {shown}@{fingerprint[:6]} "
        f"({place}). Load that backbone's weights, or train the task again."
    )


def _check_version(envelope: object, place: str) -> None:
    # It comes first: a later format may differ in all that is checked after it.
    values = envelope.get("card") if isinstance(envelope, dict) else None
    if isinstance(values, dict) and "format_version" in values:
        check_format_version(values["format_version"], place)


def _read_envelope(envelope: object, place: str) -> tuple[TaskCard, str]:
    try:
        record = check_keys(envelope, ("card", "sha256"), "")
        card = TaskCard.from_dict(record["card"])
    except TaskFileError as error:
        raise TaskFileError(
            f"{place}: {error} The file is damaged or was changed after it was saved; copy it "
            "again from where it was saved."
        ) from error
    digest = record["sha256"]
    if not isinstance(digest, str):
        raise TaskFileError(f"{place}: its digest is {show_value(digest)}, which is no text.")
    return card, digest
