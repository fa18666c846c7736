"""Whether the images of two splits come from one source, by a backbone's features."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]

_MAX_IMAGES: Final = 1000
_N_COMPONENTS: Final = 32
_N_FOLDS: Final = 5
_MIN_OF_CLASS: Final = 5
# Shuffles that are weighed at the same time.
_CHUNK: Final = 100


@dataclass(frozen=True)
class Drift:
    """How the images of two splits differ within the classes.

    Attributes:
        splits: The two.
        n_images: How many of each were compared.
        distance: Squared maximum mean discrepancy, a mean over the classes.
        p_value: Share of shuffles between the splits that give as large a distance, in (0, 1].
        auroc: How well a model tells the splits apart within a class, out of fold: .5 is not at
            all. A mean over the classes.
        per_class: The same for each class that both splits have enough images of.
    """

    splits: tuple[str, str]
    n_images: tuple[int, int]
    distance: float
    p_value: float
    auroc: float
    per_class: dict[str, float]


def measure_drift(
    features: npt.NDArray[Any],
    strata: npt.NDArray[np.int64],
    names: Sequence[str],
    first: Rows,
    second: Rows,
    splits: tuple[str, str],
    *,
    n_shuffles: int = 500,
    seed: int = 0,
) -> Drift | None:
    """Compare the images of two splits, class by class.

    Images are shuffled within their class only, so that other shares of the classes are no
    drift.

    Args:
        features: (image, feature) of all images.
        strata: (image,) class of each image, or another number by which to compare.
        names: Name of each such number.
        first: Rows of the first split; of images that belong together one only.
        second: Rows of the second split.
        splits: What they are called.
        n_shuffles: Shuffles of the permutation test.
        seed: Of the shuffles, and of the sample where a split has more than 1,000 images.

    Returns:
        The comparison; None where no class has 5 images in each of them.

    Reference:
        Gretton et al., A Kernel Two-Sample Test, JMLR 2012, equation 5, with a Gaussian kernel of
        the median distance; Lopez-Paz and Oquab, Revisiting Classifier Two-Sample Tests, ICLR 2017.
    """
    rng = np.random.default_rng((seed, 5))
    rows = np.concatenate([_sample(part, rng) for part in (first, second)])
    is_second = np.isin(rows, second)
    kept = np.zeros(len(rows), dtype=bool)
    numbers = []
    for number in np.unique(strata[rows]):
        own = strata[rows] == number
        if min((own & is_second).sum(), (own & ~is_second).sum()) >= _MIN_OF_CLASS:
            kept |= own
            numbers.append(int(number))
    if not numbers:
        return None
    rows, is_second = rows[kept], is_second[kept]
    places = _reduce(np.asarray(features[rows], dtype=np.float64), seed)
    members = [np.flatnonzero(strata[rows] == number) for number in numbers]
    distance, p_value = _test_distance(places, is_second, members, n_shuffles, rng)
    scores = _tell_apart(places, is_second, seed)
    per_class = {
        names[number]: _rank(scores[own], is_second[own])
        for number, own in zip(numbers, members, strict=True)
    }
    return Drift(
        splits,
        (int((~is_second).sum()), int(is_second.sum())),
        distance,
        p_value,
        float(np.mean(list(per_class.values()))),
        per_class,
    )


def _sample(rows: Rows, rng: np.random.Generator) -> Rows:
    if len(rows) <= _MAX_IMAGES:
        return rows
    return np.sort(rng.choice(rows, _MAX_IMAGES, replace=False))


def _reduce(features: Floats, seed: int) -> Floats:
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import StandardScaler

    n_components = min(_N_COMPONENTS, len(features) - 1, features.shape[1])
    scaled = StandardScaler().fit_transform(features)
    reduced = PCA(n_components, svd_solver="covariance_eigh", random_state=seed).fit_transform(
        scaled
    )
    return np.asarray(reduced, dtype=np.float64)


def _test_distance(
    places: Floats,
    is_second: npt.NDArray[np.bool_],
    members: Sequence[Rows],
    n_shuffles: int,
    rng: np.random.Generator,
) -> tuple[float, float]:
    """Mean of the classes' distances, and how often shuffled splits are as far apart."""
    total = np.zeros(n_shuffles + 1)
    for own in members:
        kernel = _kernel(places[own])
        sides = np.where(is_second[own], 1.0, 0.0)
        for start in range(0, n_shuffles + 1, _CHUNK):
            stop = min(start + _CHUNK, n_shuffles + 1)
            drawn = np.stack(
                [sides if turn == 0 else rng.permutation(sides) for turn in range(start, stop)],
                axis=1,
            )
            total[start:stop] += _discrepancies(kernel, drawn)
    total /= len(members)
    as_far = int((total[1:] >= total[0] - 1e-12).sum())
    return float(total[0]), (1 + as_far) / (1 + n_shuffles)


def _kernel(places: Floats) -> Floats:
    squares = (places * places).sum(axis=1)
    apart = np.maximum(squares[:, None] + squares - 2 * places @ places.T, 0)
    width = np.median(apart[np.triu_indices(len(places), 1)])
    return np.asarray(np.exp(-apart / max(float(width), 1e-12)), dtype=np.float64)


def _discrepancies(kernel: Floats, sides: Floats) -> Floats:
    """The biased squared discrepancy for each column of sides (image, shuffle), 0 or 1."""
    n_second = sides.sum(axis=0)
    n_first = len(sides) - n_second
    contrast = sides / n_second - (1 - sides) / n_first
    found: Floats = (contrast * (kernel @ contrast)).sum(axis=0)
    return found


def _tell_apart(places: Floats, is_second: npt.NDArray[np.bool_], seed: int) -> Floats:
    """Out-of-fold probability of the second split."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold

    scaled = places / np.maximum(places.std(axis=0), 1e-9)
    scores = np.zeros(len(places))
    n_folds = max(2, min(_N_FOLDS, int(is_second.sum()), int((~is_second).sum())))
    folds = StratifiedKFold(n_folds, shuffle=True, random_state=seed)
    for learnt, asked in folds.split(scaled, is_second):
        model = LogisticRegression(C=0.1, max_iter=500, class_weight="balanced")
        model.fit(scaled[learnt], is_second[learnt])
        scores[asked] = model.predict_proba(scaled[asked])[:, 1]
    return scores


def _rank(scores: Floats, positive: npt.NDArray[np.bool_]) -> float:
    from medlora.evaluate.metrics import auroc

    return auroc(scores, positive)
