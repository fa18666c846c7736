"""The task card: all that a person or a program has to know to use a trained task rightly."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, cast, get_args

from medlora.errors import FormatVersionError, SettingsError, TaskFileError
from medlora.preprocessing import LATER_FIELDS, Preprocessing
from medlora.task.fields import (
    JsonObject,
    check_record,
    describe_fault,
    read_choice,
    read_count,
    read_flag,
    read_number,
    read_numbers,
    read_object,
    read_sequence,
    read_text,
    read_title,
)
from medlora.task.novelty import NoveltySettings
from medlora.task.records import (
    AdapterSettings,
    BackboneReference,
    FactorisedSettings,
    SelfCheck,
)
from medlora.task.strict_json import show_value
from medlora.task.trust import CalibrationRecord, ConformalRecord, check_trust

__all__ = [
    "FORMAT_VERSION",
    "AdapterSettings",
    "BackboneReference",
    "FactorisedSettings",
    "Method",
    "NoveltySettings",
    "SelfCheck",
    "TaskCard",
    "check_format_version",
]

FORMAT_VERSION = 1
MAX_NOTE_LENGTH = 100_000

Method = Literal["lora", "linear", "full", "factorised", "pca-logistic"]

_FREE_OBJECTS = ("training", "data", "metrics", "software")
# Fields that files of earlier versions lack. A card writes them only where they say something,
# so that the file of a task without them stays the same to the byte.
_LATER_FIELDS = {"factorised": None, "calibration": None, "conformal": None, "novelty": None}


@dataclass(frozen=True, kw_only=True)
class TaskCard:
    """What a task is, how it was made, and how well it did.

    The free objects (`training`, `data`, `metrics`) are copied when the card is made, with
    their keys sorted and tuples turned into lists: a card that was saved and loaded equals
    the one that was made.

    Attributes:
        format_version: Version of the task file's format.
        name: The task's name, one line.
        classes: Names of the classes, in the order of the head's outputs; two at least, one
            at least for multi-label tasks.
        multi_label: Whether an image may have any number of the classes.
        method: What was trained: `lora`, `linear` (the head only), `pca-logistic` (the head, by
            regression on principal components), `full`, or `factorised` (fully
            connected layers W = U V, and the head).
        backbone: The backbone that it belongs to.
        preprocessing: How an image becomes the backbone's input.
        adapter: The low-rank update; there for the method `lora` and no other.
        thresholds: Decision threshold of each class: in (0, 1], and for multi-label tasks
            in [0, 1].
        training: Training settings.
        data: Counts and digests of the data; no patient's name or identifier.
        metrics: Scores, by split.
        software: Versions of the software, by package.
        created: Date and time in ISO 8601.
        note: Intended use and limits, in the words of whoever trained it.
        self_check: A few inputs with their expected outputs.
        factorised: The layers W = U V; there for the method `factorised` and no other.
        calibration: How the logits were scaled after training, which the stored head has in it;
            None where they were not.
        conformal: When a class belongs to an image's prediction set; None for no such sets.
        novelty: What is kept of the training images, to tell others that are unlike them; None
            where nothing is.

    Raises:
        TaskFileError: A field breaks its rule; the key is named.
        FormatVersionError: `format_version` is not one that this version reads.
    """

    format_version: int = FORMAT_VERSION
    name: str
    classes: tuple[str, ...]
    multi_label: bool
    method: Method
    backbone: BackboneReference
    preprocessing: Preprocessing
    adapter: AdapterSettings | None
    thresholds: tuple[float, ...]
    training: JsonObject = field(default_factory=dict)
    data: JsonObject = field(default_factory=dict)
    metrics: JsonObject = field(default_factory=dict)
    software: dict[str, str] = field(default_factory=dict)
    created: str
    note: str = ""
    self_check: SelfCheck | None = None
    factorised: FactorisedSettings | None = None
    calibration: CalibrationRecord | None = None
    conformal: ConformalRecord | None = None
    novelty: NoveltySettings | None = None

    def __post_init__(self) -> None:
        """Check every field, and bring numbers and lists into one form."""
        check_format_version(self.format_version, "Task card")
        read_title(self.name, "name")
        read_flag(self.multi_label, "multi_label")
        classes = read_classes(self.classes, multi_label=self.multi_label)
        object.__setattr__(self, "classes", classes)
        read_choice(self.method, "method", get_args(Method))
        _check_preprocessing(self.preprocessing.to_dict())
        for key, method in (("adapter", "lora"), ("factorised", "factorised")):
            if (getattr(self, key) is not None) != (self.method == method):
                rule = f"settings for the method {method!r} and null for any other"
                found = getattr(self, key)
                raise describe_fault(key, f"{rule} (method {self.method!r})", found)
        object.__setattr__(self, "thresholds", _read_thresholds(self))
        for key in ("training", "data", "metrics"):
            object.__setattr__(self, key, read_object(getattr(self, key), key))
        object.__setattr__(self, "software", _read_software(self.software))
        _read_date(self.created)
        read_note(self.note)
        for row in self.self_check.expected if self.self_check else ():
            if len(row) != len(classes):
                rule = f"rows of {len(classes)} numbers, one for each class"
                raise describe_fault("self_check.expected", rule, row)
        check_trust(self.calibration, self.conformal, len(classes), multi_label=self.multi_label)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values, from which `from_dict` makes an equal card."""
        values = {
            **vars(self),
            "classes": list(self.classes),
            "backbone": self.backbone.to_dict(),
            "preprocessing": self.preprocessing.to_dict(),
            "adapter": None if self.adapter is None else self.adapter.to_dict(),
            "thresholds": list(self.thresholds),
            "self_check": None if self.self_check is None else self.self_check.to_dict(),
            "factorised": None if self.factorised is None else self.factorised.to_dict(),
            "calibration": None if self.calibration is None else self.calibration.to_dict(),
            "conformal": None if self.conformal is None else self.conformal.to_dict(),
            "novelty": None if self.novelty is None else self.novelty.to_dict(),
            **{key: read_object(getattr(self, key), key) for key in _FREE_OBJECTS},
        }
        silent = [key for key, meant in _LATER_FIELDS.items() if values[key] == meant]
        return {key: value for key, value in values.items() if key not in silent}

    @classmethod
    def from_dict(cls, values: object) -> "TaskCard":
        """The card that `to_dict` described.

        Raises:
            TaskFileError: A key is missing or unknown, or its value has the wrong type or is
                out of range; the key is named.
            FormatVersionError: The card's format is not one that this version reads.
        """
        if isinstance(values, dict) and "format_version" in values:
            check_format_version(values["format_version"], "Task card")
        record = check_record(cls, values, "", later=_LATER_FIELDS)
        adapter, self_check = record["adapter"], record["self_check"]
        factorised, novelty = record["factorised"], record["novelty"]
        calibration, conformal = record["calibration"], record["conformal"]
        return cls(
            format_version=record["format_version"],
            name=read_title(record["name"], "name"),
            classes=_read_names(record["classes"]),
            multi_label=read_flag(record["multi_label"], "multi_label"),
            method=cast(Method, read_choice(record["method"], "method", get_args(Method))),
            backbone=BackboneReference.from_dict(record["backbone"]),
            preprocessing=_read_preprocessing(record["preprocessing"]),
            adapter=None if adapter is None else AdapterSettings.from_dict(adapter),
            thresholds=read_numbers(record["thresholds"], "thresholds"),
            training=read_object(record["training"], "training"),
            data=read_object(record["data"], "data"),
            metrics=read_object(record["metrics"], "metrics"),
            software=_read_software(record["software"]),
            created=_read_date(record["created"]),
            note=read_note(record["note"]),
            self_check=None if self_check is None else SelfCheck.from_dict(self_check),
            factorised=None if factorised is None else FactorisedSettings.from_dict(factorised),
            calibration=None if calibration is None else CalibrationRecord.from_dict(calibration),
            conformal=None if conformal is None else ConformalRecord.from_dict(conformal),
            novelty=None if novelty is None else NoveltySettings.from_dict(novelty),
        )


