"""Scorer: which jobs it takes to score a network, and what their results mean.

A network's score comes from the cache, where it was scored like this before in any run; else from jobs, rung by rung,
until training is done or stopped (rungs.py). `Scorer` knows the evaluator, the budget and the cache; it makes a
`Scoring` for each network, a state machine: `next_job` says what is to be run, `told` takes the result, and `earned` is
the score once there is one. Who runs the jobs, and how many at a time, is the search's business.

What is needed to go on is kept in the run's directory meanwhile. So a search that is killed between rungs goes on from
there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from nas.accuracy.evaluators.evaluator import Evaluation, Evaluator, Identified, Resumable
from nas.accuracy.evaluators.score_cache import ScoreCache
from nas.accuracy.score import Score
from nas.accuracy.training.failures import TrainingFailedError
from nas.errors import NasError
from nas.networks.architecture import Architecture
from nas.search.costing import CostedNetwork
from nas.search.quantities import LEARNED, loss_of
from nas.search.scoring.job import Done, Job
from nas.search.scoring.rungs import Standing, StoppingSettings, bracket_of, brackets, decide
from nas.search.trial import Trial

if TYPE_CHECKING:
    from torch import Tensor

FROM_CACHE = "score from the cache, which keeps no weights"


@dataclass(frozen=True, eq=False)
class Earned:
    """A score, which is partial where training was stopped; `note` says why, or what else was out of the ordinary.

    `rungs` holds the score's value at each rung before the end that was reached, by its epochs.
    """

    score: Score
    rungs: Mapping[int, float] = field(default_factory=dict)
    weights: Mapping[str, Tensor] | None = None
    note: str = ""


class Scorer:
    """Scores networks with one evaluator, budget and seed, on the data set that this run calls `dataset`.

    `name` is the evaluator's, as workers know it. Raises NasError where training is to be stopped and the evaluator
    cannot, or there is no rung before the end.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        name: str,
        budget: int,
        seed: int,
        *,
        dataset: str,
        stopping: StoppingSettings,
        objectives: Sequence[str],
        cache: ScoreCache,
        checkpoints: Path,
    ) -> None:
        self._identified = evaluator if isinstance(evaluator, Identified) else None
        self._is_resumable = isinstance(evaluator, Resumable)
        self._metric = evaluator.metric
        self._name = name
        self._budget = budget
        self._seed = seed
        self._dataset = dataset
        self._stopping = stopping
        self._others = tuple(name for name in objectives if name not in LEARNED)
        self._cache = cache
        self._checkpoints = checkpoints
        self._shapes = brackets(stopping, budget)
        if stopping.method != "none" and not self._is_resumable:
            raise NasError(f"stopping must be none with the evaluator {name}, which scores to the end at once")

    @property
    def compares(self) -> bool:
        """Whether trials are compared with earlier ones on the way."""
        return any(len(levels) > 1 for levels in self._shapes)

    def whole(self, architecture: Architecture, seed: int | None = None) -> Scoring:
        """A whole training that belongs to no trial, with another seed where one is given."""
        job = Job(self._name, architecture, self._budget, self._budget, self._seed if seed is None else seed)
        return Scoring(self, job, (self._budget,))

    def trial(self, number: int, network: CostedNetwork, earlier: Sequence[Trial] = ()) -> Scoring:
        """The scoring of trial `number`, compared at each rung with the trials in `earlier` that reached it.

        What it leaves for going on is the caller's to `clear` once the trial is kept, and its score to `publish`.
        """
        job = Job(self._name, network.architecture, self._budget, self._budget, self._seed, trial=number)
        if not self._is_resumable:
            return Scoring(self, job, (self._budget,))
        bracket = self._bracket(number)
        peers = [trial for trial in earlier if trial.rungs and self._bracket(trial.number) == bracket]
        job = replace(job, checkpoint=str(self._checkpoint(number)))
        return Scoring(self, job, self._shapes[bracket], _Rivals(network, peers))

    def publish(self, architecture: Architecture, score: Score) -> None:
        """A trial is settled: its whole score may be found by other runs, and by later trials of this one.

        Not when it ends, so that a trial in flight finds it or not whatever the timing, and not before it is kept, so
        that a search that is killed in between has the weights of what it finds in the cache.
        """
        if score.budget is None:
            self.cache_score(architecture, score)

    def clear(self, number: int) -> None:
        """Trial `number` is kept: what it was to go on from is deleted."""
        with suppress(OSError):  # What cannot be deleted takes room, and is not gone on from by any other training.
            self._checkpoint(number).unlink()

    def cached_score(self, architecture: Architecture, epochs: int, seed: int) -> Score | None:
        """The score after so many epochs, where it was earned before in any run."""
        if self._identified is None:
            return None
        score = self._cache.get(self._identified.identity(architecture, self._budget, seed), epochs)
        # The images are the same; another run may have read them under another name.
        return replace(score, dataset=self._dataset) if score else None

    def cache_score(self, architecture: Architecture, score: Score) -> None:
        """Keep a score for other runs."""
        if self._identified is not None:
            epochs = self._budget if score.budget is None else score.epochs
            self._cache.put(self._identified.identity(architecture, self._budget, score.seed), score, epochs)

    def stopped_because(self, rivals: _Rivals, epochs: int, value: float) -> str:
        """Why the network of `rivals`, of this value after so many epochs, is not trained on; empty where it is."""
        others = [self._standing(trial.network, trial.rungs[epochs]) for trial in rivals.peers if epochs in trial.rungs]
        decision = decide(self._standing(rivals.network, value), others, self._stopping.eta)
        return "" if decision.goes_on else f"stopped after {epochs} of {self._budget} epochs: {decision}"

    def _bracket(self, number: int) -> int:
        return bracket_of(number, self._shapes, self._stopping.eta)

    def _standing(self, network: CostedNetwork, value: float) -> Standing:
        return Standing((loss_of(self._metric, value), *network.losses(self._others)))

    def _checkpoint(self, number: int) -> Path:
        return self._checkpoints / f"unfinished_{number}"


