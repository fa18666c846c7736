"""What labelled images say of whether a task's answers can be trusted, and acted on."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from medlora.data.table import ImageTable
from medlora.evaluate.abstaining import find_card_sets, find_open_labels, judge_answers
from medlora.evaluate.coverage import measure_answered, measure_sets
from medlora.evaluate.decision_curve import trace_net_benefit
from medlora.evaluate.predict import convert_logits
from medlora.evaluate.risk_coverage import RiskCoverage, select_answers, trace_risk
from medlora.evaluate.scaling import measure_calibration
from medlora.runs.calibration import undo_calibration
from medlora.task.card import TaskCard

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class TrustScores:
    """Calibration, prediction sets, abstaining and net benefit on some images.

    Attributes:
        calibration: Figures `before` and `after` the task's scaling, and how it scales; None
            where it does not.
        conformal: `wanted` coverage and what is reached, as `measure_sets` gives it; None where
            the task has no prediction sets.
        abstaining: What the task's rule of abstaining reaches, as `measure_answered` gives it.
        risk: The risk-coverage curve.
        decision_curves: Class to `DecisionCurve.to_dict`.
        before: (image, class) probabilities without the task's scaling; None where it has none.
    """

    calibration: dict[str, Any] | None
    conformal: dict[str, Any] | None
    abstaining: dict[str, Any]
    risk: RiskCoverage
    decision_curves: dict[str, dict[str, Any]]
    before: Floats | None

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        content: dict[str, Any] = {}
        if self.calibration is not None:
            content["calibration"] = self.calibration
        if self.conformal is not None:
            content["conformal"] = self.conformal
        return content | {
            "abstaining": self.abstaining,
            "risk_coverage": self.risk.to_dict(),
            "decision_curve": self.decision_curves,
        }


def measure_trust(
    card: TaskCard,
    table: ImageTable,
    rows: npt.NDArray[np.int64],
    logits: Floats,
    decisions: Bools,
    *,
    n_resamples: int = 1000,
    seed: int = 0,
) -> TrustScores:
    """Measure on labelled images what a task says of itself.

    Args:
        card: The task's card.
        table: The labelled images.
        rows: Those that were answered.
        logits: (row, class) of the stored head, whose calibration is in it.
        decisions: (row, class), as taken.
        n_resamples: Bootstrap resamples of patients.
        seed: Of the bootstrap.
    """
    targets = table.targets[rows]
    groups = [table.patients[row] for row in rows]
    options: dict[str, Any] = {"groups": groups, "n_resamples": n_resamples, "seed": seed}
    answers = convert_logits(logits, multi_label=card.multi_label)
    confidence, wrong = select_answers(answers, decisions, targets, multi_label=card.multi_label)
    curves = {
        name: trace_net_benefit(answers[:, place], targets[:, place], **options).to_dict()
        for place, name in enumerate(card.classes)
    }
    calibration, before = _compare_calibration(card, logits, answers, targets)
    abstains = _find_withheld(card, answers, decisions, wrong.shape[1])
    return TrustScores(
        calibration=calibration,
        conformal=_check_sets(card, answers, targets, options),
        abstaining=measure_answered(wrong, abstains, **options),
        risk=trace_risk(confidence, wrong, **options),
        decision_curves=curves,
        before=before,
    )


def _compare_calibration(
    card: TaskCard, logits: Floats, answers: Floats, targets: Bools
) -> tuple[dict[str, Any] | None, Floats | None]:
    """Figures with the calibration and without it, and the probabilities without it."""
    record = card.calibration
    if record is None:
        return None, None
    before = convert_logits(undo_calibration(card, logits), multi_label=card.multi_label)
    figures: dict[str, Any] = {
        "method": record.method,
        "scale": list(record.scale),
        "offset": list(record.offset),
        "before": measure_calibration(before, targets, multi_label=card.multi_label),
        "after": measure_calibration(answers, targets, multi_label=card.multi_label),
    }
    return figures, before


def _check_sets(
    card: TaskCard, answers: Floats, targets: Bools, options: dict[str, Any]
) -> dict[str, Any] | None:
    sets = find_card_sets(card, answers)
    if sets is None or card.conformal is None:
        return None
    found = measure_sets(sets, targets, classes=card.classes, **options)
    return {"wanted": card.conformal.coverage, "is_by_class": card.conformal.by_class, **found}


def _find_withheld(card: TaskCard, answers: Floats, decisions: Bools, n_answers: int) -> Bools:
    """(image, answer) whether the task's own rule withholds it."""
    is_out = np.array([bool(each.abstain) for each in judge_answers(card, answers)], dtype=bool)
    withheld: Bools = np.repeat(is_out[:, None], n_answers, axis=1)
    if card.multi_label:
        withheld |= find_open_labels(find_card_sets(card, answers), decisions)
    return withheld
