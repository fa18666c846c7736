"""Every item is answered from the run or left to the authors, and nothing is left silent."""

import re
from collections.abc import Callable

import pytest

from medlora.report.checklists import (
    FOR_AUTHORS,
    ChecklistName,
    describe_checklists,
    fill_checklist,
    read_checklist,
)
from medlora.report.content import ReportContent
from medlora.report.sections import Section, Table

NAMES: tuple[ChecklistName, ...] = ("claim", "tripod")


def test_claim_has_its_44_items_in_order() -> None:
    numbers = [item.number for item in read_checklist("claim").items]
    assert numbers == [str(number) for number in range(1, 45)]


def test_tripod_has_its_27_items_with_52_parts() -> None:
    letters = {3: "abc", 5: "ab", 6: "abc", 8: "abc", 9: "abc", 12: "abcdefg", 18: "abcdef"}
    letters |= {20: "abc", 23: "ab", 27: "abc"}
    expected = [f"{n}{letter}" for n in range(1, 28) for letter in letters.get(n, [""])]
    assert [item.number for item in read_checklist("tripod").items] == expected
    assert len(expected) == 52


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("fixture", ["full_content", "label_content"])
def test_every_item_is_filled_or_left_to_the_authors(
    name: ChecklistName, fixture: str, request: pytest.FixtureRequest
) -> None:
    answers = fill_checklist(request.getfixturevalue(fixture), name)
    for answer in answers:
        assert answer.text
        assert answer.known or answer.authors == f"{FOR_AUTHORS}."
        assert not answer.authors or answer.authors.startswith(FOR_AUTHORS)
    known = {answer.item.number for answer in answers if answer.known}
    assert known and len(known) < len(answers)


@pytest.mark.parametrize("name", NAMES)
def test_a_run_answers_more_than_an_empty_card(
    name: ChecklistName, full_content: ReportContent, label_content: ReportContent
) -> None:
    def count(content: ReportContent) -> int:
        return sum(bool(answer.known) for answer in fill_checklist(content, name))

    assert count(full_content) > count(label_content) > 0


def test_what_the_run_knows_stands_beside_its_item(full_content: ReportContent) -> None:
    claim = {answer.item.number: answer for answer in fill_checklist(full_content, "claim")}
    accuracy = full_content.evaluation["overall"]["accuracy"]["value"]
    assert f"{accuracy:.3f}" in claim["37"].known
    assert "torch 2.9.1" in claim["23"].known
    assert "3f9a12" in claim["22"].known
    assert claim["44"].text == "For the authors."
    assert claim["7"].authors == "For the authors: hospitals, devices and years."


def test_a_part_of_the_report_answers_its_item(content_maker: Callable[..., ReportContent]) -> None:
    def find(content: ReportContent) -> str:
        answers = fill_checklist(content, "tripod")
        return next(answer.known for answer in answers if answer.item.number == "14")

    assert find(content_maker()) == ""
    sections = (Section("Groups of patients", "subgroups"),)
    assert find(content_maker(sections=sections)) == (
        "See the part “Groups of patients” of the report."
    )


def test_the_sections_count_what_is_open(full_content: ReportContent) -> None:
    for section, name in zip(describe_checklists(full_content), NAMES, strict=True):
        assert section.anchor == name
        table = section.blocks[0]
        assert isinstance(table, Table)
        counts = re.search(r"(\d+) of (\d+) items .* (\d+) have", table.caption)
        assert counts is not None
        n_known, n_items, n_open = map(int, counts.groups())
        assert n_items == len(table.rows)
        assert n_open == sum(FOR_AUTHORS in row[2] for row in table.rows)
        assert n_known == sum(row[2] != f"{FOR_AUTHORS}." for row in table.rows)
