"""Build one of Optuna's samplers by name."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, GPSampler, NSGAIIISampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from nas.networks.space.search_space import SearchSpace
from nas.search.experiment import SamplerName

# Each builds a sampler of Optuna's from a population size and a seed. `front`, our own, needs more (space_problem.py).
_SAMPLERS: dict[SamplerName, Callable[[int, int], BaseSampler]] = {
    "gp": lambda _, seed: GPSampler(seed=seed),
    "nsga2": lambda population, seed: NSGAIISampler(population_size=population, seed=seed),
    "nsga3": lambda population, seed: _nsga3(population, seed),
    "tpe": lambda _, seed: TPESampler(multivariate=True, seed=seed),
    "random": lambda _, seed: RandomSampler(seed=seed),
}


def build_sampler(name: SamplerName, space: SearchSpace, *, population: int, seed: int) -> BaseSampler:
    """The sampler called `name`, for the parameters of `space`."""
    distributions: dict[str, BaseDistribution] = {
        parameter.name: CategoricalDistribution(parameter.choices) for parameter in space.parameters
    }
    return KnownSpaceSampler(_SAMPLERS[name](population, seed), distributions)


def _nsga3(population: int, seed: int) -> BaseSampler:
    with warnings.catch_warnings():
        # "Experimental" since Optuna 3.2.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return NSGAIIISampler(population_size=population, seed=seed)


class KnownSpaceSampler(BaseSampler):
    """Wraps a sampler of Optuna's so that it need not infer the search space.

    Optuna's samplers infer it from all earlier trials. With a new sampler for each trial that takes ever longer (40 ms
    for 60 parameters after 100 trials).
    """

    def __init__(self, sampler: BaseSampler, distributions: dict[str, BaseDistribution]) -> None:
        self._sampler = sampler
        self._distributions = distributions

    def infer_relative_search_space(
        self,
        study: optuna.Study,  # noqa: ARG002
        trial: FrozenTrial,  # noqa: ARG002
    ) -> dict[str, BaseDistribution]:
        """The space, whatever the trials so far."""
        return self._distributions

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """As the wrapped sampler does."""
        return self._sampler.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """As the wrapped sampler does."""
        return self._sampler.sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """As the wrapped sampler does."""
        self._sampler.before_trial(study, trial)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """As the wrapped sampler does."""
        self._sampler.after_trial(study, trial, state, values)
