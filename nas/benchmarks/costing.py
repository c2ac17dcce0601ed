"""Measure how long it takes to draw and cost many networks of a space.

    python -m nas.benchmarks.costing --space mbv3 --device pixel_lut

All work after loading the space and the table counts. The first time that is building the arrays, tracing every unit
that a network can have, drawing and adding up; the second time it is drawing and adding up. The time to estimate one
network, given as an architecture, is measured as well, once the units of its space are known.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

import numpy as np

from nas import console
from nas.latency.table import LatencyTable, load_table
from nas.networks.space.search_space import SearchSpace, load_space
from nas.networks.space.table import SpaceTable

# Number of single estimates that are timed.
_ESTIMATES = 1000

# Seconds by part of the work.
Seconds = dict[str, float]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m nas.benchmarks.costing",
        description="Time drawing networks of a space and computing their parameters, MACs, peak memory and latency.",
        epilog="example:\n  python -m nas.benchmarks.costing --space mbv3 --device pixel_lut --count 100000",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--space", default="mbv3", help="search space: a name, or the path of a YAML file (default: mbv3)"
    )
    parser.add_argument(
        "--device", default="pixel_lut", help="latency table: a name, or the path of a YAML file (default: pixel_lut)"
    )
    parser.add_argument("--count", type=_count, default=100_000, help="number of networks (default: 100000)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the draws (default: 0)")
    arguments = parser.parse_args(argv)
    return console.run(lambda: _run(arguments))


def measure(space: SearchSpace, table: LatencyTable, count: int, rng: np.random.Generator) -> tuple[Seconds, Seconds]:
    """The seconds that drawing and costing `count` networks takes, the first time and the second time."""
    before = time.perf_counter()
    compiled = SpaceTable(space)
    building = time.perf_counter() - before
    first = _draw_and_cost(compiled, table, count, rng)
    return {"building": building, **first}, _draw_and_cost(compiled, table, count, rng)


def measure_one(space: SearchSpace, table: LatencyTable, rng: np.random.Generator) -> float:
    """Seconds of one `estimate` of an architecture that it has not seen before: the median of _ESTIMATES."""
    seen, new = ([space.sample_member(rng) for _ in range(_ESTIMATES)] for _ in range(2))
    table.estimate_many(seen)
    seconds = []
    for architecture in new:
        before = time.perf_counter()
        table.estimate(architecture)
        seconds.append(time.perf_counter() - before)
    return float(np.median(seconds))


def _run(arguments: argparse.Namespace) -> int:
    space, table = load_space(arguments.space), load_table(arguments.device)
    rng = np.random.default_rng(arguments.seed)
    times = measure(space, table, arguments.count, rng)
    print(f"{arguments.count:,} networks of {space.name} with {table.name}, seconds:\n")
    rows = [(part, *(f"{seconds.get(part, 0.0):.3f}" for seconds in times)) for part in times[0]]
    rows.append(("total", *(f"{sum(seconds.values()):.3f}" for seconds in times)))
    console.print_table(("part", "first time", "again"), rows, numbers=("first time", "again"))
    print(f"\nestimate of one network: {measure_one(space, table, rng) * 1e6:.0f} µs")
    return 0


def _draw_and_cost(compiled: SpaceTable, table: LatencyTable, count: int, rng: np.random.Generator) -> Seconds:
    marks = [time.perf_counter()]
    members = compiled.sample(count, rng)
    marks.append(time.perf_counter())
    for costs in (members.params, members.macs, members.peak_activation_bytes):
        assert len(costs) == count
    marks.append(time.perf_counter())
    assert len(table.estimate_members(members)) == count
    marks.append(time.perf_counter())
    return dict(zip(("drawing", "params, MACs, peak", "latency"), np.diff(marks).tolist(), strict=True))


def _count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, but got {count}")
    return count


if __name__ == "__main__":
    sys.exit(main())
