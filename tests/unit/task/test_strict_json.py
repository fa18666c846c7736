import json

import pytest

from medlora.errors import TaskFileError
from medlora.task.strict_json import format_json, measure_depth, parse_json


def parse(content: bytes, max_bytes: int = 2**20) -> object:
    return parse_json(content, part="card", place="tb.safetensors", max_bytes=max_bytes)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a":1,"a":1}', "key 'a' stands there twice"),
        (b'{"a":NaN}', "NaN is not a JSON number"),
        (b"[-Infinity]", "-Infinity is not a JSON number"),
        (b"1e999", "the number 1e999 is not finite"),
        (b"9223372036854775808", "the integer 9223372036854775808 does not fit in 64 bits"),
        (b"1" * 100_000, "the integer 1{24} does not fit in 64 bits"),
        (b'"\xff"', "not UTF-8 text"),
        (b"", "Expecting value"),
        (b"{}{}", "Extra data"),
        (b'"open', "Unterminated string"),
        (b"\xef\xbb\xbf{}", "Unexpected UTF-8 BOM"),
        ("[]".encode("utf-16"), "not UTF-8 text"),
        (b"[" * 33 + b"]" * 33, "nested 33 deep; at most 32 levels"),
        (b"[" * 500_000, "nested 500000 deep; at most 32 levels"),
        (b'{"a":' * 100_000, "nested 100000 deep; at most 32 levels"),
        (b" " * 2**20 + b"1", "takes 1048577 bytes; at most 1048576 are read"),
    ],
)
def test_bad_json_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(TaskFileError, match=f"^tb.safetensors: its card .*{message}"):
        parse(content)


def test_limits_themselves_are_read() -> None:
    assert parse(b"[" * 32 + b"]" * 32) == json.loads("[" * 32 + "]" * 32)
    assert parse(b"9223372036854775807") == 2**63 - 1
    assert parse(b" 1", max_bytes=2) == 1


@pytest.mark.parametrize(
    ("text", "depth"),
    [
        ("1", 0),
        ("[]", 1),
        ('[[],{"a":[1]}]', 3),
        (r'["[[[[\"[[[["]', 1),
        (r'["\\",[["]]]"]]]', 3),
        (r'{"\\\"[":"{"}', 1),
        ('["[[[', 1),
    ],
)
def test_depth_counts_brackets_outside_strings(text: str, depth: int) -> None:
    assert measure_depth(text.encode()) == depth


def test_floats_come_back_to_the_bit() -> None:
    numbers = [0.1 + 0.2, 5e-324, -0.0, 1.7976931348623157e308, 2**53 + 2.0]
    text = format_json(numbers)
    assert [number.hex() for number in json.loads(text)] == [number.hex() for number in numbers]
    assert format_json(parse(text.encode())) == text


def test_nan_is_not_written() -> None:
    with pytest.raises(ValueError, match="Out of range float values"):
        format_json([float("nan")])
