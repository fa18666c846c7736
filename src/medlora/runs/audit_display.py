"""An audit as its page shows it: tables, pictures and sentences."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from medlora import __version__
from medlora.audit.duplicates import DuplicateGroup, link_rows
from medlora.audit.facts import FACT_NAMES
from medlora.audit.findings import count_words
from medlora.audit.labels import LabelIssue
from medlora.data.image import decode_image
from medlora.data.split import SPLITS
from medlora.report.audit_content import (
    AuditContent,
    GridTable,
    IntervalRow,
    Tile,
    TileGroup,
)
from medlora.report.content import thumbnail
from medlora.runs.auditing import Audit
from medlora.runs.preview import describe_classes

N_GROUPS: Final = 40
N_ISSUES: Final = 48
_N_OF_GROUP: Final = 6
_PICTURE_SIDE: Final = 144
_SHOWN_FACTS: Final = ("width", "height", "mean intensity", "spread of intensity")
_LIKENESS: Final = {
    "bytes": "identical files",
    "pixels": "identical pixels",
    "near": "near copies",
}


def arrange_audit(audit: Audit, command: str = "") -> AuditContent:
    """What the page of an audit shows.

    Raises:
        UnreadableImageError: An image that could be read before cannot be read any more.
    """
    sentences = {
        level: [finding.sentence for finding in audit.findings if finding.level == level]
        for level in ("blocks", "warns", "notes")
    }
    issues = [issue for issue in audit.issues or () if issue.is_suspicious]
    return AuditContent(
        title=audit.table.name,
        kicker=audit.backbone[0] if audit.backbone else "without a backbone",
        summary=_write_summary(audit),
        blocking=sentences["blocks"],
        warnings=sentences["warns"],
        notes=sentences["notes"],
        counts=_arrange_counts(audit),
        groups=[_arrange_group(audit, group) for group in audit.groups[:N_GROUPS]],
        n_groups=len(audit.groups),
        issues=[_draw_issue(audit, issue) for issue in _pick_issues(audit, issues)],
        n_issues=len(issues),
        issues_note=""
        if audit.issues is not None
        else "They were not looked for: that takes a backbone and enough images.",
        shortcuts=[
            IntervalRow(own.fact, own.auroc, own.low, own.high, own.is_suspicious)
            for own in audit.shortcuts or ()
        ],
        tables=_arrange_tables(audit),
        histograms=_collect_histograms(audit),
        command=command,
        version=__version__,
    )


def describe_issue(audit: Audit, issue: LabelIssue) -> tuple[str, str]:
    """The label of an image, and what is suggested in its place."""
    classes = audit.table.classes
    if not audit.table.multi_label:
        return classes[issue.given], classes[issue.suggested]
    name = classes[issue.given]
    return (name, f"not {name}") if issue.has_label else (f"not {name}", name)


def _write_summary(audit: Audit) -> str:
    n_blocking = sum(finding.level == "blocks" for finding in audit.findings)
    n_warning = sum(finding.level == "warns" for finding in audit.findings)
    words = count_words(audit.table.n_images, "image")
    if not n_blocking and not n_warning:
        return f"{words}: nothing was found that would make a score flatter or mislead."
    parts = []
    if n_blocking:
        parts.append(count_words(n_blocking, "finding") + " to be mended")
    if n_warning:
        parts.append(count_words(n_warning, "finding") + " to be known")
    return f"{words}: {' and '.join(parts)}."


def _arrange_counts(audit: Audit) -> GridTable:
    table = audit.table
    splits = [split for split in (*SPLITS, None) if len(table.rows_in(split))]
    rows_of = {split: table.rows_in(split) for split in splits}
    rows = [
        (name, *(f"{int(table.targets[rows_of[split], number].sum()):,}" for split in splits))
        for number, name in enumerate(table.classes)
    ]
    rows.append(("images", *(f"{len(rows_of[split]):,}" for split in splits)))
    groups = (len(np.unique(audit.group_numbers[rows_of[split]])) for split in splits)
    rows.append(("patients or pictures, copies taken as one", *(f"{n:,}" for n in groups)))
    head = ("class", *(split or "no split" for split in splits))
    return GridTable("Images of each class in each split.", head, tuple(rows))


def _arrange_group(audit: Audit, group: DuplicateGroup) -> TileGroup:
    words = [f"{len(group.rows)} images", _LIKENESS[group.likeness]]
    if group.crosses_splits:
        words.append(f"in {' and '.join(group.splits)}")
    if group.differs_in_labels:
        words.append("labels differ")
    shown = _pick_members(audit, group)
    tiles = tuple(
        Tile(
            _draw_picture(audit, row),
            tuple(filter(None, (describe_classes(audit.table, row), audit.table.splits[row]))),
            audit.table.locations[row],
        )
        for row in shown
    )
    return TileGroup(
        ", ".join(words),
        group.crosses_splits or group.differs_in_labels,
        tiles,
        len(group.rows) - len(shown),
    )


def _pick_members(audit: Audit, group: DuplicateGroup) -> list[int]:
    """Some images of a group: of every split and set of labels one, then the others."""
    table = audit.table
    kinds: dict[tuple[str | None, bytes], list[int]] = {}
    for row in group.rows:
        kinds.setdefault((table.splits[row], table.targets[row].tobytes()), []).append(row)
    firsts = [rows[0] for rows in kinds.values()]
    others = [row for row in group.rows if row not in firsts]
    return sorted([*firsts, *others][:_N_OF_GROUP])


def _pick_issues(audit: Audit, issues: Sequence[LabelIssue]) -> list[LabelIssue]:
    """The first ones, of copies with one label the first alone."""
    copies = link_rows(audit.pairs.rows, audit.table.n_images)
    firsts: dict[tuple[int, int, bool], LabelIssue] = {}
    for issue in issues:
        firsts.setdefault((int(copies[issue.row]), issue.given, issue.has_label), issue)
    return list(firsts.values())[:N_ISSUES]


def _draw_issue(audit: Audit, issue: LabelIssue) -> Tile:
    label, suggested = describe_issue(audit, issue)
    lines = (label, f"rather {suggested} ({issue.probability:.2f})")
    return Tile(_draw_picture(audit, issue.row), lines, audit.table.locations[issue.row])


def _draw_picture(audit: Audit, row: int) -> bytes:
    location = audit.table.locations[row]
    pixels = decode_image(audit.table.source.read_bytes(location), location)
    picture = pixels[0] if pixels.ndim == 4 else pixels
    return thumbnail(np.ascontiguousarray(picture.transpose(2, 0, 1)), _PICTURE_SIDE)


def _arrange_tables(audit: Audit) -> list[GridTable]:
    tables = []
    if audit.power is not None:
        rows = tuple(
            (
                f"{row.accuracy:.2f}",
                f"{row.low:.3f} to {row.high:.3f}",
                f"{row.detectable_related:.3f}",
                f"{row.detectable:.3f}",
            )
            for row in audit.power.rows
        )
        power = audit.power
        clean = (
            f"; {power.n_clean:,} of them have no copy outside of the test split"
            if power.n_clean < power.n_units
            else ""
        )
        tables.append(
            GridTable(
                f"What {power.n_units:,} test images or patients can show{clean}. The difference "
                "is the smallest between two methods that is found with 80 % power, where their "
                "mistakes are correlated by .5, and where they are not.",
                ("accuracy", "95 % interval", "difference, correlated", "difference"),
                rows,
            )
        )
    if audit.drifts:
        tables.append(
            GridTable(
                "Whether the images of two splits can be told apart by a backbone's features, "
                "class by class (AUROC, out of fold; .5 is not at all), and how often a shuffled "
                "split is as far apart (p).",
                ("splits and class", "AUROC", "p"),
                tuple(
                    row
                    for own in audit.drifts
                    for row in (
                        (" and ".join(own.splits), f"{own.auroc:.2f}", f"{own.p_value:.3f}"),
                        *((f"  {name}", f"{v:.2f}", "") for name, v in own.per_class.items()),
                    )
                ),
            )
        )
    if audit.clusterings:
        tables.append(_arrange_sources(audit))
    return tables


def _arrange_sources(audit: Audit) -> GridTable:
    rows = tuple(
        (
            own.column,
            f"{own.n_values:,}",
            f"{own.share:.3f}",
            f"{own.chance:.3f}",
            f"{own.p_value:.3f}",
            f"{own.n_cut:,}",
            "yes" if own.is_source else "no",
        )
        for own in audit.clusterings
    )
    return GridTable(
        "Columns that may name a source: how often an image's nearest neighbour in its class has "
        "the same value, and how many values lie in several splits.",
        ("column", "values", "same neighbour", "by chance", "p", "cut by splits", "is a source"),
        rows,
    )


def _collect_histograms(audit: Audit) -> dict[str, dict[str, npt.NDArray[np.float64]]]:
    table = audit.table
    splits = [split for split in (*SPLITS, None) if len(table.rows_in(split))]
    return {
        name: {
            split or "": audit.read.facts[table.rows_in(split), FACT_NAMES.index(name)]
            for split in splits
        }
        for name in _SHOWN_FACTS
        if np.ptp(audit.read.facts[:, FACT_NAMES.index(name)]) > 0
    }
