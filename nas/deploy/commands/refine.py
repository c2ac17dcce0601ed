"""python -m nas.deploy refine: narrow a trained network until a device runs it in time (NetAdapt)."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from pydantic import Field

from nas import console
from nas.deploy.commands.narrowing import NarrowingOptions, add_narrowing_options, training_settings
from nas.errors import NasError
from nas.options import checked_options

if TYPE_CHECKING:
    from nas.accuracy.training.settings import TrainingSettings
    from nas.deploy.pruning.narrowing import NarrowingStart
    from nas.deploy.pruning.netadapt import NetAdaptPath, Point
    from nas.deploy.pruning.table_latency import TableLatency

EXAMPLES = """\
examples:
  python -m nas.deploy refine trained/my_run-knee --latency 30 --data folder:flowers --out refined/knee
  python -m nas.deploy refine trained/my_run-knee --share 0.75 --data cifar10 --epochs 10 --out refined/knee
  python -m nas.deploy refine runs/my_run --pick knee --data digits --resolution 16 --max-stride 16 \\
      --out refined/knee   # then finish it
"""
# Not the name of finish's: a folder of the one command is not taken for a damaged one of the other.
CHECKPOINT = "path.pt"


class RefineOptions(NarrowingOptions):
    """The options of `refine` that are numbers."""

    latency: float | None = None  # must be below that of the network, once it is known
    share: float = Field(default=0.75, gt=0, lt=1)
    step: float = Field(default=0.05, gt=0, lt=1)
    short_steps: int = Field(default=20, ge=0)
    shortlist: int = Field(default=4, ge=0)


_DEFAULTS = RefineOptions()


def add_command(commands: Any) -> None:
    """Add the subcommand to those of `python -m nas.deploy`."""
    parser = commands.add_parser(
        "refine",
        help="narrow a trained network to a latency (NetAdapt)",
        description="Reduce a trained network's latency by the device's table, step by step: each set of channels "
        "proposes to be narrower, proposals are trained for a few steps, and the one that loses least accuracy for a "
        "millisecond is kept. Stopped or killed, the same command goes on where it was.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_narrowing_options(parser)
    goal = parser.add_mutually_exclusive_group()
    goal.add_argument("--latency", metavar="MS", type=float, help="latency to reach, in milliseconds by the table")
    goal.add_argument(
        "--share",
        metavar="SHARE",
        type=float,
        help=f"latency to reach, as a share of the network's (default: {_DEFAULTS.share})",
    )
    parser.add_argument(
        "--step",
        metavar="SHARE",
        type=float,
        help=f"share of the network's latency that each step saves (default: {_DEFAULTS.step})",
    )
    parser.add_argument(
        "--short-steps",
        metavar="N",
        type=int,
        help=f"training steps of each proposal (default: {_DEFAULTS.short_steps})",
    )
    parser.add_argument(
        "--shortlist",
        metavar="N",
        type=int,
        help=f"number of proposals that are trained, 0 for all (default: {_DEFAULTS.shortlist})",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Run the subcommand."""
    options, training = checked_options(RefineOptions, arguments), training_settings(arguments)

    from nas.deploy.find import find_network
    from nas.deploy.finish.finish import check_folder
    from nas.deploy.pruning.narrowing import load_start
    from nas.deploy.pruning.netadapt import NetAdaptSettings, netadapt
    from nas.deploy.pruning.table_latency import TableLatency
    from nas.latency.table import load_table

    check_folder(arguments.out, CHECKPOINT)
    latency_ms = TableLatency(load_table(arguments.device))
    start = load_start(
        find_network(arguments.network, pick=arguments.pick),
        arguments.data,
        resolution=options.resolution,
        max_stride=options.max_stride,
        progress=sys.stderr.isatty() and not arguments.quiet,
    )
    start_ms = latency_ms(start.architecture)
    target_ms = _target_ms(options, start_ms)
    with console.WorkProgress("milliseconds saved", quiet=arguments.quiet) as progress:

        def report(point: Point) -> None:
            progress.say(_line(point))
            progress.count(start_ms - point.latency_ms, start_ms - target_ms)

        path = netadapt(
            start.architecture,
            start.weights,
            latency_ms,
            target_ms,
            start.images.dataset,
            training,
            NetAdaptSettings(step_share=options.step, short_steps=options.short_steps, shortlist=options.shortlist),
            seed=options.seed,
            proxy=start.proxy,
            device=latency_ms.identity,
            checkpoint=arguments.out / CHECKPOINT,
            on_point=report,
        )
    return _end(arguments, start, path, latency_ms, training)


def _end(
    arguments: argparse.Namespace,
    start: NarrowingStart,
    path: NetAdaptPath,
    latency_ms: TableLatency,
    training: TrainingSettings,
) -> int:
    """Train the last network of the path, and write everything; returns the exit code."""
    from nas.deploy.pruning.narrowing import narrowed_network, train_longer
    from nas.deploy.pruning.netadapt_picture import save_path_picture
    from nas.deploy.trained import save_trained
    from nas.files import write_files

    before, after = path.points[0], path.points[-1]
    weights = train_longer(start, after.architecture, path.weights, training, seed=arguments.seed)
    split = list(start.splits)[-1]
    top1 = {
        "before": start.top1(before.architecture, start.weights)[split],
        "after": start.top1(after.architecture, weights)[split],
    }
    result = {
        "device": latency_ms.table.name,
        "latency_ms": {"before": before.latency_ms, "after": after.latency_ms},
        "top1": {"split": split, **top1},
        "path": [point.to_json() for point in path.points],
    }
    write_files(arguments.out, {"path.json": json.dumps(result, indent=1) + "\n"})
    save_path_picture(arguments.out / "path.png", f"{start.name} on {latency_ms.table.name}", path.points)
    record = {"refined": {key: result[key] for key in ("device", "latency_ms", "top1")}}
    save_trained(arguments.out, narrowed_network(start, after.architecture, weights, record))
    if arguments.json:
        print(json.dumps(result, indent=2))
        return 0
    print(
        f"{before.latency_ms:.2f} to {after.latency_ms:.2f} ms on {latency_ms.table.name} "
        f"({1 - after.latency_ms / before.latency_ms:.1%} less), top-1 {top1['before']:.2f} to {top1['after']:.2f} % "
        f"on the {split} images, after {arguments.epochs} more epochs"
    )
    print(f"wrote {arguments.out}: the trained network, path.json, path.png")
    if start.proxy(after.architecture) != after.architecture:
        print(f"its weights are those of a proxy: python -m nas.deploy finish {arguments.out} --weights own …")
    return 0


def _target_ms(options: RefineOptions, start_ms: float) -> float:
    """The latency to reach, of a network that takes `start_ms`."""
    if options.latency is None:
        return options.share * start_ms
    if not 0 < options.latency < start_ms:
        raise NasError(
            f"--latency must be above 0 and below the network's {start_ms:.4g} ms, but got {options.latency:g}"
        )
    return options.latency


def _line(point: Point) -> str:
    change = f"  {point.change} (best of {point.proposals})" if point.change else "  start"
    return f"{point.latency_ms:8.2f} ms  val top-1 {point.top1:6.2f} %  loss {point.loss:.4f}{change}"
