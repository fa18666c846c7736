"""A run on all images outside of the test split, after cross-validation has made every choice."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from medlora.errors import SettingsError


@dataclass(frozen=True)
class Refit:
    """What the folds have settled for a run that has no validation images of its own.

    Attributes:
        n_epochs: The epoch after which training ends, from 1; the schedule is that of all
            epochs, as in the folds' runs.
        n_folds: Number of folds.
        thresholds: (class,) decision thresholds, chosen on the out-of-fold answers.
        scores: `Evaluation.to_dict` of the out-of-fold answers.
    """

    n_epochs: int
    n_folds: int
    thresholds: tuple[float, ...]
    scores: Mapping[str, Any]

    def watch(self, history: Sequence[Mapping[str, float]]) -> bool:
        """Whether training has come as far as it is to go."""
        return len(history) >= self.n_epochs

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self) | {"thresholds": list(self.thresholds)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Refit":
        """What `to_dict` described.

        Raises:
            SettingsError: A name is unknown or missing.
        """
        try:
            return cls(**{**values, "thresholds": tuple(values["thresholds"])})
        except (TypeError, KeyError) as error:
            raise SettingsError(f"The record of the refit is not valid: {error}.") from error
