"""Scaling of logits, so that probabilities mean what they say: temperature and vector scaling."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medlora.errors import SettingsError
from medlora.evaluate.calibration import N_BINS, CalibrationBins, square_errors
from medlora.evaluate.inputs import Bools, Floats, check_booleans, check_shapes, check_single_label
from medlora.task.trust import ScalingMethod

# Fewer images than these with a class, or without it, say nothing of its scale and offset.
MIN_OF_EACH = 10
# Far from any scale that a trained network needs; what lies beyond is a fit gone wrong.
SCALE_BOUNDS = (0.02, 50.0)
# How far the middle of the logits may move beyond 0, where a probability is 1/2.
MAX_SHIFT = 20.0
_TINY = 1e-12


@dataclass(frozen=True)
class Scaling:
    """Calibrated logits = scale * logits + offset.

    Attributes:
        method: `temperature` or `vector`.
        scale: (class,), above 0, so that no class's order of images changes in a multi-label task,
            nor with one scale for all classes an image's order of classes.
        offset: (class,).
    """

    method: ScalingMethod
    scale: tuple[float, ...]
    offset: tuple[float, ...]

    def apply(self, logits: Floats) -> Floats:
        """(image, class) calibrated logits."""
        scaled: Floats = logits * np.asarray(self.scale) + np.asarray(self.offset)
        return scaled

    def undo(self, logits: Floats) -> Floats:
        """(image, class) logits as they were before `apply`."""
        plain: Floats = (logits - np.asarray(self.offset)) / np.asarray(self.scale)
        return plain


def fit_scaling(
    logits: npt.ArrayLike, targets: npt.ArrayLike, *, method: ScalingMethod, multi_label: bool
) -> Scaling:
    """The scaling under which validation images are most likely to have the labels they have.

    `temperature` is one scale for all classes, `vector` a scale and an offset for each. Both are
    convex problems, solved in float64 from where the logits are, within bounds. In a multi-label
    task `vector` is Platt's scaling of each label; a label that fewer than 10 of the images have,
    or fewer than 10 have not, stays as it is.

    The labels are smoothed as Platt has it: of n images with a class, each counts as having it by
    (n + 1) / (n + 2). A small set of images that the model gets all right can so not make it
    infinitely sure of itself.

    Args:
        logits: (image, class), any finite numbers; of validation images, never of test images.
        targets: (image, class), booleans.
        method: `temperature` or `vector`.
        multi_label: Whether an image may have several classes, or none.

    Raises:
        DataError: Shapes or values do not fit.
        SettingsError: Logits are not finite.

    Reference:
        Guo et al., On Calibration of Modern Neural Networks, ICML 2017; Platt, Probabilistic
        Outputs for Support Vector Machines, 1999.

    Example:
        >>> sure = np.array([[4.0, 0.0]] * 10)
        >>> truth = np.array([[True, False]] * 8 + [[False, True]] * 2)
        >>> scaling = fit_scaling(sure, truth, method="temperature", multi_label=False)
        >>> [round(scale, 2) for scale in scaling.scale]
        [0.3, 0.3]
    """
    values, truths = _check_logits(logits, targets, multi_label)
    n_classes = values.shape[1]
    wanted = _smooth_labels(truths) if multi_label else _smooth_classes(truths)
    measure = _measure_sigmoids if multi_label else _measure_softmax
    if method == "temperature":
        scale = _fit_one(values, wanted, measure)
        return Scaling(method, (scale,) * n_classes, (0.0,) * n_classes)
    if not multi_label:
        scales, offsets = _fit_each(values, wanted, measure)
        # A shift of all classes together changes nothing: the one of mean 0 is given.
        return Scaling(method, tuple(scales), tuple(offsets - offsets.mean()))
    fitted = [(1.0, 0.0)] * n_classes
    for place in range(n_classes):
        if is_told(truths[:, place]):
            own = slice(place, place + 1)
            scales, offsets = _fit_each(values[:, own], wanted[:, own], measure)
            fitted[place] = (float(scales[0]), float(offsets[0]))
    return Scaling(method, tuple(s for s, _ in fitted), tuple(o for _, o in fitted))


def is_told(truth: Bools) -> bool:
    """Whether enough images have a class, and enough have not, to scale it by itself.

    Args:
        truth: (image,), whether it has the class.
    """
    return min(int(truth.sum()), int((~truth).sum())) >= MIN_OF_EACH


def measure_calibration(
    probabilities: Floats, targets: Bools, *, multi_label: bool
) -> dict[str, float]:
    """How far probabilities are from what came true.

    Args:
        probabilities: (image, class), in [0, 1].
        targets: (image, class), booleans.
        multi_label: Whether an image may have several classes, or none.

    Returns:
        `log_loss` (mean negative logarithm of the truth's probability; over images and labels in a
        multi-label task), `calibration_error` and `brier_score` as scoring has them.
    """
    if multi_label:
        chosen = np.where(targets, probabilities, 1 - probabilities)
    else:
        chosen = probabilities[targets]
    ones = np.ones((len(targets), 1))
    bins = CalibrationBins.of(probabilities, targets, multi_label, N_BINS)
    return {
        "log_loss": float(-np.log(np.maximum(chosen, _TINY)).mean()),
        "calibration_error": float(bins.weigh(ones)[0]),
        "brier_score": float(square_errors(probabilities, targets, multi_label).mean()),
    }


def _check_logits(
    logits: npt.ArrayLike, targets: npt.ArrayLike, multi_label: bool
) -> tuple[Floats, Bools]:
    values = np.asarray(logits, dtype=np.float64)
    truths = check_booleans(targets, "targets", 2)
    check_shapes(values.shape, truths.shape)
    if not multi_label:
        check_single_label(truths)
    if not np.isfinite(values).all():
        raise SettingsError(
            "A logit of a validation image is NaN or infinite, so that nothing can be calibrated. "
            "Train again, with a lower learning rate."
        )
    return values, truths


def _smooth_labels(truths: Bools) -> Floats:
    """(image, class) Platt's targets of each label."""
    n_with = truths.sum(axis=0)
    n_without = len(truths) - n_with
    wanted: Floats = np.where(truths, (n_with + 1) / (n_with + 2), 1 / (n_without + 2))
    return wanted


