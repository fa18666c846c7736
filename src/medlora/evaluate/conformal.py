"""Prediction sets that hold the truth as often as was asked for: split conformal prediction.

The score of an answer is one minus the probability of the truth (least ambiguous sets). Where the
probabilities are right, no other sets of the same coverage are smaller on average. They need no
random numbers, so that an image always gets the same set, and a reader can check their rule by eye:
a class is in the set where its probability is at least so much. Adaptive sets (APS) reach their
coverage exactly only where chance decides on the last class.
"""

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from medlora.errors import SettingsError
from medlora.evaluate.inputs import Bools, Floats, check_pair, check_single_label


@dataclass(frozen=True)
class SetLimits:
    """Where a class, or its absence, belongs to an image's prediction set.

    Attributes:
        least: (class,) a class is in the set where its probability is at least this.
        most: (class,) in a multi-label task the absence of a class is in its set where its
            probability is at most this; empty in a single-label task.
    """

    least: tuple[float, ...]
    most: tuple[float, ...]


@dataclass(frozen=True)
class PredictionSets:
    """What cannot be ruled out about each image.

    Attributes:
        present: (image, class), whether the class is in the set.
        absent: (image, class), in a multi-label task whether its absence is in its set; None in
            a single-label task.
    """

    present: Bools
    absent: Bools | None

    @property
    def undecided(self) -> Bools:
        """(image, class), labels of a multi-label task for which both answers are left, or none.

        In a single-label task nothing is: there it is the image that has one class left or not.
        """
        if self.absent is None:
            return np.zeros_like(self.present)
        undecided: Bools = np.equal(self.present, self.absent)
        return undecided


def check_coverage(coverage: float) -> Fraction:
    """The coverage as the decimal that was written, so that no rounding moves a rank.

    Raises:
        SettingsError: It is not in (0, 1).
    """
    if not 0 < coverage < 1:
        raise SettingsError(f"The coverage must be in (0, 1), for example 0.9, not {coverage:g}.")
    return Fraction(repr(float(coverage)))


def count_needed(coverage: float) -> int:
    """Fewest images by which a set smaller than that of all classes can reach a coverage.

    Args:
        coverage: In (0, 1).

    Raises:
        SettingsError: It is outside.

    Example:
        >>> count_needed(0.9), count_needed(0.95)
        (9, 19)
    """
    wanted = check_coverage(coverage)
    return math.ceil(wanted / (1 - wanted))


def choose_limits(
    probabilities: npt.ArrayLike,
    targets: npt.ArrayLike,
    *,
    coverage: float,
    multi_label: bool,
    by_class: bool = False,
) -> SetLimits:
    """Limits at which prediction sets hold the truth of at least a share of other images.

    Of n images the limit is the probability of the truth that is the ceil((n + 1) coverage)-th
    from above. Other images of the same kind as these, which neither training nor any choice has
    seen, then have the truth in their set with at least the wanted probability, whatever the model.

    In a single-label task that holds for all images together or, with `by_class`, for those of
    each class. In a multi-label task each label has a set of its own, of presence and absence, and
    it holds for the images with the label and for those without it: for a rare label, "absent"
    alone would reach any coverage among all images.

    Where fewer than `count_needed` images tell of a class, nothing rules it out: its limit is 0, or
    1 for an absence.

    Args:
        probabilities: (image, class), in [0, 1].
        targets: (image, class).
        coverage: Share of images whose set is to hold the truth, in (0, 1).
        multi_label: Whether an image may have several classes, or none.
        by_class: Reach it among the images of each class.

    Raises:
        SettingsError: The coverage is not in (0, 1).
        DataError: Shapes or values do not fit.

    Reference:
        Sadinle, Lei and Wasserman, Least Ambiguous Set-Valued Classifiers With Bounded Error
        Levels, Journal of the American Statistical Association 2019.

    Example:
        >>> ill = np.arange(1, 10) / 10
        >>> truth = np.array([[False, True]] * 9)
        >>> choose_limits(
        ...     np.stack([1 - ill, ill], 1), truth, coverage=0.8, multi_label=False
        ... ).least
        (0.2, 0.2)
    """
    wanted = check_coverage(coverage)
    scores, truths = check_pair(probabilities, targets, 2)
    if multi_label:
        pairs = list(zip(scores.T, truths.T, strict=True))
        least = tuple(_find_limit(own[truth], wanted) for own, truth in pairs)
        # The negative of a limit from above, not 1 minus it, which would round.
        most = tuple(-_find_limit(-own[~truth], wanted, nothing=-1.0) for own, truth in pairs)
        return SetLimits(least, most)
    check_single_label(truths)
    if by_class:
        columns = zip(scores.T, truths.T, strict=True)
        return SetLimits(tuple(_find_limit(own[truth], wanted) for own, truth in columns), ())
    limit = _find_limit(scores[truths], wanted)
    return SetLimits((limit,) * scores.shape[1], ())


def find_sets(probabilities: Floats, limits: SetLimits) -> PredictionSets:
    """The prediction set of each image.

    Args:
        probabilities: (image, class), in [0, 1].
        limits: As `choose_limits` found them.

    Example:
        >>> find_sets(np.array([[0.7, 0.3], [0.9, 0.1]]), SetLimits((0.2, 0.2), ())).present
        array([[ True,  True],
               [ True, False]])
    """
    present = probabilities >= np.asarray(limits.least)
    absent = probabilities <= np.asarray(limits.most) if limits.most else None
    return PredictionSets(present, absent)


def _find_limit(own: Floats, wanted: Fraction, nothing: float = 0.0) -> float:
    """The smallest score of a truth that still belongs to the set; `nothing` where all do."""
    rank = math.ceil((len(own) + 1) * wanted)
    if rank > len(own):
        return nothing
    return float(np.sort(own)[len(own) - rank])
