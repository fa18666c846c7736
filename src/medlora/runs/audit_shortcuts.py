"""How well the label can be told from facts about the files, with intervals."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from medlora.audit.facts import FACT_NAMES
from medlora.audit.shortcuts import predict_from_facts, select_varying
from medlora.compare.auroc import estimate_variance, logit_interval, trace_auroc
from medlora.errors import UndefinedMetricError
from medlora.progress import Progress, silent

ALL_FACTS: Final = "all together"
# From where on a fact is worth a warning: the AUROC, and the lower end of its interval.
MIN_AUROC: Final = 0.65
MIN_LOW: Final = 0.6
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
