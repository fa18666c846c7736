"""One trial: the settings are scored on validation images, by folds or once."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from lightning_fabric import Fabric

from medlora.backbones.weights import Backbone
from medlora.data.cache import ImageCache, NoCache
from medlora.data.folds import assign_folds
from medlora.data.split import list_missing_classes
from medlora.data.table import ImageTable
from medlora.errors import DataError, UndefinedMetricError
from medlora.progress import Progress, silent
from medlora.runs.demands import check_measure
from medlora.runs.folder import RunFolder, RunPlan
from medlora.runs.ongoing import OngoingRun, name_backbone
from medlora.runs.preparing import PreparedData
from medlora.runs.training import fit_model
from medlora.task.precision import Chosen
from medlora.train.checkpoint import CheckpointMemory
from medlora.train.settings import TrainSettings

_N_KEPT = 2
Kept = TypeVar("Kept")


class StoppedTrial(Exception):  # noqa: N818, it is no fault
    """The trial was asked to stop; it is to be done again from its start."""


class PrunedTrial(Exception):  # noqa: N818, it is no fault
    """The trial fell so far behind the others that it was ended."""


@dataclass(frozen=True)
class TrialScore:
    """What a trial reached.

    Attributes:
        folds: The measure on each fold's validation images, at its best epoch.
        best_epochs: Those epochs, from 1.
        seconds: How long it took.
    """

    folds: tuple[float, ...]
    best_epochs: tuple[int, ...]
    seconds: float

    @property
    def value(self) -> float:
        """The mean over the folds."""
        return float(np.mean(self.folds))


class Trials:
    """Scores settings on images outside of the test split.

    Backbone and images are kept from one trial to the next.

    Args:
        plan: Data, weights, and how they are read; its settings say how images are split.
        n_folds: Folds of each trial; 0 for one validation split.
        cache: Where decoded images are kept.
        fabric: Device, launched.
        progress: Told while images are decoded.
        should_stop: Asked after every step.

    Attributes:
        precision: What trials are computed in that leave it open; None to choose for each.
    """

    def __init__(
        self,
        plan: RunPlan,
        n_folds: int,
        *,
        cache: ImageCache | NoCache,
        fabric: Fabric,
        progress: Progress,
        should_stop: Callable[[], bool],
    ) -> None:
        self.plan = plan
        self.n_folds = n_folds
        self.cache = cache
        self.fabric = fabric
        self.progress = progress
        self.should_stop = should_stop
        self.precision: Chosen | None = None
        self._backbones: dict[str, Backbone] = {}
        self._pools: dict[str, PreparedData] = {}

    def prepare(self, settings: TrainSettings) -> tuple[OngoingRun, PreparedData]:
        """A run with these settings, which writes nothing, and its images without test images.

        Raises:
            MedLoRAError: The data, settings or weights are not usable.
        """
        plan = replace(self.plan, settings=settings)
        name = name_backbone(settings)
        known = self._backbones.get(name)
        precision = self.precision if settings.precision == "auto" else None
        run = OngoingRun(plan, RunFolder(Path()), self.cache, self.fabric, silent, known, precision)
        _keep(self._backbones, name, run.backbone)
        key = repr(run.preprocessing)
        pool = self._pools.get(key)
        if pool is None:
            pool = run.prepare_pool(self.progress)
        _keep(self._pools, key, pool)
        return run, pool

    def score(
        self, settings: TrainSettings, report: Callable[[float, int, int], bool]
    ) -> TrialScore:
        """Train with some settings, and measure how good that was.

        Args:
            settings: The settings.
            report: Told the score so far, the fold, and the epoch in it, from 1; true ends
                the trial.

        Raises:
            StoppedTrial: It was asked to stop.
            PrunedTrial: `report` has ended it.
            MedLoRAError: The settings cannot be trained with.
        """
        started = time.monotonic()
        run, pool = self.prepare(settings)
        name = f"val_{settings.select_by}"
        values: list[float] = []
        epochs: list[int] = []
        better = min if settings.select_by == "loss" else max
        for fold, table in enumerate(self.split(pool)):
            is_pruned = False

            def watch(history: Sequence[Mapping[str, float]], fold: int = fold) -> bool:
                nonlocal is_pruned
                best = better(row[name] for row in history)
                is_pruned = report(float(np.mean([*values, best])), fold, len(history))
                return is_pruned

            _, outcome = fit_model(
                run,
                pool.with_table(table),
                checkpoints=CheckpointMemory(),
                should_stop=self.should_stop,
                watch=watch,
            )
            if outcome.ended == "stopped":
                raise StoppedTrial
            if is_pruned:
                raise PrunedTrial
            values.append(outcome.best_figures[name])
            epochs.append(outcome.best_epoch)
        return TrialScore(tuple(values), tuple(epochs), time.monotonic() - started)

    def split(self, pool: PreparedData) -> Iterator[ImageTable]:
        """The images with the splits of each fold; as they are where there are none.

        Raises:
            DataError: A fold leaves a class without an image to learn from.
            UndefinedMetricError: The measure that trials are scored by has no value on its images.
        """
        select_by = self.plan.settings.select_by
        if not self.n_folds:
            check_measure(select_by, pool.table)
            yield pool.table
            return
        folds = assign_folds(pool.table, pool.sha256, self.n_folds, seed=self.plan.settings.seed)
        for number in range(self.n_folds):
            table = pool.table.with_splits(["val" if fold == number else "train" for fold in folds])
            missing = list_missing_classes(table).get("train")
            if missing:
                raise DataError(
                    f"Without fold {number} there is no image of {', '.join(missing)} to learn "
                    "from: the class has images of one group only. Add some, or remove the class."
                )
            try:
                check_measure(select_by, table)
            except UndefinedMetricError as error:
                raise UndefinedMetricError(
                    f"Fold {number} of {self.n_folds} cannot score a trial: {error}"
                ) from error
            yield table


def _keep(kept: dict[str, Kept], key: str, value: Kept) -> None:
    """Have a value as the newest, and let go of the oldest of too many."""
    kept.pop(key, None)
    kept[key] = value
    while len(kept) > _N_KEPT:
        kept.pop(next(iter(kept)))
