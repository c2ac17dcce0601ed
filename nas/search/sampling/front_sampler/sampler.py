"""An Optuna sampler that proposes the member with the greatest expected hypervolume improvement.

One objective (usually top-1) is learned by training; all others, and the constraints, are known of every member
beforehand. A Gaussian process predicts the learned objective. The expected improvement is exact, because nothing else
is uncertain. Candidates are bred from the front, and the best are refined by changing one choice at a time.
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
from nas.search.sampling.front_sampler.proposal import FrontProposer
from nas.search.trial import PREDICTED


class FrontSampler(BaseSampler):
    """An Optuna sampler for studies in which all objectives but one are known before a trial is run.

    A proposal depends on the seed, the trial's number and the earlier trials in the storage, and on nothing else: a new
    sampler for each trial proposes the same as one that lives on. The model's prediction for a trial stands in its
    system attributes ("front:predicted": mean and std of the learned objective, in the study's unit). Parameters that
    are not in the problem's space are drawn at random.

    Raises SpaceExhaustedError when all members have been proposed, and NasError when none meets the constraints.
    """

    def __init__(self, problem: Problem, *, seed: int = 0, startup: int = 6) -> None:
        """The first `startup` trials are planned without the model: the start points, then an even spread."""
        self._problem = problem
        self._seed = seed
        self._startup = startup
        self._independent = RandomSampler(seed=seed)
        # By study, what saves time and changes no proposal.
        self._by_study: dict[tuple[int, int], tuple[Reader, FrontProposer]] = {}

    def reseed_rng(self) -> None:
        """Reseed parameters outside of the space; proposals take their randomness from the trial's number."""
        self._independent.reseed_rng()

    def infer_relative_search_space(
        self,
        study: Study,  # noqa: ARG002
        trial: FrozenTrial,  # noqa: ARG002
    ) -> dict[str, BaseDistribution]:
        """The problem's space, whatever the trials so far."""
        return dict(self._problem.space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """A random value of a parameter that is not in the problem's space."""
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
            row, forecast = proposer.propose(history, trial.number)
            study._storage.set_trial_system_attr(trial._trial_id, PROPOSED, row.tolist())
            # Of two trials that propose the same member at the same time, the later one proposes again.
            if not history.running.any() or not self._claimed(reader.read(study, but=trial.number), row, trial):
                break
        if forecast is not None:
            study._storage.set_trial_system_attr(trial._trial_id, PREDICTED, asdict(forecast))
        return self._problem.grid.params(row.tolist())

    def _claimed(self, history: History, row: Rows, trial: FrozenTrial) -> bool:
        """Whether an earlier trial that is running has proposed the same member."""
        same = (history.rows == self._problem.spelt(row[None])).all(axis=1)
        return bool((same & history.running & (history.number < trial.number)).any())

    def _of_study(self, study: Study) -> tuple[Reader, FrontProposer]:
        key = (id(study._storage), study._study_id)
        if key not in self._by_study:
            view = Minimised(self._problem, tuple(study.directions))
            self._by_study[key] = Reader(view), FrontProposer(view, self._seed, self._startup)
        return self._by_study[key]
