"""A report's content survives its own JSON."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from medlora.errors import DataError, SettingsError
from medlora.report.content import ReportContent
from medlora.report.page import render_report
from medlora.report.sections import Section
from medlora.report.stored import Answers, describe_content, read_content
from medlora.report.verdict import list_verdict
from tests.unit.report.test_document import every_block


def answers_of(content: ReportContent) -> Answers:
    return Answers(content.probabilities, content.targets, tuple(content.locations))


@pytest.fixture
def stored(full_content: ReportContent) -> dict[str, Any]:
    content = replace(
        full_content, sections=(Section("Ages", "ages", "who", every_block("word"), "methods"),)
    )
    described: dict[str, Any] = json.loads(json.dumps(describe_content(content)))
    return described


def test_the_page_is_the_same_after_a_round_trip(
    full_content: ReportContent, stored: dict[str, Any]
) -> None:
    found = read_content(stored, answers_of(full_content), "report.json")
    sections = (Section("Ages", "ages", "who", every_block("word"), "methods"),)
    assert found.sections == sections
    assert list(found.mistakes) == list(full_content.mistakes)
    assert render_report(found) == render_report(replace(full_content, sections=sections))


def test_folds_and_labels_survive(
    content_maker: Callable[..., ReportContent], label_content: ReportContent
) -> None:
    first = content_maker()
    folded = content_maker(folds=[{**first.evaluation, "best_epoch": 2}] * 2, facts={"a": None})
    for content in (folded, label_content):
        values = json.loads(json.dumps(describe_content(content)))
        found = read_content(values, answers_of(content), "report.json")
        assert render_report(found) == render_report(content)


def test_the_verdict_is_kept_for_other_programs(full_content: ReportContent) -> None:
    assert describe_content(full_content)["verdict"] == list_verdict(full_content)


@pytest.mark.parametrize("change", ["version", "missing", "kind", "type", "picture"])
def test_what_no_report_has_written_is_refused(
    full_content: ReportContent, stored: dict[str, Any], change: str
) -> None:
    if change == "version":
        stored["format_version"] = 99
    elif change == "missing":
        del stored["card"]
    elif change == "kind":
        stored["sections"][0]["blocks"][0]["kind"] = "Script"
    elif change == "type":
        stored = [stored]  # type: ignore[assignment]
    else:
        stored["mistakes"][0]["thumbnail"] = "%%"
    with pytest.raises(DataError, match=r"report\.json is not what a report has written"):
        read_content(stored, answers_of(full_content), "report.json")


def test_a_drawing_is_checked_again(full_content: ReportContent, stored: dict[str, Any]) -> None:
    block = next(each for each in stored["sections"][0]["blocks"] if each["kind"] == "Figure")
    block["svg"] = "<svg><script>alert(1)</script></svg>"
    with pytest.raises(SettingsError, match="has an element 'script'"):
        read_content(stored, answers_of(full_content), "report.json")
