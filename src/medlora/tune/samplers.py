"""What is drawn for a trial: a function of its index, so that it can be drawn again."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from medlora.tune.space import Value

# The attribute of a trial that holds its index.
INDEX = "index"


class GridSampler(BaseSampler):
    """The combination of a trial's index.

    Args:
        points: Every combination.
    """

    def __init__(self, points: Sequence[Mapping[str, Value]]) -> None:
        self.points = points

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Nothing is drawn together."""
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Nothing is drawn together."""
        return {}

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """The value in the combination."""
        return self.points[trial.user_attrs[INDEX]][param_name]


class IndexedSampler(BaseSampler):
    """Another sampler, seeded anew for every trial, so that what it draws can be drawn again.

    Args:
        build: Makes the sampler from a seed.
        seed: Seed of the whole study.
    """

    def __init__(self, build: Callable[[int], BaseSampler], seed: int) -> None:
        self.build = build
        self.seed = seed

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """As the other sampler does."""
        return self._seed(trial, "").infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """As the other sampler does."""
        sampler = self._seed(trial, "")
        sampler.infer_relative_search_space(study, trial)
        return sampler.sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """As the other sampler does."""
        sampler = self._seed(trial, param_name)
        return sampler.sample_independent(study, trial, param_name, param_distribution)

    def _seed(self, trial: FrozenTrial, name: str) -> BaseSampler:
        # A trial without an index is given up before it has any values.
        text = f"{self.seed}/{trial.user_attrs.get(INDEX)}/{name}"
        return self.build(int.from_bytes(hashlib.sha256(text.encode()).digest()[:4]))
