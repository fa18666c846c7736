"""The answers of all folds put together: scores, a table, a report and an ensemble."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from medlora.errors import SettingsError
from medlora.evaluate.evaluation import Evaluation
from medlora.evaluate.metrics import decide
from medlora.evaluate.novelty_limit import NoveltyLimit
from medlora.report.content import ReportContent
from medlora.runs.calibration import choose_sets, join_calibrations
from medlora.runs.folder import RunFolder, read_json, write_json
from medlora.runs.ongoing import OngoingRun
from medlora.runs.preparing import PreparedData, describe_data, warn_of_data
from medlora.runs.refit import Refit
from medlora.runs.report_files import write_report
from medlora.runs.scoring import Scores, format_predictions, join_names, pick_mistakes, score_rows
from medlora.storage import read_file, write_atomically
from medlora.task.ensemble import Ensemble, write_ensemble
from medlora.task.file import load_task
from medlora.task.novelty import NoveltySettings
from medlora.task.trust import CalibrationRecord, ConformalRecord

ENSEMBLE_NAME = "ensemble.json"
ANSWERS_NAME = "out-of-fold.csv"
SCORES_NAME = "cross-validation.json"


@dataclass(frozen=True)
class FoldRun:
    """What one fold's run left.

    Attributes:
        place: Its folder.
        evaluation: Scores on the fold.
        best_epoch: The epoch that was kept, from 1.
        probabilities: (row, class) on the fold, in [0, 1].
        labels: (row,) names of the reference classes.
        calibration: How its logits were scaled; None where they were not.
        novelty: What the fold's task file keeps of its training images; None if nothing.
    """

    place: RunFolder
    evaluation: Evaluation
    best_epoch: int
    probabilities: npt.NDArray[np.float64]
    labels: tuple[str, ...]
    calibration: CalibrationRecord | None
    novelty: NoveltySettings | None


@dataclass(frozen=True)
class FoldScores:
    """What cross-validation found.

    Attributes:
        runs: The folds, in order.
        out_of_fold: Scores of all out-of-fold answers together, each decided at the thresholds
            of its own fold's run.
        thresholds: (class,) chosen on all out-of-fold answers, for use on other images.
        warnings: What a reader has to know before believing the scores.
        conformal: Limits of prediction sets, found on all out-of-fold answers; None for none.
    """

    runs: tuple[FoldRun, ...]
    out_of_fold: Scores
    thresholds: tuple[float, ...]
    warnings: tuple[str, ...]
    conformal: ConformalRecord | None = None

    def summarise(self) -> dict[str, dict[str, float | None]]:
        """Measure to `mean` and `sd` over the folds that have it; the SD needs two of them."""
        found: dict[str, list[float]] = {}
        for run in self.runs:
            for name, estimate in run.evaluation.overall.items():
                found.setdefault(name, [])
                if estimate.value is not None:
                    found[name].append(estimate.value)
        return {
            name: {
                "mean": float(np.mean(values)) if values else None,
                "sd": float(np.std(values, ddof=1)) if len(values) > 1 else None,
            }
            for name, values in found.items()
        }

    def settle(self) -> Refit:
        """What a run on everything takes over.

        The median of the best epochs, thresholds, the folds' mean calibration, and the limits of
        prediction sets.
        """
        n_epochs = int(np.floor(np.median([run.best_epoch for run in self.runs]) + 0.5))
        return Refit(
            n_epochs,
            len(self.runs),
            self.thresholds,
            self.out_of_fold.overall.to_dict(),
            join_calibrations([run.calibration for run in self.runs], len(self.thresholds)),
            self.conformal,
            join_limits([run.novelty for run in self.runs]),
        )

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values, without the single answers."""
        return {
            "n_folds": len(self.runs),
            "all": self.out_of_fold.overall.to_dict(),
            "over_folds": self.summarise(),
            "folds": [
                {
                    "fold": number,
                    "best_epoch": run.best_epoch,
                    "scores": run.evaluation.to_dict(),
                }
                for number, run in enumerate(self.runs)
            ],
            "thresholds": list(self.thresholds),
            "warnings": list(self.warnings),
        }


def score_folds(run: OngoingRun, pool: PreparedData, folds: npt.NDArray[np.int64]) -> FoldScores:
    """Scores of the answers that the finished runs in a cross-validation's folder hold.

    Args:
        run: The cross-validation.
        pool: All its images.
        folds: (image,) number of each image's fold.

    Raises:
        SettingsError: A fold's answers are not those of the fold.
    """
    table = pool.table
    probabilities = np.zeros(table.targets.shape)
    decisions = np.zeros(table.targets.shape, dtype=bool)
    runs = []
    for number in range(int(folds.max()) + 1):
        found = _read_fold(RunFolder(run.folder.path / f"fold-{number}"), table.classes)
        rows = np.flatnonzero(folds == number)
        labels = tuple(join_names(table.classes, table.targets[row]) for row in rows)
        if found.labels != labels:
            raise SettingsError(
                f"{found.place.predictions} does not hold the answers on fold {number}. Remove "
                f"{found.place.path} and go on: medlora train --resume {run.folder.path}"
            )
        probabilities[rows] = found.probabilities
        decisions[rows] = decide(
            found.probabilities, found.evaluation.thresholds, table.multi_label
        )
        runs.append(found)
    used = np.mean([each.evaluation.thresholds for each in runs], axis=0)
    scores = score_rows(
        table,
        np.arange(table.n_images),
        probabilities,
        thresholds=tuple(used.tolist()),
        seen=np.zeros(table.n_images, dtype=bool),
        seed=run.settings.seed,
        decisions=decisions,
        operating_point=run.operating_point,
    )
    thresholds = run.choose_thresholds(table, np.arange(table.n_images), probabilities)
    settings = run.settings
    conformal, doubts = choose_sets(
        probabilities,
        table.targets,
        classes=table.classes,
        multi_label=table.multi_label,
        coverage=settings.coverage,
        by_class=settings.coverage_by_class,
        source="out-of-fold",
    )
    warnings = warn_of_data(pool, allow_patient_overlap=run.plan.allow_patient_overlap)
    warnings = list(dict.fromkeys([*warnings, *_warn_of_folds(runs), *doubts, *scores.warnings]))
    return FoldScores(tuple(runs), scores, thresholds, tuple(warnings), conformal)