def check_format_version(version: object, place: str) -> None:
    """Refuse a format that this version does not read.

    Raises:
        TaskFileError: It is no version number at all.
        FormatVersionError: It is another version than `FORMAT_VERSION`.
    """
    if isinstance(version, bool) or not isinstance(version, int):
        raise TaskFileError(
            f"{place}: 'format_version' must be a whole number, not {show_value(version)}. "
            "The file is damaged or was not written by MedLoRA."
        )
    if version != FORMAT_VERSION:
        raise FormatVersionError(
            f"{place} has format version {version}; this MedLoRA reads version "
            f"{FORMAT_VERSION}. Use the MedLoRA that wrote it, or a newer one."
        )


def read_note(value: object) -> str:
    """A card's note: text of any lines, at most `MAX_NOTE_LENGTH` characters.

    Raises:
        TaskFileError: It is something else.
    """
    return read_text(value, "note", max_length=MAX_NOTE_LENGTH)


def _read_names(value: object) -> tuple[str, ...]:
    return tuple(read_title(name, "classes") for name in read_sequence(value, "classes"))


def read_classes(value: object, *, multi_label: bool) -> tuple[str, ...]:
    """Names of classes as a card may have them.

    Args:
        value: The names.
        multi_label: Whether an image may have any number of them, so that one is enough.

    Raises:
        TaskFileError: A name is no line of text, two are the same, or there are too few.
    """
    classes, min_classes = _read_names(value), 1 if multi_label else 2
    if len(classes) < min_classes:
        raise describe_fault("classes", f"at least {min_classes} name(s)", list(classes))
    if len(set(classes)) < len(classes):
        raise describe_fault("classes", "names that all differ", list(classes))
    return classes


