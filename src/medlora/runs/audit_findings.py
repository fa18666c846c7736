"""The findings of an audit in words, with their figures: no file and no patient is named."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from medlora.audit.duplicates import group_duplicates, link_rows
from medlora.audit.findings import Finding, Level, count_words
from medlora.audit.sources import FROM_NAMES, count_cut
from medlora.data.table import ImageTable
from medlora.runs.audit_power import SplitPower
from medlora.runs.audit_shortcuts import ALL_FACTS, Shortcut

if TYPE_CHECKING:
    from medlora.runs.auditing import Audit

MAX_P_VALUE: Final = 0.01
MIN_DRIFT: Final = 0.7
_WIDE_INTERVAL: Final = 0.1
_MANY_TIMES: Final = 10
_KINDS: Final = {
    "bytes": ("group of identical files", "groups of identical files"),
    "pixels": ("group of files with identical pixels", "groups of files with identical pixels"),
    "near": ("group of near copies", "groups of near copies"),
}
_ORDER: Final = {"blocks": 0, "warns": 1, "notes": 2}


def list_findings(audit: "Audit") -> tuple[Finding, ...]:
    """Everything worth saying, what blocks first."""
    found = [
        *_judge_files(audit),
        *judge_splits(audit.table),
        *_judge_leaks(audit),
        *_judge_groups(audit),
        *judge_shortcuts(audit.shortcuts, audit.table.classes),
        *_judge_labels(audit),
        *_judge_sources(audit),
        *_judge_drift(audit),
        *judge_counts(audit.table),
        *judge_power(audit.power),
    ]
    return tuple(sorted(found, key=lambda finding: _ORDER[finding.level]))


def _judge_files(audit: "Audit") -> list[Finding]:
    if not audit.errors:
        return []
    words = count_words(len(audit.errors), "image")
    return [
        Finding("files", "blocks", f"{words} cannot be read; audit.json lists them with reasons.")
    ]


def judge_splits(table: ImageTable) -> list[Finding]:
    """Splits that are stated for some images only, and patients in several of them."""
    found = []
    n_without = table.splits.count(None)
    if 0 < n_without < table.n_images:
        found.append(
            Finding(
                "splits",
                "blocks",
                f"{n_without:,} of the {table.n_images:,} images have no split, and the others "
                "have one.",
            )
        )
    n_cut = count_cut(table.patients, table.splits)
    if n_cut:
        words = count_words(n_cut, "patient has", "patients have")
        found.append(
            Finding(
                "patients", "blocks", f"{words} images in several splits, so that a test flatters."
            )
        )
    if all(patient is None for patient in table.patients):
        found.append(
            Finding(
                "patients",
                "notes",
                "No patients are named: whether images of one patient lie in several splits "
                "cannot be known.",
            )
        )
    return found


def _judge_leaks(audit: "Audit") -> list[Finding]:
    """Test and validation images that are also in training."""
    table, pairs = audit.table, audit.pairs
    found = []
    exact = link_rows(pairs.rows[pairs.likeness != "near"], table.n_images)
    near = link_rows(pairs.rows, table.n_images)
    for split, others, level, purpose in (
        ("test", ("train", "val"), "blocks", "training or validation"),
        ("val", ("train",), "warns", "training"),
    ):
        rows = table.rows_in(split)
        used = np.concatenate([table.rows_in(other) for other in others])
        is_exact = np.isin(exact[rows], exact[used])
        is_near = np.isin(near[rows], near[used]) & ~is_exact
        word = "test" if split == "test" else "validation"
        if is_exact.any():
            found.append(
                Finding(
                    "copies",
                    "blocks" if level == "blocks" else "warns",
                    f"{int(is_exact.sum()):,} of the {len(rows):,} {word} images are also in "
                    f"{purpose}, pixel for pixel{_name_classes(table, rows, is_exact)}.",
                )
            )
        if is_near.any():
            more = " more" if is_exact.any() else ""
            found.append(
                Finding(
                    "copies",
                    "blocks" if level == "blocks" else "warns",
                    f"{int(is_near.sum()):,}{more} of the {len(rows):,} {word} images are near "
                    f"copies of images in "
                    f"{purpose} (recompressed, resized, cropped, turned or mirrored), or of the "
                    "same patient as these by their looks, such as the next slice.",
                )
            )
    return found


def _name_classes(
    table: ImageTable, rows: npt.NDArray[np.int64], is_leak: npt.NDArray[np.bool_]
) -> str:
    """The classes of which all images leak."""
    whole = []
    for number, name in enumerate(table.classes):
        own = table.targets[rows, number]
        if own.any() and is_leak[own].all():
            whole.append(f"all {int(own.sum()):,} of {name}")
    return f", {' and '.join(whole)} among them" if whole else ""


def _judge_groups(audit: "Audit") -> list[Finding]:
    """How many groups of copies there are, each kind by itself."""
    found = []
    table, pairs = audit.table, audit.pairs
    has_splits = any(split is not None for split in table.splits)
    for place, (likeness, (one, many)) in enumerate(_KINDS.items()):
        used = np.isin(pairs.likeness, list(_KINDS)[: place + 1])
        linked = group_duplicates(pairs.select(used), table.targets, table.splits, table.patients)
        own = [group for group in linked if group.likeness == likeness]
        if not own:
            continue
        n_images = sum(len(group.rows) for group in own)
        n_across = sum(group.crosses_splits for group in own)
        across = f", {n_across:,} of them across splits" if has_splits else ""
        sentence = f"{count_words(len(own), one, many)} ({count_words(n_images, 'image')}){across}."
        is_uncared = likeness != "bytes" and not has_splits
        if is_uncared:
            sentence += " A split keeps them together only where they are grouped: see --fix."
        found.append(Finding("copies", "warns" if is_uncared else "notes", sentence))
        n_differ = sum(group.differs_in_labels for group in own)
        if n_differ:
            verb = "has" if n_differ == 1 else "have"
            level: Level = "warns" if likeness == "near" else "blocks"
            words = f"{n_differ:,} of the {many} {verb} labels that differ."
            found.append(Finding("labels", level, words))
    n_shared = sum(group.n_patients > 1 for group in audit.groups)
    if n_shared:
        words = count_words(n_shared, "group of copies stands", "groups of copies stand")
        found.append(
            Finding("patients", "warns", f"{words} under the names of several patients or groups.")
        )
    return found


def judge_shortcuts(shortcuts: Sequence[Shortcut] | None, classes: Sequence[str]) -> list[Finding]:
    """What the label can be told from that has nothing to do with the diagnosis.

    Args:
        shortcuts: As they were measured; None where there are too few images.
        classes: Names of the classes.
    """
    if shortcuts is None:
        return [Finding("shortcuts", "notes", "There are too few images to look for shortcuts.")]
    found = []
    for own in shortcuts:
        if own.is_suspicious and own.low is not None and own.high is not None:
            what = "the facts of the files" if own.fact == ALL_FACTS else own.fact
            best = classes[own.best_class]
            clearest = f", {best} best ({own.best_auroc:.2f})" if len(classes) > 2 else ""
            found.append(
                Finding(
                    "shortcuts",
                    "warns",
                    f"The label can be told from {what} alone: AUROC {own.auroc:.2f} "
                    f"(95 % CI {own.low:.2f} to {own.high:.2f}){clearest}.",
                )
            )
    return found


def _judge_labels(audit: "Audit") -> list[Finding]:
    if not audit.issues:
        return []
    n_images = len({issue.row for issue in audit.issues if issue.is_suspicious})
    if not n_images:
        return []
    words = count_words(n_images, "image has a label", "images have a label")
    return [
        Finding(
            "labels",
            "notes",
            f"{words} with which a model that has not learnt from them disagrees confidently; "
            "look at the first of them in label_errors.csv.",
        )
    ]


def _judge_sources(audit: "Audit") -> list[Finding]:
    taken = audit.group_by or "patient"
    found = []
    for own in audit.clusterings:
        if not own.is_source:
            continue
        is_named = own.column != FROM_NAMES
        which = f"one {own.column}" if is_named else "one source, as the file names tell it,"
        sentence = (
            f"Images of {which} are alike: the nearest neighbour within the class has the same "
            f"one for {own.share:.0%} of the images, and for {own.chance:.1%} by chance."
        )
        has_splits = any(split is not None for split in audit.table.splits)
        if own.n_cut:
            words = count_words(own.n_cut, "source lies", "sources lie")
            # Patients in several splits are a finding of their own.
            level: Level = "notes" if own.column == taken else "blocks"
            found.append(Finding("sources", level, f"{sentence} {words} in several splits."))
        elif own.column == taken:
            found.append(Finding("sources", "notes", f"{sentence} They are kept together."))
        else:
            kept = (
                "The stated split keeps them together; any other would leak"
                if has_splits
                else ("A split that ignores it leaks")
            )
            cure = f": use --group-by {own.column}." if is_named else ": put it into a manifest."
            found.append(Finding("sources", "warns", f"{sentence} {kept}{cure}"))
    return found


def _judge_drift(audit: "Audit") -> list[Finding]:
    found = []
    for own in audit.drifts:
        if own.p_value > MAX_P_VALUE or max(own.per_class.values()) < MIN_DRIFT:
            continue
        worst = sorted(own.per_class, key=lambda name: -own.per_class[name])
        named = [
            f"{name} ({own.per_class[name]:.2f})"
            for name in worst
            if own.per_class[name] >= MIN_DRIFT
        ]
        first, second = (
            {"train": "training", "val": "validation"}.get(split, split) for split in own.splits
        )
        found.append(
            Finding(
                "drift",
                "warns",
                f"The {first} and {second} images of {' and '.join(named[:4])} can be told apart "
                f"(AUROC out of fold; p {own.p_value:.3f}): they come from different sources.",
            )
        )
    return found


def judge_counts(table: ImageTable) -> list[Finding]:
    """Classes that are much rarer than others."""
    counts = table.targets.sum(axis=0)
    most, least = int(counts.argmax()), int(counts.argmin())
    if counts[least] * _MANY_TIMES > counts[most] or not counts[most]:
        return []
    return [
        Finding(
            "counts",
            "notes",
            f"{table.classes[least]} has {count_words(int(counts[least]), 'image')}, "
            f"{table.classes[most]} has {int(counts[most]):,}.",
        )
    ]


def judge_power(power: SplitPower | None) -> list[Finding]:
    """What the test split can show at an accuracy of .9."""
    if power is None:
        return []
    row = power.rows[1]
    level: Level = "warns" if row.high - row.low > _WIDE_INTERVAL else "notes"
    units = (
        count_words(power.n_images, "test image")
        if power.n_units == power.n_images
        else f"{count_words(power.n_images, 'test image')} of {power.n_units:,} patients or groups"
    )
    return [
        Finding(
            "power",
            level,
            f"With {units} an accuracy of .90 has a 95 % interval from {row.low:.2f} to "
            f"{row.high:.2f}, and two methods must differ by {row.detectable_related:.3f} to "
            f"{row.detectable:.3f} to be told apart with 80 % power.",
        )
    ]
