"""python -m nas.deploy prune: take channels, or single weights, out of a trained network."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import Field

from nas import console
from nas.deploy.commands.narrowing import NarrowingOptions, add_narrowing_options, training_settings
from nas.errors import NasError
from nas.options import checked_options

if TYPE_CHECKING:
    from torch import Tensor

    from nas.accuracy.training.settings import TrainingSettings
    from nas.deploy.pruning.narrowing import NarrowingStart
    from nas.deploy.pruning.prune import Cost, NetworkFacts
    from nas.networks.architecture import Architecture

EXAMPLES = """\
examples:
  python -m nas.deploy prune trained/my_run-knee --share 0.7 --data folder:flowers --out pruned/knee
  python -m nas.deploy prune trained/my_run-knee --share 0.5 --of macs --data cifar10 --epochs 10 --out pruned/knee
  python -m nas.deploy prune trained/my_run-knee --sparsity 0.8 --data cifar10 --epochs 10 --out sparse/knee
"""


class PruneOptions(NarrowingOptions):
    """The options of `prune` that are numbers."""

    share: float | None = Field(default=None, gt=0, lt=1)
    sparsity: float | None = Field(default=None, gt=0, lt=1)
    most_drop: float = Field(default=1.0, ge=0, le=100, json_schema_extra={"unit": "points"})
    runs: int = Field(default=100, ge=0)
    threads: int = Field(default=1, ge=1)


_DEFAULTS = PruneOptions()


def add_command(commands: Any) -> None:
    """Add the subcommand to those of `python -m nas.deploy`."""
    parser = commands.add_parser(
        "prune",
        help="take away a trained network's channels, or single weights",
        description="Take away whole channels, those that matter least for what they cost, until a share of the "
        "latency (by the table) or of the MACs is left, and train what remains. With --sparsity single weights become "
        "0 instead, which makes no runtime here faster. Says accuracy, size and latency before and after; a network "
        "that loses too much is refused.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_narrowing_options(parser)
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--share", metavar="SHARE", type=float, help="share of the latency, or of the MACs, to leave")
    how.add_argument("--sparsity", metavar="SHARE", type=float, help="share of the single weights that become 0")
    parser.add_argument(
        "--of", choices=("latency", "macs"), default="latency", help="what --share is a share of (default: %(default)s)"
    )
    parser.add_argument(
        "--most-drop",
        metavar="POINTS",
        type=float,
        help="most that top-1 may fall on the validation images, in percentage points "
        f"(default: {_DEFAULTS.most_drop})",
    )
    parser.add_argument("--allow", action="store_true", help="keep a network that loses more")
    parser.add_argument(
        "--runs", metavar="N", type=int, help=f"number of runs timed here, 0 for none (default: {_DEFAULTS.runs})"
    )
    parser.add_argument(
        "--threads", metavar="N", type=int, help=f"threads that the timed runs use (default: {_DEFAULTS.threads})"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Run the subcommand."""
    options, training = checked_options(PruneOptions, arguments), training_settings(arguments)

    from nas.deploy.find import find_network
    from nas.deploy.pruning.narrowing import load_start, narrowed_network
    from nas.deploy.pruning.prune import check_drop, compare_networks, count_macs
    from nas.deploy.pruning.table_latency import TableLatency
    from nas.deploy.trained import save_trained
    from nas.files import check_writable, write_files
    from nas.latency.table import load_table

    check_writable(arguments.out)
    if arguments.out.is_dir() and any(arguments.out.iterdir()):
        raise NasError(f"--out must be a new or an empty folder, but {arguments.out} holds files")
    latency_ms = TableLatency(load_table(arguments.device))
    start = load_start(
        find_network(arguments.network, pick=arguments.pick),
        arguments.data,
        resolution=options.resolution,
        max_stride=options.max_stride,
        progress=sys.stderr.isatty() and not arguments.quiet,
    )
    cost = latency_ms if arguments.of == "latency" else count_macs
    architecture, weights = _pruned(options, start, cost, training)
    was, now = start.top1(start.architecture, start.weights), start.top1(architecture, weights)
    top1 = {split: {"before": was[split], "after": now[split]} for split in start.splits}
    # By the validation images: whoever tries until it passes must not have chosen by the test images.
    before, after, ratio = compare_networks(
        (start.architecture, start.weights, was["validation"]),
        (architecture, weights, now["validation"]),
        latency_ms,
        runs=options.runs,
        threads=options.threads,
    )
    result = {
        "split": "validation",
        "top1": top1,
        "device": latency_ms.table.name,
        "before": before.to_json(),
        "after": after.to_json(),
        "measured_ratio": ratio,
        "table_ratio": after.table_ms / before.table_ms,
    }
    if not arguments.allow:
        check_drop(before, after, options.most_drop)
    save_trained(arguments.out, narrowed_network(start, architecture, weights, {"pruned": result}))
    write_files(arguments.out, {"pruned.json": json.dumps(result, indent=1) + "\n"})
    if arguments.json:
        print(json.dumps(result, indent=2))
    else:
        _print(arguments, before, after, ratio, top1.get("test"))
    return 0


def _pruned(
    options: PruneOptions, start: NarrowingStart, cost: Cost, training: TrainingSettings
) -> tuple[Architecture, Mapping[str, Tensor]]:
    """The network with channels or weights taken out, trained on, and its weights."""
    from nas.deploy.pruning.narrowing import train_longer
    from nas.deploy.pruning.prune import pruned_architecture, sparse_weights
    from nas.networks.channels import carried_weights

    if options.sparsity is not None:
        architecture, weights = start.architecture, sparse_weights(start.weights, options.sparsity)
    else:
        assert options.share is not None  # argparse demands the one or the other
        target = options.share * cost(start.architecture)
        architecture = pruned_architecture(start.architecture, start.weights, cost, target, proxy=start.proxy)
        weights = carried_weights(start.weights, start.proxy(start.architecture), start.proxy(architecture))
    sparse = options.sparsity is not None
    return architecture, train_longer(start, architecture, weights, training, seed=options.seed, hold_zeros=sparse)


def _print(
    arguments: argparse.Namespace,
    before: NetworkFacts,
    after: NetworkFacts,
    ratio: float | None,
    test: Mapping[str, float] | None,
) -> None:
    columns = ("", "top-1 %", "params", "MACs", "bytes", "packed", "zeros", "table ms", "measured ms")
    rows = [(name, *_row(facts)) for name, facts in (("before", before), ("after", after))]
    console.print_table(columns, rows, numbers=columns[1:])
    if ratio is not None:
        print(f"measured latency: {ratio:.1%} of before; by the table: {after.table_ms / before.table_ms:.1%}")
    if arguments.sparsity is not None:
        print(f"{after.sparsity:.1%} of the weights are 0: the file packs better, but runs no faster here")
    on_test = f"; on the test images it is {test['before']:.2f} and {test['after']:.2f} %" if test else ""
    print(f"top-1 is on the validation images{on_test}")
    print(f"wrote {arguments.out}")


def _row(facts: NetworkFacts) -> tuple[str, ...]:
    return (
        f"{facts.top1:.2f}",
        f"{facts.params:,}",
        f"{facts.macs:,}",
        f"{facts.size_bytes:,}",
        f"{facts.packed_bytes:,}",
        f"{facts.sparsity:.0%}",
        f"{facts.table_ms:.2f}",
        f"{facts.measured.median:.2f}" if facts.measured else "",
    )
