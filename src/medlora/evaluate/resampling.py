"""The bootstrap over patients: which images a resample holds, and how often."""

from collections.abc import Hashable, Iterator, Sequence
from functools import lru_cache

import numpy as np

from medlora.errors import DataError, SettingsError
from medlora.evaluate.inputs import Floats, Integers

# Weights of one chunk of resamples; some 8 MB, which stays close to the processor.
CHUNK_CELLS = 1_000_000


def number_groups(groups: Sequence[Hashable | None] | Integers | None, n_images: int) -> Integers:
    """Each image's group as a number from 0; an image of unknown group is one of its own.

    Args:
        groups: (image,), any names of patients or other groups, None where unknown; or None
            where none is known.
        n_images: How many there should be.

    Raises:
        DataError: There is not one group for each image.

    Example:
        >>> number_groups(["b", "a", None, "b", None], 5).tolist()
        [0, 1, 2, 0, 3]
    """
    if groups is None:
        return np.arange(n_images, dtype=np.int64)
    if len(groups) != n_images:
        raise DataError(
            f"there are {len(groups)} groups for {n_images} images. Give one for each image, "
            "None where it is unknown."
        )
    numbers: dict[Hashable, int] = {}
    # A fresh object is equal to nothing else, so an unknown group is never met again.
    keys = [object() if group is None else group for group in groups]
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)


def draw_weights(group_numbers: Integers, seed: int, resample: int) -> Floats:
    """How often one resample holds each image: as often as it drew the image's group.

    Args:
        group_numbers: (image,), as from `number_groups`.
        seed: Of the whole bootstrap, not negative.
        resample: Number of the resample; it alone and the seed decide the draw.

    Returns:
        (image,), whole numbers.

    Reference:
        Davison and Hinkley, Bootstrap methods and their application, 1997, section 3.8.
    """
    n_groups = int(group_numbers.max()) + 1
    drawn = np.random.default_rng((seed, resample)).integers(0, n_groups, n_groups)
    return np.bincount(drawn, minlength=n_groups)[group_numbers].astype(np.float64)


def iterate_weights(
    group_numbers: Integers, n_resamples: int, seed: int, chunk_cells: int = CHUNK_CELLS
) -> Iterator[Floats]:
    """Weights of all resamples, a chunk of them at a time so that memory stays bounded.

    Args:
        group_numbers: (image,), as from `number_groups`.
        n_resamples: How many resamples.
        seed: Of the bootstrap, not negative.
        chunk_cells: Images times resamples in one chunk; it does not change the weights.

    Yields:
        (image, resample) for some of the resamples, in order; not to be written to.

    Raises:
        SettingsError: `n_resamples` or `seed` is negative.
    """
    if n_resamples < 0 or seed < 0:
        raise SettingsError(
            f"the number of resamples and the seed must not be negative, not {n_resamples} and "
            f"{seed}. Use 1000 and 0."
        )
    n_images = len(group_numbers)
    n_at_once = max(1, chunk_cells // n_images)
    numbers = group_numbers.astype(np.int64).tobytes()
    for start in range(0, n_resamples, n_at_once):
        stop = min(start + n_at_once, n_resamples)
        yield _draw_chunk(numbers, seed, start, stop)


# An evaluation asks for the same resamples a dozen times, once for each kind of measure.
@lru_cache(maxsize=2)
def _draw_chunk(group_numbers: bytes, seed: int, start: int, stop: int) -> Floats:
    """Weights of some resamples, (image, resample); `group_numbers` are int64."""
    numbers = np.frombuffer(group_numbers, dtype=np.int64)
    weights = np.empty((len(numbers), stop - start))
    for column, resample in enumerate(range(start, stop)):
        weights[:, column] = draw_weights(numbers, seed, resample)
    weights.setflags(write=False)
    return weights


def percentile_interval(values: Floats, confidence: float) -> tuple[float, float] | None:
    """The middle `confidence` of `values` (resample,), NaN left out; None where all are NaN.

    Reference:
        Efron, Nonparametric standard errors and confidence intervals, 1981, section 4.

    Example:
        >>> percentile_interval(np.arange(5.0), 0.5)
        (1.0, 3.0)
    """
    known = values[~np.isnan(values)]
    if not known.size:
        return None
    low, high = np.quantile(known, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
