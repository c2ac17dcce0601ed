"""Samplers of other libraries, wrapped for comparison on an oracle.

None of these libraries is a dependency, so they are imported where they are used. The samplers know only what trials
were told; qLogEHVI also needs the reference point.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from nas.benchmarks.oracles import Oracle
from nas.errors import NasError
from nas.search.pareto import front_of
from nas.search.sampling.front_sampler.candidates import bred
from nas.search.sampling.front_sampler.grid import Floats, Rows
from nas.search.sampling.front_sampler.problem import keys_of

_LISTED = 10_000


class _PeerSampler(BaseSampler, abc.ABC):
    """A sampler that proposes rows, for one study that runs one trial at a time."""

    def __init__(self, oracle: Oracle, seed: int) -> None:
        self.oracle = oracle
        self.grid = oracle.problem.grid
        self.rng = np.random.default_rng(seed)
        self.seed = seed
        self.rows: Rows = self.grid.random(0, self.rng)
        self.losses: Floats = np.zeros((0, len(oracle.reference)))

    @abc.abstractmethod
    def propose(self) -> Sequence[int]:
        """The row to evaluate next."""

    def infer_relative_search_space(
        self,
        study: Study,  # noqa: ARG002
        trial: FrozenTrial,  # noqa: ARG002
    ) -> dict[str, BaseDistribution]:
        """The oracle's space."""
        return dict(self.oracle.problem.space)

    def sample_relative(
        self,
        study: Study,  # noqa: ARG002
        trial: FrozenTrial,  # noqa: ARG002
        search_space: Mapping[str, BaseDistribution],  # noqa: ARG002
    ) -> dict[str, Any]:
        """The parameters of the next row."""
        return self.grid.params([int(number) for number in self.propose()])

    def sample_independent(
        self,
        study: Study,  # noqa: ARG002
        trial: FrozenTrial,  # noqa: ARG002
        param_name: str,
        param_distribution: BaseDistribution,  # noqa: ARG002
    ) -> Any:
        """Raises NasError: every parameter is in the space."""
        raise NasError(f"{param_name} is no parameter of {self.oracle.name}")

    def after_trial(
        self,
        study: Study,  # noqa: ARG002
        trial: FrozenTrial,
        state: TrialState,  # noqa: ARG002
        values: Sequence[float] | None,
    ) -> None:
        """Record the trial's row and its objectives, minimised."""
        assert values is not None
        self.rows = np.concatenate([self.rows, [self.grid.row(trial.params)]])
        self.losses = np.concatenate([self.losses, [[-values[0], *values[1:]]]])


