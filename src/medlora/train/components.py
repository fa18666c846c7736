"""Logistic regression on the principal components of features, as one linear head."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from medlora.errors import TrainingError
from medlora.progress import Progress, silent
from medlora.task.opening import compute_probabilities
from medlora.train.settings import ClassWeights
from medlora.train.validation import measure_validation, rank_epoch

MAX_COMPONENTS: Final = 256
_MAX_ITERATIONS: Final = 5000
# Logit of a class that no training image belongs to, or every one.
_CERTAIN: Final = 20.0

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class LinearHead:
    """Logits = weight @ features + bias.

    Attributes:
        weight: (class, feature).
        bias: (class,).
    """

    weight: Floats
    bias: Floats

    def answer(self, features: npt.NDArray[Any]) -> Floats:
        """(image, class) logits of features (image, feature)."""
        logits: Floats = features.astype(np.float64) @ self.weight.T + self.bias
        return logits


@dataclass(frozen=True)
class ComponentChoice:
    """How many components cross-validation has chosen.

    Attributes:
        n_components: How many.
        scores: The chosen measure on the out-of-fold answers, for each number that was tried.
    """

    n_components: int
    scores: dict[int, float]


def fit_head(
    features: npt.NDArray[Any],
    targets: npt.NDArray[np.bool_],
    n_components: int,
    *,
    multi_label: bool,
    class_weights: ClassWeights = "none",
    seed: int = 0,
) -> LinearHead:
    """Standardise, take principal components, fit a logistic regression, and fold all into one.

    With mean m and standard deviation s of the features, components V, and the regression's
    C and c, the logits are C V ((x - m) / s) + c: linear in x, with the weight C V / s and the
    bias c - weight m. Of two classes, whose regression has one logit, each gets half of it.

    Args:
        features: (image, feature).
        targets: (image, class) reference labels.
        n_components: How many components, 1 to the smaller side of `features`.
        multi_label: Fit every label for itself.
        class_weights: `balanced` weighs each class by the inverse of its share.
        seed: Seed of the decomposition where it is a randomised one.

    Returns:
        A head that gives the pipeline's answers.

    Reference:
        scikit-learn's StandardScaler, PCA and LogisticRegression, C = 1.
    """
    return next(_fit_heads(features, targets, [n_components], multi_label, class_weights, seed))


def choose_components(
    features: npt.NDArray[Any],
    targets: npt.NDArray[np.bool_],
    folds: npt.NDArray[np.int64],
    *,
    multi_label: bool,
    select_by: str,
    class_weights: ClassWeights = "none",
    seed: int = 0,
    progress: Progress = silent,
    should_stop: Callable[[], bool] = lambda: False,
) -> ComponentChoice | None:
    """Choose the number of components by answers to images that were left out of the fit.

    Tried are the powers of two up to 256, as far as there are images and features for them. Of
    equally good numbers the smallest is chosen.

    Args:
        features: (image, feature) of the training images.
        targets: (image, class) reference labels.
        folds: (image,) fold of each image; images of one group lie in one fold.
        multi_label: Whether an image may have several classes.
        select_by: The measure that is compared, as in training.
        class_weights: As for `fit_head`.
        seed: As for `fit_head`.
        progress: Told after every fit.
        should_stop: Asked after every fit.

    Returns:
        The choice; None where it was asked to stop.

    Raises:
        UndefinedMetricError: The measure has no value on these images.
        TrainingError: There are too few images.
    """
    n_folds = int(folds.max()) + 1
    smallest = min(int((folds != fold).sum()) for fold in range(n_folds))
    limit = min(smallest - 1, features.shape[1], MAX_COMPONENTS)
    numbers = [2**power for power in range(limit.bit_length())]
    if not numbers:
        raise TrainingError(
            f"{len(features)} training images are too few for principal components. Add images, "
            "or train with --method linear."
        )
    answers = {number: np.zeros(targets.shape) for number in numbers}
    done = 0
    for fold in range(n_folds):
        out = folds == fold
        fits = _fit_heads(features[~out], targets[~out], numbers, multi_label, class_weights, seed)
        for number, head in zip(numbers, fits, strict=True):
            logits = torch.from_numpy(head.answer(features[out]))
            answers[number][out] = compute_probabilities(logits, multi_label=multi_label).numpy()
            done += 1
            progress("components", done, n_folds * len(numbers))
            if should_stop():
                return None
    figures = {
        number: measure_validation(own, targets, multi_label=multi_label)
        for number, own in answers.items()
    }
    best = max(numbers, key=lambda number: rank_epoch(figures[number], select_by))
    return ComponentChoice(best, {number: figures[number][select_by] for number in numbers})


def _fit_heads(
    features: npt.NDArray[Any],
    targets: npt.NDArray[np.bool_],
    numbers: list[int],
    multi_label: bool,
    class_weights: ClassWeights,
    seed: int,
) -> Iterator[LinearHead]:
    """A head for each number of components, of one decomposition."""
    # Imported here because most training does without it, and it takes long.
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler()
    scaled = scaler.fit_transform(features.astype(np.float64))
    decomposition = PCA(max(numbers), random_state=seed).fit(scaled)
    components = decomposition.transform(scaled)
    for number in numbers:
        weight, bias = _fit_regression(components[:, :number], targets, multi_label, class_weights)
        folded = weight @ decomposition.components_[:number] / scaler.scale_
        # Components of standardised features have the mean 0, up to rounding.
        shift = weight @ (decomposition.components_[:number] @ decomposition.mean_)
        yield LinearHead(folded, bias - folded @ scaler.mean_ - shift)


def _fit_regression(
    inputs: Floats,
    targets: npt.NDArray[np.bool_],
    multi_label: bool,
    class_weights: ClassWeights,
) -> tuple[Floats, Floats]:
    """Weight (class, input) and bias (class,) of one regression, or of one for each label."""
    n_classes = targets.shape[1]
    weight, bias = np.zeros((n_classes, inputs.shape[1])), np.zeros(n_classes)
    if multi_label:
        for number, positive in enumerate(targets.T):
            if positive.all() or not positive.any():
                bias[number] = _CERTAIN if positive.all() else -_CERTAIN
                continue
            fitted = _regress(inputs, positive, class_weights)
            weight[number], bias[number] = fitted.coef_[0], fitted.intercept_[0]
        return weight, bias
    labels = targets.argmax(axis=1)
    present = np.unique(labels)
    bias[:] = -_CERTAIN
    bias[present] = 0.0
    if len(present) > 1:
        fitted = _regress(inputs, labels, class_weights)
        if len(present) == 2:
            weight[present] = np.stack([-fitted.coef_[0], fitted.coef_[0]]) / 2
            bias[present] = np.array([-0.5, 0.5]) * fitted.intercept_[0]
        else:
            weight[present], bias[present] = fitted.coef_, fitted.intercept_
    return weight, bias


def _regress(inputs: Floats, labels: npt.NDArray[Any], class_weights: ClassWeights) -> Any:
    from sklearn.linear_model import LogisticRegression

    weighting = "balanced" if class_weights == "balanced" else None
    regression = LogisticRegression(class_weight=weighting, max_iter=_MAX_ITERATIONS)
    return regression.fit(inputs, labels)
