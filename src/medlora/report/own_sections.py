"""The sections that every run's report has, from its verdict to its checklists."""

from collections.abc import Mapping

from medlora.report import data_accounts as data
from medlora.report import method_accounts as method
from medlora.report.audit_accounts import describe_audit
from medlora.report.cards import read_mapping
from medlora.report.checklists import describe_checklists
from medlora.report.content import ReportContent
from medlora.report.model_card import describe_model
from medlora.report.result_accounts import list_limits
from medlora.report.sections import Block, Entries, Items, Section, Table
from medlora.report.tables import SPLIT_WORDS
from medlora.report.verdict import describe_verdict
from medlora.report.wording import clean_text, format_count


def list_sections(content: ReportContent) -> tuple[Section, ...]:
    """The content's own sections with those that every report has, in the order of the page.

    Args:
        content: What the report is about.
    """
    added = content.sections
    return (
        describe_verdict(content),
        *_describe_data(content),
        *describe_audit(content),
        *(section for section in added if section.place == "methods"),
        *_describe_method(content),
        *(section for section in added if section.place == "results"),
        *(section for section in added if section.place == "mistakes"),
        _describe_limits(content),
        *(section for section in added if section.place == "limits"),
        *(section for section in added if section.place == "appendix"),
        describe_model(content),
        *describe_checklists(content),
    )


def _describe_data(content: ReportContent) -> tuple[Section, ...]:
    """Nothing where the card tells nothing of the data."""
    if not read_mapping(content.card, "data"):
        return ()
    pairs = [
        ("source", data.tell_source(content)),
        ("split", data.tell_partition(content)),
        ("splits are disjoint", data.tell_disjointness(content)),
        ("identical files", data.tell_duplicates(content)),
        ("left out", data.tell_left_out(content)),
        ("preprocessing", data.tell_preprocessing(content)),
    ]
    has_splits = bool(read_mapping(read_mapping(content.card, "data"), "n_images"))
    blocks: list[Block] = [_tabulate_counts(content)] if has_splits else []
    blocks.append(Entries(tuple((name, value) for name, value in pairs if value)))
    return (Section("Data", "data", "", tuple(blocks), "methods"),)


def _tabulate_counts(content: ReportContent) -> Table:
    """Images of each class in each split."""
    record = read_mapping(content.card, "data")
    counts = read_mapping(record, "counts")
    totals = read_mapping(record, "n_images")
    facts = read_mapping(content.facts, "splits")
    splits = data.list_splits(content)
    rows = [
        (clean_text(name), *(_count(read_mapping(counts, split).get(name)) for split in splits))
        for name in content.classes
    ]
    rows.append(("all images", *(_count(totals[split]) for split in splits)))
    patients = [_read_patients(facts, split) for split in splits]
    if any(patients):
        rows.append(("patients", *patients))
    return Table(
        "Images of each class in each split.",
        ("Class", *(SPLIT_WORDS.get(split, clean_text(split)) for split in splits)),
        tuple(rows),
    )


def _count(number: object) -> str:
    return format_count(number) if isinstance(number, int) else "not known"


def _read_patients(facts: Mapping[str, object], split: str) -> str:
    number = read_mapping(facts, split).get("n_patients")
    return format_count(number) if isinstance(number, int) else ""


def _describe_method(content: ReportContent) -> tuple[Section, ...]:
    """Nothing where there is no card."""
    pairs = [
        ("kind", method.tell_kind(content)),
        ("network", method.tell_model(content)),
        ("first values", method.tell_start(content)),
        ("training", method.tell_training(content)),
        ("unequal classes", method.tell_imbalance(content)),
        ("choice of the model", method.tell_selection(content)),
        ("output", method.tell_thresholds(content)),
        ("calibration", method.tell_calibration(content)),
        ("software", method.tell_software(content)),
    ]
    known = tuple((name, value) for name, value in pairs if value)
    if not known:
        return ()
    return (Section("Method", "method", "", (Entries(known),), "methods"),)


def _describe_limits(content: ReportContent) -> Section:
    intro = "What the run itself knows of the limits of its scores, the gravest first."
    return Section("Limits", "limits", intro, (Items(tuple(list_limits(content))),), "limits")
