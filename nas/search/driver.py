"""Run a search: ask for trials, have them scored by workers, and keep what comes of them, until there is enough.

One driver asks and tells, whoever does the work. As many trials are in flight as there are workers, and the next one is
asked for when the one that was asked for first has ended. So what a trial knows of the others is decided by their
number and that of the workers alone: the same seed gives the same trials, whatever the timing, also after a kill.
"""

from __future__ import annotations

import itertools
import os
import time
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
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
from nas.search.listener import SearchListener, SilentSearch
from nas.search.prepare import Prepared
from nas.search.results.result import Ending, Outcome, SearchResult, front_among
from nas.search.results.wording import written
from nas.search.run import kept
from nas.search.run.directory import RunDirectory
from nas.search.run.identity import begin, identity_of
from nas.search.run.storage import open_study
from nas.search.run.study import Study
from nas.search.sampling.front_sampler.proposal import SpaceExhaustedError
from nas.search.sampling.proposals import Proposal, Proposer
from nas.search.scoring.job import Job
from nas.search.scoring.scorer import Earned, Scorer, Scoring
from nas.search.trial import TRAINED, Status, Trial
from nas.search.workers.processes import Processes, Setup
from nas.search.workers.worker import InThisProcess, Workers

MOST_FAILURES = 5


def search(
    prepared: Prepared, run: RunDirectory, listener: SearchListener | None = None, workers: Workers | None = None
) -> Outcome:
    """Run, or go on with, a search in the directory `run`, which the caller holds (`claimed`).

    `workers` run the jobs: where none are given, as many as the experiment asks for. Ctrl-C ends the search with what
    there is. Raises NasError for a directory that belongs to another experiment.
    """
    listener = listener or SilentSearch()
    experiment = prepared.experiment
    space_format = prepared.space.format.model_dump(mode="json")
    used = {"space": prepared.space.units()}
    used |= {network.name: units(deployed(network.architecture)) for network in prepared.references}
    tables = prepared.costing.tables
    identity = identity_of(experiment, space_format, tables, used, data_identity(prepared.dataset))
    begin(run, experiment, identity, tables)
    workers = workers or _workers(prepared, run, listener)
    study = open_study(run, experiment.storage, experiment.objectives, workers.slots)
    kept.save_setting(run, prepared.setting)
    listener.begins(study.trials())
    with workers as at_work:
        session = _Session(prepared, run, study, listener, at_work)
        try:
            prepared.evaluator.begin(run.evaluator, listener)
            ending = session.run()
            if ending != "failing":
                session.repeat_front()
        except KeyboardInterrupt:
            ending = "interrupted"
    return Outcome(SearchResult(prepared.setting, study.trials(), tuple(session.references), session.repeats), ending)


def _workers(prepared: Prepared, run: RunDirectory, listener: SearchListener) -> Workers:
    """The workers that the experiment asks for."""
    count = prepared.experiment.workers
    if count == 1:
        return InThisProcess(lambda _: prepared.evaluator)
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if count > usable:
        listener.message(f"{count} workers share {usable} processors: more than {usable} make nothing faster")
    return Processes(count, Setup(prepared.experiment.to_json(), str(run.evaluator)))


@dataclass(eq=False)
class _Flight:
    """A network on its way to a score: how far it has got, and what came of it.

    Without a `scoring` nothing is left to be done: the trial had ended before, or its proxy was scored for another one.
    `number` is that of the trial; negative for a reference or a repeat.
    """

    network: CostedNetwork
    scoring: Scoring | None = None
    number: int = -1
    predicted: tuple[float, float] | None = None
    started: float = 0.0
    earned: Earned | None = None
    failure: str | None = None

    @property
    def ended(self) -> bool:
        """Whether something came of it."""
        return self.earned is not None or self.failure is not None or self.scoring is None


