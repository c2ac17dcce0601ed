"""Measure what a trial costs besides training and evaluation.

    python -m nas.benchmarks.overhead --trials 300

Runs a whole search with made-up scores that take no time (nas/benchmarks/oracles.py), and times the rest: suggesting,
costing, storing and logging. With --keep the run stays and its report is written.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from nas import console
from nas.accuracy.evaluators.evaluator import Evaluation, Untrained
from nas.accuracy.score import SHORT, TOP1, Score
from nas.benchmarks.oracles import Made, made_accuracy
from nas.errors import NasError
from nas.files import check_writable, shown
from nas.networks.architecture import Architecture
from nas.networks.operators import estimate_costs
from nas.networks.space.search_space import SearchSpace
from nas.report.files import TrialsFile
from nas.report.write import write_report
from nas.search.driver import search
from nas.search.experiment import resolve_experiment
from nas.search.listener import Listeners
from nas.search.prepare import Prepared, prepare
from nas.search.results.progress import SearchProgress
from nas.search.run.directory import RunDirectory, claimed
from nas.search.sampling.front_sampler.grid import Grid, Rows
from nas.search.sampling.space_rows import rows_of


class MadeUpEvaluator(Untrained):
    """Scores members of a space by made-up accuracies, without training; records the seconds between two calls.

    With `weighs`, scores come with weights: zeros, as many as the network has parameters.
    """

    rung = SHORT
    metric = TOP1

    def __init__(self, space: SearchSpace, *, weighs: bool) -> None:
        rows = rows_of(space)
        self._space, self._grid, self._weighs = space, Grid(rows.distributions), weighs
        self._accuracy = made_accuracy(rows, Made(), seed=1)
        self._ended_at: float | None = None
        self.outside: list[float] = []

    def evaluate(self, architecture: Architecture, budget: int, seed: int) -> Evaluation:
        """The made-up score of a network."""
        if self._ended_at is not None:
            self.outside.append(time.perf_counter() - self._ended_at)
        top1 = float(self._accuracy(self._row(architecture))[0])
        score = Score(top1, budget, seed, 0.0, "made up", architecture.resolution, 1, 1)
        weights = {"all": torch.zeros(estimate_costs(architecture).params)} if self._weighs else None
        self._ended_at = time.perf_counter()
        return Evaluation(score, weights)

    def _row(self, architecture: Architecture) -> Rows:
        return np.array([self._grid.row(self._space.encode(architecture))], dtype=np.int64)


@dataclass(frozen=True)
class Overhead:
    """Seconds from each evaluation to the next, of the whole search, and of writing its report if the run is kept."""

    between: Sequence[float]
    search_seconds: float
    report_seconds: float | None = None


def measure_overhead(trials: int, sampler: str, latency_max: float | None = None, keep: Path | None = None) -> Overhead:
    """Time a search of `trials` trials (at least 2) apart from its scores. The run stays in the new folder `keep`."""
    overrides = {"trials": trials, "sampler": sampler, "references": [], "limits.latency_ms": latency_max}
    experiment = resolve_experiment(None, overrides)
    if trials < 2:
        raise NasError(f"--trials must be at least 2 to have something between two trials, but is {trials}")
    if keep is not None and keep.exists():
        raise NasError(f"--keep must name a folder that does not exist yet, but {shown(keep)} does")
    prepared = prepare(experiment)
    if keep is not None:
        check_writable(keep)
        return _measured(prepared, keep, report=True)
    with tempfile.TemporaryDirectory() as folder:
        return _measured(prepared, Path(folder) / "run", report=False)


def _measured(prepared: Prepared, folder: Path, *, report: bool) -> Overhead:
    # Weights of zeros would be useless in a run that is kept.
    evaluator, run = MadeUpEvaluator(prepared.space, weighs=not report), RunDirectory(folder)
    setting = replace(prepared.setting, dataset="made up", trained="nothing: it is made up, to time everything else")
    prepared = replace(prepared, evaluator=evaluator, setting=setting)
    with SearchProgress(prepared.experiment.trials, quiet=not report) as progress, claimed(run):
        started = time.perf_counter()
        outcome = search(prepared, run, Listeners(progress, TrialsFile(run.path, prepared.setting)))
        overhead = Overhead(evaluator.outside, time.perf_counter() - started)
        if not report:
            return overhead
        started = time.perf_counter()
        write_report(outcome.result, run.path)
        return replace(overhead, report_seconds=time.perf_counter() - started)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m nas.benchmarks.overhead", description=__doc__.splitlines()[0])
    parser.add_argument("--trials", metavar="N", type=int, default=300, help="number of trials (default: %(default)s)")
    parser.add_argument("--sampler", metavar="NAME", default="front", help="sampler to time (default: %(default)s)")
    parser.add_argument("--latency-max", type=float, metavar="MS", help="latency limit of the search (default: none)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="leave the run in this new folder, with its report")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args(argv)
    return console.run(lambda: _report(arguments))


def _report(arguments: argparse.Namespace) -> int:
    trials, sampler = arguments.trials, arguments.sampler
    overhead = measure_overhead(trials, sampler, arguments.latency_max, arguments.keep)
    last = sorted(overhead.between[-50:])
    figures = {
        "trials": trials,
        "sampler": sampler,
        "median_ms": 1000 * statistics.median(overhead.between),
        "last_50_median_ms": 1000 * statistics.median(last),
        "last_50_least_ms": 1000 * last[0],
        "last_50_most_ms": 1000 * last[-1],
        "search_s": overhead.search_seconds,
        "report_s": overhead.report_seconds,
    }
    if arguments.json:
        print(json.dumps(figures))
        return 0
    print(
        f"{sampler}, {trials} trials: {figures['median_ms']:.0f} ms a trial (median); the last 50: "
        f"{figures['last_50_median_ms']:.0f} ms ({figures['last_50_least_ms']:.0f} to "
        f"{figures['last_50_most_ms']:.0f}); {overhead.search_seconds:.0f} s in all"
    )
    if overhead.report_seconds is not None:
        print(f"report: {shown(arguments.keep / 'report.html')}, written in {overhead.report_seconds:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
