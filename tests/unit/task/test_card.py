import json
import math
from typing import Any

import numpy as np
import pytest

from medlora.errors import FormatVersionError, TaskFileError
from medlora.preprocessing import Preprocessing
from medlora.task.card import (
    AdapterSettings,
    BackboneReference,
    FactorisedSettings,
    SelfCheck,
    TaskCard,
)
from tests.unit.task.task_samples import make_adapter, make_card

KEYS = [
    *make_card().to_dict(),
    "backbone.name",
    "backbone.fingerprint",
    *(f"preprocessing.{key}" for key in make_card().preprocessing.to_dict()),
    *(f"adapter.{key}" for key in ("rank", "alpha", "scaling", "dropout", "layers")),
    *(f"self_check.{key}" for key in ("seed", "n_images", "expected", "tolerance")),
]


FACTORISED = FactorisedSettings(8, 0.5, {"fc2": (4, 3), "fc1": (25088, 4)})
NORMALISED = FactorisedSettings(8, 0.5, {"fc2": (4, 3), "fc1": (25088, 4)}, "rms")


def describe_card(**changes: Any) -> dict[str, Any]:
    """As it comes out of a file."""
    return json.loads(json.dumps(make_card(**changes).to_dict()))


def find_parent(values: dict[str, Any], key: str) -> tuple[dict[str, Any], str]:
    *path, last = key.split(".")
    for name in path:
        values = values[name]
    return values, last


def nest(depth: int) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for _ in range(depth):
        values = {"deeper": values}
    return values


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"method": "linear", "adapter": None, "self_check": None},
        {"method": "full", "adapter": None},
        {"method": "factorised", "adapter": None, "factorised": FACTORISED},
        {"method": "factorised", "adapter": None, "factorised": NORMALISED},
        {"multi_label": True, "classes": ("Effusion",), "thresholds": (0.0,), "self_check": None},
        {"adapter": make_adapter(rank=1, alpha=0.1, scaling="alpha/sqrt(rank)", dropout=0.25)},
        {"preprocessing": Preprocessing((31, 448), (0, 0, 1), (1, 1, 1), contrast="clahe")},
        {"preprocessing": Preprocessing((9, 9), (0, 0, 1), (1, 1, 1), steps=("crop", "denoise"))},
        {"note": "", "training": {}, "data": {}, "metrics": {}, "software": {}},
        {"training": nest(20)},
        {"training": {"": [1, -(2**62), 1e-300, -0.0, True, None, "日本", {"a": [[]]}]}},
    ],
)
def test_card_survives_json(changes: dict[str, Any]) -> None:
    card = make_card(**changes)
    read = TaskCard.from_dict(json.loads(json.dumps(card.to_dict())))
    assert read == card
    assert json.dumps(read.to_dict()) == json.dumps(card.to_dict())


def test_card_is_a_copy_in_one_form() -> None:
    training: dict[str, Any] = {"steps": (1, 2), "b": {"z": np.float64(0.5), "a": 1}}
    card = make_card(
        training=training, classes=["a", "b"], thresholds=[1, 0.5], software={"b": "2", "a": "1"}
    )
    training["b"]["a"] = 2
    assert card.training == {"b": {"a": 1, "z": 0.5}, "steps": [1, 2]}
    assert list(card.training) == ["b", "steps"]
    assert list(card.software) == ["a", "b"]
    assert card.classes == ("a", "b")
    assert card.thresholds == (1.0, 0.5)
    assert type(card.thresholds[0]) is float
    card.to_dict()["training"]["b"]["a"] = 3
    assert card.training == {"b": {"a": 1, "z": 0.5}, "steps": [1, 2]}


def test_layers_are_kept_in_the_order_of_their_paths() -> None:
    layers = {"b": ("v", "q"), "a": ()}
    adapter = make_adapter(layers=layers)
    assert list(adapter.layers.items()) == [("a", ()), ("b", ("v", "q"))]


@pytest.mark.parametrize("key", KEYS)
def test_missing_key_is_named(key: str) -> None:
    values = describe_card()
    parent, last = find_parent(values, key)
    del parent[last]
    with pytest.raises(TaskFileError, match=f"the key '{key}' is missing"):
        TaskCard.from_dict(values)


@pytest.mark.parametrize("key", ["", "backbone.", "preprocessing.", "adapter.", "self_check."])
def test_unknown_key_is_named(key: str) -> None:
    values = describe_card()
    parent, _ = find_parent(values, f"{key}surprise")
    parent["surprise"] = 1
    with pytest.raises(TaskFileError, match=f"the key '{key}surprise' is unknown"):
        TaskCard.from_dict(values)


