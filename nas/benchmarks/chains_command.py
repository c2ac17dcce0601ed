"""Compare latencies predicted from units timed alone with latencies predicted from short chains of units.

    python -m nas.benchmarks.chains_command --space mbv3 --resolution 160 --threads 1 --cores 0

One run times, interleaved, whole networks, each of their units alone, and every two and every three consecutive units
as one model. The sums of each kind (chains.py) are calibrated on some of the networks, as in a table, and compared on
the others. After a stop or a kill the same command goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from nas import console
from nas.benchmarks.chains import ALONE, Border, ChainComparison, WayResult, compared, prepare_chains
from nas.errors import NasError
from nas.files import write_files
from nas.latency.measuring.kit import MOST_PASSES, RunSettings
from nas.latency.measuring.measure import KIT, RESULTS
from nas.latency.measuring.plan import plan_measurement
from nas.latency.measuring.samples import read_results
from nas.latency.measuring.targets import ThisMachine
from nas.networks.space.search_space import load_space


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns its exit code."""
    arguments = _parser().parse_args(argv)
    return console.run(lambda: _run(arguments))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m nas.benchmarks.chains_command",
        description="Compare latencies of whole networks with sums over their units, timed alone and in short chains.",
    )
    parser.add_argument(
        "--space", metavar="NAME", required=True, help="search space: a name, or the path of a YAML file"
    )
    parser.add_argument(
        "--resolution",
        metavar="N",
        type=int,
        nargs="+",
        default=[],
        help="draw only networks for images of these sizes in pixels",
    )
    parser.add_argument(
        "--threads", metavar="N", type=int, default=1, help="number of threads of ONNX Runtime (default: 1)"
    )
    parser.add_argument("--cores", metavar="N", type=int, nargs="+", default=[], help="bind the process to these cores")
    parser.add_argument(
        "--precision",
        choices=("float32", "float16", "int8"),
        default="float32",
        help="arithmetic (default: %(default)s)",
    )
    parser.add_argument(
        "--fit", metavar="N", type=int, default=10, help="number of networks to calibrate with (default: 10)"
    )
    parser.add_argument(
        "--held-out", metavar="N", type=int, default=25, help="number of networks to compare on (default: 25)"
    )
    parser.add_argument(
        "--passes", metavar="N", type=int, default=6, help="undisturbed passes over all models (default: 6)"
    )
    parser.add_argument(
        "--longest", metavar="N", type=int, default=3, help="number of units in the longest chains (default: 3)"
    )
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="seed of the networks drawn (default: 0)")
    parser.add_argument(
        "--work",
        metavar="DIR",
        type=Path,
        help="folder of the kit, samples and result (default: runs/chain_benchmark/SPACE)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _run(arguments: argparse.Namespace) -> int:
    if arguments.longest < 2:
        raise NasError(f"--longest must be at least 2, as a unit alone is no chain, but got {arguments.longest}")
    settings = RunSettings(
        threads=arguments.threads,
        cores=tuple(arguments.cores),
        precision=arguments.precision,
        passes=arguments.passes,
        most_passes=MOST_PASSES * arguments.passes,
    )
    plan = plan_measurement(
        load_space(arguments.space),
        resolutions=arguments.resolution,
        fit=arguments.fit,
        held_out=arguments.held_out,
        seed=arguments.seed,
    )
    work: Path = arguments.work or Path("runs") / "chain_benchmark" / plan.space
    with console.WorkProgress("models exported") as progress:
        identity = prepare_chains(plan, arguments.longest, settings, work, progress.count)
    ThisMachine().run(work / KIT, identity, work / RESULTS)
    result = compared(plan, read_results(work / RESULTS, identity), arguments.longest)
    data = {"space": plan.space, "resolutions": list(plan.resolutions), "settings": asdict(settings)}
    text = json.dumps({**data, **result.to_json()}, indent=2)
    write_files(work, {"result.json": text + "\n"})
    if arguments.json:
        print(text)
        return 0
    _print(result)
    print(f"wrote {work / 'result.json'}")
    return 0


def _print(result: ChainComparison) -> None:
    columns = ("a network is", "models", "sum", "scale", "offset ms", "MAPE", "worst", "Spearman", "noise", "gain")
    rows = [(way, *_cells(outcome)) for way, outcome in result.outcomes.items()]
    console.print_table(columns, rows, numbers=columns[1:])
    held_out = result.outcomes[ALONE].agreement.networks
    print(f"\n{held_out} networks held out, {result.fitted} to calibrate by")
    print(f"noise: the mean difference between two halves of the visits; {result.noise:.2%} for whole networks")
    print("gain: the error of units alone minus the error of this way, and its standard error over networks\n")
    print("MAPE with other ways of timing units and chains:")
    ways = tuple(result.outcomes)
    by_protocol = [(name, *(f"{errors[way]:.2%}" for way in ways)) for name, errors in result.protocols.items()]
    console.print_table(("timed as", *ways), by_protocol, numbers=ways)
    print("\nCost of a border between units A and B, t(AB) - t(A) - t(B), by its size in pixels:")
    sizes = ("border", "pairs", "mean us", "spread us", "noise us", "mean", "spread", "noise")
    console.print_table(sizes, [(size, *_border(one)) for size, one in result.borders.items()], numbers=sizes[1:])


def _cells(one: WayResult) -> tuple[str, ...]:
    return (
        str(one.models),
        f"{one.sum_share:.1%}",
        f"{one.calibration.scale:.4f}",
        f"{one.calibration.offset_ms:.3f}",
        f"{one.agreement.mape:.2%}",
        f"{one.agreement.worst:.2%}",
        f"{one.agreement.spearman:.4f}",
        f"{one.noise:.2%}",
        f"{one.gain:+.2%} ± {one.gain_error:.2%}" if one.gain_error else "",
    )


def _border(one: Border) -> tuple[str, ...]:
    us = (one.mean_us, one.spread_us, one.noise_us)
    shares = (one.spread_share, one.noise_share)
    return (
        str(one.pairs),
        *(f"{value:.1f}" for value in us),
        f"{one.mean_share:+.2%}",
        *(f"{value:.2%}" for value in shares),
    )


if __name__ == "__main__":
    sys.exit(main())
