"""python -m nas.deploy compare: time several models side by side, as ratios to the first."""

from __future__ import annotations

import argparse

from nas.deploy.commands import benchmark as benchmark_command
from nas.errors import NasError


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `compare` and its options."""
    parser = commands.add_parser(
        "compare",
        help="show several models side by side",
        description="Time two models or more in the same rounds: `benchmark` with the ratio to the first in view.",
        epilog=benchmark_command.EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    benchmark_command.add_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run it; returns the exit code."""
    if len(arguments.models) < 2:
        raise NasError(f"compare needs at least two models, but got {', '.join(arguments.models)}: give another")
    return benchmark_command.run(arguments)
