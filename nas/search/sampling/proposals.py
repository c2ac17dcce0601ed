"""Proposer: the next network that is to be trained, new and within the limits.

A sampler's draws are costed at once. A draw that breaks a limit, or is a network that was drawn before, is recorded as
such and never trained; after a few of those in a row the one nearest to the limits is made to fit them. The first
generation (of every sampler but random) is spread evenly over the first objective that is known before any training,
which is latency unless the experiment says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from optuna.samplers import BaseSampler

from nas.errors import NasError
from nas.networks.architecture import Architecture
from nas.networks.space.search_space import Parameters, SearchSpace
from nas.search.costing import CostedNetwork, Costing
from nas.search.experiment import Experiment
from nas.search.quantities import LEARNED
from nas.search.run.study import Study
from nas.search.sampling.front_sampler.proposal import SpaceExhaustedError
from nas.search.sampling.front_sampler.sampler import FrontSampler
from nas.search.sampling.samplers import build_sampler
from nas.search.sampling.space_problem import problem_of
from nas.search.trial import TRAINED, Status, Trial

# Draws of the sampler that may fail before one is repaired.
MOST_DRAWS = 5
_REPAIR_STEPS = 2_000
_START_SAMPLES = 16  # a member of the first generation, for an even spread


@dataclass(frozen=True)
class Proposal:
    """A network to be trained, and the number of its trial.

    `predicted` is what the sampler expects of its score, where it has a model: mean and standard deviation, in the unit
    of the metric.
    """

    number: int
    network: CostedNetwork
    predicted: tuple[float, float] | None = None


class Proposer:
    """Draws networks from a space that are new and within the limits.

    Every draw has a sampler of its own, seeded by the experiment's seed and the trial's number: what is drawn depends
    on the trials before it alone, so that a search that was killed and resumed draws what it would have drawn.
    """

    def __init__(self, experiment: Experiment, space: SearchSpace, costing: Costing, study: Study) -> None:
        self._experiment = experiment
        self._space = space
        self._costing = costing
        self._study = study
        self._drawn = {
            trial.network.architecture.fingerprint: trial.number for trial in study.trials() if trial.status in TRAINED
        }
        self._start: list[Parameters] | None = None
        self._anchor: Parameters | None = None

    def next(self) -> Proposal:
        """A network that is new and within the limits. Raises SpaceExhaustedError when none can be found."""
        # A search that was interrupted after some refusals goes on counting them.
        rejected = [trial.network for trial in self._study.refused_last()]
        while len(rejected) < MOST_DRAWS or self._study.has_record():
            proposal = self._draw(self._planned())
            # What became of a trial that had ended before the search was stopped stands in its record.
            ended = self._study.ended(proposal.number)
            status, reason = self._objection(proposal.network) if ended is None else (ended.status, ended.reason)
            if status is None or status in TRAINED:
                return self._take(proposal)
            self._study.keep(Trial(proposal.number, status, proposal.network, reason))
            self._study.settle(proposal.number)
            rejected.append(proposal.network)
        nearest = min(rejected, key=self._costing.excess)
        return self._take(self._draw(self._repaired(nearest.architecture, self._rng(self._study.next_number))))

    def _objection(self, network: CostedNetwork) -> tuple[Status | None, str]:
        """Why a network is not to be trained."""
        reason = self._costing.broken(network)
        if reason:
            return "infeasible", reason
        earlier = self._drawn.get(network.architecture.fingerprint)
        return (None, "") if earlier is None else ("duplicate", f"the same network as trial {earlier}")

    def _take(self, proposal: Proposal) -> Proposal:
        self._drawn[proposal.network.architecture.fingerprint] = proposal.number
        return proposal

    def _draw(self, planned: Parameters | None) -> Proposal:
        """One draw: of the sampler, or the planned one."""
        number = self._study.next_number
        is_planned = planned is not None or self._study.has_record()
        trial = self._study.ask(self._sampler(number, is_planned=is_planned), planned)
        parameters: Parameters = {}
        for parameter in self._space.parameters:
            choice = trial.suggest_categorical(parameter.name, parameter.choices)
            assert choice is not None
            parameters[parameter.name] = choice
        network = self._costing.cost(f"trial {number}", self._space.decode(parameters))
        return Proposal(number, network, self._study.predicted(number))

    def _sampler(self, number: int, *, is_planned: bool) -> BaseSampler:
        """The sampler of draw `number`. One that thinks long is not asked about a draw that is planned."""
        name = self._experiment.sampler
        if name == "front" and not is_planned:
            return self._front
        name = "random" if name == "front" else name
        return build_sampler(name, self._space, population=self._experiment.population, seed=self._seed(number))

    @cached_property
    def _front(self) -> FrontSampler:
        problem = problem_of(self._experiment, self._space, self._costing)
        return FrontSampler(problem, seed=self._experiment.seed)

    def _planned(self) -> Parameters | None:
        """The next member of the first generation, or None once it has been drawn."""
        number = self._study.next_number
        if self._experiment.sampler in ("random", "front") or number >= self._experiment.population:
            return None
        if self._start is None:
            self._start = stratified_start(self._experiment, self._space, self._costing, self._rng(0))
        return self._start[number] if number < len(self._start) else None

    def _repaired(self, architecture: Architecture, rng: np.random.Generator) -> Parameters:
        """A network that is new and within the limits: `architecture` made to fit, then changed until it is new."""
        parameters = self._fitted(self._space.encode(architecture), rng)
        for _ in range(_REPAIR_STEPS):
            network = self._costing.cost("", self._space.decode(parameters))
            if network.architecture.fingerprint not in self._drawn:
                return parameters
            decision = self._space.parameters[int(rng.integers(len(self._space.parameters)))]
            choice = decision.choices[int(rng.integers(len(decision.choices)))]
            changed = {**parameters, decision.name: choice}
            if self._fits(changed):
                parameters = changed
        raise SpaceExhaustedError("no network was found any more that is new and within the limits")

    def _fitted(self, parameters: Parameters, rng: np.random.Generator) -> Parameters:
        """`parameters` with as few decisions, in random order, as it takes replaced by those of a network that fits.

        assumption: replacing more of them never makes a network fit less; then bisection finds the fewest.
        """
        if self._anchor is None:
            self._anchor = nearest_to_limits(self._space, self._costing)
        names = [self._space.parameters[i].name for i in rng.permutation(len(self._space.parameters)).tolist()]
        anchor = self._anchor

        def replaced(count: int) -> Parameters:
            return {**parameters, **{name: anchor[name] for name in names[:count]}}

        low, high = 0, len(names)
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self._fits(replaced(middle)) else (middle + 1, high)
        return replaced(high)

    def _fits(self, parameters: Parameters) -> bool:
        return not self._costing.broken(self._costing.cost("", self._space.decode(parameters)))

    def _seed(self, number: int) -> int:
        return int(np.random.SeedSequence([self._experiment.seed, number]).generate_state(1)[0])

    def _rng(self, number: int) -> np.random.Generator:
        return np.random.default_rng([self._experiment.seed, number, 1])


def stratified_start(
    experiment: Experiment, space: SearchSpace, costing: Costing, rng: np.random.Generator
) -> list[Parameters]:
    """Members within the limits, at most a population, at even steps over a random sample's first known objective."""
    count, spread = experiment.population, next(name for name in experiment.objectives if name not in LEARNED)
    drawn = [space.sample_parameters(rng) for _ in range(count * _START_SAMPLES)]
    costed = [(costing.cost("", space.decode(parameters)), parameters) for parameters in drawn]
    feasible = [pair for pair in costed if not costing.broken(pair[0])]
    if not feasible:
        return []
    values = np.array([network.values[spread] for network, _ in feasible])
    chosen: dict[int, None] = {}
    for target in np.linspace(values.min(), values.max(), count):
        chosen.setdefault(int(np.argmin(np.abs(values - target))))
    # In random order, so that a search that is cut short has still seen the whole range.
    return [feasible[index][1] for index in rng.permutation(list(chosen)).tolist()]


def check_limits(space: SearchSpace, costing: Costing) -> None:
    """Raise NasError, with the nearest values found, when no network of the space was found that meets the limits."""
    nearest = costing.cost("", space.decode(nearest_to_limits(space, costing)))
    if costing.broken(nearest):
        raise NasError(
            f"no network of the space {space.name} was found that meets the limits; of the nearest, "
            f"{costing.broken(nearest)}"
        )


def nearest_to_limits(space: SearchSpace, costing: Costing) -> Parameters:
    """A member that meets the limits, or is as near as was found: from the smallest downhill, a decision at a time."""
    parameters = space.smallest_parameters()
    nearest = costing.cost("", space.decode(parameters))
    improved = True
    while improved and costing.broken(nearest):
        improved = False
        for decision in space.parameters:
            for choice in decision.choices:
                network = costing.cost("", space.decode({**parameters, decision.name: choice}))
                if costing.excess(network) < costing.excess(nearest):
                    parameters, nearest, improved = {**parameters, decision.name: choice}, network, True
    return parameters
