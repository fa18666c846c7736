"""The measures, one by one, on one set of images.

Arrays are (image,) or (image, class); decisions and targets are booleans. All raise `DataError`
where shapes, types or values do not fit, and `UndefinedMetricError` where there is no value.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from medlora.evaluate.calibration import N_BINS, CalibrationBins, square_errors
from medlora.evaluate.counts import ClassCounts, mean_defined
from medlora.evaluate.inputs import (
    Bools,
    Integers,
    check_decisions,
    check_defined,
    check_pair,
    check_probabilities,
    check_single_label,
    check_thresholds,
)
from medlora.evaluate.ranking import Ranking


def decide(probabilities: npt.ArrayLike, thresholds: Sequence[float], multi_label: bool) -> Bools:
    """What a task answers, given its probabilities.

    Multi-label: every class whose probability reaches its threshold. Single-label: the one class
    with the largest ratio of probability to threshold, the first of several equal ones; with
    equal thresholds this is the most probable class.

    Args:
        probabilities: (image, class), in [0, 1].
        thresholds: One for each class, in (0, 1].
        multi_label: Whether an image may have several classes, or none.

    Returns:
        (image, class); exactly one in each row is true in a single-label task.

    Raises:
        SettingsError: The thresholds do not fit.

    Example:
        >>> decide([[0.7, 0.3]], (0.8, 0.2), multi_label=False).tolist()
        [[False, True]]
    """
    scores = check_probabilities(probabilities, "probabilities", 2)
    limits = check_thresholds(thresholds, scores.shape[1])
    if multi_label:
        return np.asarray(scores >= limits)
    # Divided by the largest threshold first: equal ones become exactly 1 and change nothing.
    ratios = scores / (limits / limits.max())
    return np.asarray(np.arange(scores.shape[1]) == ratios.argmax(axis=1)[:, None])


def auroc(scores: npt.ArrayLike, positive: npt.ArrayLike) -> float:
    """Probability that a random positive image scores above a random negative one.

    Ties count one half, so a constant score gives 0.5.

    Args:
        scores: (image,), probability of the class, in [0, 1].
        positive: (image,), whether the image has it.

    Raises:
        UndefinedMetricError: All images have the class, or none has.

    Reference:
        Hanley and McNeil, Radiology 1982, equation 1.

    Example:
        >>> auroc(np.array([0.9, 0.4, 0.4, 0.1]), np.array([True, True, False, False]))
        0.875
    """
    values, truths = check_pair(scores, positive, 1)
    levels = Ranking.of(values, truths).weigh(np.ones((len(values), 1)))
    return check_defined(levels.auroc(), "AUROC", "images with and without the class")


def average_precision(scores: npt.ArrayLike, positive: npt.ArrayLike) -> float:
    """Mean precision over the recall steps, without interpolation.

    Args:
        scores: (image,), probability of the class, in [0, 1].
        positive: (image,), whether the image has it.

    Raises:
        UndefinedMetricError: No image has the class.

    Reference:
        Zhu, Recall, precision and average precision, University of Waterloo 2004, section 3.

    Example:
        >>> average_precision([0.9, 0.8, 0.4, 0.1], np.array([True, False, True, False]))
        0.8333333333333333
    """
    values, truths = check_pair(scores, positive, 1)
    levels = Ranking.of(values, truths).weigh(np.ones((len(values), 1)))
    return check_defined(levels.average_precision(), "average precision", "an image with the class")


def recall(decided: npt.ArrayLike, positive: npt.ArrayLike) -> float:
    """Sensitivity: of the images with the class, the share that was given it.

    Args:
        decided: (image,), whether the image was given the class.
        positive: (image,), whether it has it.

    Raises:
        UndefinedMetricError: No image has the class.

    Example:
        >>> recall(np.array([True, False, True]), np.array([True, True, False]))
        0.5
    """
    return check_defined(_count(decided, positive).recall(), "recall", "an image with the class")


def precision(decided: npt.ArrayLike, positive: npt.ArrayLike) -> float:
    """Of the images that were given the class, the share that has it.

    0 where the class is there and was never given, as in scikit-learn.

    Args:
        decided: (image,), whether the image was given the class.
        positive: (image,), whether it has it.

    Raises:
        UndefinedMetricError: No image has the class.

    Example:
        >>> precision(np.array([False, False]), np.array([True, False]))
        0.0
    """
    return check_defined(
        _count(decided, positive).precision(), "precision", "an image with the class"
    )


def f1(decided: npt.ArrayLike, positive: npt.ArrayLike) -> float:
    """Harmonic mean of recall and precision; 0 where no image with the class was found.

    Args:
        decided: (image,), whether the image was given the class.
        positive: (image,), whether it has it.

    Raises:
        UndefinedMetricError: No image has the class.

    Example:
        >>> f1(np.array([True, False, True]), np.array([True, True, False]))
        0.5
    """
    return check_defined(_count(decided, positive).f1(), "F1", "an image with the class")


def specificity(decided: npt.ArrayLike, positive: npt.ArrayLike) -> float:
    """Of the images without the class, the share that was not given it.

    Args:
        decided: (image,), whether the image was given the class.
        positive: (image,), whether it has it.

    Raises:
        UndefinedMetricError: Every image has the class.

    Example:
        >>> specificity(np.array([True, False, True]), np.array([True, False, False]))
        0.5
    """
    shares = _count(decided, positive).specificity()
    return check_defined(shares, "specificity", "an image without the class")


def accuracy(decisions: npt.ArrayLike, targets: npt.ArrayLike, multi_label: bool) -> float:
    """Share of right answers: images in a single-label task, image-label pairs otherwise.

    Args:
        decisions: (image, class), as from `decide`.
        targets: (image, class).
        multi_label: Whether an image may have several classes, or none.

    Example:
        >>> accuracy(np.eye(2) == 1, np.array([[True, False], [True, False]]), False)
        0.5
    """
    if multi_label:
        answers, truths = check_decisions(decisions, targets, 2)
        return float((answers == truths).mean())
    return exact_match(decisions, targets)


def exact_match(decisions: npt.ArrayLike, targets: npt.ArrayLike) -> float:
    """Share of the images whose decisions are right for every class.

    Args:
        decisions: (image, class), as from `decide`.
        targets: (image, class).
    """
    answers, truths = check_decisions(decisions, targets, 2)
    return float((answers == truths).all(axis=1).mean())


def balanced_accuracy(decisions: npt.ArrayLike, targets: npt.ArrayLike, multi_label: bool) -> float:
    """Accuracy as if all classes were equally frequent.

    Single-label: mean recall of the classes that are there. Multi-label: mean over the labels of
    (recall + specificity) / 2, without labels that no image has, or all have.

    Args:
        decisions: (image, class), as from `decide`.
        targets: (image, class).
        multi_label: Whether an image may have several classes, or none.

    Raises:
        UndefinedMetricError: There is no label that some images have and others have not.

    Reference:
        Brodersen et al., The balanced accuracy and its posterior distribution, ICPR 2010.
    """
    answers, truths = check_decisions(decisions, targets, 2)
    counts = ClassCounts.of(answers, truths, np.ones((len(truths), 1)))
    shares = counts.recall()
    if multi_label:
        shares = (shares + counts.specificity()) / 2
    needed = "a class that some images have and others have not"
    return check_defined(mean_defined(shares), "balanced accuracy", needed)


def brier_score(probabilities: npt.ArrayLike, targets: npt.ArrayLike, multi_label: bool) -> float:
    """Mean squared error of the probabilities; 0 is perfect.

    Three or more exclusive classes: summed over the classes, in [0, 2]. Two exclusive classes:
    the binary score of either, in [0, 1]. Multi-label: mean of the labels' scores, in [0, 1].

    Args:
        probabilities: (image, class), in [0, 1].
        targets: (image, class).
        multi_label: Whether an image may have several classes, or none.

    Reference:
        Brier, Verification of forecasts expressed in terms of probability, 1950, equation 2.

    Example:
        >>> round(brier_score([[0.9, 0.1]], np.array([[True, False]]), multi_label=False), 6)
        0.01
    """
    scores, truths = check_pair(probabilities, targets, 2)
    return float(square_errors(scores, truths, multi_label).mean())


def expected_calibration_error(
    probabilities: npt.ArrayLike, targets: npt.ArrayLike, multi_label: bool, n_bins: int = N_BINS
) -> float:
    """Mean distance between claimed probability and the share that came true, bin by bin.

    Single-label: of the most probable class, whatever the thresholds. Multi-label: of every
    label's probability, averaged over the labels. Few images bias it upwards.

    Args:
        probabilities: (image, class), in [0, 1].
        targets: (image, class).
        multi_label: Whether an image may have several classes, or none.
        n_bins: Bins of equal width between 0 and 1.

    Raises:
        SettingsError: `n_bins` is not positive.

    Reference:
        Guo et al., On Calibration of Modern Neural Networks, ICML 2017, equation 3.
    """
    scores, truths = check_pair(probabilities, targets, 2)
    if not multi_label:
        check_single_label(truths)
    bins = CalibrationBins.of(scores, truths, multi_label, n_bins)
    return float(bins.weigh(np.ones((len(scores), 1)))[0])


def confusion_matrix(
    decisions: npt.ArrayLike, targets: npt.ArrayLike, multi_label: bool
) -> Integers:
    """Numbers of images by truth (rows) and decision (columns).

    Args:
        decisions: (image, class), as from `decide`.
        targets: (image, class).
        multi_label: Whether an image may have several classes, or none.

    Returns:
        Single-label: (class, class). Multi-label: (class, 2, 2), for each class
        [[true negative, false positive], [false negative, true positive]].

    Raises:
        DataError: A row of a single-label task has not exactly one class.
    """
    answers, truths = check_decisions(decisions, targets, 2)
    if not multi_label:
        check_single_label(truths)
        check_single_label(answers)
        return truths.astype(np.int64).T @ answers.astype(np.int64)
    rows = [[~truths & ~answers, ~truths & answers], [truths & ~answers, truths & answers]]
    return np.asarray(np.array(rows).sum(axis=2).transpose(2, 0, 1), dtype=np.int64)


def _count(decided: npt.ArrayLike, positive: npt.ArrayLike) -> ClassCounts:
    answers, truths = check_decisions(decided, positive, 1)
    return ClassCounts.of(answers[:, None], truths[:, None], np.ones((len(truths), 1)))
