"""python -m nas.search.overhead: what does a trial cost besides training and evaluation?

Runs a whole search in a temporary directory with an evaluator that answers at once, and times what is left: suggesting,
costing, storing and logging.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from nas import console
from nas.accuracy.evaluate import Evaluation, Score
from nas.errors import NasError
from nas.networks.architecture import Architecture
from nas.networks.operators import estimate_costs
from nas.report.files import append_trial
from nas.search.experiment import resolve_experiment
from nas.search.progress import SearchProgress
from nas.search.run_directory import RunDirectory, claimed
from nas.search.study import prepare, search


@dataclass
class InstantEvaluator:
    """Scores by size, at once; keeps the seconds between two calls."""

    ended_at: list[float] = field(default_factory=list)
    outside: list[float] = field(default_factory=list)

    def evaluate(self, architecture: Architecture, budget: int, seed: int) -> Evaluation:
        """A made-up score that grows with the network's MACs, and weights of its size."""
        if self.ended_at:
            self.outside.append(time.perf_counter() - self.ended_at[-1])
        costs = estimate_costs(architecture)
        score = Score(
            100 * costs.macs / (costs.macs + 1e8), budget, seed, 0.0, "made up", architecture.resolution, 1, 1
        )
        evaluation = Evaluation(score, {"all": torch.zeros(costs.params)})
        self.ended_at.append(time.perf_counter())
        return evaluation

    def proxy_of(self, architecture: Architecture) -> Architecture:
        """Each network stands for itself."""
        return architecture


def measure_overhead(trials: int, sampler: str, latency_max: float | None = None) -> list[float]:
    """Seconds from one evaluation to the next, over a search of `trials` trials (at least 2)."""
    overrides = {"trials": trials, "sampler": sampler, "references": [], "limits.latency_ms": latency_max}
    experiment = resolve_experiment(None, overrides)
    if trials < 2:
        raise NasError(f"--trials must be at least 2 to have something between two trials, but is {trials}")
    evaluator = InstantEvaluator()
    prepared = replace(prepare(experiment), evaluator=evaluator)
    with tempfile.TemporaryDirectory() as folder, SearchProgress(trials, quiet=True) as progress:
        run = RunDirectory(Path(folder) / "run")
        with claimed(run):
            search(prepared, run, progress, on_trial=lambda trial: append_trial(run.path / "trials.csv", trial))
    return evaluator.outside


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m nas.search.overhead", description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=300)
    parser.add_argument("--sampler", default="front")
    parser.add_argument("--latency-max", type=float, metavar="MS")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args(argv)
    return console.run(lambda: _report(arguments))


def _report(arguments: argparse.Namespace) -> int:
    trials, sampler = arguments.trials, arguments.sampler
    seconds = measure_overhead(trials, sampler, arguments.latency_max)
    last = sorted(seconds[-50:])
    figures = {
        "trials": trials,
        "sampler": sampler,
        "median_ms": 1000 * statistics.median(seconds),
        "last_50_median_ms": 1000 * statistics.median(last),
        "last_50_least_ms": 1000 * last[0],
        "last_50_most_ms": 1000 * last[-1],
    }
    if arguments.json:
        print(json.dumps(figures))
    else:
        print(
            f"{sampler}, {trials} trials: {figures['median_ms']:.0f} ms a trial (median); the last 50: "
            f"{figures['last_50_median_ms']:.0f} ms ({figures['last_50_least_ms']:.0f} to "
            f"{figures['last_50_most_ms']:.0f})"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
