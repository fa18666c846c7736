"""The safetensors container around a task: header, offsets, bytes; no tensor library needed.

The layout is the one that the safetensors library writes, spelt by this module so that the
same task gives the same bytes on every machine, and so that every limit is checked before
anything is built from a stranger's bytes.

Reference:
    https://huggingface.co/docs/safetensors, section "Format".
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import BinaryIO

from medlora.errors import TaskFileError
from medlora.task.strict_json import format_json, parse_json, show_value

METADATA_KEY = "medlora"
MAX_HEADER_BYTES = 8 * 2**20
MAX_METADATA_BYTES = 4 * 2**20

# Bytes for one number. The order is the order of the tensors in the file: widest first, so
# that each tensor starts aligned.
ITEM_BYTES = {
    "I64": 8,
    "F64": 8,
    "F32": 4,
    "I32": 4,
    "BF16": 2,
    "F16": 2,
    "I16": 2,
    "I8": 1,
    "U8": 1,
    "BOOL": 1,
}

_DTYPE_ORDER = {dtype: index for index, dtype in enumerate(ITEM_BYTES)}
_LENGTH_BYTES = 8
_MAX_AXES = 8
_MAX_SIDE = 2**40


@dataclass(frozen=True)
class TensorEntry:
    """What the header says of a tensor, apart from its place.

    Attributes:
        dtype: Its type in safetensors' words, a key of `ITEM_BYTES`.
        shape: Its shape; `()` for a single number.
    """

    dtype: str
    shape: tuple[int, ...]

    @property
    def n_bytes(self) -> int:
        """Size of its numbers in bytes."""
        return math.prod(self.shape) * ITEM_BYTES[self.dtype]


def order_names(entries: Mapping[str, TensorEntry]) -> list[str]:
    """The tensors' names in the order in which they lie in the file.

    Example:
        >>> order_names({"a": TensorEntry("F16", (2,)), "b": TensorEntry("F32", (2,))})
        ['b', 'a']
    """
    return sorted(entries, key=lambda name: (_DTYPE_ORDER[entries[name].dtype], name.encode()))


def format_header(metadata: str, entries: Mapping[str, TensorEntry]) -> bytes:
    """The head of the file: the header's length and the header, in its one spelling.

    Args:
        metadata: The text under the metadata's one key.
        entries: Every tensor.
    """
    header: dict[str, object] = {"__metadata__": {METADATA_KEY: metadata}}
    begin = 0
    for name in order_names(entries):
        entry = entries[name]
        end = begin + entry.n_bytes
        header[name] = {
            "dtype": entry.dtype,
            "shape": list(entry.shape),
            "data_offsets": [begin, end],
        }
        begin = end
    # The library writes these keys unsorted, hence not `format_json` for the whole.
    members = (
        f"{format_json(name)}:{_format_member(name, value)}" for name, value in header.items()
    )
    text = ("{" + ",".join(members) + "}").encode("utf-8")
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(_LENGTH_BYTES, "little") + text


def _format_member(name: str, value: object) -> str:
    if name == "__metadata__" or not isinstance(value, dict):
        return format_json(value)
    return (
        f'{{"dtype":{format_json(value["dtype"])},"shape":{format_json(value["shape"])},'
        f'"data_offsets":{format_json(value["data_offsets"])}}}'
    )


def read_head(stream: BinaryIO) -> bytes:
    """As much of a file as `read_header` looks at, and nothing of the tensors.

    Args:
        stream: The file, at its beginning.

    Returns:
        Less than the header's stated length where the file ends early, or where the length is
        beyond what is read at all.
    """
    start = stream.read(_LENGTH_BYTES)
    n_header = int.from_bytes(start, "little")
    # Two bytes are enough to tell a header that is too large from a file that is too short.
    return start + stream.read(n_header if 2 <= n_header <= MAX_HEADER_BYTES else 2)


def read_header(content: bytes, place: str) -> tuple[dict[str, object], int]:
    """The header as JSON, and where the tensors' bytes begin.

    Args:
        content: The whole file, or what `read_head` gives of it.
        place: The file's name, for errors.

    Raises:
        TaskFileError: The file is too short for a header or for the length it states, or its
            header is too large, no JSON, or not an object.
    """
    n_header = int.from_bytes(content[:_LENGTH_BYTES], "little")
    if len(content) < _LENGTH_BYTES + 2:
        raise TaskFileError(
            f"{place} has {len(content)} bytes, too few for a task file. It is truncated or "
            "is not a task file; copy it again from where it was saved."
        )
    if n_header > MAX_HEADER_BYTES and content.lstrip().startswith(b"{"):
        raise TaskFileError(
            f"{place} is JSON, and no task file. The ensemble.json of a cross-validation names "
            "task files: where one is needed, give refit/task.safetensors beside it, which "
            "train --folds 5 --refit writes, or one of those that it names (medlora show)."
        )
    if n_header > MAX_HEADER_BYTES:
        raise TaskFileError(
            f"{place} states a header of {n_header} bytes; at most {MAX_HEADER_BYTES} are "
            "read. It is damaged or is not a task file; copy it again from where it was saved."
        )
    begin = _LENGTH_BYTES + n_header
    if begin > len(content):
        raise TaskFileError(
            f"{place} is truncated: its header takes {n_header} bytes and only "
            f"{len(content) - _LENGTH_BYTES} are there. Copy it again from where it was saved."
        )
    text = content[_LENGTH_BYTES:begin]
    header = parse_json(text, part="header", place=place, max_bytes=MAX_HEADER_BYTES)
    if not isinstance(header, dict):
        raise TaskFileError(f"{place}: its header is not a JSON object; it is not a task file.")
    return header, begin


def read_metadata(header: Mapping[str, object], place: str) -> str:
    """The text that MedLoRA keeps in the metadata.

    Raises:
        TaskFileError: There is none.
    """
    metadata = header.get("__metadata__")
    if not isinstance(metadata, dict) or METADATA_KEY not in metadata:
        raise TaskFileError(
            f"{place} is not a task file: its metadata have no key {METADATA_KEY!r}. Give a "
            "file that 'medlora train' wrote; a backbone's weights belong to --weights."
        )
    text = metadata[METADATA_KEY]
    if not isinstance(text, str):
        raise TaskFileError(f"{place}: its metadata are not text; the file is damaged.")
    return text


def read_entries(
    header: Mapping[str, object], n_data_bytes: int, place: str
) -> dict[str, tuple[TensorEntry, int]]:
    """Each tensor's entry, and where its bytes begin behind the header.

    Args:
        header: The header as JSON.
        n_data_bytes: Bytes that follow the header.
        place: The file's name, for errors.

    Raises:
        TaskFileError: An entry is not valid, or the tensors do not fill the bytes behind the
            header exactly: they overlap, leave a gap, or reach beyond the end.
    """
    spans = []
    for name, value in header.items():
        if name != "__metadata__":
            spans.append((*_read_entry(name, value, place), name))
    spans.sort(key=lambda span: (span[1], span[2]))
    position = 0
    for _, begin, end, name in spans:
        if begin != position:
            fault = "overlap" if begin < position else "leave a gap"
            raise TaskFileError(
                f"{place}: the bytes of its tensors {fault} at {show_value(name)} (offset "
                f"{begin}, expected {position}). The file is damaged or was forged; copy it "
                "again from where it was saved."
            )
        position = end
    if position > n_data_bytes:
        raise TaskFileError(
            f"{place} is truncated: its tensors take {position} bytes and only {n_data_bytes} "
            "are there. Copy it again from where it was saved."
        )
    if position < n_data_bytes:
        raise TaskFileError(
            f"{place}: {n_data_bytes - position} bytes follow its last tensor. Something was "
            "added after it was saved; copy it again from where it was saved."
        )
    return {name: (entry, begin) for entry, begin, _, name in spans}


def _read_entry(name: str, value: object, place: str) -> tuple[TensorEntry, int, int]:
    where = f"{place}: the header's entry {show_value(name)}"
    cure = "The file is damaged or was forged; copy it again from where it was saved."
    if not isinstance(value, dict) or set(value) != {"dtype", "shape", "data_offsets"}:
        raise TaskFileError(f"{where} is not dtype, shape and data_offsets. {cure}")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in ITEM_BYTES:
        raise TaskFileError(
            f"{where} has the type {show_value(dtype)}; known are {', '.join(ITEM_BYTES)}. {cure}"
        )
    if not _is_list_of_counts(shape, 1) or len(shape) > _MAX_AXES:
        raise TaskFileError(
            f"{where} has the shape {show_value(shape)}; a shape has at most {_MAX_AXES} sides "
            f"of 1 to {_MAX_SIDE}. {cure}"
        )
    if not _is_list_of_counts(offsets, 0) or len(offsets) != 2:
        raise TaskFileError(f"{where} has the offsets {show_value(offsets)}. {cure}")
    entry = TensorEntry(dtype, tuple(shape))
    begin, end = offsets
    if end - begin != entry.n_bytes:
        raise TaskFileError(
            f"{where} has the shape {show_value(shape)} of {dtype}, which takes "
            f"{entry.n_bytes} bytes, but its offsets span {end - begin}. {cure}"
        )
    return entry, begin, end


def _is_list_of_counts(value: object, low: int) -> bool:
    return isinstance(value, list) and all(
        type(item) is int and low <= item <= _MAX_SIDE for item in value
    )
