"""The task card in words."""

import pytest

from medlora.report.cards import NO_NOTE, Grid, arrange_card, format_value, group_layers, read_note


def find_section(card: dict[str, object], heading: str) -> object:
    return next(each for each in arrange_card(card) if each.heading == heading)


def test_an_empty_card_has_no_sections() -> None:
    assert arrange_card({}) == []


def test_a_card_without_adapter_has_no_such_section() -> None:
    sections = arrange_card({"name": "a", "method": "linear", "adapter": None, "self_check": None})
    assert [section.heading for section in sections] == ["Task"]
    assert [entry.value for entry in sections[0].entries] == [
        "a",
        "linear: linear head on a frozen backbone",
    ]


def test_thresholds_that_differ_are_named_by_class() -> None:
    card = {"classes": ["a", "b"], "thresholds": [0.25, 0.5]}
    entries = {entry.name: entry.value for entry in find_section(card, "Task").entries}
    assert entries["decision thresholds"] == "a 0.25, b 0.5"


def test_counts_become_a_table_with_the_longer_side_downwards() -> None:
    counts = {"train": {"a": 1200, "b": 2, "c": 3}, "test": {"a": 4, "c": 6}}
    section = find_section({"data": {"n_images": counts}}, "Data")
    assert section.grids == (
        Grid(
            ("number of images", "train", "test"),
            (("a", "1\u202f200", "4"), ("b", "2", ""), ("c", "3", "6")),
        ),
    )
    assert section.entries == ()


def test_deeper_objects_are_flattened_and_digests_set_as_code() -> None:
    data = {"source": {"deep": {"list": [1, 2]}}, "sha256": "ab" * 32}
    entries = find_section({"data": data}, "Data").entries
    assert [(entry.name, entry.value, entry.is_code) for entry in entries] == [
        ("source, deep, list", "1, 2", False),
        ("sha256", "ab" * 32, True),
    ]


def test_packages_keep_the_spelling_of_their_names() -> None:
    entries = find_section({"software": {"lightning_fabric": "2.5"}}, "Software").entries
    assert [(entry.name, entry.value) for entry in entries] == [("lightning_fabric", "2.5")]


def test_layers_alike_are_counted_in_the_order_of_their_first() -> None:
    layers = {
        "layer1.0.conv2": (),
        "layer1.1.conv2": (),
        "head.fc": (),
        "blocks.11.attn.qkv": ("q", "v"),
    }
    assert group_layers(layers) == [
        "layer1.*.conv2 × 2",
        "head.fc",
        "blocks.*.attn.qkv (q, v)",
    ]


@pytest.mark.parametrize("note", [None, "", "  \n "])
def test_a_card_without_a_note_says_what_follows(note: str | None) -> None:
    assert read_note({"note": note}) == NO_NOTE


def test_a_note_keeps_its_lines() -> None:
    assert read_note({"note": "first\nsecond\n"}) == "first\nsecond"


@pytest.mark.parametrize(
    ("value", "words"),
    [([], "none"), ({}, "none"), ({"a": 1}, "a 1"), (0.1 + 0.2, "0.3"), (12345, "12\u202f345")],
)
def test_values_are_written_plainly(value: object, words: str) -> None:
    assert format_value(value) == words
