"""Compare how fast samplers find the front, and how long a suggestion of each takes.

    python -m nas.benchmarks.samplers --published DIR --out runs/benchmark

Every sampler searches every oracle (oracles.py) once for each seed. Samplers are compared by the hypervolume of the
evaluated members, at their true objectives, as a share of the best front's.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import json
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import optuna
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from optuna.samplers import BaseSampler, GPSampler, NSGAIIISampler, NSGAIISampler, RandomSampler, TPESampler

from nas import console
from nas.benchmarks.oracles import MADE_UP, PUBLISHED, Oracle, load_oracle
from nas.benchmarks.sampler_peers import BotorchSampler, PymooSampler
from nas.errors import NasError, unknown_name
from nas.files import check_writable, shown, write_files
from nas.search.sampling.front_sampler.proposal import SpaceExhaustedError
from nas.search.sampling.front_sampler.sampler import FrontSampler

EPILOG = """\
examples:
  python -m nas.benchmarks.samplers --oracle cells --sampler front --sampler nsga2 --evaluations 100
  python -m nas.benchmarks.samplers --published DIR --out runs/benchmark

DIR holds nas_bench_macro_cifar10.csv (columns arch, acc0, acc1, acc2, mean_acc, std, params, flops), made from
github.com/xiusu/NAS-Bench-Macro; without it that oracle is left out. The samplers botorch and pymoo need the packages
of those names. front is given the reference point, as botorch is; front_auto is not.
"""
CHECKPOINTS = (50, 100, 200, 300)
_POPULATION = 20

# Builds a sampler for an oracle, from a seed.
MakeSampler = Callable[[Oracle, int], BaseSampler]

SAMPLERS: Mapping[str, MakeSampler] = {
    "random": lambda _, seed: RandomSampler(seed=seed),
    "nsga2": lambda _, seed: NSGAIISampler(population_size=_POPULATION, seed=seed),
    "nsga3": lambda _, seed: NSGAIIISampler(population_size=_POPULATION, seed=seed),
    "tpe": lambda _, seed: TPESampler(multivariate=True, seed=seed),
    "gp": lambda _, seed: GPSampler(seed=seed, deterministic_objective=True),
    "front": lambda oracle, seed: FrontSampler(oracle.problem, seed=seed),
    "front_auto": lambda oracle, seed: FrontSampler(replace(oracle.problem, reference=None), seed=seed),
    "botorch": BotorchSampler,
    "pymoo": PymooSampler,
}
# Samplers of packages that are not dependencies of this project.
PEERS = ("botorch", "pymoo")
# The samplers that run when none is named; gp is not among them, because it takes seconds per suggestion.
USUAL = ("random", "nsga2", "nsga3", "tpe", "front", "front_auto", "pymoo")


@dataclass(frozen=True)
class Run:
    """One search: the share of the best hypervolume after each evaluation, and the seconds of each suggestion."""

    shares: tuple[float, ...]
    suggest_seconds: tuple[float, ...]


def run_search(oracle: Oracle, make_sampler: MakeSampler, seed: int, evaluations: int) -> Run:
    """Search an oracle once. When its space is exhausted earlier, the last share is repeated."""
    shares: list[float] = []
    seconds: list[float] = []
    best = oracle.hypervolume(oracle.best)
    grid, front = oracle.problem.grid, oracle.best[:0]
    with warnings.catch_warnings():
        # Some of Optuna's samplers and options are "experimental".
        warnings.simplefilter("ignore")
        directions: list[Literal["maximize", "minimize"]] = ["maximize"]
        directions += ["minimize"] * (len(oracle.reference) - 1)
        study = optuna.create_study(directions=directions, sampler=make_sampler(oracle, seed))
        while len(shares) < evaluations:
            started = time.perf_counter()
            try:
                trial = study.ask(dict(oracle.problem.space))
            except SpaceExhaustedError:
                shares += [shares[-1]] * (evaluations - len(shares))
                break
            seconds.append(time.perf_counter() - started)
            row = np.array(grid.row(trial.params))
            front = oracle.front_of(np.concatenate([front, oracle.objectives(row[None])]))
            shares.append(oracle.hypervolume(front) / best)
            study.tell(trial, oracle.told(row, seed))
    return Run(tuple(shares), tuple(seconds))


def summary(runs: Sequence[Run]) -> dict[str, Any]:
    """A sampler's results on an oracle: means and standard deviations of shares over seeds, and times."""
    shares = np.array([run.shares for run in runs])
    seconds = np.array([second for run in runs for second in run.suggest_seconds])
    return {
        "seeds": len(runs),
        "share_mean": shares.mean(axis=0).tolist(),
        "share_std": shares.std(axis=0).tolist(),
        "shares": shares.tolist(),
        "suggest_ms_median": 1000 * float(np.median(seconds)),
        "suggest_ms_last_20": 1000 * float(np.median([s for run in runs for s in run.suggest_seconds[-20:]])),
        "suggest_ms_most": 1000 * float(seconds.max()),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m nas.benchmarks.samplers",
        description="Compare samplers on searches whose best front is known.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    oracles, samplers = ", ".join((PUBLISHED, *MADE_UP)), ", ".join(SAMPLERS)
    parser.add_argument(
        "--oracle", action="append", metavar="NAME", help=f"oracle to search: {oracles}; repeatable (default: all)"
    )
    parser.add_argument(
        "--sampler",
        action="append",
        metavar="NAME",
        help=f"sampler to run: {samplers}; repeatable (default: {', '.join(USUAL)})",
    )
    parser.add_argument(
        "--seeds",
        type=int,
        default=5,
        metavar="N",
        help="number of searches by each sampler on each oracle (default: 5)",
    )
    parser.add_argument(
        "--evaluations", type=int, default=300, metavar="N", help="number of evaluations in each search (default: 300)"
    )
    parser.add_argument("--published", type=Path, metavar="DIR", help="folder that holds the published tables")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write benchmark.json and benchmark.png there")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    arguments = parser.parse_args(argv)
    return console.run(lambda: _benchmark(arguments))


def _benchmark(arguments: argparse.Namespace) -> int:
    if arguments.seeds < 1 or arguments.evaluations < 1:
        raise NasError(
            f"--seeds and --evaluations must be at least 1, but are {arguments.seeds} and {arguments.evaluations}"
        )
    samplers, oracles = _samplers(arguments.sampler), _oracles(arguments.oracle, arguments.published)
    if arguments.out is not None:
        check_writable(arguments.out)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    results: dict[str, Any] = {}
    for oracle in oracles:
        results[oracle.name] = {
            "words": oracle.words,
            "reference": oracle.reference.tolist(),
            "best_hypervolume": oracle.hypervolume(oracle.best),
            "best_is_exact": oracle.listed,
            "samplers": {name: _runs(oracle, name, arguments.seeds, arguments.evaluations) for name in samplers},
        }
    _hand_over(results, arguments)
    return 0


def _samplers(names: Sequence[str] | None) -> list[str]:
    """The named samplers that can run; says on stderr which peers are not installed."""
    chosen = list(dict.fromkeys(names or USUAL))
    unknown = [name for name in chosen if name not in SAMPLERS]
    if unknown:
        raise NasError(unknown_name("sampler", unknown[0], SAMPLERS))
    absent = [name for name in chosen if name in PEERS and importlib.util.find_spec(name) is None]
    for name in absent:
        print(f"{name} is left out: it is not installed (pip install {name})", file=sys.stderr)
    if len(absent) == len(chosen):
        others = ", ".join(name for name in SAMPLERS if name not in PEERS)
        raise NasError(f"no sampler is left to compare. Install one, or ask for others: {others}.")
    return [name for name in chosen if name not in absent]


def _oracles(names: Sequence[str] | None, published: Path | None) -> list[Oracle]:
    if not names and published is None:
        print(f"{PUBLISHED} is left out: it needs --published DIR", file=sys.stderr)
    everything = [*([PUBLISHED] if published is not None else []), *MADE_UP]
    return [load_oracle(name, published) for name in dict.fromkeys(names or everything)]


def _runs(oracle: Oracle, sampler: str, seeds: int, evaluations: int) -> dict[str, Any]:
    runs = [run_search(oracle, SAMPLERS[sampler], seed, evaluations) for seed in range(seeds)]
    figures = summary(runs)
    print(f"{oracle.name}, {sampler}: {figures['share_mean'][-1]:.2%}", file=sys.stderr, flush=True)
    return figures


def _hand_over(results: Mapping[str, Any], arguments: argparse.Namespace) -> None:
    text = json.dumps(results, indent=1) + "\n"
    if arguments.out is not None:
        write_files(arguments.out, {"benchmark.json": text})
        save_picture(arguments.out / "benchmark.png", results)
    if arguments.json:
        print(text, end="")
        return
    points = [at for at in CHECKPOINTS if at < arguments.evaluations] + [arguments.evaluations]
    columns = ("oracle", *(f"after {at}" for at in points), "± seeds", "ms", "sampler")
    rows = [
        (
            name,
            *(f"{one['share_mean'][at - 1]:.2%}" for at in points),
            f"{one['share_std'][-1]:.2%}",
            f"{one['suggest_ms_last_20']:.0f}",
            sampler,
        )
        for name, of_oracle in results.items()
        for sampler, one in of_oracle["samplers"].items()
    ]
    console.print_table(columns, rows, numbers=columns[1:-1])
    print(
        f"\nShare of the best hypervolume, mean of {arguments.seeds} seeds; their standard deviation at the end; "
        "milliseconds per suggestion, median of the last 20."
    )
    for name, of_oracle in results.items():
        best = "all members" if of_oracle["best_is_exact"] else "a long search by the true objectives"
        print(f"{name}: {of_oracle['words']}. The best front is that of {best}.")
    if arguments.out is not None:
        print(f"Written: {shown(arguments.out / 'benchmark.json')}, {shown(arguments.out / 'benchmark.png')}")


def save_picture(path: Path, results: Mapping[str, Any]) -> None:
    """Draw one panel per oracle: the hypervolume that is missing (logarithmic, mean over seeds) against evaluations."""
    columns = min(3, len(results))
    rows = -(-len(results) // columns)
    figure = Figure(figsize=(5.0 * columns, 3.8 * rows), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    names = list(dict.fromkeys(name for one in results.values() for name in one["samplers"]))
    for number, (oracle, one) in enumerate(results.items(), start=1):
        axes = figure.add_subplot(rows, columns, number)
        axes.set_title(oracle, loc="left", fontweight="bold")
        axes.set_xlabel("evaluations")
        axes.set_ylabel("hypervolume missing (%)")
        axes.set_yscale("log")
        axes.grid(color="#e3e5e8", linewidth=0.8)
        for sampler, curves in one["samplers"].items():
            missing = 100 * np.maximum(1 - np.array(curves["shares"]), 1e-4)
            at = np.arange(1, missing.shape[1] + 1)
            colour = f"C{names.index(sampler) % 10}"
            axes.plot(at, missing.mean(axis=0), color=colour, label=sampler, linewidth=2 if "front" in sampler else 1.2)
            axes.fill_between(at, missing.min(axis=0), missing.max(axis=0), color=colour, alpha=0.12, linewidth=0)
        if number == 1:
            axes.legend(frameon=False, fontsize=8)
    content = io.BytesIO()
    figure.savefig(content, format="png")
    path.write_bytes(content.getvalue())


if __name__ == "__main__":
    sys.exit(main())
