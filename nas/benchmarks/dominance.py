"""Time fronts and hypervolumes of `nas.search.pareto`, beside the package moocore where it is installed.

    python -m nas.benchmarks.dominance

Two kinds of points, minimised in every objective: a cloud, uniform in the unit cube, whose front is found; and a front,
on a sphere about the reference point 1, ..., 1, whose hypervolume is computed. Small sets on a coarse grid, with and
without infinite values, show whether all ways keep the same points where many are equal.

The ways: `pareto` is nas.search.pareto, `boxes` the front sampler's sum over boxes, and `moocore` the package.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas import console
from nas.errors import NasError
from nas.search.pareto import front_of, hypervolume
from nas.search.sampling.front_sampler.acquisition import covered

Array = NDArray[np.float64]
# From points (n, m) to the indices of their front, or to their hypervolume below 1, ..., 1; by the name of the way.
Ways = Mapping[str, Callable[[Array], Any]]

OBJECTIVES = (2, 3, 4)
POINTS = (10, 100, 1_000, 10_000)
TIE_SETS = 1_000
# Short calls are repeated for so long, in seconds, and the least time counts.
_REPEATED_FOR = 0.2


@dataclass(frozen=True)
class Timing:
    """One task on points of one size: milliseconds by way to do it; None where it was left out as too slow.

    `agreement` of fronts is the share of points on which all ways agree; of hypervolumes, the largest relative
    difference from the first way.
    """

    task: str
    objectives: int
    points: int
    milliseconds: Mapping[str, float | None]
    agreement: float


def available_ways() -> dict[str, Ways]:
    """By task, `front` and `hypervolume`, the ways to do it. Says on stderr when moocore is not installed."""
    fronts: dict[str, Callable[[Array], Any]] = {"pareto": front_of}
    volumes: dict[str, Callable[[Array], Any]] = {
        "pareto": lambda points: hypervolume(points, [1.0] * points.shape[1]),
        "boxes": lambda points: covered(points[:, 1:], points[:, 0], np.ones(points.shape[1] - 1), 1.0),
    }
    try:
        import moocore  # type: ignore
    except ImportError:
        print("moocore is left out: it is not installed (pip install moocore)", file=sys.stderr)
    else:
        fronts["moocore"] = lambda points: np.flatnonzero(moocore.is_nondominated(points)).tolist()
        volumes["moocore"] = lambda points: moocore.hypervolume(points, ref=1.0)
    return {"front": fronts, "hypervolume": volumes}


def cloud(count: int, objectives: int, rng: np.random.Generator) -> Array:
    """Points uniform in the unit cube."""
    return rng.random((count, objectives))


def sphere(count: int, objectives: int, rng: np.random.Generator) -> Array:
    """Points none of which dominates another: on the unit sphere about 1, ..., 1, on the side of the origin."""
    outward = np.abs(rng.standard_normal((count, objectives)))
    return np.asarray(1 - outward / np.linalg.norm(outward, axis=1, keepdims=True), dtype=np.float64)


def measure(
    task: str, ways: Ways, objectives: int, sizes: Sequence[int], limit_s: float, rng: np.random.Generator
) -> list[Timing]:
    """Time every way of a task on points of each of the rising `sizes`.

    A way is left out from the first size on that it is predicted to need more than `limit_s` seconds for: its last time
    grown as it grew before, and at least in proportion to the points.
    """
    draw = cloud if task == "front" else sphere
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    timings = []
    for number, size in enumerate(sizes):
        points = draw(size, objectives, rng)
        results = []
        for way, function in ways.items():
            if len(seconds[way]) == number and _predicted(seconds[way], sizes) <= limit_s:
                least, result = _timed(function, points)
                seconds[way].append(least)
                results.append(result)
        milliseconds = {way: 1000 * own[number] if len(own) > number else None for way, own in seconds.items()}
        timings.append(Timing(task, objectives, size, milliseconds, _agreement(results, size)))
    return timings


def equal_fronts(
    ways: Ways, objectives: int, rng: np.random.Generator, *, infinite: bool, sets: int = TIE_SETS
) -> float:
    """The share of small sets on a coarse grid of which all ways keep the same points.

    With `infinite`, one coordinate in twenty is infinite, which Optuna allows.
    """
    same = 0
    for _ in range(sets):
        points = rng.integers(0, 5, size=(int(rng.integers(1, 30)), objectives)) / 4
        if infinite:
            points[rng.random(points.shape) < 0.05] = np.inf
        first, *others = (function(points) for function in ways.values())
        same += all(other == first for other in others)
    return same / sets


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m nas.benchmarks.dominance",
        description="Time finding fronts and computing hypervolumes, beside the package moocore where it is installed.",
    )
    parser.add_argument(
        "--objectives", metavar="N", type=int, nargs="+", default=list(OBJECTIVES), help="numbers of objectives"
    )
    parser.add_argument("--points", metavar="N", type=int, nargs="+", default=list(POINTS), help="numbers of points")
    parser.add_argument(
        "--limit",
        metavar="SECONDS",
        type=float,
        default=60.0,
        help="leave out a computation that is predicted to take longer than this (default: %(default)s)",
    )
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="seed of the points (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args(argv)
    return console.run(lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> int:
    sizes, objectives = sorted(set(arguments.points)), sorted(set(arguments.objectives))
    if sizes[0] < 1 or objectives[0] < 2:
        raise NasError(f"--points must be at least 1 and --objectives at least 2, but got {sizes[0]}, {objectives[0]}")
    rng = np.random.default_rng(arguments.seed)
    tasks = available_ways()
    timings = [
        timing
        for task, ways in tasks.items()
        for count in objectives
        for timing in measure(task, ways, count, sizes, arguments.limit, rng)
    ]
    ties = [
        {
            "objectives": count,
            "infinite": infinite,
            "equal": equal_fronts(tasks["front"], count, rng, infinite=infinite),
        }
        for count in objectives
        for infinite in (False, True)
    ]
    if arguments.json:
        print(json.dumps({"timings": [asdict(timing) for timing in timings], "equal_fronts": ties}, indent=2))
        return 0
    names = tuple(tasks["hypervolume"])
    columns = ("task", "objectives", "points", *(f"{name} ms" for name in names), "agreement")
    console.print_table(columns, [_row(timing, names) for timing in timings], numbers=columns[1:])
    print(
        "\nagreement: of fronts, the share of points on which all ways agree; of hypervolumes, the largest relative "
        f"difference\nsmall sets with ties ({TIE_SETS:,} of each kind) whose front is the same by all ways:"
    )
    for tie in ties:
        print(f"{tie['objectives']} objectives, {'some' if tie['infinite'] else 'none'} infinite: {tie['equal']:.1%}")
    return 0


def _row(timing: Timing, names: Sequence[str]) -> tuple[str, ...]:
    cells = [timing.milliseconds.get(name) for name in names]
    agreement = f"{timing.agreement:.2%}" if timing.task == "front" else f"{timing.agreement:.1e}"
    return (
        timing.task,
        str(timing.objectives),
        f"{timing.points:,}",
        *("" if cell is None else f"{cell:.3g}" for cell in cells),
        agreement,
    )


def _timed(function: Callable[[Array], Any], points: Array) -> tuple[float, Any]:
    """The least seconds of one call, and what it returned."""
    least, end = np.inf, time.perf_counter() + _REPEATED_FOR
    while True:
        before = time.perf_counter()
        result = function(points)
        after = time.perf_counter()
        least = min(least, after - before)
        if after >= end:
            return least, result


def _predicted(seconds: Sequence[float], sizes: Sequence[int]) -> float:
    """The seconds that the next of `sizes` is predicted to take."""
    if not seconds:
        return 0.0
    number = len(seconds)
    growth = seconds[-1] / seconds[-2] if number > 1 else 1.0
    return seconds[-1] * max(growth, sizes[number] / sizes[number - 1])


def _agreement(results: Sequence[Any], size: int) -> float:
    if not results:
        return float("nan")
    if isinstance(results[0], list):
        fronts = [set(result) for result in results]
        return 1 - len(set.union(*fronts) - set.intersection(*fronts)) / size
    return max((abs(result / results[0] - 1) for result in results), default=0.0)


if __name__ == "__main__":
    sys.exit(main())
