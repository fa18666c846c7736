"""What of an audit costs nothing, before every training run: copies, class counts, test size."""

import numpy as np

from medlora.audit.duplicates import find_same, link_rows
from medlora.audit.findings import count_words
from medlora.data.split import group_rows
from medlora.runs.audit_findings import judge_counts, judge_power
from medlora.runs.audit_power import measure_power
from medlora.runs.preparing import PreparedData


def audit_shortly(data: PreparedData) -> list[str]:
    """Sentences on identical files, rare classes and small test splits, by digests alone.

    Test images that are also in training are not among them: a run's scores say so themselves.

    Args:
        data: The images, every one with a split.
    """
    table = data.table
    pairs = find_same(data.names)
    numbers = link_rows(pairs, table.n_images)
    sentences = []
    val_rows, train_rows = table.rows_in("val"), table.rows_in("train")
    n_known = int(np.isin(numbers[val_rows], numbers[train_rows]).sum())
    if n_known:
        sentences.append(
            f"{n_known:,} of the {len(val_rows):,} validation images are byte for byte among the "
            "training images, so what was chosen by them may be chosen wrongly."
        )
    differs = (table.targets[pairs[:, 0]] != table.targets[pairs[:, 1]]).any(axis=1)
    n_differ = len(np.unique(numbers[pairs[differs, 0]]))
    if n_differ:
        words = count_words(
            n_differ, "group of identical files has", "groups of identical files have"
        )
        sentences.append(f"{words} labels that differ; medlora audit shows them.")
    test_rows = table.rows_in("test")
    if len(test_rows):
        own = group_rows(table.patients, data.names)[test_rows]
        n_units = len(np.unique(own))
        is_leak = np.isin(numbers[test_rows], numbers[np.r_[train_rows, val_rows]])
        power = measure_power(len(test_rows), n_units, len(np.unique(own[~is_leak])))
        sentences += [
            finding.sentence for finding in judge_power(power) if finding.level == "warns"
        ]
    return sentences + [finding.sentence for finding in judge_counts(table)]
