"""Does the latency of a pruned network, measured as a whole, fall as far as the table says that it was pruned by?

    python -m nas.latency measure --space mbv3 --resolution 224 --device my_board --cores 0
    python -m nas.benchmarks.pruning --device my_board --network mobilenet_v3_large

The network is pruned to several shares of its latency as `python -m nas.deploy prune` does it, by a table that was
measured on this machine; rows of widths that it has not are modelled by those that it has. Then, in one run under the
table's conditions, the network, the pruned ones and all their units are timed, interleaved, beside networks of the
table's space that the calibration of the sum is fitted to. So three latencies of a pruned network can be compared: by
the table that it was pruned by (rows partly modelled), by a table whose rows are all measured, and as a whole.
Stopped or killed, the same command goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from torch import Tensor

from nas import console
from nas.deploy.find import FoundNetwork, find_network
from nas.deploy.help import NETWORK_HELP, PICK_HELP
from nas.deploy.pruning.prune import count_macs, pruned_architecture
from nas.deploy.pruning.table_latency import TableLatency
from nas.errors import NasError
from nas.files import write_files
from nas.latency.measuring.kit import MOST_PASSES, RunSettings
from nas.latency.measuring.measure import KIT, RESULTS, build_table, prepare
from nas.latency.measuring.plan import Network, Plan, plan_measurement
from nas.latency.measuring.samples import Results, read_results
from nas.latency.measuring.targets import ThisMachine
from nas.latency.modelling.extend import with_modelled
from nas.latency.modelling.measured_model import cross_validate, measured_model_of
from nas.latency.table import LatencyTable, load_table
from nas.networks.architecture import Architecture
from nas.networks.build import build_network
from nas.networks.deployed import deployed
from nas.networks.operators import units
from nas.networks.space.search_space import load_space

SHARES = (0.9, 0.8, 0.7, 0.6, 0.5)
# Networks of the space that the calibration is fitted to, and others to check it by.
_FIT, _HELD_OUT = 20, 10


@dataclass(frozen=True)
class Pruned:
    """What of a network's latency is left after pruning: milliseconds by three ways, and shares of the original's.

    `wanted` is the share that was asked for, `modelled_ms` the latency by the table that was pruned by, `of_model` the
    part of that table's sum that its cost model made, `table_ms` the latency by measured rows, `measured_ms` that of
    the whole network. `halves` are the measured shares in every other visit: their distance is noise. `in_range` says
    whether the network is as large as those that sums were calibrated by.
    """

    wanted: float
    macs_share: float
    of_model: float
    modelled_ms: float
    modelled_share: float
    table_ms: float
    table_share: float
    measured_ms: float
    measured_share: float
    spread_ms: float
    halves: tuple[float, float]
    in_range: bool

    @property
    def model_error(self) -> float:
        """How much less (below 0) the table that was pruned by leaves than is measured, of what is measured."""
        return self.modelled_share / self.measured_share - 1

    @property
    def table_error(self) -> float:
        """The same of a table whose rows are all measured."""
        return self.table_share / self.measured_share - 1

    @property
    def noise(self) -> float:
        """How far apart the share measured in one half of the visits is from that in the other."""
        return self.halves[0] / self.halves[1] - 1

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        errors = {"model_error": self.model_error, "table_error": self.table_error, "noise": self.noise}
        return {**asdict(self), **errors}


@dataclass(frozen=True)
class Comparison:
    """A network's latencies in milliseconds before pruning, by the same three ways, and what was left of them.

    `range_ms` are the least and the most that a network took by which sums were calibrated.
    """

    network: str
    weights: str
    modelled_ms: float
    table_ms: float
    measured_ms: float
    range_ms: tuple[float, float]
    pruned: tuple[Pruned, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self), "pruned": [one.to_json() for one in self.pruned]}


def prune_to_shares(
    architecture: Architecture, weights: Mapping[str, Tensor], latency_ms: TableLatency, shares: Sequence[float]
) -> dict[float, Architecture]:
    """`architecture` pruned to each share of its latency."""
    before = latency_ms(architecture)
    return {share: pruned_architecture(architecture, weights, latency_ms, share * before) for share in shares}


def plan_comparison(table: LatencyTable, networks: Mapping[str, Architecture], space: str | None = None) -> Plan:
    """`networks` and networks of a space (by default the table's), with all of their units and no others."""
    measurement = _measurement(table)
    drawn = plan_measurement(
        load_space(space or measurement["space"]),
        resolutions=measurement["resolutions"],
        fit=_FIT,
        held_out=_HELD_OUT,
        with_units=False,
    )
    own = [Network(name, "reference", architecture) for name, architecture in networks.items()]
    every = (*drawn.networks, *own)
    return replace(drawn, networks=every, units=tuple(dict.fromkeys(u for n in every for u in n.units)))


def compared(
    name: str,
    weights: str,
    table: LatencyTable,
    pruned: Mapping[float, Architecture],
    plan: Plan,
    results: Results,
) -> Comparison:
    """What `results`, measured by `plan_comparison`, say of networks that were pruned by `table`.

    The plan's last networks are the original and the pruned ones, in this order. Raises NasError where one of them was
    not measured.
    """
    base, *others = plan.networks[-len(pruned) - 1 :]
    timings = (results.timings, *results.halves)
    lost = [network.name for network in (base, *others) if any(network.name not in part for part in timings)]
    if lost:
        raise NasError(f"these networks could not be measured: {', '.join(lost)}")
    by_model, by_rows = TableLatency(table), build_table("here", plan, results, {})

    def three(network: Network) -> tuple[float, float, float]:
        running = deployed(network.architecture)
        whole = results.timings[network.name].latency_ms()
        return by_model(running), by_rows.estimate(running).latency_ms, whole

    before = three(base)
    fitted = [
        results.timings[n.name].latency_ms() for n in plan.networks if n.role == "fit" and n.name in results.timings
    ]
    least, most = min(fitted), max(fitted)
    rows = []
    for share, network in zip(pruned, others, strict=True):
        after = three(network)
        left = [now / was for now, was in zip(after, before, strict=True)]
        halves = [half[network.name].latency_ms() / half[base.name].latency_ms() for half in results.halves]
        rows.append(
            Pruned(
                wanted=share,
                macs_share=count_macs(network.architecture) / count_macs(base.architecture),
                of_model=_part_modelled(table, network.architecture),
                modelled_ms=after[0],
                modelled_share=left[0],
                table_ms=after[1],
                table_share=left[1],
                measured_ms=after[2],
                measured_share=left[2],
                spread_ms=results.timings[network.name].spread_ms(),
                halves=(halves[0], halves[1]),
                in_range=least <= after[2] <= most,
            )
        )
    return Comparison(name, weights, *before, (least, most), tuple(rows))


def _part_modelled(table: LatencyTable, architecture: Architecture) -> float:
    running = deployed(architecture)
    return with_modelled(table, units(running)).estimate(running).share("modelled")


def _measurement(table: LatencyTable) -> dict[str, Any]:
    measurement = table.conditions.measurement
    if not measurement:
        raise NasError(
            f"the table must have been measured on this machine, but {table.name} was not measured: make one by "
            "python -m nas.latency measure"
        )
    return measurement


def _weights(found: FoundNetwork, seed: int) -> tuple[Mapping[str, Tensor], str]:
    """The weights that decide which channels go, and what they are in words."""
    if found.weights is not None and found.fully_trained:
        return found.weights, f"trained on {found.trained_on}"
    return build_network(found.architecture, seed=seed).state_dict(), f"random, seed {seed}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns its exit code."""
    arguments = _parser().parse_args(argv)
    return console.run(lambda: _run(arguments))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m nas.benchmarks.pruning",
        description="How far the latency of pruned networks falls by a table of this machine, and as it is measured.",
    )
    parser.add_argument("--device", metavar="NAME", required=True, help="a table that was measured on this machine")
    parser.add_argument("--network", metavar="NETWORK", default="mobilenet_v3_large", help=NETWORK_HELP)
    parser.add_argument("--pick", metavar="WHICH", help=PICK_HELP)
    parser.add_argument(
        "--shares", metavar="SHARE", type=float, nargs="+", default=list(SHARES), help="of the table's latency"
    )
    parser.add_argument(
        "--space", metavar="NAME", help="whose networks the calibration is fitted to (default: the table's)"
    )
    parser.add_argument("--passes", metavar="N", type=int, help="quiet passes over all models (default: the table's)")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="of random weights (default: %(default)s)")
    parser.add_argument(
        "--work",
        metavar="DIR",
        type=Path,
        help="architectures, samples, result (default: runs/prune_benchmark/NETWORK)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _run(arguments: argparse.Namespace) -> int:
    if not all(0 < share < 1 for share in arguments.shares):
        raise NasError(f"--shares must be between 0 and 1, but got {', '.join(f'{s:g}' for s in arguments.shares)}")
    table = load_table(arguments.device)
    settings = _settings(table, arguments.passes)
    found = find_network(arguments.network, pick=arguments.pick)
    work: Path = arguments.work or Path("runs") / "prune_benchmark" / found.name
    weights, words = _weights(found, arguments.seed)
    model = measured_model_of(table)
    shares = sorted(set(arguments.shares), reverse=True)
    pruned = prune_to_shares(found.architecture, weights, TableLatency(table), shares)
    named = {f"{found.name}_{100 * share:g}": architecture for share, architecture in pruned.items()}
    plan = plan_comparison(table, {found.name: found.architecture, **named}, arguments.space)
    identity = prepare(plan, settings, work, _exporting)
    ThisMachine().run(work / KIT, identity, work / RESULTS)
    result = compared(found.name, words, table, pruned, plan, read_results(work / RESULTS, identity))
    checked = cross_validate({key: row.latency_ms for key, row in table.rows.items() if row.source == "measured"})
    data = {
        "device": table.name,
        "model": {"channels_in_blocks_of": model.block, "cross_validated": asdict(checked)},
        **result.to_json(),
    }
    files = {f"{name}.json": json.dumps(one.to_json(), indent=1) + "\n" for name, one in named.items()}
    write_files(work, {**files, "result.json": json.dumps(data, indent=1) + "\n"})
    if arguments.json:
        print(json.dumps(data, indent=2))
        return 0
    _print(result)
    print(f"modelled rows are {checked.mape:.1%} off measured ones in the mean (cross-validated; channels in blocks of")
    print(f"{model.block})")
    print(f"wrote {work / 'result.json'}, and the pruned architectures beside it")
    return 0


def _settings(table: LatencyTable, passes: int | None) -> RunSettings:
    """The conditions under which the table was measured."""
    settings = RunSettings.from_json(_measurement(table)["settings"])
    return settings if passes is None else replace(settings, passes=passes, most_passes=MOST_PASSES * passes)


def _print(result: Comparison) -> None:
    columns = ("asked", "MACs", "of model", "by table ms", "left", "measured rows ms", "left ", "whole ms", " left ")
    errors = ("table / whole", "rows / whole", "noise", "in range")
    latencies = (result.modelled_ms, result.table_ms, result.measured_ms)
    first = ["100%", "100.0%", "", *(cell for ms in latencies for cell in (f"{ms:.3f}", "")), "", "", "", ""]
    console.print_table(
        (*columns, *errors), [first, *(_row(one) for one in result.pruned)], numbers=(*columns, *errors)
    )
    model = fmean([abs(one.model_error) for one in result.pruned])
    rows = fmean([abs(one.table_error) for one in result.pruned])
    print(
        f"\n{result.network}, weights: {result.weights}. Beside the share of the latency that is left as a whole, the"
    )
    print(f"table that was pruned by is {model:.1%} off in the mean, and one whose rows are all measured {rows:.1%}")
    least, most = result.range_ms
    print(f"in range: from {least:.3g} to {most:.3g} ms, as the networks that sums are calibrated by")


def _row(one: Pruned) -> tuple[str, ...]:
    return (
        f"{one.wanted:.0%}",
        f"{one.macs_share:.1%}",
        f"{one.of_model:.0%}",
        f"{one.modelled_ms:.3f}",
        f"{one.modelled_share:.1%}",
        f"{one.table_ms:.3f}",
        f"{one.table_share:.1%}",
        f"{one.measured_ms:.3f}",
        f"{one.measured_share:.1%}",
        f"{one.model_error:+.1%}",
        f"{one.table_error:+.1%}",
        f"{one.noise:+.1%}",
        "yes" if one.in_range else "no",
    )


def _exporting(done: int, total: int) -> None:
    if done == total:
        print(f"exported {total} models", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
