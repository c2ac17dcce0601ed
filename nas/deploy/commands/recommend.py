"""python -m nas.deploy recommend: name the networks that meet a use's limits on a device."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from nas import console
from nas.config import Settings
from nas.errors import NasError, unknown_name
from nas.options import checked_options

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

# How many of the networks that were left out are named in the table's note.
_NAMED = 3


class RecommendOptions(Settings):
    """The options of `recommend` that are numbers."""

    latency: float | None = Field(default=None, gt=0, allow_inf_nan=False, json_schema_extra={"unit": "ms"})


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `recommend` and its options."""
    parser = commands.add_parser(
        "recommend",
        help="say which network to take for a device and a use",
        description="Name the networks of a run, or published ones, that meet a use's limits on a device, and why.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--device", metavar="TABLE", default="pixel_lut", help="latency table (default: %(default)s)")
    parser.add_argument("--use", default="general", help="real-time, general, edge or embedded (default: %(default)s)")
    parser.add_argument("--latency", metavar="MS", type=float, help="limit on latency, instead of the use's own")
    parser.add_argument("--run", metavar="DIR", type=Path, help="choose among a run's networks, by their accuracy")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Run it; returns the exit code: 1 where no network meets the limits."""
    options = checked_options(RecommendOptions, arguments)

    from nas.deploy.recommend import USES, nearest_misses, recommend, with_latency
    from nas.latency.table import load_table

    if arguments.use not in USES:
        raise NasError(unknown_name("use", arguments.use, USES))
    use = with_latency(USES[arguments.use], options.latency)
    table = load_table(arguments.device)
    candidates, left_out = _candidates(arguments.run, table)
    recommendations = recommend(candidates, use)
    misses = [] if recommendations else nearest_misses(candidates, use)
    if arguments.json:
        rows = [{"why": one.why, **_facts(one.candidate)} for one in recommendations]
        near = [{"breaks": candidate.broken(use), **_facts(candidate)} for candidate in misses]
        print(json.dumps({"use": vars(use), "recommended": rows, "nearest": near, "left_out": left_out}, indent=2))
    else:
        _print(recommendations, misses, use, table, len(candidates))
        if left_out:
            print(
                f"{len(left_out)} published networks were left out, as {table.name} cannot tell their latency "
                f"({', '.join(left_out[:_NAMED])}{', ...' * (len(left_out) > _NAMED)}; --json names all)"
            )
    return 0 if recommendations else 1


def _candidates(run: Path | None, table: LatencyTable) -> tuple[list[Candidate], list[str]]:
    """The networks to choose from, and the names of published ones whose latency the table cannot tell."""
    from nas.deploy.recommend import candidates_of_run, latency_on, published_candidates

    latency_ms = latency_on(table)
    if run is not None:
        from nas.search.run.load import load_result

        result = load_result(run)
        if not result.completed:
            raise NasError(f"{run} has no trained network yet: let the search go on")
        return candidates_of_run(result, latency_ms), []
    from nas.networks.references import REFERENCES

    candidates: list[Candidate] = []
    left_out = []
    for name, build in REFERENCES.items():
        try:
            candidates += published_candidates({name: build()}, latency_ms)
        except NasError:
            left_out.append(name)
    return candidates, left_out


def _facts(candidate: Candidate) -> dict[str, Any]:
    names = ("name", "kind", "top1", "latency_ms", "params", "macs", "peak_activation_bytes")
    return {name: getattr(candidate, name) for name in names}


def _print(
    recommendations: Sequence[Recommendation], misses: Sequence[Candidate], use: Use, table: LatencyTable, count: int
) -> None:
    print(f"{use.name} on {table.name} ({table.conditions.device}): {use.why}; {count} networks looked at\n")
    columns = ("network", "of", "top-1 %", "ms", "params", "MACs", "peak kB", "why")
    if not recommendations:
        print("no network meets the limits; the nearest:")
    rows = [_cells(one.candidate, one.why) for one in recommendations]
    rows += [_cells(candidate, "; ".join(candidate.broken(use))) for candidate in misses]
    console.print_table(columns, rows, numbers=columns[2:-1])
    if recommendations and recommendations[0].candidate.top1 is None:
        print("\nthe accuracy of published networks is not known here: a run (--run) trains and compares them")


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
