"""The files that an audit leaves: audit.html, audit.json, duplicates.csv, label_errors.csv."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from medlora import __version__
from medlora.audit.facts import FACT_NAMES
from medlora.audit.orientation import ORIENTATION_NAMES
from medlora.data.split import SPLITS
from medlora.report.audit_page import render_audit
from medlora.runs.audit_display import arrange_audit, describe_issue
from medlora.runs.auditing import Audit
from medlora.runs.folder import write_json
from medlora.runs.preview import describe_classes
from medlora.storage import format_csv, write_atomically

FORMAT: Final = 1


@dataclass(frozen=True)
class AuditFiles:
    """Where an audit's files lie."""

    page: Path
    record: Path
    duplicates: Path
    label_errors: Path

    @classmethod
    def of(cls, folder: Path) -> "AuditFiles":
        """Their places in a folder."""
        return cls(
            folder / "audit.html",
            folder / "audit.json",
            folder / "duplicates.csv",
            folder / "label_errors.csv",
        )


def write_audit(audit: Audit, folder: Path, command: str = "") -> AuditFiles:
    """Write everything that was found into a folder, each file in one move.

    Raises:
        StorageError: A file cannot be written.
    """
    places = AuditFiles.of(folder)
    write_atomically(places.duplicates, format_duplicates(audit))
    write_atomically(places.label_errors, format_label_errors(audit))
    write_json(places.record, describe_audit(audit, command))
    write_atomically(places.page, render_audit(arrange_audit(audit, command)).encode())
    return places


def format_duplicates(audit: Audit) -> bytes:
    """A CSV table with a row for each image that has a copy.

    Its columns are `group`, `likeness` to the image in `copy_of` (`bytes`, `pixels`, `near`),
    `agreement` of their fine structure (0 to 1), `lies` (how it is turned or mirrored against
    that image), `across_splits` and `labels_differ` of the group.
    """
    table = audit.table
    partner = _find_partners(audit)
    rows = []
    for number, group in enumerate(audit.groups, start=1):
        for row in group.rows:
            other, likeness, agreement, orientation = partner.get(row, (None, "", None, 0))
            rows.append(
                [
                    number,
                    table.locations[row],
                    table.splits[row] or "",
                    describe_classes(table, row),
                    "" if other is None else table.locations[other],
                    likeness,
                    "" if agreement is None else f"{agreement:.3f}",
                    ORIENTATION_NAMES[orientation],
                    _answer(group.crosses_splits),
                    _answer(group.differs_in_labels),
                ]
            )
    head = ["group", "path", "split", "label", "copy_of", "likeness", "agreement", "lies"]
    return _format_csv([*head, "across_splits", "labels_differ"], rows)


def format_label_errors(audit: Audit) -> bytes:
    """A CSV table of the labels that a model disagrees with, the most suspicious first."""
    table = audit.table
    rows = [
        [
            rank,
            table.locations[issue.row],
            table.splits[issue.row] or "",
            *describe_issue(audit, issue),
            f"{issue.probability:.3f}",
            f"{issue.margin:.3f}",
            _answer(issue.is_suspicious),
        ]
        for rank, issue in enumerate(audit.issues or (), start=1)
    ]
    head = ["rank", "path", "split", "label", "suggested", "probability", "margin", "confident"]
    return _format_csv(head, rows)


def describe_audit(audit: Audit, command: str = "") -> dict[str, Any]:
    """Everything that was found, as plain JSON values; nothing of any patient."""
    table = audit.table
    counts = {
        split or "none": {
            name: int(table.targets[table.rows_in(split)][:, number].sum())
            for number, name in enumerate(table.classes)
        }
        for split in (*SPLITS, None)
        if len(table.rows_in(split))
    }
    sizes = audit.read.facts[:, [FACT_NAMES.index("width"), FACT_NAMES.index("height")]]
    return {
        "format": FORMAT,
        "medlora": __version__,
        "command": command,
        "data": table.name,
        "backbone": None
        if audit.backbone is None
        else {"name": audit.backbone[0], "fingerprint": audit.backbone[1]},
        "n_images": table.n_images,
        "classes": list(table.classes),
        "multi_label": table.multi_label,
        "counts": counts,
        "n_groups": int(audit.group_numbers.max()) + 1,
        "sizes": {
            "width": [float(value) for value in np.percentile(sizes[:, 0], [0, 50, 100])],
            "height": [float(value) for value in np.percentile(sizes[:, 1], [0, 50, 100])],
        },
        "is_blocked": audit.is_blocked,
        "findings": [asdict(finding) for finding in audit.findings],
        "unreadable": [{"path": error.location, "reason": error.reason} for error in audit.errors],
        "duplicates": [
            {
                "likeness": group.likeness,
                "splits": list(group.splits),
                "across_splits": group.crosses_splits,
                "labels_differ": group.differs_in_labels,
                "n_patients": group.n_patients,
                "paths": [table.locations[row] for row in group.rows],
            }
            for group in audit.groups
        ],
        "shortcuts": None
        if audit.shortcuts is None
        else [
            asdict(own)
            | {"best_class": table.classes[own.best_class], "is_suspicious": own.is_suspicious}
            for own in audit.shortcuts
        ],
        "n_label_errors": None
        if audit.issues is None
        else len({issue.row for issue in audit.issues if issue.is_suspicious}),
        "sources": [asdict(own) for own in audit.clusterings],
        "drift": [asdict(own) for own in audit.drifts],
        "power": None if audit.power is None else asdict(audit.power),
    }


def _find_partners(audit: Audit) -> dict[int, tuple[int, str, float, int]]:
    """For each image with an earlier copy: that copy, and how far they are the same."""
    rank = {"bytes": 0, "pixels": 1, "near": 2}
    pairs = audit.pairs
    found: dict[int, tuple[int, str, float, int]] = {}
    for (first, second), likeness, agreement, orientation in zip(
        pairs.rows.tolist(),
        pairs.likeness.tolist(),
        pairs.detail.tolist(),
        pairs.orientations.tolist(),
        strict=True,
    ):
        known = found.get(second)
        if known is None or (rank[likeness], -agreement) < (rank[known[1]], -known[2]):
            found[second] = (first, likeness, agreement, orientation)
    return found


def _answer(value: bool) -> str:
    return "yes" if value else "no"


def _format_csv(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> bytes:
    # A file name that is not UTF-8 arrives with lone surrogates.
    return format_csv([head, *rows]).encode("utf-8", "surrogateescape")
