"""What a run's short audit of its images found, in sentences and as a part of its report."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from medlora.report.cards import read_mapping
from medlora.report.content import ReportContent
from medlora.report.sections import Block, Entries, Paragraph, Section, Table
from medlora.report.tables import SPLIT_WORDS
from medlora.report.wording import (
    clean_text,
    format_bounds,
    format_count,
    format_number,
    read_interval,
    read_number,
)

_ALL_FACTS = "all together"
_SHOWN_FACTS = 4
_MORE = (
    "Near copies, labels that look wrong, sources and drift between splits take longer to find, "
    "and were not looked for: medlora audit DATA does that."
)


def read_audit(content: ReportContent) -> Mapping[str, Any]:
    """What the run's short audit found; empty where it had none.

    Args:
        content: What the report is about.
    """
    return read_mapping(content.facts, "audit")


def describe_audit(content: ReportContent) -> tuple[Section, ...]:
    """The short audit as a section; nothing where there was none.

    Args:
        content: What the report is about.
    """
    audit = read_audit(content)
    if not audit:
        return ()
    totals = read_mapping(read_mapping(content.card, "data"), "n_images")
    pairs = [
        ("identical files", _tell_copies(audit)),
        *_list_seen(audit, totals),
        ("patients in several splits", _tell_patients(audit)),
        ("shortcuts", _tell_shortcuts(audit)),
        ("size of the test", _tell_power(audit)),
    ]
    known = tuple((name, value) for name, value in pairs if value)
    blocks: list[Block] = [Entries(known), *_tabulate_power(audit), Paragraph(_MORE, is_small=True)]
    intro = "What can be told of the images before training, without decoding them."
    return (Section("The data, audited in short", "audit", intro, tuple(blocks), "methods"),)


def tell_audit(content: ReportContent) -> str:
    """What the short audit found, but for the size of the test; "" where there was none."""
    audit = read_audit(content)
    if not audit:
        return ""
    totals = read_mapping(read_mapping(content.card, "data"), "n_images")
    seen = [f"Among {name}: {value}" for name, value in _list_seen(audit, totals)]
    patients, shortcuts = _tell_patients(audit), _tell_shortcuts(audit)
    parts = [
        *seen,
        f"Patients in several splits: {patients[0].lower()}{patients[1:]}",
        f"Shortcuts: {shortcuts[0].lower()}{shortcuts[1:]}",
    ]
    return f"Before training the images were audited in short. {' '.join(parts)}"


def tell_power(content: ReportContent) -> str:
    """What the size of the test can show; "" where that was not worked out."""
    return _tell_power(read_audit(content))


def _tell_copies(audit: Mapping[str, Any]) -> str:
    if not audit.get("n_groups"):
        return "No two files have the same bytes."
    return (
        f"Groups: {format_count(audit['n_groups'])}, with {format_count(audit['n_copies'])} "
        f"images. Across splits: {format_count(audit['n_groups_across'])}. With labels that "
        f"differ: {format_count(audit['n_groups_conflicting'])}."
    )


def _list_seen(audit: Mapping[str, Any], totals: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Images of each split that are also among those learnt from."""
    learnt = {"test": "training or validation", "val": "training"}
    for split, n_seen in read_mapping(audit, "n_seen").items():
        word = SPLIT_WORDS.get(split, clean_text(str(split)))
        total = totals.get(split)
        of = f" of {format_count(total)}" if isinstance(total, int) else ""
        yield (
            f"{word} images",
            f"{format_count(n_seen)}{of} are byte for byte also in {learnt.get(split, 'others')}.",
        )


def _tell_patients(audit: Mapping[str, Any]) -> str:
    n_across = audit.get("n_patients_across")
    if n_across is None:
        return "Not known: the data name no patients."
    return f"{format_count(n_across)}." if n_across else "None."


def _tell_shortcuts(audit: Mapping[str, Any]) -> str:
    """How well the label can be told from what the files are like."""
    n_images = audit.get("n_fact_images", 0)
    if not n_images:
        return "Not looked for: there are too few images, or too few that stand for themselves."
    found: Sequence[Mapping[str, Any]] = audit.get("shortcuts", ())
    if not found:
        return "Size and format are the same for all files, and tell nothing of the label."
    together = [_quote_fact(own) for own in found if own["fact"] == _ALL_FACTS]
    single = [_quote_fact(own) for own in found if own["fact"] != _ALL_FACTS][:_SHOWN_FACTS]
    is_warned = any(own["is_suspicious"] for own in found)
    verdict = (
        "A network may have learnt that instead of the disease."
        if is_warned
        else "That is no reason for a warning."
    )
    return (
        f"How well size, format and compression of the files of {format_count(n_images)} images "
        f"tell the label, as AUROC out of fold: {'; '.join(together + single)}. {verdict}"
    )


def _quote_fact(own: Mapping[str, Any]) -> str:
    interval = read_interval({"value": own["auroc"], "low": own["low"], "high": own["high"]})
    bounds = format_bounds(interval, 2)
    return (
        f"{clean_text(str(own['fact']))} {format_number(interval.value, 2)}"
        f"{f' ({bounds})' if bounds else ''}"
    )


def _tell_power(audit: Mapping[str, Any]) -> str:
    power = read_mapping(audit, "power")
    rows = power.get("rows") or []
    row = next((own for own in rows if own["accuracy"] == 0.9), None)
    if row is None:
        return ""
    n_images, n_units = int(power["n_images"]), int(power["n_units"])
    units = f" of {format_count(n_units)} patients or groups" if n_units < n_images else ""
    return (
        f"On {format_count(n_images)} test images{units} an accuracy of .90 has a 95 % interval "
        f"from {row['low']:.2f} to {row['high']:.2f}, and two methods must differ by "
        f"{row['detectable_related']:.3f} to {row['detectable']:.3f} to be told apart with 80 % "
        "power."
    )


def _tabulate_power(audit: Mapping[str, Any]) -> Iterator[Block]:
    rows = read_mapping(audit, "power").get("rows") or []
    if rows:
        yield Table(
            "What a test of this size can show. Two methods are told apart with 80 % power; their "
            "mistakes are correlated by .5, or not at all.",
            (
                "Accuracy",
                "95 % interval",
                "Its width",
                "Difference found, correlated",
                "Difference found, not",
            ),
            tuple(
                (
                    format_number(read_number(own["accuracy"]), 2),
                    f"{own['low']:.3f}–{own['high']:.3f}",
                    f"{own['high'] - own['low']:.3f}",
                    f"{own['detectable_related']:.3f}",
                    f"{own['detectable']:.3f}",
                )
                for own in rows
            ),
            n_text_columns=0,
        )
