"""Strict reading of the card's fields: each function returns the value, or names the key."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from medlora.errors import TaskFileError
from medlora.task.strict_json import MAX_INTEGER, show_value

JsonValue = None | bool | int | float | str | list["JsonValue"] | dict[str, "JsonValue"]
JsonObject = dict[str, JsonValue]

# The card stands two levels down in the metadata, which is read to a depth of 32.
_MAX_FREE_DEPTH = 24


def describe_fault(key: str, rule: str, value: object) -> TaskFileError:
    """The error for a card's field that breaks a rule."""
    return TaskFileError(f"Task card: {key!r} must be {rule}, not {show_value(value)}.")


def check_keys(values: object, expected: Iterable[str], key: str) -> dict[str, object]:
    """`values` if it is an object with exactly the expected keys.

    Args:
        values: What was read.
        expected: The keys that have to be there, and no others.
        key: Where it stands in the card, "" for the card itself.

    Raises:
        TaskFileError: It is no object, or a key is missing or unknown.
    """
    if not isinstance(values, dict):
        raise describe_fault(key or "card", "an object", values)
    expected = sorted(expected)
    prefix = f"{key}." if key else ""
    for name in expected:
        if name not in values:
            raise TaskFileError(f"Task card: the key {prefix + name!r} is missing.")
    for name in values:
        if name not in expected:
            raise TaskFileError(f"Task card: the key {show_value(f'{prefix}{name}')} is unknown.")
    return values


def check_record(
    record: type, values: object, key: str, *, later: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """`values` if it is an object with exactly the fields of the dataclass `record` as keys.

    Args:
        record: The dataclass.
        values: What was read.
        key: Where it stands in the card, "" for the card itself.
        later: Fields that older files do not have, and the values that they mean by that.

    Raises:
        TaskFileError: It is no object, or a key is missing or unknown.
    """
    if later and isinstance(values, dict):
        values = {**later, **values}
    return check_keys(values, (item.name for item in fields(record)), key)


def read_text(value: object, key: str, *, min_length: int = 0, max_length: int = 200) -> str:
    """A text of a bounded length that UTF-8 can spell."""
    if not isinstance(value, str):
        raise describe_fault(key, "text", value)
    if not min_length <= len(value) <= max_length:
        raise describe_fault(key, f"text of {min_length} to {max_length} characters", value)
    if not value.isascii():
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise describe_fault(key, "text without half a character", value) from None
    return str(value)


def read_title(value: object, key: str) -> str:
    """A text of one line, neither empty nor blank nor padded, at most 200 characters."""
    text = read_text(value, key, min_length=1)
    if text.strip() != text:
        raise describe_fault(key, "one line of text without space around it", value)
    if not text.isprintable():
        rule = "one line of text without control characters or spaces other than the plain one"
        raise describe_fault(key, rule, value)
    return text


def read_choice(value: object, key: str, choices: Sequence[str]) -> str:
    """One of the words in `choices`."""
    if not isinstance(value, str) or value not in choices:
        raise describe_fault(key, f"one of {', '.join(choices)}", value)
    return value


def read_flag(value: object, key: str) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise describe_fault(key, "true or false", value)
    return value


def read_count(value: object, key: str, *, low: int, high: int = MAX_INTEGER) -> int:
    """A whole number in [low, high]."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise describe_fault(key, f"a whole number from {low} to {high}", value)
    return int(value)


def read_number(value: object, key: str) -> float:
    """A finite number, as a float."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise describe_fault(key, "a finite number", value)
    if not -MAX_INTEGER <= value <= MAX_INTEGER and isinstance(value, int):
        raise describe_fault(key, "a finite number", value)
    if not math.isfinite(value):
        raise describe_fault(key, "a finite number", value)
    return float(value)


def read_sequence(value: object, key: str) -> tuple[object, ...]:
    """A list or tuple, as a tuple."""
    if not isinstance(value, list | tuple):
        raise describe_fault(key, "a list", value)
    return tuple(value)


def read_numbers(value: object, key: str) -> tuple[float, ...]:
    """A list of finite numbers, as a tuple of floats."""
    return tuple(read_number(number, key) for number in read_sequence(value, key))


def read_object(value: object, key: str) -> JsonObject:
    """A free JSON object, copied: keys sorted, tuples as lists, so that a reload equals it.

    Raises:
        TaskFileError: Something in it is no JSON value, a number is not finite or beyond 64
            bits, or it is nested too deep.
    """
    if not isinstance(value, Mapping):
        raise describe_fault(key, "an object", value)
    return _copy_object(value, key, 0)


def _copy_object(value: Mapping[object, object], key: str, depth: int) -> JsonObject:
    for name in value:
        if not isinstance(name, str):
            raise describe_fault(key, "an object whose keys are text", name)
    names = sorted(read_text(name, key, max_length=1000) for name in value)
    return {name: _copy_value(value[name], f"{key}.{name}", depth + 1) for name in names}


def _copy_value(value: object, key: str, depth: int) -> JsonValue:
    if depth > _MAX_FREE_DEPTH:
        raise describe_fault(key, f"nested at most {_MAX_FREE_DEPTH} deep", type(value).__name__)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return read_text(value, key, max_length=1_000_000)
    if isinstance(value, int):
        return read_count(value, key, low=-MAX_INTEGER)
    if isinstance(value, float):
        return read_number(value, key)
    if isinstance(value, list | tuple):
        return [_copy_value(item, f"{key}[{i}]", depth + 1) for i, item in enumerate(value)]
    if isinstance(value, Mapping):
        return _copy_object(value, key, depth)
    raise describe_fault(key, "plain JSON (text, number, true, false, null, list, object)", value)
