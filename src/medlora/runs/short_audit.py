"""What of an audit is cheap enough to stand before every training run, and is kept with it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from medlora.audit.duplicates import find_same, link_rows
from medlora.audit.facts import read_file_facts
from medlora.audit.findings import count_words
from medlora.audit.sources import count_cut
from medlora.data.split import group_rows
from medlora.data.table import ImageTable
from medlora.runs.audit_findings import judge_counts, judge_power, judge_shortcuts
from medlora.runs.audit_power import SplitPower, measure_power
from medlora.runs.audit_shortcuts import Shortcut, fold_images, measure_shortcuts
from medlora.runs.folder import write_json
from medlora.runs.novelty import spread_rows
from medlora.runs.preparing import PreparedData

MIN_FACT_IMAGES: Final = 50
"""Of fewer images, what their files tell of the label has too wide an interval."""
MAX_FACT_IMAGES: Final = 1000
# All facts together, and the most telling one.
_N_TOLD: Final = 2


@dataclass(frozen=True)
class ShortAudit:
    """What a short audit found.

    Attributes:
        n_groups: Groups of identical files.
        n_copies: Images in these groups.
        n_groups_across: Groups with images in several splits.
        n_groups_conflicting: Groups whose labels differ.
        n_seen: For `test` and `val`, where there are such images, how many of them are also among
            the images that were learnt from: training, and for `test` validation too.
        n_patients_across: Patients with images in several splits; None where none is named.
        n_fact_images: Images whose files were looked at for shortcuts; 0 where there are too few.
        shortcuts: How well the label can be told from the size and format of the files: from all
            of it together first, then from the single facts. Nothing where no fact varies.
        power: What the test split can show; None where there is none.
        classes: Names of the classes.
        sentences: What a reader has to know before believing a score.
    """

    n_groups: int
    n_copies: int
    n_groups_across: int
    n_groups_conflicting: int
    n_seen: dict[str, int]
    n_patients_across: int | None
    n_fact_images: int
    shortcuts: tuple[Shortcut, ...]
    power: SplitPower | None
    classes: tuple[str, ...]
    sentences: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values; nothing of any patient."""
        values = asdict(self)
        values["shortcuts"] = [
            {
                **asdict(own),
                "best_class": self.classes[own.best_class],
                "is_suspicious": own.is_suspicious,
            }
            for own in self.shortcuts
        ]
        return {**values, "classes": list(self.classes), "sentences": list(self.sentences)}


def keep_audit(path: Path, data: PreparedData, *, seed: int = 0) -> None:
    """Audit a run's images shortly, once, and keep what was found.

    Args:
        path: The JSON file; where it is there already, nothing is done.
        data: The images, every one with a split.
        seed: Of the small models that look for shortcuts.

    Raises:
        StorageError: The file cannot be written.
        UnreadableImageError: An image's file is no longer there.
    """
    if not path.is_file():
        write_json(path, audit_shortly(data, seed=seed).to_dict())


def audit_shortly(data: PreparedData, *, seed: int = 0) -> ShortAudit:
    """Copies by digest, patients across splits, shortcuts by file headers, and the test size.

    Nothing is decoded. Test images that are also in training are counted, and are not among the
    sentences: a run's scores say so themselves.

    Args:
        data: The images, every one with a split.
        seed: Of the small models that look for shortcuts.

    Raises:
        UnreadableImageError: An image's file is no longer there.
    """
    table = data.table
    pairs = find_same(data.names)
    numbers = link_rows(pairs, table.n_images)
    n_seen = _count_seen(table, numbers)
    n_conflicting = _count_conflicting(table, pairs, numbers)
    n_facts, shortcuts = _find_shortcuts(data, seed)
    power = _measure_power(data, numbers)
    copied = np.unique(numbers[pairs[:, 0]])
    is_known = any(patient is not None for patient in table.patients)
    return ShortAudit(
        n_groups=len(copied),
        n_copies=int(np.isin(numbers, copied).sum()),
        n_groups_across=count_cut([str(number) for number in numbers], table.splits),
        n_groups_conflicting=n_conflicting,
        n_seen=n_seen,
        n_patients_across=count_cut(table.patients, table.splits) if is_known else None,
        n_fact_images=n_facts,
        shortcuts=shortcuts,
        power=power,
        classes=table.classes,
        sentences=tuple(_list_sentences(table, n_seen, n_conflicting, shortcuts, power)),
    )


def _count_seen(table: ImageTable, numbers: npt.NDArray[np.int64]) -> dict[str, int]:
    found = {}
    for split, others in (("test", ("train", "val")), ("val", ("train",))):
        rows = table.rows_in(split)
        if len(rows):
            learnt = np.concatenate([table.rows_in(other) for other in others])
            found[split] = int(np.isin(numbers[rows], numbers[learnt]).sum())
    return found


def _count_conflicting(
    table: ImageTable, pairs: npt.NDArray[np.int64], numbers: npt.NDArray[np.int64]
) -> int:
    differs = (table.targets[pairs[:, 0]] != table.targets[pairs[:, 1]]).any(axis=1)
    return len(np.unique(numbers[pairs[differs, 0]]))


def _find_shortcuts(data: PreparedData, seed: int) -> tuple[int, tuple[Shortcut, ...]]:
    """How many files were looked at, and what their labels can be told from."""
    rows = spread_rows(np.arange(data.table.n_images), MAX_FACT_IMAGES)
    table = data.table.select(rows)
    groups = group_rows(table.patients, [data.names[row] for row in rows])
    folds = fold_images(table, groups, seed) if len(rows) >= MIN_FACT_IMAGES else None
    if folds is None:
        return 0, ()
    contents = (table.source.read_bytes(location) for location in table.locations)
    facts = np.stack([read_file_facts(content) for content in contents])
    return len(rows), measure_shortcuts(facts, table.targets, folds, groups, seed=seed)


def _measure_power(data: PreparedData, numbers: npt.NDArray[np.int64]) -> SplitPower | None:
    table = data.table
    rows = table.rows_in("test")
    if not len(rows):
        return None
    own = group_rows(table.patients, data.names)[rows]
    learnt = np.concatenate([table.rows_in(split) for split in ("train", "val")])
    is_leak = np.isin(numbers[rows], numbers[learnt])
    return measure_power(len(rows), len(np.unique(own)), len(np.unique(own[~is_leak])))


def _list_sentences(
    table: ImageTable,
    n_seen: dict[str, int],
    n_conflicting: int,
    shortcuts: Sequence[Shortcut],
    power: SplitPower | None,
) -> list[str]:
    """What a reader has to know, but for what a run's scores say themselves."""
    sentences = []
    if n_seen.get("val"):
        sentences.append(
            f"{n_seen['val']:,} of the {len(table.rows_in('val')):,} validation images are byte "
            "for byte among the training images, so what was chosen by them may be chosen wrongly."
        )
    if n_conflicting:
        words = count_words(
            n_conflicting, "group of identical files has", "groups of identical files have"
        )
        sentences.append(f"{words} labels that differ; medlora audit shows them.")
    told = judge_shortcuts(shortcuts, table.classes)[:_N_TOLD]
    warned = [finding for finding in judge_power(power) if finding.level == "warns"]
    return sentences + [finding.sentence for finding in (*told, *warned, *judge_counts(table))]
