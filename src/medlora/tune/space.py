"""What a search may vary: settings of a training run, with the values that each may take."""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medlora.errors import SettingsError
from medlora.train.settings import TrainSettings
from medlora.tune.values import find_number, list_fields, read_as, read_value

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

    def list_ends(self) -> tuple[Value, ...]:
        """What rules of settings have to allow: every value."""
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

    def list_ends(self) -> tuple[Value, ...]:
        """What rules of settings have to allow, and what lies between then follows."""
        return (self.low, self.high)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {"low": self.low, "high": self.high, "step": self.step, "log": self.is_log}


Dimension = Choice | Range


@dataclass(frozen=True)
class Space:
    """The settings that a search varies, and those that it holds.

    Attributes:
        base: All settings: those that are held, and a first value of those that vary.
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
        return _replace_settings(self.base, {key: read_value(key, values[key]) for key in values})

    def list_probes(self) -> Iterator[dict[str, Value]]:
        """Combinations in which every two values of two settings meet, the first values first.

        No rule of settings is about more than two of them, so that these tell of all combinations
        without trying all of them; a range is told by its ends.
        """
        ends = {key: dimension.list_ends() for key, dimension in self.dimensions.items()}
        start = {key: values[0] for key, values in ends.items()}
        yield start
        for key, values in ends.items():
            yield from (start | {key: value} for value in values[1:])
        for one, other in itertools.combinations(ends, 2):
            for pair in itertools.product(ends[one][1:], ends[other][1:]):
                yield start | dict(zip((one, other), pair, strict=True))

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
        """As plain JSON values: what is held, and what varies."""
        held = self.base.to_dict()
        for key in self.dimensions:
            outer, _, inner = key.rpartition(".")
            (held[outer] if outer else held).pop(inner, None)
        return {
            "base": held,
            "dimensions": {key: each.to_dict() for key, each in self.dimensions.items()},
        }


def read_space(values: object, place: str) -> Space:
    """Make a space of plain values, as a YAML or JSON file holds them.

    A plain value is held; a list gives choices; `low` and `high`, with `step` and `log` if
    wanted, give a range.

    Args:
        values: An object of setting names and what they may be.
        place: Where it was read, for errors.

    Raises:
        SettingsError: A name or a value is not one that training takes, or values do not go
            together; the keys are named.

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
                held[key] = read_value(key, value)
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
    return _settle_space(held, dimensions, place)


def _settle_space(
    held: Mapping[str, Any], dimensions: Mapping[str, Dimension], place: str
) -> Space:
    """A space of which every combination is known to be one that training takes.

    Raises:
        SettingsError: One is not; the keys that it is about are named.
    """
    # A value that is held may need another one that varies, so that neither is looked at alone.
    first = {key: read_value(key, each.list_ends()[0]) for key, each in dimensions.items()}
    tried = dict(held) | first
    try:
        space = Space(_replace_settings(TrainSettings(), tried), dimensions, place)
        for probe in space.list_probes():
            tried = dict(held) | {key: read_value(key, value) for key, value in probe.items()}
            space.settle(probe)
    except SettingsError as error:
        raise SettingsError(f"{place}: {_name_faulty(tried, dimensions, error)}") from error
    return space


def _name_faulty(
    tried: Mapping[str, Any], dimensions: Mapping[str, Dimension], error: SettingsError
) -> str:
    """What is wrong with a combination, with the keys in front that it is about."""
    # The settings whose other values would do: the fault is in how these go together.
    involved = [
        key
        for key, each in dimensions.items()
        if any(
            _find_fault(dict(tried) | {key: read_value(key, value)}) is None
            for value in each.list_ends()
        )
    ]
    if len(involved) > 1:
        values = " with ".join(f"{key} {_spell(tried[key])}" for key in involved)
        return f"{values}: {error} Every combination may be tried, so search them apart."
    alone = [key for key, value in tried.items() if _find_fault({key: value}) == str(error)]
    names = involved or alone
    return f"{names[0]}: {error}" if names else str(error)


def _find_fault(values: Mapping[str, Any]) -> str | None:
    """What training says to some values beside defaults; None where it takes them."""
    try:
        _replace_settings(TrainSettings(), values)
    except SettingsError as error:
        return str(error)
    return None


def _spell(value: Any) -> str:
    return ",".join(value) if isinstance(value, tuple) else str(value)


def _read_choice(key: str, values: Sequence[Any]) -> Choice:
    options = []
    for value in values:
        read = read_value(key, value)
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
    kind = find_number(list_fields()[key])
    if kind is None:
        raise SettingsError("this setting is no number, so it has no range. Give a list.")
    low, high = (read_value(key, values[name]) for name in ("low", "high"))
    step = None if values.get("step") is None else read_as(values["step"], kind)
    is_log = read_as(values.get("log", False), bool)
    if low is None or high is None or not low < high:
        raise SettingsError(f"'low' must be below 'high', not {low} and {high}.")
    if step is not None and (step <= 0 or is_log):
        raise SettingsError("'step' must be above 0, and does not go with 'log: true'.")
    if is_log and low <= 0:
        raise SettingsError(f"'low' must be above 0 where 'log' is true, not {low}.")
    return Range(low, high, step, is_log, kind is int)


def _replace_settings(base: TrainSettings, values: Mapping[str, Any]) -> TrainSettings:
    plain = {key: value for key, value in values.items() if "." not in key}
    nested = {key.partition(".")[2]: value for key, value in values.items() if "." in key}
    augmentation = dataclasses.replace(base.augmentation, **nested)
    return dataclasses.replace(base, **plain, augmentation=augmentation)


def _suggest(key: object, known: Mapping[str, Any]) -> str:
    import difflib

    close = difflib.get_close_matches(str(key), known, n=1)
    if close:
        return f"Is {close[0]!r} meant?"
    return f"There are {', '.join(sorted(known))}."
