"""Two methods on the same images: differences of every measure, with paired intervals."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.stats import norm

from medlora.compare.auroc import estimate_variance, trace_auroc
from medlora.compare.counts import McNemar, count_discordant, detectable_difference
from medlora.errors import DataError
from medlora.evaluate.inputs import Bools, Floats, Integers
from medlora.evaluate.resampling import iterate_weights, percentile_interval
from medlora.evaluate.scoresheet import ScoreSheet

CONFIDENCE = 0.95


@dataclass(frozen=True, eq=False)
class MethodAnswers:
    """What one way of training answered, with each of its seeds.

    Attributes:
        name: What it is called in a comparison.
        probabilities: For each seed (image, class), in [0, 1].
        decisions: For each seed (image, class).
    """

    name: str
    probabilities: tuple[Floats, ...]
    decisions: tuple[Bools, ...]


@dataclass(frozen=True, eq=False)
class MethodAuroc:
    """A method's mean AUROC with each seed, and how far each image moves the mean over seeds.

    Attributes:
        values: (seed,), in [0, 1].
        images: (image,), influences as of `AurocInfluence`.
    """

    values: Floats
    images: Floats

    @classmethod
    def of(cls, method: MethodAnswers, targets: Bools, group_numbers: Integers) -> "MethodAuroc":
        """Trace the AUROC of every seed.

        Args:
            method: The answers.
            targets: (image, class), booleans.
            group_numbers: (image,), each image's patient as a number from 0.

        Raises:
            DataError: The answers are not about these images and classes.
            UndefinedMetricError: There is no AUROC on these images.
        """
        for probabilities in method.probabilities:
            if probabilities.shape != targets.shape:
                raise DataError(
                    f"{method.name} answered {probabilities.shape} (images, classes), and there "
                    f"are {targets.shape}. Compare on the same images."
                )
        traced = [trace_auroc(each, targets, group_numbers) for each in method.probabilities]
        return cls(
            np.array([each.value for each in traced]),
            np.mean([each.images for each in traced], axis=0),
        )


@dataclass(frozen=True)
class Difference:
    """A measure of the first method less that of the second.

    Attributes:
        value: Mean over the seeds of each.
        low: Lower end of its 95 % interval; None where it is undefined.
        high: Upper end.
    """

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class AurocDifference:
    """The difference of two mean AUROCs.

    Attributes:
        value: First less second, mean over the seeds of each.
        low: Lower end of the 95 % interval, of images and seeds together.
        high: Upper end.
        p_value: Two-sided, of the same.
        images_error: Standard error that comes from the sample of images (patients).
        seeds_error: Standard error that comes from the seeds; None where one method has one
            seed, so that nothing is known of it.
        detectable: The smallest difference that images and seeds like these find with 80 % power.
    """

    value: float
    low: float
    high: float
    p_value: float
    images_error: float
    seeds_error: float | None
    detectable: float


@dataclass(frozen=True)
class PairComparison:
    """Two methods compared on the same images.

    Attributes:
        first: Name of the first method.
        second: Name of the second.
        auroc: Difference of the mean AUROCs.
        differences: Difference of every other measure, by its name.
        mcnemar: For each pair of seeds, in order: which images only one got right.
    """

    first: str
    second: str
    auroc: AurocDifference
    differences: dict[str, Difference]
    mcnemar: tuple[McNemar, ...]

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self) | {"mcnemar": [asdict(each) for each in self.mcnemar]}


def compare_pair(
    first: MethodAnswers,
    second: MethodAnswers,
    targets: Bools,
    *,
    multi_label: bool,
    group_numbers: Integers,
    n_resamples: int = 1000,
    seed: int = 0,
    aurocs: tuple[MethodAuroc, MethodAuroc] | None = None,
) -> PairComparison:
    """Compare two methods on the same images.

    AUROCs are compared as DeLong does, with images of one patient taken together; every other
    measure by a bootstrap in which both methods have the same resamples of patients.

    Args:
        first: The first method's answers.
        second: The second's, to the same images in the same order.
        targets: (image, class), booleans.
        multi_label: Whether an image may have several classes, or none.
        group_numbers: (image,), each image's patient as a number from 0.
        n_resamples: Bootstrap resamples.
        seed: Of the resampling.
        aurocs: Of both methods, where they are known already.

    Raises:
        DataError: The methods did not answer the same number of images and classes.
        UndefinedMetricError: There is no AUROC on these images.
    """
    if aurocs is None:
        one, other = (MethodAuroc.of(each, targets, group_numbers) for each in (first, second))
        aurocs = (one, other)
    exact = [
        [(decisions == targets).all(axis=1) for decisions in method.decisions]
        for method in (first, second)
    ]
    return PairComparison(
        first=first.name,
        second=second.name,
        auroc=_compare_auroc(aurocs, group_numbers),
        differences=_bootstrap(
            (first, second), targets, multi_label, group_numbers, n_resamples, seed
        ),
        mcnemar=tuple(count_discordant(one, other) for one, other in zip(*exact, strict=False)),
    )


def _compare_auroc(
    aurocs: tuple[MethodAuroc, MethodAuroc], group_numbers: Integers
) -> AurocDifference:
    values = [float(each.values.mean()) for each in aurocs]
    influences = [each.images for each in aurocs]
    seeds_known = all(len(each.values) > 1 for each in aurocs)
    seeds_variance = sum(
        float(each.values.var(ddof=1)) / len(each.values) for each in aurocs if len(each.values) > 1
    )
    variance = estimate_variance(influences[0] - influences[1], group_numbers)
    # Over the same images: the influence of each on the difference.
    total = variance + seeds_variance
    value = values[0] - values[1]
    error = float(np.sqrt(total))
    reach = float(norm.ppf((1 + CONFIDENCE) / 2)) * error
    # Without any error there is either no difference or one that nothing can explain.
    score = abs(value) / error if error else np.inf * abs(value) if value else 0.0
    p_value = float(2 * norm.sf(score))
    return AurocDifference(
        value=value,
        low=value - reach,
        high=value + reach,
        p_value=p_value,
        images_error=float(np.sqrt(variance)),
        seeds_error=float(np.sqrt(seeds_variance)) if seeds_known else None,
        detectable=detectable_difference(total),
    )


def _bootstrap(
    methods: Sequence[MethodAnswers],
    targets: Bools,
    multi_label: bool,
    group_numbers: Integers,
    n_resamples: int,
    seed: int,
) -> dict[str, Difference]:
    sheets = [
        [
            ScoreSheet.of(probabilities, targets, decisions, multi_label)
            for probabilities, decisions in zip(method.probabilities, method.decisions, strict=True)
        ]
        for method in methods
    ]

    def subtract(weights: Floats) -> dict[str, Floats]:
        means = []
        for own in sheets:
            measured = [sheet.weigh(weights).overall for sheet in own]
            means.append(
                {name: np.mean([m[name] for m in measured], axis=0) for name in measured[0]}
            )
        return {name: means[0][name] - means[1][name] for name in means[0]}

    as_given = subtract(np.ones((len(targets), 1)))
    resampled = [subtract(weights) for weights in iterate_weights(group_numbers, n_resamples, seed)]
    differences = {}
    for name, value in as_given.items():
        if name == "auroc" or np.isnan(value[0]):
            continue
        values = np.concatenate([np.empty(0), *(chunk[name] for chunk in resampled)])
        interval = percentile_interval(values, CONFIDENCE)
        differences[name] = Difference(float(value[0]), *(interval or (None, None)))
    return differences
