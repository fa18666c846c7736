import re
from typing import Any

import pytest

from medlora.errors import TaskFileError
from medlora.task.container import TensorEntry, format_header, read_entries, read_header
from tests.unit.task.task_samples import join_file

PLACE = "tb.safetensors"
CURE = "copy it again from where it was saved"


def entry(begin: int = 0, end: int = 8, dtype: object = "F32", shape: object = None) -> Any:
    return {"dtype": dtype, "shape": [2] if shape is None else shape, "data_offsets": [begin, end]}


def read(header: dict[str, Any], n_bytes: int) -> None:
    content = join_file(header, bytes(n_bytes))
    values, begin = read_header(content, PLACE)
    read_entries(values, len(content) - begin, PLACE)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has 0 bytes, too few for a task file"),
        (bytes(9), "has 9 bytes, too few"),
        (bytes(20), "header is not valid JSON"),
        (b"\xff" * 20, "states a header of 18446744073709551615 bytes; at most 8388608"),
        ((2**23 + 1).to_bytes(8, "little") + bytes(20), "states a header of 8388609 bytes"),
        ((13).to_bytes(8, "little") + b"{}          ", "is truncated: its header takes 13 bytes"),
        ((2).to_bytes(8, "little") + b"[]", "header is not a JSON object"),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "is not a task file; " + CURE),
        (b"PK\x03\x04" + bytes(50), "It is damaged or is not a task file; " + CURE),
    ],
)
def test_bad_header_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(TaskFileError, match=f"^{PLACE}.*{message}"):
        read_header(content, PLACE)


@pytest.mark.parametrize(
    ("header", "n_bytes", "message"),
    [
        ({"a": entry(0, 8), "b": entry(4, 12)}, 12, "overlap at 'b' (offset 4, expected 8)"),
        ({"a": entry(0, 8), "b": entry(0, 8)}, 8, "overlap at 'b' (offset 0, expected 8)"),
        ({"a": entry(0, 8), "b": entry(12, 20)}, 20, "leave a gap at 'b'"),
        ({"a": entry(4, 12)}, 12, "leave a gap at 'a' (offset 4, expected 0)"),
        ({"a": entry(0, 8)}, 7, "is truncated: its tensors take 8 bytes and only 7 are there"),
        ({"a": entry(0, 8)}, 9, "1 bytes follow its last tensor"),
        ({}, 3, "3 bytes follow its last tensor"),
        ({"a": entry(8, 0)}, 8, "takes 8 bytes, but its offsets span -8"),
        ({"a": entry(shape=[2**40, 2**40])}, 8, "takes 4835703278458516698824704 bytes"),
        ({"a": entry(shape=[2**64])}, 8, "does not fit in 64 bits"),
        ({"a": entry(shape=[-1, -2])}, 8, "has the shape [-1, -2]"),
        ({"a": entry(shape=[0], end=0)}, 0, "has the shape [0]"),
        ({"a": entry(shape=[True, 2])}, 8, "has the shape [True, 2]"),
        ({"a": entry(shape=[1] * 9)}, 8, "has at most 8 sides"),
        ({"a": entry(shape="2")}, 8, "has the shape '2'"),
        ({"a": entry(0, -1)}, 8, "has the offsets [0, -1]"),
        ({"a": entry(0.0, 8)}, 8, "has the offsets [0.0, 8]"),
        ({"a": entry() | {"data_offsets": [0]}}, 8, "has the offsets [0]"),
        ({"a": entry(dtype="F8_E4M3")}, 8, "has the type 'F8_E4M3'; known are I64, F64, F32"),
        ({"a": entry(dtype=["F32"])}, 8, "has the type ['F32']"),
        ({"a": entry() | {"more": 1}}, 8, "entry 'a' is not dtype, shape and data_offsets"),
        ({"a": [1]}, 8, "entry 'a' is not dtype, shape and data_offsets"),
    ],
)
def test_bad_entries_are_refused(header: dict[str, Any], n_bytes: int, message: str) -> None:
    with pytest.raises(TaskFileError, match=f"^{PLACE}.*{re.escape(message)}"):
        read(header, n_bytes)


def test_header_comes_back() -> None:
    entries = {
        "head.bias": TensorEntry("F16", (3,)),
        "trained.n": TensorEntry("I64", ()),
        "head.weight": TensorEntry("F16", (3, 5)),
    }
    head = format_header('{"é":"\\u0000"}', entries)
    content = head + bytes(8 + 6 + 30)
    header, begin = read_header(content, PLACE)
    assert begin == len(head)
    assert begin % 8 == 0
    assert header["__metadata__"] == {"medlora": '{"é":"\\u0000"}'}
    assert read_entries(header, len(content) - begin, PLACE) == {
        "trained.n": (entries["trained.n"], 0),
        "head.bias": (entries["head.bias"], 8),
        "head.weight": (entries["head.weight"], 14),
    }
