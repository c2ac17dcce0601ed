"""Compare the latency of pruned networks by the table that pruned them with their latency measured as a whole.

    python -m nas.latency measure --space mbv3 --resolution 224 --device my_board --cores 0
    python -m nas.benchmarks.pruning --device my_board --network mobilenet_v3_large

The network is pruned to several shares of its latency, as `python -m nas.deploy prune` does it, by a table that was
measured on this machine. Rows of widths that the table lacks are modelled from those that it has. One run under the
table's conditions then times, interleaved, the network, the pruned networks and all their units, and networks of the
table's space, to which the calibration of sums is fitted. So three latencies of a pruned network can be compared: by
the table that pruned it (some rows modelled), by a table with all rows measured, and measured as a whole. After a stop
or a kill the same command goes on where it was.
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
# Numbers of the space's networks that the calibration is fitted to, and of others that it is checked on.
_FIT, _HELD_OUT = 20, 10


@dataclass(frozen=True)
class Pruned:
    """The latency left after pruning: milliseconds of three kinds, and their shares of the original network's.

    `wanted` is the target share. `modelled_ms` is the latency by the table that pruned the network, and `of_model` the
    part of it that the table's cost model made. `table_ms` is the latency by measured rows, and `measured_ms` that of
    the whole network. `halves` are the measured shares from every other visit; their difference is noise. `in_range`
    says whether the latency is within that of the networks that sums were calibrated on.
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
        """Relative error of the share left by the table that pruned: below 0, it leaves less than is measured."""
        return self.modelled_share / self.measured_share - 1

    @property
    def table_error(self) -> float:
        """Relative error of the share left by a table whose rows are all measured."""
        return self.table_share / self.measured_share - 1

    @property
    def noise(self) -> float:
        """Relative difference of the shares measured in the two halves of the visits."""
        return self.halves[0] / self.halves[1] - 1

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        errors = {"model_error": self.model_error, "table_error": self.table_error, "noise": self.noise}
        return {**asdict(self), **errors}


@dataclass(frozen=True)
class PruningComparison:
    """A network's latencies in milliseconds before pruning, of the same three kinds, and the pruned networks'.

    `range_ms` are the least and the greatest latency of the networks that sums were calibrated on.
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
    """A plan of `networks`, networks drawn from a space (by default the table's), and exactly their units."""
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
) -> PruningComparison:
    """Compare the latencies of networks that were pruned by `table`, from the results of a `plan_comparison`.

    The plan's last networks are the original and the pruned ones, in this order. Raises NasError where one of them was
    not measured.
    """
    base, *others = plan.networks[-len(pruned) - 1 :]
    timings = (results.timings, *results.halves)
    unmeasured = [network.name for network in (base, *others) if any(network.name not in part for part in timings)]
    if unmeasured:
        raise NasError(f"these networks could not be measured: {', '.join(unmeasured)}")
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
    return PruningComparison(name, weights, *before, (least, most), tuple(rows))


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


def _weights(network: FoundNetwork, seed: int) -> tuple[Mapping[str, Tensor], str]:
    """The weights that decide which channels are pruned, and a description of them."""
    if network.weights is not None and network.fully_trained:
        return network.weights, f"trained on {network.trained_on}"
    return build_network(network.architecture, seed=seed).state_dict(), f"random, seed {seed}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns its exit code."""
    arguments = _parser().parse_args(argv)
    return console.run(lambda: _run(arguments))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m nas.benchmarks.pruning",
        description="Compare the latency of pruned networks by a table of this machine with their measured latency.",
    )
    parser.add_argument(
        "--device", metavar="NAME", required=True, help="latency table that was measured on this machine"
    )
    parser.add_argument("--network", metavar="NETWORK", default="mobilenet_v3_large", help=NETWORK_HELP)
    parser.add_argument("--pick", metavar="WHICH", help=PICK_HELP)
    parser.add_argument(
        "--shares",
        metavar="SHARE",
        type=float,
        nargs="+",
        default=list(SHARES),
        help="shares of the network's latency by the table to prune to (default: 0.9 to 0.5)",
    )
    parser.add_argument(
        "--space",
        metavar="NAME",
        help="search space of the networks that the calibration is fitted to (default: the table's)",
    )
    parser.add_argument(
        "--passes", metavar="N", type=int, help="undisturbed passes over all models (default: the table's)"
    )
    parser.add_argument(
        "--seed", metavar="N", type=int, default=0, help="seed of random weights (default: %(default)s)"
    )
    parser.add_argument(
        "--work",
        metavar="DIR",
        type=Path,
        help="folder of the architectures, samples and result (default: runs/prune_benchmark/NETWORK)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _run(arguments: argparse.Namespace) -> int:
    if not all(0 < share < 1 for share in arguments.shares):
        raise NasError(f"--shares must be between 0 and 1, but got {', '.join(f'{s:g}' for s in arguments.shares)}")
    table = load_table(arguments.device)
    settings = _settings(table, arguments.passes)
    network = find_network(arguments.network, pick=arguments.pick)
    work: Path = arguments.work or Path("runs") / "prune_benchmark" / network.name
    weights, words = _weights(network, arguments.seed)
    model = measured_model_of(table)
    shares = sorted(set(arguments.shares), reverse=True)
    pruned = prune_to_shares(network.architecture, weights, TableLatency(table), shares)
    named = {f"{network.name}_{100 * share:g}": architecture for share, architecture in pruned.items()}
    plan = plan_comparison(table, {network.name: network.architecture, **named}, arguments.space)
    with console.WorkProgress("models exported") as progress:
        identity = prepare(plan, settings, work, progress.count)
    ThisMachine().run(work / KIT, identity, work / RESULTS)
    result = compared(network.name, words, table, pruned, plan, read_results(work / RESULTS, identity))
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
    print(f"mean error of modelled rows: {checked.mape:.1%} (cross-validated; channels in blocks of {model.block})")
    print(f"wrote {work / 'result.json'}, and the pruned architectures beside it")
    return 0


def _settings(table: LatencyTable, passes: int | None) -> RunSettings:
    """The conditions under which the table was measured."""
    settings = RunSettings.from_json(_measurement(table)["settings"])
    return settings if passes is None else replace(settings, passes=passes, most_passes=MOST_PASSES * passes)


def _print(result: PruningComparison) -> None:
    columns = ("asked", "MACs", "of model", "by table ms", "left", "measured rows ms", "left ", "whole ms", " left ")
    errors = ("table / whole", "rows / whole", "noise", "in range")
    latencies = (result.modelled_ms, result.table_ms, result.measured_ms)
    first = ["100%", "100.0%", "", *(cell for ms in latencies for cell in (f"{ms:.3f}", "")), "", "", "", ""]
    console.print_table(
        (*columns, *errors), [first, *(_row(one) for one in result.pruned)], numbers=(*columns, *errors)
    )
    model = fmean([abs(one.model_error) for one in result.pruned])
    rows = fmean([abs(one.table_error) for one in result.pruned])
    print(f"\n{result.network}, weights: {result.weights}.")
    print(
        f"Mean error of the share of latency left, against whole networks: {model:.1%} by the table that pruned, "
        f"{rows:.1%} by measured rows."
    )
    least, most = result.range_ms
    print(f"in range: from {least:.3g} to {most:.3g} ms, the latencies of the networks that sums are calibrated on")


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


if __name__ == "__main__":
    sys.exit(main())
