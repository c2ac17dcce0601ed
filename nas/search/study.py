"""How does a search go from an experiment to a result?"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from nas.accuracy.evaluators.score_cache import ScoreCache, place_of
from nas.accuracy.score import Score
from nas.accuracy.training.failures import TrainingFailedError
from nas.accuracy.training.training_identity import data_identity
from nas.errors import RunFailedError
from nas.networks.architecture import Architecture
from nas.networks.deployed import deployed
from nas.networks.operators import units
from nas.search.costing import CostedNetwork
from nas.search.prepare import Prepared
from nas.search.results.progress import SearchProgress
from nas.search.results.result import Ending, Outcome, SearchResult, front_among
from nas.search.run import kept
from nas.search.run.directory import RunDirectory
from nas.search.run.identity import begin, identity_of
from nas.search.run.storage import Study, open_study
from nas.search.sampling.proposals import Proposer, SpaceExhausted
from nas.search.scoring.scorer import Scorer
from nas.search.trial import TRAINED, Status, Trial

MOST_FAILURES = 5


def search(
    prepared: Prepared,
    run: RunDirectory,
    progress: SearchProgress,
    *,
    on_begin: Callable[[Sequence[Trial]], None] = lambda _: None,
    on_trial: Callable[[Trial], None] = lambda _: None,
) -> Outcome:
    """Run, or go on with, a search in the directory `run`, which the caller holds (`claimed`).

    Ctrl-C ends it with what there is. `on_begin` is told the trials that were there before, `on_trial` each that ends.
    Raises NasError for a directory that belongs to another experiment.
    """
    experiment = prepared.experiment
    format_ = prepared.space.format.model_dump(mode="json")
    used = {"space": prepared.space.units()}
    used |= {network.name: units(deployed(network.architecture)) for network in prepared.references}
    data = data_identity(prepared.dataset)
    identity = identity_of(experiment, format_, prepared.tables, used, data)
    begin(run, experiment, identity, prepared.tables)
    study = open_study(run, experiment.storage, experiment.objectives)
    kept.save_setting(run, prepared.setting)
    on_begin(study.trials())
    session = _Session(prepared, run, study, progress, on_trial)
    try:
        ending = session.run()
        if ending != "failing":
            session.repeat_front()
    except KeyboardInterrupt:
        ending = "interrupted"
    return Outcome(SearchResult(prepared.setting, study.trials(), tuple(session.references), session.repeats), ending)


class _Session:
    """One process's share of a search: what it has trained, and the front so far."""

    def __init__(
        self,
        prepared: Prepared,
        run: RunDirectory,
        study: Study,
        progress: SearchProgress,
        on_trial: Callable[[Trial], None],
    ) -> None:
        self._prepared = prepared
        self._run = run
        self._study = study
        self._progress = progress
        self._on_trial = on_trial
        self._scorer = _scorer(prepared, run, progress)
        self.references = kept.load_references(run)
        self.repeats = kept.load_repeats(run)
        completed = [trial for trial in study.trials() if trial.status == "complete"]
        self._front = self._front_of(completed)
        self._trained = sum(trial.status in TRAINED for trial in study.trials())
        self._reported = study.count
        # One proxy may stand for several networks: what it scored, and the one that it was trained for.
        self._scores: dict[str, tuple[Score, str]] = {}
        for network in [*self.references, *(trial.network for trial in completed)]:
            if network.score is not None:
                self._scores.setdefault(self._proxy(network.architecture), (network.score, network.name))
        minutes = prepared.experiment.minutes
        self._ends_at = time.monotonic() + 60 * minutes if minutes is not None else None

    def run(self) -> Ending:
        """Train the references, then trials until something says that it is enough."""
        experiment = self._prepared.experiment
        self._train_references()
        proposer = Proposer(experiment, self._prepared.space, self._prepared.tables, self._study)
        failures = 0
        while self._trained < experiment.trials:
            if self._is_over():
                return "minutes"
            try:
                proposal = proposer.next()
            except SpaceExhausted:
                self._report_new()
                return "exhausted"
            trial = replace(self._train(proposal.trial.number, proposal.network), predicted=proposal.predicted)
            self._study.tell(proposal.trial, trial)
            self._scorer.clear(trial.number, trial.network.architecture, trial.network.score)
            self._report_new()
            failures = failures + 1 if trial.status == "failed" else 0
            if failures == MOST_FAILURES:
                return "failing"
        return "trials"

    def _is_over(self) -> bool:
        return self._ends_at is not None and time.monotonic() >= self._ends_at

    def _train_references(self) -> None:
        for network in self._prepared.references:
            if self._is_over() or any(known.name == network.name for known in self.references):
                continue
            self._progress.begins(network, self._trained)
            try:
                score = self._scorer.whole(network.architecture).score
            except TrainingFailedError as error:
                self._progress.say(f"reference {network.name} failed: {error}")
                continue
            self._scores[self._proxy(network.architecture)] = (score, network.name)
            self.references.append(replace(network, score=score))
            kept.save_references(self._run, self.references)
            self._progress.say(f"{network.name}: {score.top1:.1f} % at {network.latency.latency_ms:.1f} ms")

    def repeat_front(self) -> None:
        """Train the front's members again, until each has a score with as many new seeds as the experiment asks."""
        experiment = self._prepared.experiment
        # Seed by seed, so that members have about as many scores where it is cut short.
        for number, trial in itertools.product(range(1, experiment.repeats + 1), self._front):
            seed = (experiment.seed + number) % 2**31
            fingerprint = trial.network.architecture.fingerprint
            known = self.repeats.get(fingerprint, ())
            if self._is_over() or any(score.seed == seed for score in known):
                continue
            self._progress.begins(replace(trial.network, name=f"{trial.network.name} with seed {seed}"), self._trained)
            try:
                score = self._scorer.whole(trial.network.architecture, seed).score
            except TrainingFailedError as error:
                self._progress.say(f"{trial.network.name} failed with seed {seed}: {error}")
                continue
            self.repeats[fingerprint] = (*known, score)
            kept.save_repeats(self._run, self.repeats)

    def _train(self, number: int, network: CostedNetwork) -> Trial:
        """What becomes of a network that is new and within the limits."""
        started = time.monotonic()
        self._progress.begins(network, self._trained)
        self._trained += 1
        proxy = self._proxy(network.architecture)
        if proxy in self._scores:
            score, earlier = self._scores[proxy]
            reason = f"same proxy as {earlier}, which was trained for both"
            trial = Trial(number, "complete", replace(network, score=score), reason, time.monotonic() - started)
            earlier_number = earlier.removeprefix("trial ")
            known = kept.load_weights(self._run, int(earlier_number)) if earlier_number.isdigit() else None
            return self._join_front(trial, known)
        try:
            earned = self._scorer.earn(number, network, self._study.trials())
        except TrainingFailedError as error:
            return Trial(number, "failed", network, str(error), time.monotonic() - started)
        status: Status = "complete" if earned.score.budget is None else "stopped"
        scored = replace(network, score=earned.score)
        trial = Trial(number, status, scored, earned.note, time.monotonic() - started, earned.rungs)
        if status == "stopped":
            return trial
        self._scores[proxy] = (earned.score, network.name)
        return self._join_front(trial, earned.weights)

    def _join_front(self, trial: Trial, weights: Any) -> Trial:
        """The trial, with a note where it is on the front and its weights could not be kept."""
        self._front = self._front_of([*self._front, trial])
        if trial not in self._front or weights is None:
            return trial
        kept.keep_weights_of(self._run, self._front)
        try:
            kept.save_weights(self._run, trial.number, weights)
        except RunFailedError as error:
            note = f"its weights are not kept: {error}"
            self._progress.say(f"{trial.network.name}: {note}")
            return replace(trial, reason="; ".join(filter(None, (trial.reason, note))))
        return trial

    def _report_new(self) -> None:
        """Tell of every trial since the last time: the one that was trained, and the draws that were turned down."""
        for trial in self._study.trials_from(self._reported):
            self._on_trial(trial)
            self._progress.ended(trial, self._trained, self._front)
        self._reported = self._study.count

    def _front_of(self, trials: Sequence[Trial]) -> tuple[Trial, ...]:
        return front_among(trials, self._prepared.experiment.objectives)

    def _proxy(self, architecture: Architecture) -> str:
        return self._prepared.evaluator.proxy_of(architecture).fingerprint


def _scorer(prepared: Prepared, run: RunDirectory, progress: SearchProgress) -> Scorer:
    experiment = prepared.experiment
    return Scorer(
        prepared.evaluator,
        experiment.training.epochs,
        experiment.seed,
        dataset=prepared.dataset.name,
        stopping=experiment.stopping,
        objectives=experiment.objectives,
        cache=ScoreCache(place_of(experiment.score_cache), progress.say),
        checkpoints=run.checkpoints,
    )
