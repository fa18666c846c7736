"""The task card as a reader wants it: in sections, in words, with units."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medlora.report.wording import clean_text, format_count

NO_NOTE = (
    "None was stated when the task was trained. Treat its answers as research: they are not "
    "fit to decide about a patient's diagnosis or treatment."
)
METHOD_WORDS = {
    "lora": "low-rank adapter on a frozen backbone",
    "linear": "linear head on a frozen backbone",
    "full": "full fine-tuning of the backbone",
    "pca-logistic": "logistic regression on principal components of a frozen backbone's features",
    "factorised": "fully connected layers W = U V behind a frozen feature map",
}
_CROPS = {
    "center": "shorter side resized, middle cut out",
    "squash": "squashed to size, aspect ignored",
    "border": "longer side resized, filled up with black",
}


@dataclass(frozen=True)
class Entry:
    """One line of the card: a name and its value; `is_code` asks for a fixed-width font."""

    name: str
    value: str
    is_code: bool = False


@dataclass(frozen=True)
class Grid:
    """A small table in the card: the head row, and rows that begin with their name."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Section:
    """A part of the card under one heading."""

    heading: str
    entries: tuple[Entry, ...] = ()
    grids: tuple[Grid, ...] = ()


def arrange_card(card: Mapping[str, Any]) -> list[Section]:
    """The card's sections in reading order; those with nothing in them are left out.

    Args:
        card: The card as plain JSON values.
    """
    sections = [
        Section("Task", tuple(_describe_task(card))),
        Section("Backbone", tuple(_describe_backbone(read_mapping(card, "backbone")))),
        Section(
            "Preprocessing", tuple(_describe_preprocessing(read_mapping(card, "preprocessing")))
        ),
        Section("Adapter", tuple(_describe_adapter(read_mapping(card, "adapter")))),
        Section("Layers W = U V", tuple(_describe_factorised(read_mapping(card, "factorised")))),
        _list_values("Training", read_mapping(card, "training")),
        _list_values("Data", read_mapping(card, "data")),
        _list_values("Software", read_mapping(card, "software"), verbatim=True),
        Section("Self-check", tuple(_describe_self_check(read_mapping(card, "self_check")))),
    ]
    return [section for section in sections if section.entries or section.grids]


