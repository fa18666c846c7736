"""An audit from a path with labelled images to everything that was found about them."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from medlora.audit.drift import Drift, measure_drift
from medlora.audit.duplicates import (
    DuplicateGroup,
    DuplicatePairs,
    find_near_pairs,
    find_same,
    group_duplicates,
    join_pairs,
    link_rows,
)
from medlora.audit.facts import FACT_NAMES
from medlora.audit.findings import Finding
from medlora.audit.labels import LabelIssue, find_label_issues, predict_out_of_fold
from medlora.audit.neighbours import shorten_features
from medlora.audit.sources import SourceClustering, list_candidates, measure_clustering
from medlora.backbones.weights import Backbone
from medlora.data.cache import ImageCache, NoCache
from medlora.data.rows import read_rows
from medlora.data.source import split_frame
from medlora.data.split import SPLITS, group_rows
from medlora.data.table import ImageTable, read_table
from medlora.errors import UnreadableImageError
from medlora.progress import Progress, silent
from medlora.runs.audit_findings import list_findings
from medlora.runs.audit_power import SplitPower, measure_power
from medlora.runs.audit_reading import ReadImages, extract_features, read_images
from medlora.runs.audit_shortcuts import Shortcut, fold_images, measure_shortcuts
from medlora.task.precision import Precision


@dataclass(frozen=True, eq=False)
class Audit:
    """Everything that was found about a table's images.

    Attributes:
        table: The images that can be read.
        group_by: The manifest's column that was taken for the patient; None where it is `patient`.
        backbone: Name and fingerprint of the network whose features were used; None without one.
        read: What was read of the images.
        pairs: Images that show the same picture.
        groups: The groups that these pairs link.
        group_numbers: (image,) group of each image: copies, images of one patient and images of
            one source together.
        shortcuts: How well the label can be told from facts about the files; None where there are
            too few images.
        issues: Labels that look wrong; None without a backbone or with too few images.
        clusterings: Columns that may name a source, and whether its images look alike.
        drifts: How the splits differ.
        power: What the test split can show; None where there is none.
        findings: All of it in words, what blocks first.
    """

    table: ImageTable
    group_by: str | None
    backbone: tuple[str, str] | None
    read: ReadImages
    pairs: DuplicatePairs
    groups: tuple[DuplicateGroup, ...]
    group_numbers: npt.NDArray[np.int64]
    shortcuts: tuple[Shortcut, ...] | None
    issues: tuple[LabelIssue, ...] | None
    clusterings: tuple[SourceClustering, ...]
    drifts: tuple[Drift, ...]
    power: SplitPower | None
    findings: tuple[Finding, ...] = ()

    @property
    def errors(self) -> tuple[UnreadableImageError, ...]:
        """One for each image that cannot be read."""
        return self.read.errors

    @property
    def is_blocked(self) -> bool:
        """Whether something must be mended before a score can be believed."""
        return any(finding.level == "blocks" for finding in self.findings)


def audit_data(
    path: Path,
    *,
    cache: ImageCache | NoCache,
    backbone: Backbone | None = None,
    group_by: str | None = None,
    channels: Sequence[str] = (),
    device: str = "auto",
    precision: Precision = "auto",
    seed: int = 0,
    progress: Progress = silent,
) -> Audit:
    """Look for everything that would make a score on these images flatter or mislead.

    Args:
        path: Folder, manifest or array file.
        cache: Where decoded images, fingerprints and features are kept.
        backbone: The network whose features are used; None to do without what needs them: label
            errors, drift, sources, and part of the search for near copies.
        group_by: A manifest's column of groups, in place of `patient`.
        channels: A manifest's columns of the series of a case.
        device: Where to compute features.
        precision: `auto`, `bf16` or `fp32`.
        seed: Of folds and shuffles.
        progress: Told as it goes on.

    Raises:
        DataError: There is no usable table at the path, or none of its images can be read.
    """
    n_threads = min(os.cpu_count() or 1, 8)
    table = read_table(path, group_by=group_by, channels=channels)
    read = read_images(
        table,
        cache,
        preprocessing=backbone.preprocessing if backbone else None,
        n_threads=n_threads,
        progress=progress,
    )
    features = None
    if backbone is not None:
        whole = extract_features(
            backbone, read, cache, device=device, precision=precision, progress=progress
        )
        features = shorten_features(whole, seed=seed)
    pairs = find_copies(read, features, n_threads=n_threads, progress=progress)
    table = read.table
    columns = list_candidates(read_columns(path, table, channels), table.locations)
    strata = _stratify(table)
    clusterings: tuple[SourceClustering, ...] = ()
    if features is not None:
        clusterings = _measure_sources(table, columns, features, strata, pairs, seed)
    sources = [columns[own.column] for own in clusterings if own.is_source]
    group_numbers = _link_images(table, pairs, sources)
    folds = fold_images(table, group_numbers, seed)
    audit = Audit(
        table=table,
        group_by=group_by,
        backbone=(backbone.name, backbone.fingerprint) if backbone else None,
        read=read,
        pairs=pairs,
        groups=group_duplicates(pairs, table.targets, table.splits, table.patients),
        group_numbers=group_numbers,
        shortcuts=None
        if folds is None
        else measure_shortcuts(
            read.facts, table.targets, folds, group_numbers, seed=seed, progress=progress
        ),
        issues=None
        if folds is None or features is None
        else _find_issues(table, features, folds, progress),
        clusterings=clusterings,
        drifts=()
        if features is None
        else _measure_drifts(table, features, strata, group_numbers, seed),
        power=_measure_power(table, pairs, group_numbers),
    )
    return replace(audit, findings=list_findings(audit))


def find_copies(
    read: ReadImages,
    features: npt.NDArray[np.float32] | None,
    *,
    n_threads: int = 2,
    progress: Progress = silent,
) -> DuplicatePairs:
    """All pairs of images that show the same picture; of identical files each with the first."""
    same_bytes = find_same(read.names)
    same_pixels = find_same(read.digests)
    # One of each set of equal pictures is enough to find its near copies.
    firsts = np.setdiff1d(np.arange(read.table.n_images), same_pixels[:, 1])
    sizes = read.facts[:, [FACT_NAMES.index("width"), FACT_NAMES.index("height")]]
    near = find_near_pairs(
        read.small, sizes.min(axis=1), features, firsts, n_threads=n_threads, progress=progress
    )
    return join_pairs(same_bytes, same_pixels, near)


def read_columns(
    path: Path, table: ImageTable, channels: Sequence[str] = ()
) -> dict[str, tuple[str, ...]]:
    """A manifest's columns as one value for each image of its table; nothing for other data."""
    if path.suffix.lower() not in (".csv", ".parquet") or not path.is_file():
        return {}
    rows = {row.values["path"]: row.values for row in read_rows(path, channels)}
    names = next(iter(rows.values()))
    own = [
        rows.get(location) or rows.get(split_frame(location)[0], {}) for location in table.locations
    ]
    return {
        name: tuple(values.get(name, "") for values in own)
        for name in names
        if name not in channels and (name != "path" or not channels)
    }