@pytest.mark.parametrize("key", [key for key in KEYS if key not in ("adapter", "self_check")])
@pytest.mark.parametrize("value", [None, b"x", math.nan, [[[]]]])
def test_wrong_type_is_named(key: str, value: object) -> None:
    values = describe_card()
    parent, last = find_parent(values, key)
    parent[last] = value
    with pytest.raises(TaskFileError, match=f"'{key}"):
        TaskCard.from_dict(values)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("name", "", "'name' must be text of 1 to 200 characters, not ''"),
        ("name", "x" * 201, "1 to 200 characters, not 'xxxx.*xx\\.\\.\\.\\.$"),
        ("name", "two\nlines", "'name' must be one line of text"),
        ("name", " tb", "'name' must be one line of text without space around it, not ' tb'"),
        ("name", "\ud800", "without half a character"),
        ("classes", ["one"], r"'classes' must be at least 2 name\(s\), not \['one'\]"),
        ("classes", ["a", "a"], "'classes' must be names that all differ"),
        ("classes", ["a", 1], "'classes' must be text, not 1"),
        ("classes", "ab", "'classes' must be a list, not 'ab'"),
        ("multi_label", 1, "'multi_label' must be true or false, not 1"),
        ("method", "lorax", "'method' must be one of lora, linear, full, factorised, .* 'lorax'"),
        ("method", "linear", r"'adapter' must be settings for the method 'lora' and null"),
        ("adapter", None, r"'adapter' must be .* \(method 'lora'\), not None"),
        ("backbone", "vit", "'backbone' must be an object, not 'vit'"),
        ("backbone.fingerprint", "A" * 64, "'backbone.fingerprint' must be 64 lower-case hex"),
        ("backbone.fingerprint", "a" * 63, "'backbone.fingerprint' must be 64 lower-case hex"),
        ("backbone.name", "a\tb", "'backbone.name' must be one line"),
        ("preprocessing.size", [224], "'preprocessing.size' must be a list of 2 numbers"),
        ("preprocessing.size", [224, 224.0], "'preprocessing.size' must be a whole number"),
        ("preprocessing.size", [224, 5000], "size must be two sides of 1 to 4096 pixels"),
        ("preprocessing.mean", [0.5, 0.5], "'preprocessing.mean' must be a list of 3 numbers"),
        ("preprocessing.std", [0.5, 0.5, 0], r"std must be in \(0, 1\]"),
        ("preprocessing.std", [0.5, 0.5, True], "'preprocessing.std' must be a finite number"),
        ("preprocessing.crop_fraction", 1.5, r"crop_fraction must be in \(0, 1\], not 1.5"),
        ("preprocessing.steps", ["sharpen"], "one of crop, denoise, bias-field, not 'sharpen'"),
        ("preprocessing.steps", "crop", "'preprocessing.steps' must be a list"),
        ("preprocessing.steps", [1], "'preprocessing.steps' must be text"),
        ("preprocessing.contrast", "more", "contrast must be one of none, equalize, clahe"),
        ("adapter.rank", 0, "'adapter.rank' must be a whole number from 1 to 65536, not 0"),
        ("adapter.rank", 4.0, "'adapter.rank' must be a whole number from 1 to 65536, not 4.0"),
        ("adapter.rank", True, "'adapter.rank' must be a whole number"),
        ("adapter.alpha", 0, "'adapter.alpha' must be above 0, not 0"),
        ("adapter.alpha", 10**400, "'adapter.alpha' must be a finite number"),
        ("adapter.alpha", "4", "'adapter.alpha' must be a finite number, not '4'"),
        ("adapter.scaling", "alpha//rank", "'adapter.scaling' must be one of alpha/rank, alpha/s"),
        ("adapter.dropout", 1, r"'adapter.dropout' must be in \[0, 1\), not 1"),
        ("adapter.layers", {}, "'adapter.layers' must be an object with one layer at least"),
        ("adapter.layers", {"a..b": []}, "keys are paths like 'blocks.0.qkv', not 'a..b'"),
        ("adapter.layers", {"a": ["q", "q"]}, "'adapter.layers.a' must be a list of different"),
        ("adapter.layers", {"a": ["q.A"]}, "'adapter.layers.a' must be a list of different"),
        ("adapter.layers", {"a": "q"}, "'adapter.layers' must be a list, not 'q'"),
        ("thresholds", [0.5], "'thresholds' must be 2 numbers, one for each class"),
        ("thresholds", [0.5, 1.01], r"'thresholds' must be numbers in \(0, 1\]"),
        ("thresholds", [0.5, 0], r"'thresholds' must be numbers in \(0, 1\]"),
        ("training", [], r"'training' must be an object, not \[\]"),
        ("training", {"loss": math.inf}, "'training.loss' must be a finite number, not inf"),
        ("training", {"n": 2**63}, "'training.n' must be a whole number from -"),
        ("training", {"a": [{1: 2}]}, r"'training.a\[0\]' must be an object whose keys are text"),
        ("training", {"rows": np.int64(1)}, r"'training.rows' must be plain JSON .* not np.int64"),
        ("data", nest(30), "'data.deeper.*' must be nested at most 24 deep"),
        ("metrics", {"\udc00": 1}, "'metrics' must be text without half a character"),
        ("software", {"torch": 2}, "'software.torch' must be text, not 2"),
        ("created", "yesterday", "'created' must be a date and time in ISO 8601, not 'yesterday'"),
        ("note", "x" * 100_001, "'note' must be text of 0 to 100000 characters"),
        ("self_check.seed", -1, "'self_check.seed' must be a whole number from 0"),
        ("self_check.n_images", 3, "'self_check.expected' must be 3 rows, one for each image"),
        ("self_check.expected", [[1.0], [1.0]], "'self_check.expected' must be rows of 2 numbers"),
        ("self_check.expected", [[1, "a"], [1, 2]], "'self_check.expected' must be a finite num"),
        ("self_check.tolerance", 0, "'self_check.tolerance' must be above 0, not 0"),
    ],
)
def test_value_out_of_range_is_named(key: str, value: object, message: str) -> None:
    values = describe_card()
    parent, last = find_parent(values, key)
    parent[last] = value
    with pytest.raises(TaskFileError, match=message):
        TaskCard.from_dict(values)


