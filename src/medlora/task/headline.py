"""The one score of a card that is shown where there is room for one."""

from dataclasses import dataclass
from typing import Any

from medlora.task.card import TaskCard

# What was never used to choose anything comes first.
_SPLITS = ("test", "out_of_fold", "val")
_MEASURES = ("auroc", "average_precision", "f1", "balanced_accuracy", "accuracy")


@dataclass(frozen=True)
class Headline:
    """A score.

    Attributes:
        split: The images that it was measured on: `test`, else `out_of_fold`, else `val`.
        measure: What was measured, a key of the card's metrics: `auroc`.
        value: The score.
        low: Lower end of its 95 % interval; None where the card has no interval.
        high: Upper end, likewise.
    """

    split: str
    measure: str
    value: float
    low: float | None = None
    high: float | None = None

    @property
    def title(self) -> str:
        """What was measured on what, in words.

        Example:
            >>> Headline("out_of_fold", "average_precision", 0.8).title
            'out of fold average precision'
        """
        return f"{self.split} {self.measure}".replace("_", " ")


def find_headline(card: TaskCard) -> Headline | None:
    """The first that a card holds of AUROC, average precision, F1 and accuracy.

    The metrics of a card are free: a score is a number, or an object with `value`, and with
    `low` and `high` where its interval is known. What has another form is passed over.

    Returns:
        The score on test images, else out of the folds of a cross-validation, else on those of
        validation; None where there is none of them.

    Example:
        >>> from medlora.preprocessing import Preprocessing
        >>> from medlora.task.card import BackboneReference
        >>> card = TaskCard(
        ...     name="demo", classes=("no", "yes"), multi_label=False, method="linear",
        ...     backbone=BackboneReference("vit_tiny_patch16_224", "0" * 64),
        ...     preprocessing=Preprocessing((224, 224), (0.5,) * 3, (0.5,) * 3),
        ...     adapter=None, thresholds=(0.5, 0.5), created="2025-01-31T12:00:00+00:00",
        ...     metrics={"val": {"accuracy": 0.75, "auroc": 0.875}},
        ... )
        >>> find_headline(card)
        Headline(split='val', measure='auroc', value=0.875, low=None, high=None)
    """
    for split in _SPLITS:
        scores = card.metrics.get(split)
        if not isinstance(scores, dict):
            continue
        for measure in _MEASURES:
            numbers = _read_score(scores.get(measure))
            if numbers is not None:
                return Headline(split, measure, *numbers)
    return None


def _read_score(score: Any) -> tuple[float, float | None, float | None] | None:
    values = score if isinstance(score, dict) else {"value": score}
    value, low, high = (_read_number(values.get(key)) for key in ("value", "low", "high"))
    if value is None:
        return None
    return (value, low, high) if low is not None and high is not None else (value, None, None)


def _read_number(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number else None
