"""The order in which jobs end decides nothing, with any sampler, also after several kills."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
import torch

from nas.accuracy.evaluators.evaluator import Evaluation, Evaluator
from nas.accuracy.score import Score
from nas.accuracy.training.failures import TrainingFailedError
from nas.networks.architecture import Architecture
from nas.networks.operators import estimate_costs
from nas.search.driver import search
from nas.search.experiment import resolve_experiment
from nas.search.prepare import prepare
from nas.search.results.result import Outcome
from nas.search.run.directory import RunDirectory, claimed
from nas.search.run.load import load_result
from nas.search.scoring.job import Done, Job
from nas.search.trial import TRAINED, Trial
from nas.search.workers.worker import run_job
from tests.search.conftest import FakeEvaluator, SteppingEvaluator

BASE = {"space": "small", "device": "made_up", "references": [], "trials": 14, "population": 4, "max_images": 40}


class Killed(BaseException):
    """Ends a search as SIGKILL does: nothing is written any more."""


class AnyOrder:
    """Runs jobs here, `slots` at a time, which end in an order drawn from `seed`; killed after so many."""

    def __init__(self, slots: int, evaluator: Evaluator, seed: int, killed_after: int | None = None) -> None:
        self.slots = slots
        self._evaluator = evaluator
        self._rng = random.Random(seed)
        self._killed_after = killed_after
        self._jobs: list[Job] = []
        self._ended = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._jobs.clear()

    def submit(self, job: Job) -> None:
        assert len(self._jobs) < self.slots
        self._jobs.append(job)

    def next_done(self) -> Done:
        if self._ended == self._killed_after:
            raise Killed
        self._ended += 1
        assert self._jobs, "waits for nothing"
        return run_job(self._evaluator, self._jobs.pop(self._rng.randrange(len(self._jobs))))


def accuracy(architecture: Architecture) -> float:
    macs = estimate_costs(architecture).macs
    return 100 * macs / (macs + 5e5) * (0.9 + 0.1 * (int(architecture.fingerprint, 16) % 97) / 97)


class Uneven(FakeEvaluator):
    """Fails for every seventh network."""

    def evaluate(self, architecture: Architecture, budget: int, seed: int) -> Evaluation:
        if int(architecture.fingerprint, 16) % 7 == 0:
            raise TrainingFailedError("loss became nan")
        return Evaluation(Score(accuracy(architecture), budget, seed, 0.5, "digits", architecture.resolution, 100, 50))


class Coarse(FakeEvaluator):
    """Gives many networks one score; the weights say whose they are."""

    def evaluate(self, architecture: Architecture, budget: int, seed: int) -> Evaluation:
        value = 10.0 * len(architecture.blocks)
        score = Score(value, budget, seed, 0.5, "digits", architecture.resolution, 100, 50)
        return Evaluation(score, {"w": torch.tensor([float(estimate_costs(architecture).params)])})


class Stepwise(SteppingEvaluator):
    """Can be stopped early."""

    def train(self, architecture: Architecture, start: int, until: int, budget: int, seed: int) -> Evaluation:
        value = accuracy(architecture) * (until / budget) ** 0.3
        partial = budget if until < budget else None
        return Evaluation(Score(value, until, seed, 0.5, "digits", architecture.resolution, 100, 50, partial))


class OneProxy(Stepwise):
    """Scores networks of one resolution and depth by one proxy."""

    def proxy_of(self, architecture: Architecture) -> Architecture:
        return replace(architecture, resolution=32)

    def train(self, architecture: Architecture, start: int, until: int, budget: int, seed: int) -> Evaluation:
        return super().train(self.proxy_of(architecture), start, until, budget, seed)

    def identity(self, architecture: Architecture, budget: int, seed: int) -> Any:
        return super().identity(self.proxy_of(architecture), budget, seed)


class Wordless(FakeEvaluator):
    """Fails once, without a word."""

    def evaluate(self, architecture: Architecture, budget: int, seed: int) -> Evaluation:
        if len(self.asked) == 2:
            self.asked.append(architecture)
            raise TrainingFailedError("")
        return super().evaluate(architecture, budget, seed)


def searched(
    folder: Path, evaluator: Evaluator, slots: int, order: int, killed_after: int | None = None, **overrides: Any
) -> Outcome:
    experiment = resolve_experiment(None, {**BASE, **overrides})
    run = RunDirectory(folder)
    with claimed(run):
        prepared = replace(prepare(experiment), evaluator=evaluator)
        return search(prepared, run, workers=AnyOrder(slots, evaluator, order, killed_after))


def outcomes(outcome: Outcome) -> list[Trial]:
    return [replace(trial, seconds=0.0) for trial in outcome.result.trials]


@pytest.mark.parametrize("limits", [{}, {"limits.latency_ms": 1.1}])
@pytest.mark.parametrize("sampler", ["front", "nsga2", "nsga3", "tpe", "random"])
def test_killed_again_and_again_it_is_the_same_search(workplace: Path, sampler: str, limits: dict[str, Any]) -> None:
    """With three workers, and with any order of ends."""
    settings = {"sampler": sampler, **limits}
    whole = outcomes(searched(workplace / "whole", Uneven(), 3, 0, **settings))
    assert outcomes(searched(workplace / "other", Uneven(), 3, 1, **settings)) == whole
    for seed in range(10):
        try:
            result = searched(workplace / "parts", Uneven(), 3, seed, killed_after=2 + seed, **settings)
        except Killed:
            continue
        break
    assert outcomes(result) == whole


@pytest.mark.parametrize("stopping", ["halving", "hyperband"])
def test_what_is_stopped_early_is_decided_by_the_numbers(workplace: Path, stopping: str) -> None:
    settings = {"stopping": stopping, "training.epochs": 9, "sampler": "random"}
    first, second = (outcomes(searched(workplace / str(seed), Stepwise(), 4, seed, **settings)) for seed in (0, 1))
    assert first == second
    assert any(trial.status == "stopped" for trial in first)


@pytest.mark.parametrize("seed", range(5))
def test_a_cache_that_fills_meanwhile_decides_nothing(workplace: Path, seed: int) -> None:
    """For networks that share a proxy and are in flight together."""
    settings = {"stopping": "halving", "training.epochs": 9, "sampler": "random", "trials": 40, "seed": seed}
    runs = []
    for order in range(4):
        cache = str(workplace / f"scores{order}.sqlite")
        runs.append(outcomes(searched(workplace / str(order), OneProxy(), 6, order, score_cache=cache, **settings)))
    assert all([(t.status, t.network) for t in run] == [(t.status, t.network) for t in runs[0]] for run in runs)


@pytest.mark.parametrize("order", range(4, 9))
def test_of_equal_networks_the_first_is_on_the_front(workplace: Path, order: int) -> None:
    """Weights are kept, and trainings repeated, of those that the result has on its front."""
    run = workplace / "run"
    result = searched(run, Coarse(), 3, order, space="branched", sampler="random", repeats=2, trials=24).result
    kept = {int(path.stem.removeprefix("trial_")) for path in (run / "checkpoints").glob("trial_*.pt")}
    assert kept == {trial.number for trial in result.front}
    assert set(result.repeats) == {trial.network.architecture.fingerprint for trial in result.front}


@pytest.mark.parametrize("sampler", ["tpe", "nsga2"])
@pytest.mark.parametrize("seed", range(8))
def test_another_number_of_workers_counts_every_trial_once(workplace: Path, sampler: str, seed: int) -> None:
    """As many are trained as were asked for, each network once, and what had ended stays."""
    settings = {"sampler": sampler, "limits.latency_ms": 1.0, "seed": seed}
    with pytest.raises(Killed):
        searched(workplace / "run", Uneven(), 4, seed, killed_after=4 + seed % 5, **settings)
    before = load_result(workplace / "run").trials
    result = searched(workplace / "run", Uneven(), 1, 0, **settings).result
    trained = [trial for trial in result.trials if trial.status in TRAINED]
    assert len(trained) == 14
    assert set(Counter(trial.network.architecture.fingerprint for trial in trained).values()) == {1}
    assert [trial.number for trial in result.trials] == list(range(len(result.trials)))
    assert all(result.trials[trial.number] == trial for trial in before)


@pytest.mark.parametrize("slots", [1, 2])
def test_a_failure_without_a_word_is_a_failure(workplace: Path, slots: int) -> None:
    result = searched(workplace / "run", Wordless(), slots, 0).result
    assert [trial.status for trial in result.trials if trial.status in TRAINED].count("failed") == 1
    assert len(result.completed) == 13


def test_failures_of_an_earlier_command_end_no_later_one(workplace: Path) -> None:
    """Once their cause is mended."""
    broken = FakeEvaluator(fails=lambda _: True)
    assert searched(workplace / "run", broken, 6, 0).ending == "failing"
    assert searched(workplace / "run", Uneven(), 6, 0, trials=30).ending == "trials"