@pytest.mark.parametrize("values", [None, [], "card", 1])
def test_card_must_be_an_object(values: object) -> None:
    with pytest.raises(TaskFileError, match="'card' must be an object"):
        TaskCard.from_dict(values)


@pytest.mark.parametrize("version", [0, 2, 99])
def test_other_version_is_refused_before_its_keys_are(version: int) -> None:
    with pytest.raises(FormatVersionError, match=f"has format version {version}; .* version 1"):
        TaskCard.from_dict({"format_version": version, "something": "new"})


@pytest.mark.parametrize("version", [True, "1", 1.0, None])
def test_version_must_be_a_whole_number(version: object) -> None:
    with pytest.raises(TaskFileError, match="'format_version' must be a whole number"):
        TaskCard.from_dict({**describe_card(), "format_version": version})


@pytest.mark.parametrize("multi_label", [False, True])
def test_threshold_of_zero_is_for_multi_label_only(multi_label: bool) -> None:
    if multi_label:
        assert make_card(multi_label=True, thresholds=(0.0, 1.0)).thresholds == (0.0, 1.0)
    else:
        with pytest.raises(TaskFileError, match=r"numbers in \(0, 1\]"):
            make_card(multi_label=False, thresholds=(0.0, 1.0))


def test_direct_construction_is_checked_too() -> None:
    with pytest.raises(TaskFileError, match=r"'adapter\.rank' must be a whole number from 1"):
        AdapterSettings(0, 1.0, "alpha/rank", 0.0, {"fc": ()})
    with pytest.raises(TaskFileError, match=r"'backbone\.fingerprint' must be 64"):
        BackboneReference("vit", "abc")
    with pytest.raises(TaskFileError, match=r"'self_check\.expected' must be 2 rows"):
        SelfCheck(0, 2, ((1.0,),), 0.1)
    with pytest.raises(TaskFileError, match="'thresholds' must be 2 numbers"):
        make_card(thresholds=(0.5,))


def test_a_card_without_factorised_layers_is_spelt_as_before_there_were_any() -> None:
    assert "factorised" not in make_card().to_dict()
    assert TaskCard.from_dict(describe_card()).factorised is None


def describe_factorised(**changes: Any) -> dict[str, Any]:
    values = describe_card(method="factorised", adapter=None, factorised=FACTORISED)
    values["factorised"] |= changes
    return values


def test_factorised_layers_are_kept_in_the_order_of_their_paths() -> None:
    card = TaskCard.from_dict(describe_factorised())
    assert card.factorised == FACTORISED
    assert list(describe_factorised()["factorised"]["layers"]) == ["fc1", "fc2"]


@pytest.mark.parametrize("key", ["rank", "dropout", "layers"])
def test_a_missing_key_of_factorised_layers_is_named(key: str) -> None:
    values = describe_factorised()
    del values["factorised"][key]
    with pytest.raises(TaskFileError, match=f"the key 'factorised.{key}' is missing"):
        TaskCard.from_dict(values)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rank": 0}, "'factorised.rank' must be a whole number from 1"),
        ({"dropout": 1}, r"'factorised.dropout' must be in \[0, 1\)"),
        ({"layers": {}}, "'factorised.layers' must be an object with one layer at least"),
        ({"layers": {"a b": [1, 2]}}, "'factorised.layers' must be an object whose keys are paths"),
        ({"layers": {"a": [1, 2, 3]}}, "'factorised.layers.a' must be two numbers, of inputs"),
        ({"layers": {"a": [0, 2]}}, "'factorised.layers.a' must be a whole number from 1"),
        ({"layers": {"a": 5}}, "'factorised.layers' must be a list"),
        ({"alpha": 1.0}, "the key 'factorised.alpha' is unknown"),
    ],
)
def test_a_wrong_value_of_factorised_layers_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(TaskFileError, match=message):
        TaskCard.from_dict(describe_factorised(**changes))


@pytest.mark.parametrize(
    ("method", "factorised"), [("factorised", None), ("linear", FACTORISED), ("full", FACTORISED)]
)
def test_factorised_layers_belong_to_one_method(method: Any, factorised: Any) -> None:
    with pytest.raises(TaskFileError, match=r"'factorised' must be settings for the method 'fac"):
        make_card(method=method, adapter=None, factorised=factorised)
