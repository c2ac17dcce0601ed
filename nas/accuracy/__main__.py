"""`python -m nas.accuracy benchmark`: measure how fast this machine trains."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from nas import console

if TYPE_CHECKING:
    from nas.benchmarks.training import Throughput

_EXAMPLE = """example:
  python -m nas.accuracy benchmark --resolution 32 --batch-size 64 --seconds 60
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code: 0, 1 (failed) or 2 (bad usage)."""
    arguments = _parser().parse_args(argv)
    return console.run(lambda: _benchmark(arguments))


def _parser() -> argparse.ArgumentParser:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="python -m nas.accuracy",
        description="Measure the speed of training.",
        epilog=_EXAMPLE,
        formatter_class=formatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    benchmark = commands.add_parser(
        "benchmark",
        help="compare the speed of this project's training loop with a plain PyTorch loop",
        description="Train MobileNetV3-Large on random images with this project's training loop and with a plain "
        "PyTorch loop, in turns, and print the images a second of both.",
        epilog=_EXAMPLE,
        formatter_class=formatter,
    )
    benchmark.add_argument(
        "--resolution", type=_at_least(8), default=32, help="side of the images in pixels (default: %(default)s)"
    )
    benchmark.add_argument(
        "--batch-size", type=_at_least(2), default=64, help="images in a training step (default: %(default)s)"
    )
    benchmark.add_argument(
        "--seconds",
        type=_at_least(0),
        default=60,
        help="approximate duration of the measurement; at least five rounds are measured (default: %(default)s)",
    )
    benchmark.add_argument(
        "--workers",
        type=_at_least(0),
        default=2,
        help="number of worker processes that load images for the plain loop (default: %(default)s)",
    )
    benchmark.add_argument("--json", action="store_true", help="print the results as JSON instead of a table")
    return parser


def _benchmark(arguments: argparse.Namespace) -> int:
    from nas.benchmarks.training import measure_throughput  # imports torch, which --help does without

    throughput = measure_throughput(
        resolution=arguments.resolution,
        batch_size=arguments.batch_size,
        seconds=arguments.seconds,
        workers=arguments.workers,
        on_round=lambda number: print(f"round {number} done", file=sys.stderr),
    )
    print(json.dumps(throughput.to_json(), indent=2) if arguments.json else _table(throughput))
    return 0


def _table(throughput: Throughput) -> str:
    rows = [
        ("this project", throughput.ours, ".0f", " images/s"),
        ("plain PyTorch", throughput.plain, ".0f", " images/s"),
        ("ratio", throughput.ratios, ".2f", ""),
    ]
    lines = [
        f"{name:<14} {statistics.median(values):>6{form}}{unit}  ({min(values):{form}} to {max(values):{form}})"
        for name, values, form, unit in rows
    ]
    size = throughput.resolution
    conditions = (
        f"training on {size}x{size} images, batches of {throughput.batch_size}, {throughput.threads} threads, "
        f"{throughput.plain_workers} DataLoader workers; median and range of {len(throughput.ours)} rounds"
    )
    return "\n".join([conditions, *lines])


def _at_least(smallest: int) -> Callable[[str], int]:
    """A parser of whole numbers that are at least `smallest`; argparse prints its message."""

    def read(text: str) -> int:
        if not text.lstrip("-").isdigit() or int(text) < smallest:
            raise argparse.ArgumentTypeError(f"must be a whole number of at least {smallest}, but is {text!r}")
        return int(text)

    return read


if __name__ == "__main__":
    sys.exit(main())
