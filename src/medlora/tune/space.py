"""What a search may vary: settings of a training run, with the values that each may take."""

import dataclasses
import itertools
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from medlora.data.augment import Augmentation
from medlora.errors import SettingsError
from medlora.train.settings import TrainSettings

Value = bool | int | float | str | None

# Trials that differ in these are scored on other images, or by another measure.
FIXED_ONLY = ("channels", "seed", "select_by", "test_fraction", "val_fraction")
_RANGE_KEYS = {"low", "high", "step", "log"}


@dataclass(frozen=True)
class Choice:
    """One of several values.

    Attributes:
        options: The values, all different; several names are spelt as one, with commas.
    """

    options: tuple[Value, ...]

    def list_values(self) -> tuple[Value, ...]:
        """Every value, for a grid."""
        return self.options

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {"options": list(self.options)}


@dataclass(frozen=True)
class Range:
    """A number between two bounds.

    Attributes:
        low: The smallest value.
        high: The largest value.
        step: Distance of neighbouring values from `low` on; None where all are allowed.
        is_log: Whether values are drawn evenly in their logarithm.
        is_whole: Whether they are whole numbers.
    """

    low: float
    high: float
    step: float | None
    is_log: bool
    is_whole: bool

    def list_values(self) -> tuple[Value, ...]:
        """Every value, for a grid; nothing where there are too many to list."""
        step = 1 if self.step is None and self.is_whole and not self.is_log else self.step
        if step is None:
            return ()
        n_values = int((self.high - self.low) / step + 1e-9) + 1
        values = [self.low + number * step for number in range(n_values)]
        return tuple(int(value) if self.is_whole else float(value) for value in values)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {"low": self.low, "high": self.high, "step": self.step, "log": self.is_log}


Dimension = Choice | Range


@dataclass(frozen=True)
class Space:
    """The settings that a search varies, and those that it holds.

    Attributes:
        base: All settings, with the values that are held.
        dimensions: What varies, by the setting's name.
        place: Where it was read, for errors.
    """

    base: TrainSettings
    dimensions: Mapping[str, Dimension]
    place: str

    def settle(self, values: Mapping[str, Value]) -> TrainSettings:
        """The settings with these values in them.

        Raises:
            SettingsError: The values do not go together.
        """
        return _replace_settings(self.base, {key: _read_fixed(key, values[key]) for key in values})

    def list_points(self) -> tuple[dict[str, Value], ...]:
        """Every combination of values, the last setting varying fastest.

        Raises:
            SettingsError: A range has no step, so that its values cannot be listed.
        """
        columns = []
        for key, dimension in self.dimensions.items():
            values = dimension.list_values()
            if not values:
                raise SettingsError(
                    f"{self.place}: {key!r} is a range without a step, which a grid cannot list. "
                    "Give it a step, or a list of values, or choose --sampler random or tpe."
                )
            columns.append([(key, value) for value in values])
        return tuple(dict(point) for point in itertools.product(*columns))

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values, from which `read_space` makes an equal one."""
        return {
            "base": self.base.to_dict(),
            "dimensions": {key: each.to_dict() for key, each in self.dimensions.items()},
        }


def list_fields() -> dict[str, Any]:
    """The settings that a space may name, with their types; augmentation's with a dot."""
    hints = typing.get_type_hints(TrainSettings)
    del hints["augmentation"]
    nested = typing.get_type_hints(Augmentation)
    return hints | {f"augmentation.{name}": hint for name, hint in nested.items()}


