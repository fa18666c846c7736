"""How well the label can be told from facts about the files, with intervals."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from medlora.audit.facts import FACT_NAMES
from medlora.audit.labels import N_FOLDS
from medlora.audit.shortcuts import predict_from_facts, select_varying
from medlora.compare.auroc import estimate_variance, logit_interval, trace_auroc
from medlora.data.folds import assign_folds
from medlora.data.table import ImageTable
from medlora.errors import SettingsError, UndefinedMetricError
from medlora.progress import Progress, silent

ALL_FACTS: Final = "all together"
# From where on a fact is worth a warning: the AUROC, and the lower end of its interval.
MIN_AUROC: Final = 0.65
MIN_LOW: Final = 0.6
MIN_IMAGES: Final = 20
"""Fewer images than these are not enough for what takes a model: labels, shortcuts, drift."""
_CONFIDENCE: Final = 0.95


@dataclass(frozen=True)
class Shortcut:
    """How well a small model tells the classes from one fact, or from all of them.

    Attributes:
        fact: Its name in `medlora.audit.facts.FACT_NAMES`, or `all together`.
        auroc: Mean over the classes, out of fold; .5 is a guess.
        low: Lower end of its 95 % interval; None where it is undefined.
        high: Upper end.
        best_class: Number of the class that it tells best.
        best_auroc: The AUROC of that class.
    """

    fact: str
    auroc: float
    low: float | None
    high: float | None
    best_class: int
    best_auroc: float

    @property
    def is_suspicious(self) -> bool:
        """Whether a reader should be warned of it."""
        return self.auroc >= MIN_AUROC and self.low is not None and self.low >= MIN_LOW


def fold_images(
    table: ImageTable, group_numbers: npt.NDArray[np.int64], seed: int
) -> npt.NDArray[np.int64] | None:
    """Folds that cut no group; None where there are too few images for them.

    Args:
        table: The images.
        group_numbers: (image,) images that belong together have one number.
        seed: Decides between folds that are equally good.
    """
    if table.n_images < MIN_IMAGES or int(group_numbers.max()) + 1 < MIN_IMAGES:
        return None
    grouped = replace(table, patients=tuple(str(number) for number in group_numbers))
    try:
        return assign_folds(grouped, [""] * table.n_images, N_FOLDS, seed=seed)
    except SettingsError:
        # The groups are too large to be shared out: there is nothing to cross-validate on.
        return None


def measure_shortcuts(
    facts: npt.NDArray[np.float64],
    targets: npt.NDArray[np.bool_],
    folds: npt.NDArray[np.int64],
    group_numbers: npt.NDArray[np.int64],
    *,
    seed: int = 0,
    progress: Progress = silent,
) -> tuple[Shortcut, ...]:
    """Cross-validated AUROC of each fact that varies, and of all together.

    Args:
        facts: (image, fact), in the order of `FACT_NAMES`.
        targets: (image, class).
        folds: (image,) fold of each image; no group is cut.
        group_numbers: (image,) copies and images of one patient have one number.
        seed: Of the models.
        progress: Told after every fact.

    Returns:
        All facts together first, then the single ones, the most telling first. Nothing where no
        AUROC is defined.

    Reference:
        DeLong, DeLong and Clarke-Pearson, Biometrics 1988, for the interval.
    """
    varying = select_varying(facts)
    if not varying:
        return ()
    sets: list[tuple[str, Sequence[int]]] = [(FACT_NAMES[number], [number]) for number in varying]
    sets.append((ALL_FACTS, varying))
    found = []
    for done, (name, columns) in enumerate(sets):
        answers = predict_from_facts(facts, columns, targets, folds, seed=seed)
        try:
            found.append(_score(name, answers, targets, group_numbers))
        except UndefinedMetricError:
            continue
        progress("shortcuts", done + 1, len(sets))
    return tuple(sorted(found, key=lambda own: (own.fact != ALL_FACTS, -own.auroc)))


def _score(
    name: str,
    answers: npt.NDArray[np.float64],
    targets: npt.NDArray[np.bool_],
    group_numbers: npt.NDArray[np.int64],
) -> Shortcut:
    numbers = np.unique(group_numbers, return_inverse=True)[1].astype(np.int64)
    traced = trace_auroc(answers, targets, numbers)
    variance = estimate_variance(traced.images, numbers)
    interval = logit_interval(traced.value, variance, _CONFIDENCE)
    if traced.value == 1:
        interval = _bound_separation(targets, numbers)
    single: dict[int, float] = {}
    for column in range(targets.shape[1]):
        part = slice(column, column + 1)
        try:
            single[column] = trace_auroc(answers[:, part], targets[:, part], numbers).value
        except UndefinedMetricError:
            continue
    best = max(single, key=lambda column: single[column])
    low, high = interval or (None, None)
    return Shortcut(name, traced.value, low, high, best, single[best])


def _bound_separation(
    targets: npt.NDArray[np.bool_], group_numbers: npt.NDArray[np.int64]
) -> tuple[float, float]:
    """The interval where no image lies on the wrong side, which has no variance.

    Of m independent images of the rarest class, all lie above the others with a chance of at most
    the AUROC to the power of m.
    """
    sides = [group_numbers[own] for column in targets.T for own in (column, ~column)]
    fewest = min(len(np.unique(own)) for own in sides if len(own))
    return ((1 - _CONFIDENCE) / 2) ** (1 / fewest), 1.0
