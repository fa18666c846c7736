"""Whether prediction sets hold what they promise, and what abstaining leaves over."""

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from medlora.evaluate.conformal import PredictionSets
from medlora.evaluate.evaluation import Estimate
from medlora.evaluate.inputs import Bools, Integers
from medlora.evaluate.means import estimate_means, estimate_ratios


def measure_sets(
    sets: PredictionSets,
    targets: Bools,
    *,
    classes: Sequence[str],
    groups: Sequence[Hashable | None] | Integers | None = None,
    n_resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """How often prediction sets hold the truth, and how large they are, with 95 % intervals.

    Args:
        sets: The images' prediction sets.
        targets: (image, class).
        classes: Names in the order of the columns.
        groups: (image,) each image's patient; None where unknown.
        n_resamples: Bootstrap resamples; with 0 there are no intervals.
        seed: Of the resampling.

    Returns:
        As estimates: `coverage` (share of sets that hold the truth), `mean_size` (classes in a
        set; of a multi-label task, answers in a label's set, 0 to 2), `single` (share of sets of
        one) and `empty`; and `by_class`, for each class `coverage` among the images that have it
        and, in a multi-label task, `coverage_without` among those that have it not and `single`.
    """
    options: dict[str, Any] = {"groups": groups, "n_resamples": n_resamples, "seed": seed}
    if sets.absent is None:
        sizes = sets.present.sum(axis=1)
        hit: Bools = np.asarray((sets.present & targets).any(axis=1))
        values = np.stack([hit, sizes, sizes == 1, sizes == 0], axis=1).astype(np.float64)
        held = np.repeat(hit[:, None], len(classes), axis=1).astype(np.float64)
        own = estimate_means(held, targets, **options)
        by_class = {name: {"coverage": each} for name, each in zip(classes, own, strict=True)}
    else:
        hits = np.where(targets, sets.present, sets.absent)
        sizes = sets.present.astype(np.int64) + sets.absent
        parts = [hits, sizes, sizes == 1, sizes == 0]
        values = np.stack([part.mean(axis=1) for part in parts], axis=1)
        with_it = estimate_means(hits * 1.0, targets, **options)
        without = estimate_means(hits * 1.0, ~targets, **options)
        single = estimate_means((sizes == 1) * 1.0, **options)
        by_class = {
            name: {"coverage": one, "coverage_without": other, "single": third}
            for name, one, other, third in zip(classes, with_it, without, single, strict=True)
        }
    found = estimate_means(values, **options)
    names = ("coverage", "mean_size", "single", "empty")
    return {
        **{name: each.to_dict() for name, each in zip(names, found, strict=True)},
        "by_class": {name: _write(estimates) for name, estimates in by_class.items()},
    }


def measure_answered(
    wrong: Bools,
    abstains: Bools,
    *,
    groups: Sequence[Hashable | None] | Integers | None = None,
    n_resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """What a task's own rule of abstaining reaches, with 95 % intervals.

    Args:
        wrong: (image, answer), whether an answer was wrong, as `select_answers` gives it.
        abstains: (image, answer), whether it is withheld.
        groups: (image,) each image's patient; None where unknown.
        n_resamples: Bootstrap resamples; with 0 there are no intervals.
        seed: Of the resampling.

    Returns:
        `n_answers`, `n_abstained`, and as estimates `answered` (share of the answers), `error`
        (share of wrong ones among the answered), `error_of_all`, and `error_withheld` (share of
        wrong ones among the others).
    """
    parts = {
        "answered": (~abstains, np.ones_like(abstains)),
        "error": (wrong & ~abstains, ~abstains),
        "error_of_all": (wrong, np.ones_like(abstains)),
        "error_withheld": (wrong & abstains, abstains),
    }
    sums, counts = (
        np.stack([pair[place].sum(axis=1) for pair in parts.values()], axis=1).astype(np.float64)
        for place in (0, 1)
    )
    found = estimate_ratios(sums, counts, groups=groups, n_resamples=n_resamples, seed=seed)
    return {
        "n_answers": int(wrong.size),
        "n_abstained": int(abstains.sum()),
        **{name: each.to_dict() for name, each in zip(parts, found, strict=True)},
    }


def _write(estimates: dict[str, Estimate]) -> dict[str, Any]:
    return {name: each.to_dict() for name, each in estimates.items()}
