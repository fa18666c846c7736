"""JSON with one spelling for each value when written, and with limits when read.

Python's reader takes duplicate keys, NaN and any depth; a file from a stranger must not get
that far. The limits are checked on the bytes, before anything is built from them.
"""

import json
import math
from typing import NoReturn

import numpy as np

from medlora.errors import TaskFileError

MAX_DEPTH = 32
MAX_INTEGER = 2**63 - 1

_ALLOWED_MESSAGE_LENGTH = 80


def show_value(value: object) -> str:
    """A value for an error message: its repr, cut to 80 characters.

    Example:
        >>> show_value("x" * 200)[-4:]
        'x...'
    """
    text = repr(value)
    if len(text) <= _ALLOWED_MESSAGE_LENGTH:
        return text
    return text[: _ALLOWED_MESSAGE_LENGTH - 3] + "..."


def format_json(value: object) -> str:
    """The one spelling of a JSON value: keys sorted, no spaces, floats in shortest exact form.

    Raises:
        ValueError: A number is NaN or infinite.
        TypeError: Something is not a JSON value.

    Example:
        >>> format_json({"b": 1.0, "a": ["é", None]})
        '{"a":["é",null],"b":1.0}'
    """
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def parse_json(content: bytes, *, part: str, place: str, max_bytes: int) -> object:
    """The JSON value in `content`, read strictly.

    Args:
        content: UTF-8 text.
        part: What is being read, for the error: "header", "card".
        place: The file's name, for the error.
        max_bytes: Largest size that is read at all.

    Raises:
        TaskFileError: The text is too large, nested more than `MAX_DEPTH` deep, no JSON, no
            UTF-8, repeats a key, or holds NaN, infinity or an integer beyond 64 bits.

    Example:
        >>> parse_json(b'{"a": [1, 2.5]}', part="header", place="x", max_bytes=100)
        {'a': [1, 2.5]}
    """
    if len(content) > max_bytes:
        raise TaskFileError(
            f"{place}: its {part} takes {len(content)} bytes; at most {max_bytes} are read. "
            "This is no file that MedLoRA wrote; do not use it."
        )
    depth = measure_depth(content)
    if depth > MAX_DEPTH:
        raise TaskFileError(
            f"{place}: its {part} is nested {depth} deep; at most {MAX_DEPTH} levels are read. "
            "This is no file that MedLoRA wrote; do not use it."
        )
    try:
        return json.loads(
            content.decode("utf-8"),
            object_pairs_hook=_collect_pairs,
            parse_constant=_refuse_constant,
            parse_int=_read_integer,
            parse_float=_read_float,
        )
    except ValueError as error:
        # UnicodeDecodeError and JSONDecodeError are ValueErrors; the first would print bytes.
        reason = "not UTF-8 text" if isinstance(error, UnicodeDecodeError) else str(error)
        raise TaskFileError(
            f"{place}: its {part} is not valid JSON ({reason}). The file is damaged or is not "
            "a task file; copy it again from where it was saved."
        ) from error


def measure_depth(content: bytes) -> int:
    """How deep the brackets of a JSON text are nested, without parsing it.

    Exact up to the first byte that a JSON parser would refuse, which is as far as one goes.

    Example:
        >>> measure_depth(b'{"[[[": [{}]}')
        3
    """
    unescaped = content.replace(b"\\\\", b"").replace(b'\\"', b"")
    outside_strings = b"".join(unescaped.split(b'"')[::2])
    letters = np.frombuffer(outside_strings, dtype=np.uint8)
    opening = (letters == ord("{")) | (letters == ord("["))
    closing = (letters == ord("}")) | (letters == ord("]"))
    depths = np.cumsum(opening.astype(np.int64) - closing)
    return int(depths.max(initial=0))


def _collect_pairs(pairs: list[tuple[str, object]]) -> dict[str, object]:
    values = dict(pairs)
    if len(values) < len(pairs):
        keys = [key for key, _ in pairs]
        repeated = next(key for key in values if keys.count(key) > 1)
        raise ValueError(f"key {show_value(repeated)} stands there twice")
    return values


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a JSON number")


def _read_integer(text: str) -> int:
    if len(text) > 20 or abs(int(text)) > MAX_INTEGER:
        raise ValueError(f"the integer {text[:24]} does not fit in 64 bits")
    return int(text)


def _read_float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text[:24]} is not finite")
    return number