class BotorchSampler(_PeerSampler):
    """BoTorch's qLogEHVI (Ament et al., 2023, arXiv:2310.20708) on independent Gaussian processes of all objectives.

    The first ten members are random. Then the acquisition is maximised over all members of a space of at most 10,000.
    In a larger space it is maximised over random members and children of the front, and then over the best one's
    neighbours, step by step.
    """

    _START, _CANDIDATES, _CLIMBS = 10, 2000, 5

    def propose(self) -> Sequence[int]:
        """The best candidate; a random member for the first ten trials."""
        if len(self.rows) < self._START:
            return list(self.grid.random(1, self.rng)[0])
        acquisition, encode = self._acquisition()
        candidates = self._new(self._pool())
        scores = self._scores(acquisition, encode(candidates))
        best, score = candidates[int(np.argmax(scores))], scores.max()
        for _ in range(0 if self.grid.size <= _LISTED else self._CLIMBS):
            around = self._new(self.grid.neighbours(best[None]))
            scores = self._scores(acquisition, encode(around))
            if scores.max() <= score:
                break
            best, score = around[int(np.argmax(scores))], scores.max()
        return list(best)

    def _pool(self) -> Rows:
        if self.grid.size <= _LISTED:
            return self.grid.all_rows()
        front = self.rows[front_of(self.losses)]
        children = bred(self.oracle.problem, front, self._CANDIDATES // 2, self.rng)
        return np.concatenate([self.grid.random(self._CANDIDATES // 2, self.rng), children])

    def _new(self, rows: Rows) -> Rows:
        taken = set(keys_of(self.rows))
        unique = {key: index for index, key in enumerate(keys_of(rows)) if key not in taken}
        return rows[list(unique.values())]

    def _acquisition(self) -> tuple[Any, Any]:
        import torch
        from botorch.acquisition.multi_objective.logei import qLogExpectedHypervolumeImprovement  # type: ignore
        from botorch.fit import fit_gpytorch_mll  # type: ignore
        from botorch.models import ModelListGP, SingleTaskGP  # type: ignore
        from botorch.models.transforms import Standardize  # type: ignore
        from botorch.sampling import SobolQMCNormalSampler  # type: ignore
        from botorch.utils.multi_objective.box_decompositions import FastNondominatedPartitioning  # type: ignore
        from gpytorch.mlls import SumMarginalLogLikelihood  # type: ignore

        torch.manual_seed(self.seed + len(self.rows))

        def encode(rows: Rows) -> Any:
            columns: list[Floats] = []
            for place, (size, ordered) in enumerate(zip(self.grid.sizes.tolist(), self.grid.ordered, strict=True)):
                numbers = rows[:, place]
                columns.append(numbers[:, None] / max(1, size - 1) if ordered else np.eye(size)[numbers])
            return torch.tensor(np.hstack(columns), dtype=torch.double)

        inputs, targets = encode(self.rows), torch.tensor(-self.losses)
        reference = torch.tensor(self.oracle.reference)
        reference[1:] *= -1
        model = ModelListGP(
            *(SingleTaskGP(inputs, column[:, None], outcome_transform=Standardize(1)) for column in targets.T)
        )
        fit_gpytorch_mll(SumMarginalLogLikelihood(model.likelihood, model))
        acquisition = qLogExpectedHypervolumeImprovement(
            model=model,
            ref_point=reference.tolist(),
            partitioning=FastNondominatedPartitioning(ref_point=reference, Y=targets),
            sampler=SobolQMCNormalSampler(torch.Size([64]), seed=self.seed),
        )
        return acquisition, encode

    @staticmethod
    def _scores(acquisition: Any, encoded: Any) -> Floats:
        import torch

        with torch.no_grad():
            return np.concatenate([acquisition(part[:, None]).numpy() for part in encoded.split(256)])


class PymooSampler(_PeerSampler):
    """pymoo's SMS-EMOA (Beume et al., 2007), population 20, on whole numbers."""

    _POPULATION = 20

    def __init__(self, oracle: Oracle, seed: int) -> None:
        super().__init__(oracle, seed)
        from pymoo.algorithms.moo.sms import SMSEMOA  # type: ignore
        from pymoo.core.problem import Problem  # type: ignore
        from pymoo.operators.crossover.sbx import SBX  # type: ignore
        from pymoo.operators.mutation.pm import PM  # type: ignore
        from pymoo.operators.repair.rounding import RoundingRepair  # type: ignore
        from pymoo.operators.sampling.rnd import IntegerRandomSampling  # type: ignore

        sizes = self.grid.sizes
        problem = Problem(n_var=len(sizes), n_obj=len(oracle.reference), xl=0, xu=sizes - 1, vtype=int)
        repair = RoundingRepair()
        self._algorithm = SMSEMOA(
            pop_size=self._POPULATION,
            sampling=IntegerRandomSampling(),
            crossover=SBX(vtype=float, repair=repair),
            mutation=PM(vtype=float, repair=repair),
        )
        self._algorithm.setup(problem, seed=seed, verbose=False, termination=("n_gen", 10**6))
        self._problem = problem
        self._asked: Any = None
        self._begun = 0

    def propose(self) -> Sequence[int]:
        """The next member of the generation; a new generation once all members of one were told."""
        from pymoo.core.evaluator import Evaluator  # type: ignore
        from pymoo.problems.static import StaticProblem  # type: ignore

        if self._asked is None or len(self.rows) - self._begun == len(self._asked):
            if self._asked is not None:
                told = StaticProblem(self._problem, F=self.losses[self._begun :])
                Evaluator().eval(told, self._asked)
                self._algorithm.tell(infills=self._asked)
            self._asked, self._begun = self._algorithm.ask(), len(self.rows)
        return [int(number) for number in self._asked[len(self.rows) - self._begun].X]
