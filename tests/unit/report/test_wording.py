"""Numbers and names in print."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medlora.report.wording import (
    Interval,
    clean_text,
    format_bounds,
    format_count,
    format_number,
    measure_text,
    name_measure,
    read_interval,
    shorten_name,
    shorten_names,
)


@pytest.mark.parametrize(
    ("estimate", "expected"),
    [
        ({"value": 0.5, "low": 0.4, "high": 0.6}, Interval(0.5, 0.4, 0.6)),
        ({"value": "undefined", "low": "undefined", "high": "undefined"}, (None, None, None)),
        ({"value": 1}, Interval(1.0, None, None)),
        ("undefined", Interval(None, None, None)),
        (None, Interval(None, None, None)),
        (0.25, Interval(0.25, None, None)),
        (float("nan"), Interval(None, None, None)),
        (True, Interval(None, None, None)),
    ],
)
def test_an_estimate_is_read_in_each_of_its_forms(estimate: object, expected: Interval) -> None:
    assert read_interval(estimate) == expected


def test_undefined_is_a_word_and_has_no_bounds() -> None:
    assert format_number(None) == "undefined"
    assert format_bounds(Interval(None, None, None)) == ""
    assert format_bounds(Interval(0.5, None, None)) == ""


def test_thousands_are_set_apart() -> None:
    assert format_count(1234567) == "1\u202f234\u202f567"


def test_unknown_measures_are_spelt_from_their_key() -> None:
    assert name_measure("exact_match") == "Exact match"
    assert name_measure("cohen_kappa") == "Cohen kappa"


@settings(max_examples=60)
@given(st.text(max_size=60), st.integers(min_value=4, max_value=30))
def test_a_short_name_fits_and_begins_like_the_whole(name: str, columns: int) -> None:
    short, clean = shorten_name(name, columns), clean_text(name)
    assert measure_text(short) <= columns
    assert short == clean or ("…" in short and clean.startswith(short.partition("…")[0]))


def test_names_that_would_look_alike_get_their_number() -> None:
    names = ["very long name of kind one", "very long name a kind one", "short"]
    assert shorten_name(names[0], 14) == shorten_name(names[1], 14)
    assert shorten_names(names, 14) == [
        f"{shorten_name(names[0], 10)} (1)",
        f"{shorten_name(names[1], 10)} (2)",
        "short",
    ]


def test_wide_characters_count_twice() -> None:
    assert measure_text("肺炎") == 4
    assert measure_text(shorten_name("肺炎" * 10, 9)) <= 9


@settings(max_examples=60)
@given(st.text(alphabet=st.characters(codec=None), max_size=40))
def test_clean_text_can_always_be_stored_in_one_line(text: str) -> None:
    clean = clean_text(text)
    clean.encode("utf-8")
    assert len(clean.splitlines()) <= 1
    assert not set(clean) & {"\x00", "\u202e", "\uffff"}
    assert clean_text(clean) == clean
