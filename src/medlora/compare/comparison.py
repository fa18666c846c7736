"""Several methods on the same images: every pair, corrected for their number, with a verdict."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from medlora.compare.auroc import estimate_variance, logit_interval
from medlora.compare.multiple import adjust_holm
from medlora.compare.paired import (
    CONFIDENCE,
    MethodAnswers,
    MethodAuroc,
    PairComparison,
    compare_pair,
)
from medlora.compare.verdict import judge_pair
from medlora.errors import DataError, SettingsError
from medlora.evaluate.inputs import Bools, Integers


@dataclass(frozen=True)
class MethodScore:
    """One method by itself.

    Attributes:
        name: The method.
        n_seeds: Of how many runs this is the mean.
        auroc: Mean AUROC over classes and seeds.
        low: Lower end of its 95 % interval, of the images alone; None where it is undefined.
        high: Upper end.
        seeds_deviation: Standard deviation of the AUROC over the seeds; None with one seed.
    """

    name: str
    n_seeds: int
    auroc: float
    low: float | None
    high: float | None
    seeds_deviation: float | None


@dataclass(frozen=True)
class Comparison:
    """Several methods compared on the same images.

    Attributes:
        n_images: Images.
        n_groups: Patients, where they are known, else images.
        margin: Largest loss of AUROC that counts as not worse; None where none was given.
        methods: Each method by itself.
        pairs: Every two of them.
        p_values: For each pair the AUROC's p-value after Holm's correction.
        verdicts: For each pair what the figures support, in a sentence.
    """

    n_images: int
    n_groups: int
    margin: float | None
    methods: tuple[MethodScore, ...]
    pairs: tuple[PairComparison, ...]
    p_values: tuple[float, ...]
    verdicts: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "n_images": self.n_images,
            "n_groups": self.n_groups,
            "margin": self.margin,
            "confidence": CONFIDENCE,
            "methods": [dict(vars(method)) for method in self.methods],
            "pairs": [
                pair.to_dict() | {"p_value_holm": p_value, "verdict": verdict}
                for pair, p_value, verdict in zip(
                    self.pairs, self.p_values, self.verdicts, strict=True
                )
            ],
        }


def compare_methods(
    methods: Sequence[MethodAnswers],
    targets: Bools,
    *,
    multi_label: bool,
    group_numbers: Integers,
    margin: float | None = None,
    n_resamples: int = 1000,
    seed: int = 0,
) -> Comparison:
    """Compare every two of some methods on the same images.

    Args:
        methods: Two at least, each with the answers of one seed at least.
        targets: (image, class), booleans.
        multi_label: Whether an image may have several classes, or none.
        group_numbers: (image,), each image's patient as a number from 0.
        margin: Loss of AUROC, in (0, 1), up to which a method counts as not worse; it has to be
            chosen before the results are known.
        n_resamples: Bootstrap resamples.
        seed: Of the resampling.

    Raises:
        SettingsError: The margin is out of range.
        DataError: There are fewer than two methods, two have one name, or they do not fit the
            images.
        UndefinedMetricError: There is no AUROC on these images.
    """
    if margin is not None and not 0 < margin < 1:
        raise SettingsError(f"The margin must be in (0, 1), not {margin}. Give one such as 0.02.")
    names = [method.name for method in methods]
    if len(names) < 2 or len(set(names)) < len(names):
        raise DataError(f"Two methods of different names are needed to compare; there are {names}.")
    aurocs = {method.name: MethodAuroc.of(method, targets, group_numbers) for method in methods}
    pairs = [
        compare_pair(
            first,
            second,
            targets,
            multi_label=multi_label,
            group_numbers=group_numbers,
            n_resamples=n_resamples,
            seed=seed,
            aurocs=(aurocs[first.name], aurocs[second.name]),
        )
        for first, second in combinations(methods, 2)
    ]
    p_values = adjust_holm([pair.auroc.p_value for pair in pairs])
    n_groups = int(group_numbers.max()) + 1
    return Comparison(
        n_images=len(targets),
        n_groups=n_groups,
        margin=margin,
        methods=tuple(
            _score_method(name, traced, group_numbers) for name, traced in aurocs.items()
        ),
        pairs=tuple(pairs),
        p_values=tuple(p_values),
        verdicts=tuple(
            judge_pair(
                pair, p_value, n_images=len(targets), n_comparisons=len(pairs), margin=margin
            )
            for pair, p_value in zip(pairs, p_values, strict=True)
        ),
    )


def _score_method(name: str, traced: MethodAuroc, group_numbers: Integers) -> MethodScore:
    value = float(traced.values.mean())
    interval = logit_interval(value, estimate_variance(traced.images, group_numbers), CONFIDENCE)
    return MethodScore(
        name=name,
        n_seeds=len(traced.values),
        auroc=value,
        low=interval[0] if interval else None,
        high=interval[1] if interval else None,
        seeds_deviation=float(traced.values.std(ddof=1)) if len(traced.values) > 1 else None,
    )