def _read_thresholds(card: TaskCard) -> tuple[float, ...]:
    thresholds = read_numbers(card.thresholds, "thresholds")
    n_classes = len(card.classes)
    if len(thresholds) != n_classes:
        raise describe_fault("thresholds", f"{n_classes} numbers, one for each class", thresholds)
    # A single-label decision divides by the threshold, so it cannot be 0 there.
    if not all(0 <= number <= 1 and (number or card.multi_label) for number in thresholds):
        interval = "[0, 1]" if card.multi_label else "(0, 1]"
        raise describe_fault("thresholds", f"numbers in {interval}", thresholds)
    return thresholds


def _read_preprocessing(values: object) -> Preprocessing:
    # Cards from before there were these fields have no such keys.
    empty: dict[str, list[str]] = {name: [] for name in LATER_FIELDS}
    filled = {**empty, **values} if isinstance(values, dict) else values
    record = check_record(Preprocessing, filled, "preprocessing")
    _check_preprocessing(record)
    try:
        return Preprocessing.from_dict(record)
    except SettingsError as error:
        raise TaskFileError(f"Task card: 'preprocessing' is not valid. {error}") from error


def _check_preprocessing(values: dict[str, Any]) -> None:
    """Check the types, which the record itself leaves to the type checker."""
    for name in LATER_FIELDS:
        for word in read_sequence(values.get(name, ()), f"preprocessing.{name}"):
            read_text(word, f"preprocessing.{name}")
    n_channels = len(values.get("channels", ())) or 3
    for name, n_values in (("size", 2), ("mean", n_channels), ("std", n_channels)):
        key = f"preprocessing.{name}"
        if len(read_numbers(values[name], key)) != n_values:
            raise describe_fault(key, f"a list of {n_values} numbers", values[name])
    for side in values["size"]:
        read_count(side, "preprocessing.size", low=1)
    read_number(values["crop_fraction"], "preprocessing.crop_fraction")
    for name in ("interpolation", "crop_mode", "contrast"):
        read_text(values[name], f"preprocessing.{name}")


def _read_software(value: object) -> dict[str, str]:
    versions = read_object(value, "software")
    return {package: read_text(text, f"software.{package}") for package, text in versions.items()}


def _read_date(value: object) -> str:
    text = read_text(value, "created", max_length=64)
    try:
        datetime.fromisoformat(text)
    except ValueError:
        raise describe_fault("created", "a date and time in ISO 8601", value) from None
    return text