class _Session:
    """One command's share of a search: what it has trained, what is in flight, and the front so far."""

    def __init__(
        self, prepared: Prepared, run: RunDirectory, study: Study, listener: SearchListener, workers: Workers
    ) -> None:
        self._prepared = prepared
        self._run = run
        self._study = study
        self._listener = listener
        self._workers = workers
        self._scorer = _scorer(prepared, run, listener)
        self.references = kept.load_references(run)
        self.repeats = kept.load_repeats(run)
        settled = study.settled()
        completed = [trial for trial in settled if trial.status == "complete"]
        self._front = self._front_of([trial for trial in study.trials() if trial.status == "complete"])
        self._trained = sum(trial.status in TRAINED for trial in settled)
        self._reported = study.next_number
        self._told_before = {trial.number for trial in study.trials()}
        self._failures = 0
        # In flight, in the order of asking, and by the job that runs for each: two references may be one network.
        self._window: deque[_Flight] = deque()
        self._by_job: defaultdict[Job, deque[_Flight]] = defaultdict(deque)
        # One proxy may stand for several networks: its score, and the name of the network that it was earned for.
        self._scores: dict[str, tuple[Score, str]] = {}
        for network in [*self.references, *(trial.network for trial in completed)]:
            if network.score is not None:
                self._scores.setdefault(self._proxy(network.architecture), (network.score, network.name))
        minutes = prepared.experiment.minutes
        self._ends_at = time.monotonic() + 60 * minutes if minutes is not None else None

    def run(self) -> Ending:
        """Train the references, then trials until something says that it is enough."""
        self._train_references()
        proposer = Proposer(self._prepared.experiment, self._prepared.space, self._prepared.costing, self._study)
        ending: Ending | None = None
        while True:
            ending = ending or self._enough()
            if ending is None and len(self._window) < self._workers.slots:
                try:
                    self._start(proposer.next())
                except SpaceExhaustedError:
                    ending = "exhausted"
            elif self._window and self._window[0].ended:
                self._settle(self._window.popleft())
            elif self._window:
                self._wait()
            else:
                self._report()
                return ending or "trials"

    def repeat_front(self) -> None:
        """Train the front's members again, until each has a score with as many new seeds as the experiment asks."""
        experiment = self._prepared.experiment
        # Seed by seed, so that members have about as many scores where it is cut short.
        pairs = itertools.product(range(1, experiment.repeats + 1), self._front)
        seeds = [((experiment.seed + number) % 2**31, trial.network) for number, trial in pairs]
        missing = [
            (replace(network, name=f"{network.name} with seed {seed}"), seed)
            for seed, network in seeds
            if all(score.seed != seed for score in self.repeats.get(network.architecture.fingerprint, ()))
        ]
        for flight in self._scored(missing):
            if flight.earned is None:
                self._listener.message(f"{flight.network.name} failed: {flight.failure}")
                continue
            fingerprint = flight.network.architecture.fingerprint
            self.repeats[fingerprint] = (*self.repeats.get(fingerprint, ()), flight.earned.score)
            kept.save_repeats(self._run, self.repeats)

    def _train_references(self) -> None:
        trained = {network.name for network in self.references}
        missing = [network for network in self._prepared.references if network.name not in trained]
        for flight in self._scored((network, self._prepared.experiment.seed) for network in missing):
            network = flight.network
            if flight.earned is None:
                self._listener.message(f"reference {network.name} failed: {flight.failure}")
                continue
            score = flight.earned.score
            self._scores[self._proxy(network.architecture)] = (score, network.name)
            self.references.append(replace(network, score=score))
            kept.save_references(self._run, self.references)
            self._listener.message(
                f"{network.name}: {written(score.metric, score.value)} at {network.latency.latency_ms:.1f} ms"
            )

    def _scored(self, networks: Iterable[tuple[CostedNetwork, int]]) -> Iterator[_Flight]:
        """Whole trainings that belong to no trial, each with a seed, in their order; none begins when time is over."""
        waiting = deque(networks)
        while waiting or self._window:
            if waiting and self._is_over():
                waiting.clear()
            elif waiting and len(self._window) < self._workers.slots:
                network, seed = waiting.popleft()
                self._listener.training(network, self._trained)
                self._fly(_Flight(network, self._scorer.whole(network.architecture, seed)))
            elif self._window and not self._window[0].ended:
                self._wait()
            while self._window and self._window[0].ended:
                yield self._window.popleft()

    def _enough(self) -> Ending | None:
        """Why no further trial is asked for."""
        if self._failures >= MOST_FAILURES:
            return "failing"
        if self._trained >= self._prepared.experiment.trials:
            return "trials"
        return "minutes" if self._is_over() else None

    def _is_over(self) -> bool:
        return self._ends_at is not None and time.monotonic() >= self._ends_at

    def _start(self, proposal: Proposal) -> None:
        """Begin with a network that is new and within the limits."""
        number, network = proposal.number, proposal.network
        flight = _Flight(network, None, number, proposal.predicted, time.monotonic())
        if self._study.ended(number) is not None:  # It had ended before the search was killed.
            self._trained += 1
            self._window.append(flight)
            return
        self._listener.training(network, self._trained)
        self._trained += 1
        scored = self._scores.get(self._proxy(network.architecture))
        if scored is not None:
            self._window.append(flight)
            self._keep(flight, self._same_proxy(flight, *scored))
            return
        flight.scoring = self._scorer.trial(number, network, self._study.settled() if self._scorer.compares else ())
        self._fly(flight)

    def _same_proxy(self, flight: _Flight, score: Score, earlier: str) -> Trial:
        """The trial of a network whose proxy was trained for another network."""
        reason = f"same proxy as {earlier}, which was trained for both"
        seconds = time.monotonic() - flight.started
        trial = Trial(flight.number, "complete", replace(flight.network, score=score), reason, seconds)
        earlier_number = earlier.removeprefix("trial ")
        weights = kept.load_weights(self._run, int(earlier_number)) if earlier_number.isdigit() else None
        return self._join_front(trial, weights)

    def _fly(self, flight: _Flight) -> None:
        self._window.append(flight)
        self._advance(flight)

    def _advance(self, flight: _Flight) -> None:
        """Have the flight's next job run, or end it where its score is earned."""
        assert flight.scoring is not None
        job = flight.scoring.next_job()
        if job is None:
            flight.earned = flight.scoring.earned
            self._end(flight)
            return
        self._by_job[job].append(flight)
        self._workers.submit(job)

    def _wait(self) -> None:
        """Wait for a job, and go on with its flight."""
        done = self._workers.next_done()
        flight = self._by_job[done.job].popleft()
        assert flight.scoring is not None
        try:
            flight.scoring.told(done)
        except TrainingFailedError as error:
            flight.failure = str(error)
            self._end(flight)
            return
        self._advance(flight)

    def _end(self, flight: _Flight) -> None:
        """Keep what came of a flight that belongs to a trial."""
        if flight.number < 0:
            return
        seconds = time.monotonic() - flight.started
        earned = flight.earned
        if earned is None:
            self._keep(flight, Trial(flight.number, "failed", flight.network, flight.failure or "", seconds))
            return
        status: Status = "complete" if earned.score.budget is None else "stopped"
        network = replace(flight.network, score=earned.score)
        trial = Trial(flight.number, status, network, earned.note, seconds, earned.rungs)
        self._keep(flight, trial if status == "stopped" else self._join_front(trial, earned.weights))

    def _keep(self, flight: _Flight, trial: Trial) -> None:
        self._study.keep(replace(trial, predicted=flight.predicted))
        self._scorer.clear(trial.number)

    def _settle(self, flight: _Flight) -> None:
        """Show the sampler a trial that has ended: one at a time, in the order of asking, when another is to begin."""
        self._study.settle(flight.number)
        trial = self._study.ended(flight.number)
        assert trial is not None
        if flight.number not in self._told_before:
            self._failures = self._failures + 1 if trial.status == "failed" else 0
        if trial.network.score is not None:
            self._scorer.publish(trial.network.architecture, trial.network.score)
        if trial.status == "complete" and trial.network.score is not None:
            proxy = self._proxy(trial.network.architecture)
            self._scores.setdefault(proxy, (trial.network.score, trial.network.name))
        self._report()

    def _join_front(self, trial: Trial, weights: Any) -> Trial:
        """The trial, with a note where it is on the front and its weights could not be kept."""
        # By number, as of equal networks the first is on the front, whichever ended first.
        self._front = self._front_of(sorted([*self._front, trial], key=lambda member: member.number))
        if trial not in self._front or weights is None:
            return trial
        kept.keep_weights_of(self._run, self._front)
        try:
            kept.save_weights(self._run, trial.number, weights)
        except RunFailedError as error:
            note = f"its weights are not kept: {error}"
            self._listener.message(f"{trial.network.name}: {note}")
            return replace(trial, reason="; ".join(filter(None, (trial.reason, note))))
        return trial

    def _report(self) -> None:
        """Tell of every trial since the last time: those that were trained, and the draws that were turned down."""
        first_in_flight = self._window[0].number if self._window else self._study.next_number
        for number in range(self._reported, first_in_flight):
            trial = self._study.ended(number)
            if trial is not None and number not in self._told_before:
                self._listener.ended(trial, self._trained - len(self._window), self._front)
        self._reported = max(self._reported, first_in_flight)

    def _front_of(self, trials: Sequence[Trial]) -> tuple[Trial, ...]:
        return front_among(trials, self._prepared.experiment.objectives)

    def _proxy(self, architecture: Architecture) -> str:
        return self._prepared.evaluator.proxy_of(architecture).fingerprint


def _scorer(prepared: Prepared, run: RunDirectory, listener: SearchListener) -> Scorer:
    experiment = prepared.experiment
    return Scorer(
        prepared.evaluator,
        experiment.evaluator,
        experiment.training.epochs,
        experiment.seed,
        dataset=prepared.dataset.name,
        stopping=experiment.stopping,
        objectives=experiment.objectives,
        cache=ScoreCache(place_of(experiment.score_cache), listener.message),
        checkpoints=run.checkpoints,
    )