def _link_images(
    table: ImageTable, pairs: DuplicatePairs, sources: Sequence[Sequence[str]]
) -> npt.NDArray[np.int64]:
    """Copies, images of one patient and images of one source have one number."""
    numbers = group_rows(
        table.patients, [str(number) for number in link_rows(pairs.rows, table.n_images)]
    )
    for values in sources:
        numbers = group_rows([value or None for value in values], [str(own) for own in numbers])
    return numbers


def _stratify(table: ImageTable) -> npt.NDArray[np.int64]:
    """Each image's class; of a multi-label table whether it has any."""
    if table.multi_label:
        return np.asarray(table.targets.any(axis=1), dtype=np.int64)
    return table.labels


def name_strata(table: ImageTable) -> tuple[str, ...]:
    """What the numbers of `_stratify` mean."""
    return ("no finding", "any finding") if table.multi_label else table.classes


def _find_issues(
    table: ImageTable,
    features: npt.NDArray[np.float32],
    folds: npt.NDArray[np.int64],
    progress: Progress,
) -> tuple[LabelIssue, ...]:
    answers = predict_out_of_fold(
        features, table.targets, folds, multi_label=table.multi_label, progress=progress
    )
    return find_label_issues(answers, table.targets, multi_label=table.multi_label)


def _measure_sources(
    table: ImageTable,
    columns: dict[str, tuple[str, ...]],
    features: npt.NDArray[np.float32],
    strata: npt.NDArray[np.int64],
    pairs: DuplicatePairs,
    seed: int,
) -> tuple[SourceClustering, ...]:
    # Identical pictures are neighbours whatever their source, and have been reported already.
    same = pairs.rows[pairs.likeness != "near", 1]
    rows = np.setdiff1d(np.arange(table.n_images), same)
    splits = [table.splits[row] for row in rows]
    found = []
    for name, values in columns.items():
        own = [values[row] for row in rows]
        measured = measure_clustering(name, own, features[rows], strata[rows], splits, seed=seed)
        if measured is not None:
            found.append(measured)
    return tuple(found)


def _measure_drifts(
    table: ImageTable,
    features: npt.NDArray[np.float32],
    strata: npt.NDArray[np.int64],
    group_numbers: npt.NDArray[np.int64],
    seed: int,
) -> tuple[Drift, ...]:
    """Each other split against the training images, one image of each group."""
    rows_of = {}
    for split in SPLITS:
        rows = table.rows_in(split)
        _, firsts = np.unique(group_numbers[rows], return_index=True)
        rows_of[split] = rows[np.sort(firsts)]
    drifts = [
        measure_drift(
            features,
            strata,
            name_strata(table),
            rows_of["train"],
            rows_of[split],
            ("train", split),
            seed=seed,
        )
        for split in ("val", "test")
    ]
    return tuple(drift for drift in drifts if drift is not None)


def _measure_power(
    table: ImageTable, pairs: DuplicatePairs, group_numbers: npt.NDArray[np.int64]
) -> SplitPower | None:
    rows = table.rows_in("test")
    if not len(rows):
        return None
    others = np.setdiff1d(np.arange(table.n_images), rows)
    copies = link_rows(pairs.rows, table.n_images)
    is_leak = np.isin(copies[rows], copies[others])
    own = group_numbers[rows]
    return measure_power(len(rows), len(np.unique(own)), len(np.unique(own[~is_leak])))
