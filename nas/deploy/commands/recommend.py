"""python -m nas.deploy recommend: which network to take for a device and a use."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas import console
from nas.errors import NasError, unknown_name

if TYPE_CHECKING:
    from nas.deploy.recommend import Candidate, Recommendation, Use
    from nas.latency.table import LatencyTable

EXAMPLES = """\
examples:
  python -m nas.deploy recommend --device pixel_lut --use real-time --run runs/mbv3-pixel_lut-digits
  python -m nas.deploy recommend --device note10_lut --use general --latency 25

uses: real-time (30 frames a second), general (0.1 s), edge (15 frames a second, 20 MB of weights), embedded (int8 in
1 MB of flash and 320 kB of memory). --latency replaces a use's own limit.
"""

_SHOWN = 3


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `recommend` and its options."""
    parser = commands.add_parser(
        "recommend",
        help="which network to take for a device and a use",
        description="Name the networks of a run, or published ones, that meet a use's limits on a device, and why.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--device", metavar="TABLE", default="pixel_lut", help="latency table (default: %(default)s)")
    parser.add_argument("--use", default="general", help="real-time, general, edge or embedded (default: %(default)s)")
    parser.add_argument("--latency", metavar="MS", type=float, help="instead of the use's own limit")
    parser.add_argument("--run", metavar="DIR", type=Path, help="a run, for networks whose accuracy is known")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Run it; returns the exit code: 1 where no network meets the limits."""
    if arguments.latency is not None and not 0 < arguments.latency < math.inf:
        raise NasError(f"--latency must be above 0 ms and finite, but is {arguments.latency:g}")

    from nas.deploy.recommend import USES, nearest_misses, recommend, with_latency
    from nas.latency.table import load_table

    if arguments.use not in USES:
        raise NasError(unknown_name("use", arguments.use, USES))
    use = with_latency(USES[arguments.use], arguments.latency)
    table = load_table(arguments.device)
    candidates, left_out = _candidates(arguments.run, table)
    found = recommend(candidates, use)
    misses = [] if found else nearest_misses(candidates, use)
    if arguments.json:
        rows = [{"why": one.why, **_facts(one.candidate)} for one in found]
        near = [{"breaks": one.broken(use), **_facts(one)} for one in misses]
        print(json.dumps({"use": vars(use), "recommended": rows, "nearest": near, "left_out": left_out}, indent=2))
    else:
        _print(found, misses, use, table, len(candidates))
        if left_out:
            print(
                f"{len(left_out)} published networks were left out, as {table.name} cannot tell their latency "
                f"({', '.join(left_out[:_SHOWN])}{', ...' * (len(left_out) > _SHOWN)}; --json names all)"
            )
    return 0 if found else 1


def _candidates(run: Path | None, table: LatencyTable) -> tuple[list[Candidate], list[str]]:
    """What there is to choose from, and the published networks whose latency the table cannot tell."""
    from nas.deploy.recommend import candidates_of_run, latency_on, published_candidates

    latency_ms = latency_on(table)
    if run is not None:
        from nas.search.run.load import load_result

        result = load_result(run)
        if not result.completed:
            raise NasError(f"{run} has no trained network yet: let the search go on")
        return candidates_of_run(result, latency_ms), []
    from nas.networks.references import REFERENCES

    found: list[Candidate] = []
    left_out = []
    for name, build in REFERENCES.items():
        try:
            found += published_candidates({name: build()}, latency_ms)
        except NasError:
            left_out.append(name)
    return found, left_out


def _facts(candidate: Candidate) -> dict[str, Any]:
    names = ("name", "kind", "top1", "latency_ms", "params", "macs", "peak_activation_bytes")
    return {name: getattr(candidate, name) for name in names}


def _print(
    found: Sequence[Recommendation], misses: Sequence[Candidate], use: Use, table: LatencyTable, count: int
) -> None:
    print(f"{use.name} on {table.name} ({table.conditions.device}): {use.why}; {count} networks looked at\n")
    columns = ("network", "of", "top-1 %", "ms", "params", "MACs", "peak kB", "why")
    if not found:
        print("no network meets the limits; the nearest:")
    rows = [_cells(one.candidate, one.why) for one in found]
    rows += [_cells(one, "; ".join(one.broken(use))) for one in misses]
    console.print_table(columns, rows, numbers=columns[2:-1])
    if found and found[0].candidate.top1 is None:
        print("\nno accuracy is known of published networks here: a run (--run) trains and compares them")


def _cells(candidate: Candidate, why: str) -> tuple[str, ...]:
    return (
        candidate.name,
        candidate.kind,
        f"{candidate.top1:.1f}" if candidate.top1 is not None else "unknown",
        f"{candidate.latency_ms:.2f}",
        f"{candidate.params:,}",
        f"{candidate.macs:,}",
        f"{candidate.peak_activation_bytes / 1e3:,.0f}",
        why,
    )
