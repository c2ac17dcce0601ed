"""How does one network of a search earn its score?

From the cache, where it was trained like this before in any run; else by training, from rung to rung, until it is done
or stopped (rungs.py). What is needed to go on is kept in the run's directory meanwhile, so that a search
that is killed between rungs goes on from there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from nas.accuracy.evaluators.score_cache import ScoreCache
from nas.accuracy.evaluators.short_training import Evaluation, Evaluator, ResumableEvaluator
from nas.accuracy.score import Score
from nas.accuracy.training.failures import TrainingFailedError
from nas.errors import NasError
from nas.networks.architecture import Architecture
from nas.search.costing import CostedNetwork
from nas.search.quantities import LEARNED
from nas.search.scoring.rungs import Standing, StoppingSettings, bracket_of, brackets, decide
from nas.search.trial import Trial

if TYPE_CHECKING:
    from torch import Tensor

FROM_CACHE = "score from the cache, which keeps no weights"


@dataclass(frozen=True, eq=False)
class Earned:
    """A score, which is partial where training was stopped; `note` says why, or what else was out of the ordinary.

    `rungs` holds top-1, in percent, at each rung before the end that was reached, by its epochs.
    """

    score: Score
    rungs: Mapping[int, float] = field(default_factory=dict)
    weights: Mapping[str, Tensor] | None = None
    note: str = ""


class Scorer:
    """Scores networks with one evaluator, budget and seed, on the data set that this run calls `dataset`.

    Raises NasError where training is to be stopped and the evaluator cannot, or there is no rung before the end.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        budget: int,
        seed: int,
        *,
        dataset: str,
        stopping: StoppingSettings,
        objectives: Sequence[str],
        cache: ScoreCache,
        checkpoints: Path,
    ) -> None:
        self._evaluator = evaluator
        self._resumable = evaluator if isinstance(evaluator, ResumableEvaluator) else None
        self._budget = budget
        self._seed = seed
        self._dataset = dataset
        self._stopping = stopping
        self._objectives = (LEARNED, *(name for name in objectives if name != LEARNED))
        self._cache = cache
        self._checkpoints = checkpoints
        self._shapes = brackets(stopping, budget)
        if stopping.method != "none" and self._resumable is None:
            raise NasError(f"stopping must be none with {type(evaluator).__name__}, which trains to the end at once")

    def whole(self, architecture: Architecture, seed: int | None = None) -> Earned:
        """The score of a whole training, with another seed where one is given. Raises TrainingFailedError."""
        seed = self._seed if seed is None else seed
        known = self._known(architecture, self._budget, seed)
        if known:
            return Earned(known, note=FROM_CACHE)
        with _explained():
            evaluation = self._evaluator.evaluate(architecture, self._budget, seed)
        self._keep(architecture, evaluation.score)
        return Earned(evaluation.score, weights=evaluation.weights, note=evaluation.note)

    def earn(self, number: int, network: CostedNetwork, earlier: Sequence[Trial]) -> Earned:
        """The score of trial `number`, beside the trials that ended before it. Raises TrainingFailedError.

        What it left for going on is the caller's to `clear` once the trial is kept.
        """
        if self._resumable is None:
            return self.whole(network.architecture)
        bracket = self._bracket(number)
        *levels, budget = self._shapes[bracket]
        whole = self._known(network.architecture, budget, self._seed)
        if whole:
            scores = {epochs: self._known(network.architecture, epochs, self._seed) for epochs in levels}
            return Earned(whole, {epochs: score.top1 for epochs, score in scores.items() if score}, note=FROM_CACHE)
        passed: dict[int, float] = {}
        notes: list[str] = []
        for epochs in levels:
            evaluation = self._advanced(number, network.architecture, epochs, notes)
            passed[epochs] = evaluation.score.top1
            peers = [trial for trial in earlier if epochs in trial.rungs and self._bracket(trial.number) == bracket]
            others = [self._standing(trial.network, trial.rungs[epochs]) for trial in peers]
            decision = decide(self._standing(network, passed[epochs]), others, self._stopping.eta)
            if not decision.goes_on:
                notes.append(f"stopped after {epochs} of {budget} epochs: {decision}")
                return Earned(evaluation.score, passed, note="; ".join(notes))
        evaluation = self._advanced(number, network.architecture, budget, notes)
        return Earned(evaluation.score, passed, evaluation.weights, "; ".join(notes))

    def clear(self, number: int, architecture: Architecture, score: Score | None) -> None:
        """Trial `number` is kept: its score may be used by other runs, and what it was to go on from is deleted.

        Not before, so that a search that is killed in between has the weights of what it finds in the cache.
        """
        if score is not None and score.budget is None:
            self._keep(architecture, score)
        with suppress(OSError):  # What cannot be deleted takes room, and is not gone on from by any other training.
            self._checkpoint(number).unlink()

    def _advanced(self, number: int, architecture: Architecture, until: int, notes: list[str]) -> Evaluation:
        """Train until so many epochs are done, or take the partial score that is known; adds to `notes`."""
        assert self._resumable is not None
        known = self._known(architecture, until, self._seed)
        if known:
            return Evaluation(known)
        with _explained():
            evaluation = self._resumable.advance(
                architecture, self._budget, self._seed, until=until, checkpoint=self._checkpoint(number)
            )
        if evaluation.note:
            notes.append(evaluation.note)
        if until < self._budget:
            self._keep(architecture, evaluation.score)
        return evaluation

    def _bracket(self, number: int) -> int:
        return bracket_of(number, self._shapes, self._stopping.eta)

    def _standing(self, network: CostedNetwork, top1: float) -> Standing:
        return Standing((100 - top1, *network.losses(self._objectives[1:])))

    def _known(self, architecture: Architecture, epochs: int, seed: int) -> Score | None:
        if self._resumable is None:
            return None
        known = self._cache.get(self._resumable.training_of(architecture, self._budget, seed), epochs)
        # The images are the same; another run may have found them under another name.
        return replace(known, dataset=self._dataset) if known else None

    def _keep(self, architecture: Architecture, score: Score) -> None:
        if self._resumable is not None:
            self._cache.put(self._resumable.training_of(architecture, self._budget, score.seed), score)

    def _checkpoint(self, number: int) -> Path:
        return self._checkpoints / f"unfinished_{number}"


@contextmanager
def _explained() -> Iterator[None]:
    """Whatever torch raises for one network alone becomes a TrainingFailedError."""
    try:
        yield
    except RuntimeError as error:
        raise TrainingFailedError(f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}") from error
