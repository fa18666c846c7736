"""All measures of one set of answers, for many weightings of the images at once."""

from dataclasses import dataclass

import numpy as np

from medlora.evaluate.calibration import N_BINS, CalibrationBins, square_errors
from medlora.evaluate.counts import ClassCounts, mean_defined
from medlora.evaluate.inputs import Bools, Floats
from medlora.evaluate.ranking import Ranking

CLASS_MEASURES = ("recall", "precision", "f1", "specificity", "auroc", "average_precision")


@dataclass(frozen=True)
class Measures:
    """Every measure, NaN where it is undefined.

    Attributes:
        overall: Measure to (resample,).
        per_class: Measure to (resample, class).
    """

    overall: dict[str, Floats]
    per_class: dict[str, Floats]


@dataclass(frozen=True)
class ScoreSheet:
    """Answers and truth, with everything done that does not depend on the weights.

    Attributes:
        decisions: (image, class).
        targets: (image, class).
        multi_label: Whether an image may have several classes, or none.
        rankings: (class,), each class's images sorted.
        bins: For the calibration error.
        squares: (image,), Brier score of each image.
    """

    decisions: Bools
    targets: Bools
    multi_label: bool
    rankings: tuple[Ranking, ...]
    bins: CalibrationBins
    squares: Floats

    @classmethod
    def of(
        cls, probabilities: Floats, targets: Bools, decisions: Bools, multi_label: bool
    ) -> "ScoreSheet":
        """From arrays (image, class) that `inputs` has checked."""
        return cls(
            decisions,
            targets,
            multi_label,
            tuple(Ranking.of(probabilities[:, k], targets[:, k]) for k in range(targets.shape[1])),
            CalibrationBins.of(probabilities, targets, multi_label, N_BINS),
            square_errors(probabilities, targets, multi_label),
        )

    def weigh(self, weights: Floats) -> Measures:
        """All measures of images with `weights` (image, resample), whole numbers.

        A measure is that of a set which holds each image as often as its weight says.
        """
        counts = ClassCounts.of(self.decisions, self.targets, weights)
        levels = [ranking.weigh(weights) for ranking in self.rankings]
        per_class = {
            "recall": counts.recall(),
            "precision": counts.precision(),
            "f1": counts.f1(),
            # It has a value for an absent class, but then the means would be over other classes.
            "specificity": np.where(counts.actual > 0, counts.specificity(), np.nan),
            "auroc": np.stack([level.auroc() for level in levels], axis=1),
            "average_precision": np.stack([level.average_precision() for level in levels], axis=1),
        }
        overall = {name: mean_defined(values) for name, values in per_class.items()}
        return Measures(overall | self._weigh_answers(counts, per_class, weights), per_class)

    def _weigh_answers(
        self, counts: ClassCounts, per_class: dict[str, Floats], weights: Floats
    ) -> dict[str, Floats]:
        total = counts.total[:, 0]
        exact = weights.T @ (self.decisions == self.targets).all(axis=1).astype(np.float64) / total
        measures = {
            "brier_score": weights.T @ self.squares / total,
            "calibration_error": self.bins.weigh(weights),
        }
        if not self.multi_label:
            return measures | {
                "accuracy": exact,
                "balanced_accuracy": mean_defined(per_class["recall"]),
            }
        n_classes = self.targets.shape[1]
        return measures | {
            "accuracy": counts.agreed().sum(axis=1) / (total * n_classes),
            "balanced_accuracy": mean_defined((per_class["recall"] + per_class["specificity"]) / 2),
            "exact_match": exact,
        }
