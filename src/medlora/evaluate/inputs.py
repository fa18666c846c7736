"""What the measures accept: matching shapes, real numbers, true and false."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from medlora.errors import DataError, SettingsError, UndefinedMetricError

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Integers = npt.NDArray[np.int64]

# Softmax in single precision over many classes strays from 1 by some 1e-6; sigmoid outputs
# passed off as single-label ones stray by much more.
SUM_TOLERANCE = 1e-3


def check_booleans(values: npt.ArrayLike, what: str, n_axes: int) -> Bools:
    """`values` as a boolean array of `n_axes` axes.

    Raises:
        DataError: Another type (0 and 1 are not taken for booleans), or another shape.
    """
    array = np.asarray(values)
    if array.dtype != np.bool_:
        raise DataError(f"{what} must be booleans, not {array.dtype}. Compare with 1 first.")
    if array.ndim != n_axes:
        raise DataError(f"{what} must have {n_axes} axes, not the shape {array.shape}.")
    return array


def check_probabilities(values: npt.ArrayLike, what: str, n_axes: int) -> Floats:
    """`values` as a float64 array of `n_axes` axes, every number in [0, 1].

    Raises:
        DataError: Another shape, a number that is not finite, or one outside [0, 1].
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != n_axes:
        raise DataError(f"{what} must have {n_axes} axes, not the shape {array.shape}.")
    # NaN fails both comparisons, so it counts as outside.
    n_outside = int(np.count_nonzero(~((array >= 0) & (array <= 1))))
    if n_outside:
        raise DataError(
            f"{what} must lie in [0, 1]; {n_outside} of {array.size} do not. "
            "Apply softmax or sigmoid to logits, and look for NaN in the model's output."
        )
    return array


def check_pair(values: npt.ArrayLike, targets: npt.ArrayLike, n_axes: int) -> tuple[Floats, Bools]:
    """Probabilities and targets of one shape, with at least one image.

    Raises:
        DataError: As `check_probabilities` and `check_booleans`; or shapes differ; or no image.
    """
    probabilities = check_probabilities(values, "probabilities", n_axes)
    truths = check_booleans(targets, "targets", n_axes)
    check_shapes(probabilities.shape, truths.shape)
    return probabilities, truths


def check_decisions(
    values: npt.ArrayLike, targets: npt.ArrayLike, n_axes: int
) -> tuple[Bools, Bools]:
    """Decisions and targets of one shape, with at least one image.

    Raises:
        DataError: As `check_booleans`; or the shapes differ; or there is no image.
    """
    decisions = check_booleans(values, "decisions", n_axes)
    truths = check_booleans(targets, "targets", n_axes)
    check_shapes(decisions.shape, truths.shape)
    return decisions, truths


def check_shapes(predicted: tuple[int, ...], truth: tuple[int, ...]) -> None:
    """Both shapes are the same and hold something.

    Raises:
        DataError: They are not, or do not.
    """
    if predicted != truth:
        raise DataError(
            f"predictions have the shape {predicted} and targets {truth}; they must be the same. "
            "Give one row for each image and one column for each class."
        )
    if 0 in predicted:
        raise DataError(f"there is nothing to score: the shape is {predicted}. Give some images.")


def check_single_label(targets: Bools, probabilities: Floats | None = None) -> None:
    """Every image has exactly one diagnosis and, where given, probabilities that sum to 1.

    Raises:
        DataError: Some image has none or several, or its probabilities do not sum to 1.
    """
    n_wrong = int(np.count_nonzero(targets.sum(axis=1) != 1))
    if n_wrong:
        raise DataError(
            f"{n_wrong} of {len(targets)} images do not have exactly one class in a single-label "
            "task. Give each image one label, or score the task as multi-label."
        )
    if probabilities is None:
        return
    n_wrong = int(np.count_nonzero(np.abs(probabilities.sum(axis=1) - 1) > SUM_TOLERANCE))
    if n_wrong:
        raise DataError(
            f"the probabilities of {n_wrong} of {len(targets)} images do not sum to 1 in a "
            "single-label task. Apply softmax, or score the task as multi-label."
        )


def check_defined(value: Floats, measure: str, needed: str) -> float:
    """The one number in `value`, if it is one.

    Args:
        value: Any shape of one element.
        measure: What it is, for the error.
        needed: What the images must hold for it to have a value, for the error.

    Raises:
        UndefinedMetricError: It is NaN.
    """
    number = float(value.item())
    if np.isnan(number):
        raise UndefinedMetricError(
            f"{measure} needs {needed}; there is none. Score a larger set of images."
        )
    return number


def check_thresholds(thresholds: Sequence[float], n_classes: int) -> Floats:
    """One threshold for each class, each in (0, 1].

    Raises:
        SettingsError: Another number of them, or one outside.
    """
    array = np.asarray(thresholds, dtype=np.float64)
    if array.shape != (n_classes,):
        raise SettingsError(
            f"there must be one threshold for each of the {n_classes} classes, "
            f"not {array.size}. Give them in the order of the classes."
        )
    for number, threshold in enumerate(array.tolist()):
        if not 0 < threshold <= 1:
            raise SettingsError(
                f"a decision threshold must lie in (0, 1]; that of class number {number} is "
                f"{threshold}. Choose one there, for example 0.5."
            )
    return array
