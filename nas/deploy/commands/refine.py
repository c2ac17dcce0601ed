"""python -m nas.deploy refine: what does it take, and what does it print?"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.errors import NasError

if TYPE_CHECKING:
    from nas.accuracy.training.settings import TrainingSettings
    from nas.deploy.pruning.narrowing import NarrowingStart
    from nas.deploy.pruning.netadapt import NetAdaptPath, Point
    from nas.deploy.pruning.table_latency import TableLatency

EXAMPLES = """\
examples:
  python -m nas.deploy refine trained/knee --device pixel_lut --latency 30 --data folder:flowers
  python -m nas.deploy refine trained/knee --share 0.75 --data cifar10 --epochs 10
  python -m nas.deploy refine runs/my_run --pick knee --data digits --resolution 16 --max-stride 16   # then finish it
"""


# Not the name of finish's: a folder of the one command is not taken for a damaged one of the other.
CHECKPOINT = "path.pt"


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
    add_start_options(parser)
    goal = parser.add_mutually_exclusive_group()
    goal.add_argument("--latency", metavar="MS", type=float, help="of the table, to reach")
    goal.add_argument("--share", metavar="SHARE", type=float, help="of the start's latency, to reach (default: 0.75)")
    parser.add_argument(
        "--step", metavar="SHARE", type=float, default=0.05, help="that each step saves (default: 0.05)"
    )
    parser.add_argument("--short-steps", metavar="N", type=int, default=20, help="of proposals (default: %(default)s)")
    parser.add_argument(
        "--shortlist",
        metavar="N",
        type=int,
        default=4,
        help="proposals that are trained; 0: all (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def add_start_options(parser: argparse.ArgumentParser) -> None:
    """Add what all commands have that make a trained network narrower."""
    parser.add_argument("network", metavar="NETWORK", help="a trained network's folder, or a run's directory (--pick)")
    parser.add_argument("--pick", metavar="NAME", help="of a run: knee, 30ms, a pick's name, or a trial's number")
    parser.add_argument("--data", metavar="SOURCE", required=True, help="digits, folder:PATH, cifar10[:PATH]")
    parser.add_argument("--device", metavar="NAME", default="pixel_lut", help="latency table (default: %(default)s)")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="where the network is written")
    parser.add_argument("--resolution", metavar="N", type=int, help="train a proxy for images of N pixels")
    parser.add_argument("--max-stride", metavar="N", type=int, help="train a proxy that shrinks images by N at most")
    parser.add_argument("--epochs", metavar="N", type=int, default=1, help="trained at the end (default: %(default)s)")
    parser.add_argument("--batch-size", metavar="N", type=int, default=64, help="default: %(default)s")
    parser.add_argument("--rate", type=float, default=0.05, help="learning rate for 256 images (default: %(default)s)")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="default: %(default)s")


def check_start_options(arguments: argparse.Namespace) -> None:
    """Raise NasError for values that torch would choke on."""
    if arguments.resolution is not None and arguments.resolution < 8:
        raise NasError(f"--resolution must be at least 8 pixels, but got {arguments.resolution}")
    if arguments.max_stride is not None and not 1 <= arguments.max_stride <= 64:
        raise NasError(f"--max-stride must be 1 to 64, but got {arguments.max_stride}")
    if not 0 <= arguments.seed < 2**31:
        raise NasError(f"--seed must be a whole number from 0 to {2**31 - 1}, but got {arguments.seed}")


def training_settings(arguments: argparse.Namespace) -> TrainingSettings:
    """How a narrower network is trained. Raises ConfigError with every option that cannot be."""
    from nas.accuracy.training.settings import TrainingSettings
    from nas.config import Document, check

    options = {"epochs": "--epochs", "batch_size": "--batch-size", "learning_rate": "--rate"}
    given = {name: getattr(arguments, option[2:].replace("-", "_")) for name, option in options.items()}
    return check(
        TrainingSettings, Document(given, "command line", {(name,): option for name, option in options.items()})
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the subcommand."""
    check_start_options(arguments)
    if not 0 < arguments.step < 1:
        raise NasError(f"--step must be a share between 0 and 1, but got {arguments.step}")
    if arguments.short_steps < 0 or arguments.shortlist < 0:
        raise NasError("--short-steps and --shortlist must be at least 0")

    from nas.deploy.find import find_network
    from nas.deploy.finish.finish import check_folder
    from nas.deploy.pruning.narrowing import load_start
    from nas.deploy.pruning.netadapt import NetAdaptSettings, netadapt
    from nas.deploy.pruning.table_latency import TableLatency
    from nas.latency.table import load_table

    training = training_settings(arguments)
    check_folder(arguments.out, CHECKPOINT)
    latency_ms = TableLatency(load_table(arguments.device))
    found = find_network(arguments.network, pick=arguments.pick)
    start = load_start(
        found,
        arguments.data,
        resolution=arguments.resolution,
        max_stride=arguments.max_stride,
        progress=sys.stderr.isatty(),
    )
    path = netadapt(
        start.architecture,
        start.weights,
        latency_ms,
        _target_ms(arguments, latency_ms(start.architecture)),
        start.images.dataset,
        training,
        NetAdaptSettings(step_share=arguments.step, short_steps=arguments.short_steps, shortlist=arguments.shortlist),
        seed=arguments.seed,
        proxy=start.proxy,
        device=latency_ms.identity,
        checkpoint=arguments.out / CHECKPOINT,
        on_point=lambda point: print(_line(point), file=sys.stderr, flush=True),
    )
    return _end(arguments, start, path, latency_ms, training)


def _end(
    arguments: argparse.Namespace,
    start: NarrowingStart,
    path: NetAdaptPath,
    latency_ms: TableLatency,
    training: TrainingSettings,
) -> int:
    """Train the last network of the path, and write everything."""
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


def _target_ms(arguments: argparse.Namespace, start_ms: float) -> float:
    if arguments.latency is not None:
        if not 0 < arguments.latency < start_ms:
            raise NasError(
                f"--latency must be above 0 and below the network's {start_ms:.4g} ms, but got {arguments.latency:g}"
            )
        return float(arguments.latency)
    share = 0.75 if arguments.share is None else arguments.share
    if not 0 < share < 1:
        raise NasError(f"--share must be between 0 and 1, but got {share:g}")
    return float(share * start_ms)


def _line(point: Point) -> str:
    change = f"  {point.change} (best of {point.proposals})" if point.change else "  start"
    return f"{point.latency_ms:8.2f} ms  val top-1 {point.top1:6.2f} %  loss {point.loss:.4f}{change}"
