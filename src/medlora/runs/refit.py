"""A run on all images outside of the test split, after cross-validation has made every choice."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from medlora.errors import SettingsError
from medlora.evaluate.novelty_limit import NoveltyLimit
from medlora.task.trust import CalibrationRecord, ConformalRecord


@dataclass(frozen=True)
class Refit:
    """What the folds have settled for a run that has no validation images of its own.

    Attributes:
        n_epochs: The epoch after which training ends, from 1; the schedule is that of all
            epochs, as in the folds' runs.
        n_folds: Number of folds.
        thresholds: (class,) decision thresholds, chosen on the out-of-fold answers.
        scores: `Evaluation.to_dict` of the out-of-fold answers.
        calibration: How logits are scaled, joined from the folds' runs; None where they are not.
        conformal: Limits of prediction sets, found on the out-of-fold answers; None for none.
        novelty: From which distance on an image is unlike the training images, joined from the
            folds' runs; None where they do not say.
    """

    n_epochs: int
    n_folds: int
    thresholds: tuple[float, ...]
    scores: Mapping[str, Any]
    calibration: CalibrationRecord | None = None
    conformal: ConformalRecord | None = None
    novelty: NoveltyLimit | None = None

    def watch(self, history: Sequence[Mapping[str, float]]) -> bool:
        """Whether training has come as far as it is to go."""
        return len(history) >= self.n_epochs

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values; without what there is none of."""
        values = {
            "n_epochs": self.n_epochs,
            "n_folds": self.n_folds,
            "thresholds": list(self.thresholds),
            "scores": dict(self.scores),
        }
        if self.calibration is not None:
            values["calibration"] = self.calibration.to_dict()
        if self.conformal is not None:
            values["conformal"] = self.conformal.to_dict()
        if self.novelty is not None:
            values["novelty"] = asdict(self.novelty)
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Refit":
        """What `to_dict` described.

        Raises:
            SettingsError: A name is unknown or missing.
            TaskFileError: A record in it is not valid.
        """
        plain = dict(values)
        if "calibration" in plain:
            plain["calibration"] = CalibrationRecord.from_dict(plain["calibration"])
        if "conformal" in plain:
            plain["conformal"] = ConformalRecord.from_dict(plain["conformal"])
        try:
            if "novelty" in plain:
                plain["novelty"] = NoveltyLimit(**plain["novelty"])
            return cls(**{**plain, "thresholds": tuple(plain["thresholds"])})
        except (TypeError, KeyError) as error:
            raise SettingsError(f"The record of the refit is not valid: {error}.") from error
