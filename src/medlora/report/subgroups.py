"""The scores of groups of patients as a section of a report."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from matplotlib.figure import Figure as Canvas

from medlora.report.sections import Block, Caution, Figure, Heading, Paragraph, Section, Table
from medlora.report.svg import BLUE, HALF_WIDTH, INK, MUTED, add_panel, draw_svg
from medlora.report.wording import (
    clean_text,
    format_bounds,
    format_count,
    format_number,
    name_measure,
    read_interval,
)

_SHOWN: Final = ("auroc", "recall", "specificity", "accuracy")
_TOO_FEW: Final = "too few to say"
_ROW_INCHES: Final = 0.26


def build_subgroup_section(records: Sequence[Mapping[str, Any]], method: str = "") -> Section:
    """Scores, gaps and warnings of every column.

    Args:
        records: `SubgroupScores.to_dict` of each column.
        method: Whose scores they are, where a page tells of several methods.

    Raises:
        SettingsError: There is no record, or a drawing failed its check.
    """
    blocks: list[Block] = []
    anchor = "-".join(["subgroups", *re.findall(r"[a-z0-9]+", method.lower())])
    for number, record in enumerate(records):
        blocks.append(Heading(f"By {clean_text(record['column'])}"))
        blocks.append(_tabulate(record))
        if "auroc" in _list_measures(record):
            blocks.append(_draw(record, f"{anchor}-{number}"))
        blocks += _tell_gaps(record)
        blocks += _tell_faults(record)
    title = f"Groups of patients: {clean_text(method)}" if method else "Groups of patients"
    return Section(title, anchor, _describe_rule(records), tuple(blocks))


def _describe_rule(records: Sequence[Mapping[str, Any]]) -> str:
    rule = records[0]["rule"] if records else {}
    return (
        "The same scores for each group, with 95 % intervals over resamples of patients. A class "
        f"is compared where every group has {rule.get('least_images_with_and_without', 10)} images "
        "with it and as many without it; means are over these classes. A score stands as "
        f"“{_TOO_FEW}” where its interval is wider than {rule.get('widest_interval', 0.2):g}."
    )


def _list_measures(record: Mapping[str, Any]) -> list[str]:
    held = {name for group in record["groups"] for name in group["measures"]}
    return [name for name in _SHOWN if name in held]


def _tabulate(record: Mapping[str, Any]) -> Table:
    names = _list_measures(record)
    rows = []
    for group in record["groups"]:
        cells = []
        for name in names:
            estimate = group["measures"][name]
            interval = read_interval(estimate)
            shown = f"{format_number(interval.value)} ({format_bounds(interval)})"
            cells.append(shown if estimate["enough"] else _TOO_FEW)
        counts = (format_count(group["n_images"]), format_count(group["n_patients"]))
        rows.append((clean_text(group["name"]), *counts, *cells))
    compared = ", ".join(map(clean_text, record["classes_compared"])) or "none"
    return Table(
        f"Scores by {clean_text(record['column'])}; classes compared: {compared}",
        ("Group", "Images", "Patients", *map(name_measure, names)),
        tuple(rows),
    )


def _draw(record: Mapping[str, Any], name: str) -> Figure:
    """AUROC of each group with its interval, a line for each."""
    groups = record["groups"]
    height = 0.5 + _ROW_INCHES * len(groups)

    def paint(canvas: Canvas) -> None:
        axes = add_panel(canvas, 1.2, 0.4, HALF_WIDTH - 1.3, height - 0.5)
        for row, group in enumerate(groups):
            estimate = group["measures"]["auroc"]
            interval = read_interval(estimate)
            if interval.value is None:
                continue
            colour = BLUE if estimate["enough"] else MUTED
            if interval.low is not None and interval.high is not None:
                axes.plot([interval.low, interval.high], [row, row], color=colour)
            axes.plot(interval.value, row, "o", color=colour, markersize=3.5)
        names = [clean_text(group["name"])[:22] for group in groups]
        axes.set_yticks(range(len(groups)), names, color=INK)
        axes.set_ylim(len(groups) - 0.5, -0.5)
        axes.set_xlabel("AUROC, 95 % interval")

    column = clean_text(record["column"])
    return Figure(
        draw_svg(
            name,
            HALF_WIDTH,
            height,
            paint,
            f"AUROC of each group of {column} with its interval.",
        ),
        f"AUROC by {column}. Grey: too few to say.",
        is_half=True,
    )


def _tell_gaps(record: Mapping[str, Any]) -> list[Block]:
    sentences = []
    for name in _list_measures(record):
        gap = record["gaps"].get(name)
        if gap is None:
            continue
        interval = read_interval(gap)
        bounds = format_bounds(interval)
        verdict = "" if interval.low is None or interval.low > 0 else "; it may be none"
        sentences.append(
            f"{name_measure(name)}: {clean_text(gap['largest'])} lies above "
            f"{clean_text(gap['smallest'])} by {format_number(interval.value)} ({bounds}){verdict}."
        )
    if not sentences:
        return []
    if len(record["groups"]) > 2:
        sentences.append(
            "Of several groups the two furthest apart are told, which makes a gap look larger than "
            "it is."
        )
    return [Paragraph("\n".join(sentences))]


def _tell_faults(record: Mapping[str, Any]) -> list[Block]:
    faults: list[Block] = []
    small = [
        clean_text(group["name"])
        for group in record["groups"]
        if not any(each["enough"] for each in group["measures"].values())
    ]
    if small:
        faults.append(Caution(f"Too few images to say anything of {', '.join(small)}."))
    if record["n_left_out"]:
        faults.append(
            Paragraph(
                f"{format_count(record['n_left_out'])} image(s) have no value of this column "
                "within its bounds and are in no group.",
                is_small=True,
            )
        )
    return faults
