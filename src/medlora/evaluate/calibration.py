"""Whether a probability means what it says: of all answers given with 0.8, 80 % are right."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medlora.errors import SettingsError
from medlora.evaluate.inputs import Bools, Floats, Integers, check_pair, check_single_label

N_BINS = 15


@dataclass(frozen=True)
class ReliabilityCurve:
    """What was claimed and what came true, bin by bin; empty bins are left out.

    Attributes:
        confidence: (bin,), mean probability that was claimed, rising.
        accuracy: (bin,), share that came true.
        count: (bin,), number of answers in the bin.
    """

    confidence: Floats
    accuracy: Floats
    count: Integers


@dataclass(frozen=True)
class CalibrationBins:
    """Claims and outcomes sorted into bins, ready to be weighted many times over.

    Attributes:
        bins: (image, column), the bin of each claim. Single-label tasks have one column, the
            most probable class; multi-label tasks have one for each label.
        gaps: (image, column), claimed probability minus outcome (0 or 1).
        n_bins: Number of bins.
    """

    bins: Integers
    gaps: Floats
    n_bins: int

    @classmethod
    def of(
        cls, probabilities: Floats, targets: Bools, multi_label: bool, n_bins: int
    ) -> "CalibrationBins":
        """From probabilities and targets, both (image, class)."""
        confidence, outcome = select_claims(probabilities, targets, multi_label)
        return cls(assign_bins(confidence, n_bins), confidence - outcome, n_bins)

    def weigh(self, weights: Floats) -> Floats:
        """Calibration error (resample,) of images with `weights` (image, resample)."""
        n_images, n_columns = self.gaps.shape
        errors = np.zeros(weights.shape[1])
        for column in range(n_columns):
            # One matrix product with a mostly empty matrix is several times as fast as sorting
            # the weights into bins; one column at a time keeps it small.
            placed = np.zeros((n_images, self.n_bins))
            placed[np.arange(n_images), self.bins[:, column]] = self.gaps[:, column]
            errors += np.abs(weights.T @ placed).sum(axis=1)
        return np.asarray(errors / (weights.sum(axis=0) * n_columns))


def select_claims(probabilities: Floats, targets: Bools, multi_label: bool) -> tuple[Floats, Bools]:
    """The probabilities that are judged, and whether they came true, both (image, column)."""
    if multi_label:
        return probabilities, targets
    best = probabilities.argmax(axis=1)[:, None]
    return np.take_along_axis(probabilities, best, 1), np.take_along_axis(targets, best, 1)


def assign_bins(confidence: Floats, n_bins: int) -> Integers:
    """Number of the equal-width bin of each probability; an edge belongs to the bin below it.

    Raises:
        SettingsError: `n_bins` is not positive.
    """
    if n_bins < 1:
        raise SettingsError(f"the number of bins must be at least 1, not {n_bins}. Use 15.")
    inner_edges = np.linspace(0, 1, n_bins + 1)[1:-1]
    return np.searchsorted(inner_edges, confidence, side="left")


def square_errors(probabilities: Floats, targets: Bools, multi_label: bool) -> Floats:
    """Brier score of each image, (image,)."""
    squares = (probabilities - targets) ** 2
    n_classes = squares.shape[1]
    # Two exclusive classes make the same error twice: half of it is the binary Brier score.
    divisor = n_classes if multi_label else 2 if n_classes == 2 else 1
    return np.asarray(squares.sum(axis=1) / divisor)


def reliability_curve(
    probabilities: npt.ArrayLike, targets: npt.ArrayLike, multi_label: bool, n_bins: int = N_BINS
) -> ReliabilityCurve:
    """Claimed probability against the share that came true, in bins of equal width.

    A single-label task is judged by the probability of its most probable class; a multi-label
    one by all its probabilities, pooled over the labels.

    Args:
        probabilities: (image, class), in [0, 1].
        targets: (image, class), booleans.
        multi_label: Whether an image may have several classes, or none.
        n_bins: Bins between 0 and 1.

    Raises:
        DataError: Shapes or values do not fit.
        SettingsError: `n_bins` is not positive.

    Reference:
        Guo et al., On Calibration of Modern Neural Networks, ICML 2017, section 2.

    Example:
        >>> targets = np.array([[True, False], [False, True], [True, False]])
        >>> curve = reliability_curve([[0.75, 0.25], [0.75, 0.25], [1, 0]], targets, False, 2)
        >>> curve.count.tolist(), curve.accuracy.round(2).tolist()
        ([3], [0.67])
    """
    scores, truths = check_pair(probabilities, targets, 2)
    if not multi_label:
        check_single_label(truths)
    confidence, outcome = select_claims(scores, truths, multi_label)
    bins = assign_bins(confidence, n_bins).ravel()
    count = np.bincount(bins, minlength=n_bins)
    kept = count > 0
    claimed = np.bincount(bins, weights=confidence.ravel(), minlength=n_bins)
    came_true = np.bincount(bins, weights=outcome.ravel(), minlength=n_bins)
    return ReliabilityCurve(claimed[kept] / count[kept], came_true[kept] / count[kept], count[kept])
