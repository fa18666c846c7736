"""Columns that divide images into groups, and those that do not."""

import pytest

from medlora.errors import DataError, SettingsError
from medlora.evaluate.grouping import (
    MAX_GROUPS,
    SubgroupColumn,
    check_columns,
    name_groups,
    parse_columns,
)


def test_columns_as_a_user_names_them() -> None:
    assert parse_columns("") == ()
    assert parse_columns(" sex , age:0-40.5-120") == (
        SubgroupColumn("sex"),
        SubgroupColumn("age", (0.0, 40.5, 120.0)),
    )


@pytest.mark.parametrize("text", ["age:0", "age:40-40", "age:60-40-0", "age:", "age:old-young"])
def test_bounds_are_ascending_numbers(text) -> None:
    with pytest.raises(SettingsError, match="bounds of 'age' must be"):
        parse_columns(text)


@pytest.mark.parametrize("text", ["sex,sex", "sex,sex:1-2", ":1-2"])
def test_a_column_is_named_once(text) -> None:
    with pytest.raises(SettingsError, match="must name each column once"):
        parse_columns(text)


def test_values_are_groups_and_nothing_is_none() -> None:
    names, order = name_groups(["M", "", "F", "M"], SubgroupColumn("sex"))
    assert names == ["M", None, "F", "M"]
    assert order == ("F", "M")


def test_ranges_hold_their_lower_bound_and_the_last_one_both() -> None:
    column = SubgroupColumn("age", (0.0, 40.0, 60.0, 90.0))
    values = ["0", "39.9", "40", "059Y", "60", "90", "90.1", "-1", ""]
    names, order = name_groups(values, column)
    young, middle, old = "0 to under 40", "40 to under 60", "60 to 90"
    assert names == [young, young, middle, middle, old, old, None, None, None]
    assert order == (young, middle, old)
    assert name_groups(["70"], column)[1] == (old,)


def test_a_value_that_is_no_number_is_not_shown() -> None:
    with pytest.raises(DataError, match="value that is no number, at image 2") as caught:
        name_groups(["1", "secret"], SubgroupColumn("age", (0.0, 1.0)))
    assert "secret" not in str(caught.value)


def test_a_column_of_names_is_no_column_of_groups() -> None:
    values = [f"patient-{number}" for number in range(MAX_GROUPS + 1)]
    with pytest.raises(DataError, match="21 different values, which are too many") as caught:
        name_groups(values, SubgroupColumn("who"))
    assert "patient-" not in str(caught.value)
    assert len(name_groups(values[1:], SubgroupColumn("who"))[1]) == MAX_GROUPS


@pytest.mark.parametrize("name", ["patient", "label", "path", "case"])
def test_what_tells_patients_apart_is_refused(name) -> None:
    with pytest.raises(SettingsError, match=f"'{name}' is no column of subgroups"):
        check_columns([SubgroupColumn("sex"), SubgroupColumn(name)], group_by="case")
    check_columns([SubgroupColumn("sex")])
