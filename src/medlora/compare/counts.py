"""What numbers of right answers can show: McNemar's test, and published counts."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest, norm

from medlora.errors import DataError
from medlora.evaluate.inputs import Bools

POWER = 0.8


@dataclass(frozen=True)
class McNemar:
    """Images that one of two methods got right and the other did not.

    Attributes:
        only_first: Images that only the first got right.
        only_second: Images that only the second got right.
        p_value: Exact, two-sided.
    """

    only_first: int
    only_second: int
    p_value: float

    @classmethod
    def of(cls, only_first: int, only_second: int) -> "McNemar":
        """From the two counts.

        Reference:
            McNemar, Psychometrika 1947; the exact form is the sign test.

        Example:
            >>> McNemar.of(5, 0).p_value
            0.0625
        """
        total = only_first + only_second
        p_value = float(binomtest(only_first, total, 0.5).pvalue) if total else 1.0
        return cls(only_first, only_second, p_value)


def count_discordant(first: Bools, second: Bools) -> McNemar:
    """McNemar's test on whether each of two methods got an image right, (image,) each.

    Raises:
        DataError: They are not about the same number of images.
    """
    if first.shape != second.shape:
        raise DataError(
            f"there are {len(first)} and {len(second)} answers. Compare on the same images."
        )
    return McNemar.of(int((first & ~second).sum()), int((~first & second).sum()))


@dataclass(frozen=True)
class CountsComparison:
    """Two published numbers of right answers, of which the single answers are not known.

    Attributes:
        n_right: Right answers of the first and of the second method.
        n_images: Images of each.
        intervals: 95 % interval of each share.
        difference: First share less the second.
        low: Lower end of the difference's 95 % interval, for answers that are independent.
        high: Upper end.
        most_favourable: McNemar's test if both answered the same images, and the better one was
            right wherever the other was; None where the numbers of images differ.
        detectable: The smallest difference that so many images find with 80 % power, for answers
            that are independent.
    """

    n_right: tuple[int, int]
    n_images: tuple[int, int]
    intervals: tuple[tuple[float, float], tuple[float, float]]
    difference: float
    low: float
    high: float
    most_favourable: McNemar | None
    detectable: float

    @property
    def verdict(self) -> str:
        """What the counts can show, in one sentence or two."""
        shown = " against ".join(
            f"{right} of {images}"
            for right, images in zip(self.n_right, self.n_images, strict=True)
        )
        found = (
            f"{shown}: a difference of {self.difference:+.3f} (95 % CI {self.low:+.3f} to "
            f"{self.high:+.3f})."
        )
        pairing = ""
        if self.most_favourable is not None:
            most = max(self.most_favourable.only_first, self.most_favourable.only_second)
            pairing = (
                f" Were the better method right wherever the other is ({most} images against "
                f"none), McNemar's p would be {self.most_favourable.p_value:.3f}."
            )
        best = 0.0 if self.most_favourable is None else self.most_favourable.p_value
        if self.low <= 0 <= self.high:
            # A pairing that nobody reported may still hide a difference.
            words = "cannot" if best > 0.05 or self.most_favourable is None else "alone do not"
            least = min(self.n_images)
            return (
                f"{found}{pairing} These counts {words} tell the methods apart: {least} images "
                f"would need a difference of {self.detectable:.2f}."
            )
        better = "first" if self.difference > 0 else "second"
        return f"{found}{pairing} The {better} method is better."


def compare_counts(first: tuple[int, int], second: tuple[int, int]) -> CountsComparison:
    """Compare two methods of which only the numbers of right answers are known.

    Args:
        first: Right answers and images of the first method.
        second: Of the second.

    Raises:
        DataError: A number of images is below 1, or of right answers outside [0, images].

    Reference:
        Wilson, JASA 1927, for each share; Newcombe, Statistics in Medicine 1998, method 10, for
        the difference of two independent ones.

    Example:
        >>> found = compare_counts((66, 71), (61, 71))
        >>> f"{found.difference:.3f} {found.low:.3f} {found.high:.3f}"
        '0.070 -0.034 0.178'
    """
    for right, images in (first, second):
        if images < 1 or not 0 <= right <= images:
            raise DataError(
                f"{right} of {images} is no share of right answers. Give the number of right "
                "answers and the number of images, such as 66/71."
            )
    shares = first[0] / first[1], second[0] / second[1]
    intervals = wilson_interval(*first), wilson_interval(*second)
    difference = shares[0] - shares[1]
    below = np.hypot(shares[0] - intervals[0][0], intervals[1][1] - shares[1])
    above = np.hypot(intervals[0][1] - shares[0], shares[1] - intervals[1][0])
    variance = sum(
        share * (1 - share) / images
        for share, images in zip(shares, (first[1], second[1]), strict=True)
    )
    favourable = None
    if first[1] == second[1]:
        gap = first[0] - second[0]
        favourable = McNemar.of(max(gap, 0), max(-gap, 0))
    return CountsComparison(
        n_right=(first[0], second[0]),
        n_images=(first[1], second[1]),
        intervals=intervals,
        difference=difference,
        low=float(difference - below),
        high=float(difference + above),
        most_favourable=favourable,
        detectable=detectable_difference(variance),
    )


def wilson_interval(n_right: int, n_images: int, confidence: float = 0.95) -> tuple[float, float]:
    """The interval of a share.

    Reference:
        Wilson, JASA 1927.

    Example:
        >>> low, high = wilson_interval(66, 71)
        >>> f"{low:.3f} {high:.3f}"
        '0.846 0.970'
    """
    found = binomtest(n_right, n_images).proportion_ci(confidence, method="wilson")
    return float(found.low), float(found.high)


def detectable_difference(variance: float, power: float = POWER) -> float:
    """The smallest true difference that a two-sided test at .05 finds with a given power.

    Args:
        variance: Of the measured difference.
        power: The chance of finding it, in (0, 1).

    Example:
        >>> round(detectable_difference(0.01), 3)
        0.28
    """
    return float((norm.ppf(0.975) + norm.ppf(power)) * np.sqrt(variance))
