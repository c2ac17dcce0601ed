"""How long does it take to draw and cost many networks of a space?

    python -m nas.benchmarks.costing --space mbv3 --device pixel_lut

Everything that is needed after the space and the table are loaded counts: the first time, that is building the arrays,
tracing every unit that a network can have, drawing and adding up. The second time only drawing and adding up is left.
Beside it stands what one network costs that is given as an architecture, once its space's units are known.
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

# Networks of each kind by which one estimate is timed.
_ESTIMATES = 1000

# Seconds by what they were spent on.
Seconds = dict[str, float]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m nas.benchmarks.costing",
        description="Draw and cost networks of a space: parameters, MACs, peak memory and latency of each.",
        epilog="example:\n  python -m nas.benchmarks.costing --space mbv3 --device pixel_lut --count 100000",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--space", default="mbv3", help="a search space (default: mbv3)")
    parser.add_argument("--device", default="pixel_lut", help="a latency table (default: pixel_lut)")
    parser.add_argument("--count", type=_count, default=100_000, help="networks (default: 100000)")
    parser.add_argument("--seed", type=int, default=0, help="of the draws (default: 0)")
    arguments = parser.parse_args(argv)
    return console.run(lambda: _run(arguments))


def measure(space: SearchSpace, table: LatencyTable, count: int, rng: np.random.Generator) -> tuple[Seconds, Seconds]:
    """Seconds of the first and the second time that `count` networks are drawn and costed."""
    before = time.perf_counter()
    compiled = SpaceTable(space)
    building = time.perf_counter() - before
    first = _draw_and_cost(compiled, table, count, rng)
    return {"building": building, **first}, _draw_and_cost(compiled, table, count, rng)


def measure_one(space: SearchSpace, table: LatencyTable, rng: np.random.Generator) -> float:
    """Seconds in which `estimate` answers for one architecture that it has not met: the median of _ESTIMATES."""
    met, new = ([space.sample(rng) for _ in range(_ESTIMATES)] for _ in range(2))
    table.estimate_many(met)
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
