"""What a run's short audit found, as a part of its report and in the checklists."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import pytest

from medlora.report.audit_accounts import describe_audit, tell_audit, tell_power
from medlora.report.checklists import fill_checklist
from medlora.report.content import ReportContent
from medlora.report.model_card import describe_model
from medlora.report.own_sections import list_sections
from medlora.report.page import render_report
from medlora.report.sections import Entries, Paragraph, Table
from medlora.runs.audit_power import measure_power
from tests.unit.report.conftest import make_card

Maker = Callable[..., ReportContent]

SHORTCUTS: list[dict[str, Any]] = [
    {"fact": fact, "auroc": auroc, "low": low, "high": 0.9, "is_suspicious": low >= 0.6}
    for fact, auroc, low in (("all together", 0.81, 0.7), ("file size", 0.66, 0.55))
]
AUDIT: dict[str, Any] = {
    "n_groups": 3,
    "n_copies": 7,
    "n_groups_across": 2,
    "n_groups_conflicting": 1,
    "n_seen": {"test": 2, "val": 0},
    "n_patients_across": None,
    "n_fact_images": 480,
    "shortcuts": SHORTCUTS,
    "power": asdict(measure_power(60, 40, 38)),
}


def make(maker: Maker, **changes: Any) -> ReportContent:
    card = make_card(data={"n_images": {"train": 126, "val": 126, "test": 60}})
    return maker(card=card, facts={"audit": AUDIT | changes})


def read_entries(content: ReportContent) -> dict[str, str]:
    (section,) = describe_audit(content)
    return dict(pair for each in section.blocks if isinstance(each, Entries) for pair in each.pairs)


def test_everything_that_was_looked_for_is_told(content_maker: Maker) -> None:
    content = make(content_maker)
    assert read_entries(content) == {
        "identical files": (
            "Groups: 3, with 7 images. Across splits: 2. With labels that differ: 1."
        ),
        "test images": "2 of 60 are byte for byte also in training or validation.",
        "validation images": "0 of 126 are byte for byte also in training.",
        "patients in several splits": "Not known: the data name no patients.",
        "shortcuts": (
            "How well size, format and compression of the files of 480 images tell the label, as "
            "AUROC out of fold: all together 0.81 (0.70–0.90); file size 0.66 (0.55–0.90). A "
            "network may have learnt that instead of the disease."
        ),
        "size of the test": tell_power(content),
    }
    assert tell_power(content).startswith("On 60 test images of 40 patients or groups an accuracy")
    (section,) = describe_audit(content)
    (table,) = (block for block in section.blocks if isinstance(block, Table))
    row = measure_power(60, 40, 38).rows[2]
    assert table.rows[2][:3] == (
        "0.95",
        f"{row.low:.3f}–{row.high:.3f}",
        f"{row.high - row.low:.3f}",
    )
    (rest,) = (block for block in section.blocks if isinstance(block, Paragraph))
    assert "medlora audit DATA" in rest.text


@pytest.mark.parametrize(
    ("changes", "name", "words"),
    [
        ({"n_groups": 0}, "identical files", "No two files have the same bytes."),
        ({"n_patients_across": 0}, "patients in several splits", "None."),
        ({"n_patients_across": 4}, "patients in several splits", "4."),
        ({"n_fact_images": 0}, "shortcuts", "Not looked for: there are too few images"),
        ({"shortcuts": []}, "shortcuts", "Size and format are the same for all files"),
        ({"shortcuts": SHORTCUTS[1:]}, "shortcuts", "That is no reason for a warning."),
    ],
)
def test_what_is_clean_or_unknown_is_called_that(
    content_maker: Maker, changes: dict[str, Any], name: str, words: str
) -> None:
    assert words in read_entries(make(content_maker, **changes))[name]
    assert words not in read_entries(make(content_maker))[name]


def test_without_a_test_split_no_size_is_told(content_maker: Maker) -> None:
    content = make(content_maker, power=None)
    assert "size of the test" not in read_entries(content)
    assert tell_power(content) == ""


def test_a_run_without_an_audit_is_silent(content_maker: Maker) -> None:
    content = content_maker()
    assert describe_audit(content) == ()
    assert tell_audit(content) == tell_power(content) == ""
    assert "audit" not in {section.anchor for section in list_sections(content)}


def test_the_page_has_it_behind_the_data(content_maker: Maker) -> None:
    page = render_report(make(content_maker))
    assert page.index('id="data"') < page.index('id="audit"') < page.index('id="key-figures"')


def test_checklists_and_model_card_are_filled_from_it(content_maker: Maker) -> None:
    content = make(content_maker)
    claim = {answer.item.number: answer.known for answer in fill_checklist(content, "claim")}
    tripod = {answer.item.number: answer.known for answer in fill_checklist(content, "tripod")}
    assert tell_power(content) in claim["21"] and tell_power(content) in tripod["10"]
    assert tell_audit(content) in tripod["7"]
    assert "Patients in several splits: not known" in tell_audit(content)
    assert tripod["25"].startswith("Accuracy on 60 test images")
    said = "\n".join(
        block.text for block in describe_model(content).blocks if isinstance(block, Paragraph)
    )
    assert tell_audit(content) in said and tripod["25"].split(". ")[0] in said
