"""What the trials of a study found: a table, what matters, and the best of them."""

import csv
import io
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from medlora.runs.folder import write_json
from medlora.storage import write_atomically
from medlora.tune.figures import draw_importance, draw_parallel
from medlora.tune.plan import TuneFolder, TunePlan
from medlora.tune.samplers import INDEX
from medlora.tune.space import Value
from medlora.tune.study import EPOCHS, ERROR, FOLDS, SECONDS, is_valid

# With fewer scores there is no telling what mattered.
_MIN_FOR_IMPORTANCE = 4


@dataclass(frozen=True)
class TrialRow:
    """One trial.

    Attributes:
        index: Its place in the search, from 0.
        state: `complete`, `pruned`, `failed`, `running` or `waiting`.
        score: The measure on validation images; None where there is none.
        folds: The same on each fold.
        best_epochs: The best epoch of each.
        seconds: How long it took; None where it was not finished.
        values: What was tried, by setting.
        error: Why it failed; None where it did not.
    """

    index: int
    state: str
    score: float | None
    folds: tuple[float, ...]
    best_epochs: tuple[int, ...]
    seconds: float | None
    values: Mapping[str, Value]
    error: str | None


@dataclass(frozen=True)
class StudyResult:
    """All trials of a study.

    Attributes:
        measure: What they were scored by, on validation images.
        trials: In the order of their indices.
        n_planned: How many there are to be.
        importances: Setting to its share of what the scores owe to settings, largest first;
            empty where there are too few scores to tell.
    """

    measure: str
    trials: tuple[TrialRow, ...]
    n_planned: int
    importances: Mapping[str, float]

    @property
    def is_complete(self) -> bool:
        """Whether all that was planned has come to a result."""
        done = ("complete", "pruned", "failed")
        # Another process may have begun with more of them.
        own = [row for row in self.trials if row.index < self.n_planned and row.state in done]
        return len(own) >= self.n_planned

    @property
    def ranking(self) -> tuple[TrialRow, ...]:
        """The trials with a score, best first; of equal ones the first."""
        sign = 1 if self.measure == "loss" else -1
        scored = [row for row in self.trials if row.state == "complete" and row.score is not None]
        return tuple(sorted(scored, key=lambda row: (sign * (row.score or 0.0), row.index)))

    @property
    def best(self) -> TrialRow | None:
        """The best trial; None where none has a score."""
        return self.ranking[0] if self.ranking else None


def collect_results(plan: TunePlan, study: optuna.Study) -> StudyResult:
    """The trials in a study's database."""
    trials = [trial for trial in study.get_trials(deepcopy=False) if is_valid(trial)]
    rows = sorted((_describe_trial(trial) for trial in trials), key=lambda row: row.index)
    return StudyResult(plan.measure, tuple(rows), plan.n_trials, _weigh_settings(study))


def keep_results(folder: TuneFolder, plan: TunePlan, study: optuna.Study) -> StudyResult:
    """Collect the trials and write what `write_results` writes, while no other process does.

    Raises:
        StorageError: A file cannot be written.
    """
    # Read when it is this process's turn, so that what is written last is the newest.
    with folder.lock_results():
        results = collect_results(plan, study)
        write_results(folder, plan, results)
    return results


def write_results(folder: TuneFolder, plan: TunePlan, results: StudyResult) -> None:
    """Write the table, the same as JSON, and the figures.

    Raises:
        StorageError: A file cannot be written.
    """
    write_atomically(folder.table, format_trials(results, list(plan.space.dimensions)))
    best = results.best
    content = {
        "measure": results.measure,
        "n_planned": results.n_planned,
        "n_folds": plan.n_folds,
        "best": None if best is None else asdict(best),
        "settings": None if best is None else plan.space.settle(best.values).to_dict(),
        "importances": dict(results.importances),
        "trials": [asdict(row) for row in results.trials],
    }
    write_json(folder.results, content)
    if results.importances:
        write_atomically(folder.importance, draw_importance(results.importances, ".svg"))
    if len(results.ranking) > 1:
        rows = [(row.values, row.score or 0.0) for row in reversed(results.ranking)]
        figure = draw_parallel(rows, plan.space.dimensions, results.measure, ".svg")
        write_atomically(folder.parallel, figure)


def format_trials(results: StudyResult, names: list[str]) -> bytes:
    """A CSV table: index, state, score, seconds, best epochs, a column for each setting, error."""
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["index", "state", results.measure, "seconds", "best_epochs", *names, "error"])
    for row in results.trials:
        epochs = "|".join(str(epoch) for epoch in row.best_epochs)
        values = [row.values.get(name, "") for name in names]
        score = "" if row.score is None else f"{row.score:.6f}"
        seconds = "" if row.seconds is None else f"{row.seconds:.1f}"
        writer.writerow([row.index, row.state, score, seconds, epochs, *values, row.error or ""])
    return stream.getvalue().encode()


def _describe_trial(trial: FrozenTrial) -> TrialRow:
    known: dict[str, Any] = trial.user_attrs
    is_scored = trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
    return TrialRow(
        index=known[INDEX],
        state={"fail": "failed"}.get(trial.state.name.lower(), trial.state.name.lower()),
        score=trial.value if is_scored else None,
        folds=tuple(known.get(FOLDS, ())),
        best_epochs=tuple(known.get(EPOCHS, ())),
        seconds=known.get(SECONDS),
        values=dict(trial.params),
        error=known.get(ERROR),
    )


def _weigh_settings(study: optuna.Study) -> dict[str, float]:
    scored = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(scored) < _MIN_FOR_IMPORTANCE or len({trial.value for trial in scored}) < 2:
        return {}
    with warnings.catch_warnings():
        # It says that a setting with one value has no importance, which the figure shows.
        warnings.simplefilter("ignore")
        try:
            found = optuna.importance.get_param_importances(study)
        except (ValueError, RuntimeError):
            # Too few different values: there is nothing to be weighed.
            return {}
    return {name: float(share) for name, share in found.items()}
