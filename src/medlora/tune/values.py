"""A setting's value as a file has it, read as the setting wants it."""

import types
import typing
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any, Literal

from medlora.data.augment import Augmentation
from medlora.errors import SettingsError
from medlora.train.settings import TrainSettings


@cache
def list_fields() -> Mapping[str, Any]:
    """The settings that a space may name, with their types; augmentation's with a dot."""
    hints = typing.get_type_hints(TrainSettings)
    del hints["augmentation"]
    nested = typing.get_type_hints(Augmentation)
    return MappingProxyType(hints | {f"augmentation.{name}": hint for name, hint in nested.items()})


def read_value(key: str, value: Any) -> Any:
    """A value as the setting has it.

    Raises:
        SettingsError: It is of another type.
    """
    return read_as(value, list_fields()[key])


def read_as(value: Any, hint: Any) -> Any:
    """A value as a type has it; names that are joined by commas as several.

    Raises:
        SettingsError: It is of another type.
    """
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        inner = [each for each in typing.get_args(hint) if each is not type(None)]
        return None if value is None else read_as(value, inner[0])
    if origin is Literal:
        # The settings say themselves which words they know.
        return value
    if origin is tuple:
        parts = value.split(",") if isinstance(value, str) else value
        if not isinstance(parts, list | tuple) or not all(isinstance(each, str) for each in parts):
            raise SettingsError(f"must be names, joined by commas or in a list, not {value!r}.")
        return tuple(part.strip() for part in parts)
    if hint is float and isinstance(value, str):
        # YAML takes 1e-3, without a point, for text.
        try:
            return float(value)
        except ValueError:
            raise SettingsError(f"must be a number, not {value!r}.") from None
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        words = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
        raise SettingsError(f"must be {words.get(hint, 'something else')}, not {value!r}.")
    return value


def find_number(hint: Any) -> type | None:
    """`int` or `float` where the setting is such a number, or may be left open."""
    for each in typing.get_args(hint) or (hint,):
        if each in (int, float):
            return typing.cast(type, each)
    return None
