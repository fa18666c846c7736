"""Reporting checklists, filled where the run knows the answer, and left to the authors elsewhere.

Numbers and topics stand in `checklists.toml`, in words of our own. The checklists themselves are
their authors', and hold more than a line for each item.
"""

import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal, get_args

from medlora.report import audit_accounts as audit
from medlora.report import data_accounts as data
from medlora.report import method_accounts as method
from medlora.report import result_accounts as results
from medlora.report.content import ReportContent
from medlora.report.sections import Section, Table
from medlora.report.verdict import list_verdict

ChecklistName = Literal["claim", "tripod"]
FOR_AUTHORS = "For the authors"


@dataclass(frozen=True)
class Item:
    """One item of a checklist.

    Attributes:
        number: As the checklist numbers it, such as `12a`.
        part: Part of an article that it belongs to.
        topic: What it asks for, in our words.
        account: What a run can say to it, a key of the accounts; "" for nothing.
        authors: What is left to the authors where the run has said its part; "" for nothing.
    """

    number: str
    part: str
    topic: str
    account: str = ""
    authors: str = ""


@dataclass(frozen=True)
class Checklist:
    """A checklist.

    Attributes:
        title: Its name and version.
        source: Where it was published.
        items: In its order.
    """

    title: str
    source: str
    items: tuple[Item, ...]


@dataclass(frozen=True)
class Answer:
    """What stands beside an item.

    Attributes:
        item: The item.
        known: What the run says; "" for nothing.
        authors: What the authors have to say; "" for nothing.
    """

    item: Item
    known: str
    authors: str

    @property
    def text(self) -> str:
        """Both in one."""
        return " ".join(part for part in (self.known, self.authors) if part)


@cache
def read_checklist(name: ChecklistName) -> Checklist:
    """A checklist's items.

    Example:
        >>> len(read_checklist("claim").items), len(read_checklist("tripod").items)
        (44, 52)
    """
    text = files("medlora.report").joinpath("checklists.toml").read_text(encoding="utf-8")
    record = tomllib.loads(text)[name]
    return Checklist(
        record["title"], record["source"], tuple(Item(**item) for item in record["items"])
    )


def fill_checklist(content: ReportContent, name: ChecklistName) -> list[Answer]:
    """Every item with what the run says to it, and what it leaves to the authors.

    Args:
        content: What the report is about.
        name: Which checklist.
    """
    answers = []
    for item in read_checklist(name).items:
        known = _ACCOUNTS[item.account](content) if item.account else ""
        if not known:
            answers.append(Answer(item, "", f"{FOR_AUTHORS}."))
        else:
            left = f"{FOR_AUTHORS}: {item.authors}." if item.authors else ""
            answers.append(Answer(item, known, left))
    return answers


def describe_checklists(content: ReportContent) -> tuple[Section, ...]:
    """All checklists as sections of a report."""
    return tuple(_describe_checklist(content, name) for name in get_args(ChecklistName))


def _describe_checklist(content: ReportContent, name: ChecklistName) -> Section:
    checklist, answers = read_checklist(name), fill_checklist(content, name)
    n_known = sum(bool(answer.known) for answer in answers)
    n_open = sum(bool(answer.authors) for answer in answers)
    table = Table(
        f"{checklist.title}: {n_known} of {len(answers)} items are answered from the run, and "
        f"{n_open} have something left to the authors.",
        ("Item", "Topic", "Answer"),
        tuple((each.item.number, each.item.topic, each.text) for each in answers),
        n_text_columns=3,
        widths=(0.06, 0.24, 0.7),
    )
    intro = (
        f"{checklist.source}. Topics are in words of our own; an article needs the checklist "
        "itself. What the run cannot know is marked “for the authors”."
    )
    return Section(checklist.title, name, intro, (table,), "appendix")


def _tell_note(content: ReportContent) -> str:
    return str(content.card.get("note") or "").strip()


def _tell_limits(content: ReportContent) -> str:
    return " ".join(results.list_limits(content))


def _tell_checks(content: ReportContent) -> str:
    found = [
        data.tell_preprocessing(content),
        data.tell_duplicates(content),
        audit.tell_audit(content),
    ]
    return " ".join(each for each in found if each)


def _tell_size(content: ReportContent) -> str:
    return " ".join(part for part in (data.tell_sizes(content), audit.tell_power(content)) if part)


def _tell_verdict(content: ReportContent) -> str:
    return " ".join(list_verdict(content))


def _tell_building(content: ReportContent) -> str:
    found = [method.tell_model(content), method.tell_training(content)]
    return " ".join([*(each for each in found if each), method.tell_selection(content)]).strip()


def _tell_flow(content: ReportContent) -> str:
    numbers = data.tell_numbers(content)
    return f"{numbers}. {data.tell_left_out(content)}" if numbers else ""


def _tell_predictors(content: ReportContent) -> str:
    return "The image's pixels alone; no other value of a patient is used." if content.card else ""


def _tell_no_assessor(content: ReportContent) -> str:
    if not content.card:
        return ""
    return "Not applicable: pixels are taken as they are, and no reader assesses them."


def _tell_poor_input(content: ReportContent) -> str:
    if not content.card:
        return ""
    unlike = (
        " Images unlike the training images are told apart by a score."
        if _is_there(content, "novelty")
        else ""
    )
    return f"A file that cannot be decoded is reported and gets no answer.{unlike}"


def _is_there(content: ReportContent, key: str) -> bool:
    return bool(content.card.get(key))


_ACCOUNTS: dict[str, Callable[[ReportContent], str]] = {
    "building": _tell_building,
    "calibration": method.tell_calibration,
    "checks": _tell_checks,
    "classes": lambda content: f"Classes: {method.tell_classes(content)}.",
    "classes_found": results.tell_classes_found,
    "counts": data.tell_counts,
    "disjointness": data.tell_disjointness,
    "ensemble": method.tell_ensemble,
    "external": results.tell_external,
    "failures": results.tell_failures,
    "file": method.tell_file,
    "flow": _tell_flow,
    "heat_maps": results.tell_heat_maps,
    "imbalance": method.tell_imbalance,
    "internal": results.tell_internal,
    "kind": method.tell_kind,
    "left_out": data.tell_left_out,
    "limits": _tell_limits,
    "metrics": results.tell_metrics,
    "model": method.tell_model,
    "no_assessor": _tell_no_assessor,
    "note": _tell_note,
    "partition": data.tell_partition,
    "performance": results.tell_performance,
    "poor_input": _tell_poor_input,
    "predictors": _tell_predictors,
    "preprocessing": data.tell_preprocessing,
    "robustness": lambda content: results.tell_section(content, "novelty"),
    "selection": method.tell_selection,
    "sizes": _tell_size,
    "software": method.tell_software,
    "source": data.tell_source,
    "start": method.tell_start,
    "subgroups": lambda content: results.tell_section(content, "subgroups"),
    "thresholds": method.tell_thresholds,
    "training": method.tell_training,
    "uncertainty": results.tell_uncertainty,
    "use": method.tell_use,
    "verdict": _tell_verdict,
}
