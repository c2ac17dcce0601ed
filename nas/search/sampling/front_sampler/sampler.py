"""Which member of the space is to be evaluated next, so that the front grows most?

One objective (usually top-1) is learned by training; all others, and the constraints, are known of every member before.
A Gaussian process predicts the learned one, and the member of the greatest expected hypervolume improvement is
proposed, which is exact because nothing else is uncertain. Candidates are bred from the front and refined downhill.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from nas.search.sampling.front_sampler.grid import Rows
from nas.search.sampling.front_sampler.history import PROPOSED, History, Reader
from nas.search.sampling.front_sampler.problem import Minimised, Problem
from nas.search.sampling.front_sampler.proposal import Proposer

# What is foretold of a trial's learned objective, in its unit: {"mean": ..., "std": ...}.
PREDICTED = "front:predicted"


class FrontSampler(BaseSampler):
    """An Optuna sampler for studies in which all objectives but one are known before a trial is run.

    What it proposes depends on the seed, the trial's number and the trials before, as the storage has them: a sampler
    made anew for each trial proposes the same as one that lives on. What its model expected of a trial stands in the
    trial's system attributes ("front:predicted": mean and std of the learned objective, in its unit). Parameters that
    are not in the problem's space are drawn at random.

    Raises SpaceExhaustedError when all members were proposed, and NasError when none meets the constraints.
    """

    def __init__(self, problem: Problem, *, seed: int = 0, startup: int = 6) -> None:
        """`startup` trials are planned before the model has its say: the start points, then an even spread."""
        self._problem = problem
        self._seed = seed
        self._startup = startup
        self._independent = RandomSampler(seed=seed)
        # What is kept of a study saves time and changes nothing.
        self._kept: dict[tuple[int, int], tuple[Reader, Proposer]] = {}

    def reseed_rng(self) -> None:
        """Nothing to do for proposals, whose randomness comes from the trial's number."""
        self._independent.reseed_rng()

    def infer_relative_search_space(
        self,
        study: Study,  # noqa: ARG002
        trial: FrozenTrial,  # noqa: ARG002
    ) -> dict[str, BaseDistribution]:
        """The problem's space, whatever came before."""
        return dict(self._problem.space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """A parameter that is not in the problem's space, at random."""
        return self._independent.sample_independent(study, trial, param_name, param_distribution)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: Mapping[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The next member of the problem's space."""
        if dict(search_space) != dict(self._problem.space) or not search_space:
            return {n: self.sample_independent(study, trial, n, d) for n, d in search_space.items()}
        reader, proposer = self._of_study(study)
        while True:
            history = reader.read(study, but=trial.number)
            row, foretold = proposer.propose(history, trial.number)
            study._storage.set_trial_system_attr(trial._trial_id, PROPOSED, row.tolist())
            # Of two that propose the same at the same time, the later one thinks again.
            earlier = history.running.any() and self._claimed(reader.read(study, but=trial.number), row, trial)
            if not earlier:
                break
        if foretold is not None:
            study._storage.set_trial_system_attr(trial._trial_id, PREDICTED, asdict(foretold))
        return self._problem.grid.params(row.tolist())

    def _claimed(self, history: History, row: Rows, trial: FrozenTrial) -> bool:
        same = (history.rows == self._problem.spelt(row[None])).all(axis=1)
        return bool((same & history.running & (history.number < trial.number)).any())

    def _of_study(self, study: Study) -> tuple[Reader, Proposer]:
        key = (id(study._storage), study._study_id)
        if key not in self._kept:
            view = Minimised(self._problem, tuple(study.directions))
            self._kept[key] = Reader(view), Proposer(view, self._seed, self._startup)
        return self._kept[key]
