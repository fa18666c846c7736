"""What a test split of some size can show at all."""

from dataclasses import dataclass
from typing import Final

from medlora.compare.counts import detectable_difference, wilson_interval

ACCURACIES: Final = (0.8, 0.9, 0.95)
# Correlation of two methods' mistakes: none, and as much as is usual on the same images.
_UNRELATED, _RELATED = 0.0, 0.5


@dataclass(frozen=True)
class PowerRow:
    """What can be shown at one accuracy.

    Attributes:
        accuracy: The accuracy, in (0, 1).
        low: Lower end of its 95 % interval.
        high: Upper end.
        detectable: The smallest difference between two methods on the same images that is found
            with 80 % power, where their mistakes have nothing in common.
        detectable_related: The same where their mistakes are correlated by .5.
    """

    accuracy: float
    low: float
    high: float
    detectable: float
    detectable_related: float


@dataclass(frozen=True)
class SplitPower:
    """What a test split can show.

    Attributes:
        n_images: Its images.
        n_units: Those that count: its patients or other groups, copies taken as one.
        n_clean: The units that have no copy in training or validation.
        rows: For some accuracies; of all units.
    """

    n_images: int
    n_units: int
    n_clean: int
    rows: tuple[PowerRow, ...]


def measure_power(n_images: int, n_units: int, n_clean: int) -> SplitPower:
    """What a test split can show; the arguments are `SplitPower`'s, `n_units` at least 1.

    Reference:
        Wilson, JASA 1927, for the interval; a normal approximation for the difference.

    Example:
        >>> row = measure_power(71, 71, 71).rows[1]
        >>> f"{row.low:.2f} {row.high:.2f} {row.detectable:.2f}"
        '0.81 0.95 0.14'
    """
    rows = []
    for accuracy in ACCURACIES:
        low, high = wilson_interval(round(accuracy * n_units), n_units)
        variance = 2 * accuracy * (1 - accuracy) / n_units
        rows.append(
            PowerRow(
                accuracy,
                low,
                high,
                detectable_difference(variance * (1 - _UNRELATED)),
                detectable_difference(variance * (1 - _RELATED)),
            )
        )
    return SplitPower(n_images, n_units, n_clean, tuple(rows))