def read_space(values: object, place: str) -> Space:
    """Make a space of plain values, as a YAML or JSON file holds them.

    A plain value is held; a list gives choices; `low` and `high`, with `step` and `log` if
    wanted, give a range.

    Args:
        values: An object of setting names and what they may be.
        place: Where it was read, for errors.

    Raises:
        SettingsError: A name or a value is not one that training takes; the key is named.

    Example:
        >>> space = read_space(
        ...     {"epochs": 3, "batch_size": [16, 32], "learning_rate": {"low": 1e-4, "high": 1e-2}},
        ...     "space.yaml",
        ... )
        >>> sorted(space.dimensions), space.base.epochs
        (['batch_size', 'learning_rate'], 3)
        >>> space.settle({"batch_size": 16, "learning_rate": 0.001}).batch_size
        16
    """
    if not isinstance(values, Mapping) or not values:
        raise SettingsError(
            f"{place} must hold names of settings and their values, such as "
            "'rank: [1, 2, 4]'; see docs/tuning.md."
        )
    known = list_fields()
    held: dict[str, Any] = {}
    dimensions: dict[str, Dimension] = {}
    for key, value in values.items():
        if key not in known:
            raise SettingsError(f"{place}: there is no setting {key!r}. {_suggest(key, known)}")
        try:
            if isinstance(value, list | tuple):
                dimensions[key] = _read_choice(key, value)
            elif isinstance(value, Mapping):
                dimensions[key] = _read_range(key, value)
            else:
                held[key] = _read_fixed(key, value)
                _replace_settings(TrainSettings(), {key: held[key]})
        except SettingsError as error:
            raise SettingsError(f"{place}: {key}: {error}") from error
    if not dimensions:
        raise SettingsError(f"{place} varies nothing. Give a list or a range for a setting.")
    varied = [key for key in dimensions if key in FIXED_ONLY]
    if varied:
        raise SettingsError(
            f"{place}: {varied[0]} cannot vary: trials would be scored on other images or by "
            "another measure. Give it one value."
        )
    try:
        base = _replace_settings(TrainSettings(), held)
    except SettingsError as error:
        raise SettingsError(f"{place}: {error}") from error
    return Space(base, dimensions, place)


def _read_choice(key: str, values: Sequence[Any]) -> Choice:
    options = []
    for value in values:
        read = _read_fixed(key, value)
        _replace_settings(TrainSettings(), {key: read})
        options.append(",".join(read) if isinstance(read, tuple) else read)
    if not options:
        raise SettingsError("the list is empty. Give at least one value.")
    repeated = [option for option in options if options.count(option) > 1]
    if repeated:
        raise SettingsError(f"{repeated[0]!r} is there twice.")
    return Choice(tuple(options))


def _read_range(key: str, values: Mapping[Any, Any]) -> Range:
    unknown = sorted(set(values) - _RANGE_KEYS, key=str)
    if unknown or not {"low", "high"} <= values.keys():
        raise SettingsError(
            "a range has 'low' and 'high', and may have 'step' and 'log'; this one has "
            f"{', '.join(map(str, values)) or 'nothing'}."
        )
    kind = _find_number(list_fields()[key])
    if kind is None:
        raise SettingsError("this setting is no number, so it has no range. Give a list.")
    low, high = (_read_fixed(key, values[name]) for name in ("low", "high"))
    step = None if values.get("step") is None else _read_as(values["step"], kind)
    is_log = _read_as(values.get("log", False), bool)
    if low is None or high is None or not low < high:
        raise SettingsError(f"'low' must be below 'high', not {low} and {high}.")
    if step is not None and (step <= 0 or is_log):
        raise SettingsError("'step' must be above 0, and does not go with 'log: true'.")
    if is_log and low <= 0:
        raise SettingsError(f"'low' must be above 0 where 'log' is true, not {low}.")
    for value in (low, high):
        _replace_settings(TrainSettings(), {key: value})
    return Range(low, high, step, is_log, kind is int)


def _replace_settings(base: TrainSettings, values: Mapping[str, Any]) -> TrainSettings:
    plain = {key: value for key, value in values.items() if "." not in key}
    nested = {key.partition(".")[2]: value for key, value in values.items() if "." in key}
    augmentation = dataclasses.replace(base.augmentation, **nested)
    return dataclasses.replace(base, **plain, augmentation=augmentation)


def _read_fixed(key: str, value: Any) -> Any:
    """A value as the setting has it.

    Raises:
        SettingsError: It is of another type.
    """
    return _read_as(value, list_fields()[key])


def _read_as(value: Any, hint: Any) -> Any:
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        inner = [each for each in typing.get_args(hint) if each is not type(None)]
        return None if value is None else _read_as(value, inner[0])
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


def _find_number(hint: Any) -> type | None:
    """`int` or `float` where the setting is such a number, or may be left open."""
    for each in typing.get_args(hint) or (hint,):
        if each in (int, float):
            return typing.cast(type, each)
    return None


def _suggest(key: object, known: Mapping[str, Any]) -> str:
    import difflib

    close = difflib.get_close_matches(str(key), known, n=1)
    if close:
        return f"Is {close[0]!r} meant?"
    return f"There are {', '.join(sorted(known))}."
