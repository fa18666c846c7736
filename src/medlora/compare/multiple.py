"""Several comparisons at once."""

from collections.abc import Sequence


def adjust_holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given.

    Reference:
        Holm, Scandinavian Journal of Statistics 1979.

    Example:
        >>> adjust_holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    adjusted = [0.0] * len(p_values)
    least = 0.0
    for n_before, place in enumerate(order):
        least = max(least, min(1.0, (len(p_values) - n_before) * p_values[place]))
        adjusted[place] = least
    return adjusted