def write_fold_results(
    run: OngoingRun, pool: PreparedData, folds: npt.NDArray[np.int64], scores: FoldScores
) -> None:
    """Write the table of answers, the scores, the ensemble and the report."""
    folder = run.folder
    parts = pool.table.with_splits([f"fold-{fold}" for fold in folds])
    table = format_predictions(parts, scores.out_of_fold, part="fold")
    write_atomically(folder.path / ANSWERS_NAME, table)
    content = {"task": run.plan.name, **scores.to_dict()}
    write_json(folder.path / SCORES_NAME, content)
    members = tuple(f"{each.place.path.name}/{each.place.task.name}" for each in scores.runs)
    ensemble = Ensemble.of(run.plan.name, folder.path, members, scores.thresholds)
    write_ensemble(folder.path / ENSEMBLE_NAME, ensemble)
    write_report(folder.path, _describe(run, pool, scores))


def _read_fold(place: RunFolder, classes: Sequence[str]) -> FoldRun:
    record = read_json(place.evaluation, "evaluation of a fold")
    evaluation = Evaluation.from_dict(record["all"])
    text = read_file(place.predictions, "answers of a fold").decode()
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    probabilities = [[float(row[f"p_{name}"]) for name in classes] for row in rows]
    card = load_task(place.task).card
    best_epoch: Any = card.training["best_epoch"]
    labels = tuple(row["label"] for row in rows)
    return FoldRun(
        place,
        evaluation,
        int(best_epoch),
        np.array(probabilities),
        labels,
        card.calibration,
        card.novelty,
    )


def join_limits(found: Sequence[NoveltySettings | None]) -> NoveltyLimit | None:
    """One limit of novelty out of those of the folds: their median; None where one has none."""
    known = [each for each in found if each is not None]
    if not known or len(known) < len(found):
        return None
    return NoveltyLimit(
        distance=float(np.median([each.limit for each in known])),
        false_alarms=float(np.mean([each.false_alarms for each in known])),
        n_images=sum(each.n_val for each in known),
        n_groups=sum(each.n_units for each in known)
        if any(each.n_val_groups is not None for each in known)
        else None,
    )


def _warn_of_folds(runs: Sequence[FoldRun]) -> list[str]:
    """Each warning of the folds' runs once, with the folds that gave it."""
    found: dict[str, list[int]] = {}
    for number, run in enumerate(runs):
        record = read_json(run.place.evaluation, "evaluation of a fold")
        for sentence in record["warnings"]:
            found.setdefault(sentence, []).append(number)
    return [
        f"Fold {', '.join(map(str, numbers))}: {sentence}" for sentence, numbers in found.items()
    ]


def _describe(run: OngoingRun, pool: PreparedData, scores: FoldScores) -> ReportContent:
    """The report's content: the out-of-fold answers, and each fold beside them."""
    table, answers = pool.table, scores.out_of_fold
    card = load_task(scores.runs[0].place.task).card.to_dict()
    training = {
        name: value
        for name, value in card["training"].items()
        if name not in ("best_epoch", "n_epochs_done", "ended")
    }
    card |= {
        "name": run.plan.name,
        "thresholds": list(scores.thresholds),
        "training": {**training, "n_folds": len(scores.runs)},
        "data": describe_data(pool),
        "self_check": None,
    }
    # Those of one fold's run; the other folds have others.
    for name in ("calibration", "conformal", "novelty"):
        card.pop(name, None)
    return ReportContent(
        title=f"{run.plan.name}: {len(scores.runs)} folds",
        card=card,
        command=run.plan.command,
        history=(),
        evaluation=answers.overall.to_dict(),
        probabilities=answers.probabilities,
        targets=table.targets,
        classes=table.classes,
        multi_label=table.multi_label,
        locations=table.locations,
        mistakes=pick_mistakes(table, answers, pool.images),
        warnings=scores.warnings,
        n_skipped=pool.n_skipped,
        split="out-of-fold",
        operating_point=answers.operating_point,
        folds=[_describe_fold(each) for each in scores.runs],
    )


def _describe_fold(run: FoldRun) -> Mapping[str, Any]:
    return {**run.evaluation.to_dict(), "best_epoch": run.best_epoch}