def _smooth_classes(truths: Bools) -> Floats:
    """(image, class) the same of exclusive classes: what the true one loses the others share."""
    own: Floats = (truths.sum(axis=0) + 1) / (truths.sum(axis=0) + 2)
    kept = own[truths.argmax(axis=1)][:, None]
    wanted: Floats = np.where(truths, kept, (1 - kept) / (truths.shape[1] - 1))
    return wanted


# Loss of calibrated logits, mean over images, and its gradient for each of them.
_Measure = Callable[[Floats, Floats], tuple[float, Floats]]


def _measure_softmax(scaled: Floats, wanted: Floats) -> tuple[float, Floats]:
    logs = scaled - np.logaddexp.reduce(scaled, axis=1, keepdims=True)
    return float(-(wanted * logs).sum(axis=1).mean()), (np.exp(logs) - wanted) / len(scaled)


def _measure_sigmoids(scaled: Floats, wanted: Floats) -> tuple[float, Floats]:
    losses = np.logaddexp(0.0, scaled) - wanted * scaled
    gradient = np.exp(-np.logaddexp(0.0, -scaled)) - wanted
    return float(losses.sum(axis=1).mean()), gradient / len(scaled)


def _fit_one(logits: Floats, wanted: Floats, measure: _Measure) -> float:
    def evaluate(parameters: Floats) -> tuple[float, Floats]:
        loss, gradient = measure(parameters[0] * logits, wanted)
        return loss, np.array([(gradient * logits).sum()])

    return float(_minimise(evaluate, np.ones(1), [SCALE_BOUNDS])[0])


def _fit_each(logits: Floats, wanted: Floats, measure: _Measure) -> tuple[Floats, Floats]:
    n_classes = logits.shape[1]
    # Offsets are fitted around the middle of the logits: far from 0 a scale and an offset would
    # have to change together, which is slow.
    middle = logits.mean(axis=0)
    centred = logits - middle

    def evaluate(parameters: Floats) -> tuple[float, Floats]:
        scale, shift = parameters[:n_classes], parameters[n_classes:]
        loss, gradient = measure(scale * centred + shift, wanted)
        return loss, np.append((gradient * centred).sum(axis=0), gradient.sum(axis=0))

    start = np.append(np.ones(n_classes), middle)
    bounds = [SCALE_BOUNDS] * n_classes + [
        (min(centre, 0.0) - MAX_SHIFT, max(centre, 0.0) + MAX_SHIFT) for centre in middle.tolist()
    ]
    fitted = _minimise(evaluate, start, bounds)
    scale = fitted[:n_classes]
    return scale, fitted[n_classes:] - scale * middle


def _minimise(
    evaluate: Callable[[Floats], tuple[float, Floats]],
    start: Floats,
    bounds: Sequence[tuple[float, float]],
) -> Floats:
    """Where a convex function is least; the start where nothing is better."""
    # Imported here because loading it takes long, and most commands do without.
    from scipy.optimize import minimize

    found = minimize(
        evaluate,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"maxiter": 2000, "maxfun": 20_000, "ftol": 1e-15, "gtol": 1e-9},
    )
    best: Floats = found.x
    return best if float(found.fun) <= evaluate(start)[0] else start