@dataclass(frozen=True, eq=False)
class _Rivals:
    """A trial's network, and the trials that it is compared with at each rung."""

    network: CostedNetwork
    peers: Sequence[Trial]


class Scoring:
    """How far the scoring of one network has got: the job that is to be run next, or the score that was earned."""

    def __init__(self, scorer: Scorer, job: Job, levels: Sequence[int], rivals: _Rivals | None = None) -> None:
        self._scorer = scorer
        self._job = job
        self._levels = levels
        self._rivals = rivals
        self._rungs: dict[int, float] = {}
        self._notes: list[str] = []
        self._earned = self._from_cache()

    @property
    def earned(self) -> Earned | None:
        """The score, once there is one."""
        return self._earned

    def next_job(self) -> Job | None:
        """What is to be run next; None once the score is earned. Asked again before `told`, it is the same job."""
        while self._earned is None:
            until = self._levels[len(self._rungs)]
            score = self._cached(until) if until < self._job.budget else None
            if score is None:
                return replace(self._job, until=until)
            self._reached(Evaluation(score))
        return None

    def told(self, done: Done) -> None:
        """Take the result of the last job. Raises TrainingFailedError where it gave no score."""
        if done.evaluation is None:
            raise TrainingFailedError(done.failure)
        if done.evaluation.note:
            self._notes.append(done.evaluation.note)
        # A trial's whole score is cached once the trial is settled (`Scorer.publish`).
        if self._job.trial is None or done.job.until < self._job.budget:
            self._scorer.cache_score(self._job.architecture, done.evaluation.score)
        self._reached(done.evaluation)

    def _reached(self, evaluation: Evaluation) -> None:
        """The next level was reached, with this evaluation."""
        until = self._levels[len(self._rungs)]
        if until == self._job.budget:
            self._earned = Earned(evaluation.score, self._rungs, evaluation.weights, "; ".join(self._notes))
            return
        self._rungs[until] = evaluation.score.value
        assert self._rivals is not None
        reason = self._scorer.stopped_because(self._rivals, until, evaluation.score.value)
        if reason:
            self._earned = Earned(evaluation.score, self._rungs, note="; ".join([*self._notes, reason]))

    def _from_cache(self) -> Earned | None:
        whole = self._cached(self._job.budget)
        if whole is None:
            return None
        scores = {epochs: self._cached(epochs) for epochs in self._levels[:-1]}
        return Earned(whole, {epochs: score.value for epochs, score in scores.items() if score}, note=FROM_CACHE)

    def _cached(self, epochs: int) -> Score | None:
        return self._scorer.cached_score(self._job.architecture, epochs, self._job.seed)