def read_mapping(values: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """The mapping under a key, empty where there is none."""
    found = values.get(key)
    return found if isinstance(found, Mapping) else {}


def read_note(card: Mapping[str, Any]) -> str:
    """The card's note on intended use and limits, or a sentence that none was stated."""
    note = card.get("note")
    lines = [clean_text(line) for line in note.splitlines()] if isinstance(note, str) else []
    return "\n".join(lines).strip() or NO_NOTE


def _describe_task(card: Mapping[str, Any]) -> list[Entry]:
    entries = []
    if "name" in card:
        entries.append(Entry("name", clean_text(str(card["name"]))))
    if "classes" in card:
        names = ", ".join(clean_text(str(name)) for name in card["classes"])
        entries.append(Entry("classes", f"{len(card['classes'])}: {names}"))
    if "multi_label" in card:
        rule = "any number of them" if card["multi_label"] else "exactly one"
        entries.append(Entry("classes of an image", rule))
    if "method" in card:
        method = str(card["method"])
        entries.append(
            Entry("method", f"{method}: {METHOD_WORDS.get(method, 'of another version')}")
        )
    if "thresholds" in card and "classes" in card:
        entries.append(Entry("decision thresholds", _describe_thresholds(card)))
    if "created" in card:
        entries.append(Entry("created", clean_text(str(card["created"]))))
    return entries


def _describe_thresholds(card: Mapping[str, Any]) -> str:
    if len(set(card["thresholds"])) == 1:
        return f"{format_value(card['thresholds'][0])} for every class"
    pairs = zip(card["classes"], card["thresholds"], strict=False)
    return ", ".join(f"{clean_text(str(name))} {format_value(value)}" for name, value in pairs)


def _describe_backbone(backbone: Mapping[str, Any]) -> list[Entry]:
    entries = [Entry("timm name", clean_text(str(backbone.get("name", ""))), is_code=True)]
    entries.append(
        Entry("fingerprint (SHA-256)", clean_text(str(backbone.get("fingerprint", ""))), True)
    )
    return [entry for entry in entries if entry.value]


def _describe_preprocessing(record: Mapping[str, Any]) -> list[Entry]:
    entries = []
    if "size" in record:
        entries.append(Entry("input", f"{' × '.join(map(str, record['size']))} pixels"))
    if "crop_mode" in record:
        words = _CROPS.get(record["crop_mode"], record["crop_mode"])
        fraction = format_value(record.get("crop_fraction", 1.0))
        entries.append(Entry("crop", f"{words}; keeps {fraction} of the side"))
    if record.get("channels"):
        entries.append(Entry("channels", clean_text(", ".join(map(str, record["channels"])))))
    if record.get("steps"):
        entries.append(Entry("steps before it", clean_text(", ".join(map(str, record["steps"])))))
    for key in ("interpolation", "contrast"):
        if key in record:
            entries.append(Entry(key, clean_text(str(record[key]))))
    channels = "each channel" if record.get("channels") else "red, green, blue"
    for key in ("mean", "std"):
        if key in record:
            entries.append(Entry(f"{key} of {channels}", format_value(record[key])))
    return entries


def _describe_adapter(adapter: Mapping[str, Any]) -> list[Entry]:
    if not adapter:
        return []
    layers = read_mapping(adapter, "layers")
    groups = group_layers(layers)
    return [
        *(
            Entry(key, format_value(adapter[key]))
            for key in ("rank", "alpha", "scaling", "dropout")
            if key in adapter
        ),
        *([Entry(f"{len(layers)} layers", "; ".join(groups), is_code=True)] if groups else []),
    ]


def _describe_factorised(factorised: Mapping[str, Any]) -> list[Entry]:
    entries = [
        Entry(key, format_value(factorised[key]))
        for key in ("rank", "dropout")
        if key in factorised
    ]
    for name, shape in read_mapping(factorised, "layers").items():
        sides = [format_value(n) for n in shape]
        entries.append(Entry(clean_text(name), " inputs, ".join(sides) + " outputs"))
    return entries


def _describe_self_check(check: Mapping[str, Any]) -> list[Entry]:
    if not check:
        return []
    return [
        Entry(
            "synthetic images",
            f"{format_value(check.get('n_images'))} from seed {format_value(check.get('seed'))}; "
            f"answers agree within {format_value(check.get('tolerance'))}",
        )
    ]


def group_layers(layers: Mapping[str, Sequence[str]]) -> list[str]:
    """Layer paths with their numbers replaced by stars, alike ones counted once.

    Example:
        >>> group_layers({"blocks.0.attn.qkv": ("q", "v"), "blocks.1.attn.qkv": ("q", "v")})
        ['blocks.*.attn.qkv (q, v) × 2']
    """
    counts: dict[str, int] = {}
    for path, parts in layers.items():
        shape = re.sub(r"(?<![^.])\d+(?![^.])", "*", clean_text(path))
        label = f"{shape} ({', '.join(map(str, parts))})" if parts else shape
        counts[label] = counts.get(label, 0) + 1
    return [label if number == 1 else f"{label} × {number}" for label, number in counts.items()]


def _list_values(
    heading: str, values: Mapping[str, Any], *, verbatim: bool = False, prefix: str = ""
) -> Section:
    """Any JSON object as lines and small tables; nested names are joined by a comma."""
    entries: list[Entry] = []
    grids: list[Grid] = []
    for key, value in values.items():
        name = clean_text(key if verbatim else _spell_key(key))
        name = f"{prefix}, {name}" if prefix else name
        if isinstance(value, Mapping):
            grid = _arrange_grid(name, value)
            nested = _list_values(heading, value, verbatim=verbatim, prefix=name)
            grids.extend([grid] if grid else nested.grids)
            entries.extend([] if grid else nested.entries)
        else:
            text = format_value(value)
            entries.append(Entry(name, text, is_code=bool(re.fullmatch(r"[0-9a-f]{32,}", text))))
    return Section(heading, tuple(entries), tuple(grids))


def _spell_key(key: str) -> str:
    """A key in words: `n_images` is "number of images"."""
    return re.sub(r"^n_", "number of ", key).replace("_", " ")


def _arrange_grid(name: str, values: Mapping[str, Any]) -> Grid | None:
    """A table of an object of objects of plain values, the longer side downwards."""
    inner = list(values.values())
    if not inner or not all(isinstance(each, Mapping) and each for each in inner):
        return None
    if any(isinstance(value, Mapping | list | tuple) for each in inner for value in each.values()):
        return None
    rows = list(values)
    columns = list(dict.fromkeys(key for each in inner for key in each))
    cells = {(row, column): values[row].get(column, "") for row in rows for column in columns}
    if len(columns) > len(rows):
        rows, columns = columns, rows
        cells = {(column, row): value for (row, column), value in cells.items()}
    return Grid(
        (name, *(clean_text(column) for column in columns)),
        tuple(
            (clean_text(row), *(format_value(cells[row, column]) for column in columns))
            for row in rows
        ),
    )


def format_value(value: Any) -> str:
    """A JSON value in words.

    Example:
        >>> format_value([0.5, 1e-05, True, None])
        '0.5, 1e-05, yes, none'
    """
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return format_count(value)
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(format_value(item) for item in value) or "none"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {format_value(item)}" for key, item in value.items()) or "none"
    return clean_text(str(value))
