"""python -m nas.deploy: train, narrow, scale, compress, export and time networks for a device."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from nas import console
from nas.deploy.commands import benchmark as benchmark_command
from nas.deploy.commands import compare as compare_command
from nas.deploy.commands import compress as compress_command
from nas.deploy.commands import export as export_command
from nas.deploy.commands import finish as finish_command
from nas.deploy.commands import predict as predict_command
from nas.deploy.commands import prune as prune_command
from nas.deploy.commands import recommend as recommend_command
from nas.deploy.commands import refine as refine_command
from nas.deploy.commands import scale as scale_command


class Command(Protocol):
    """A module that is one subcommand. Importing it must be quick: torch and the like are imported when it runs."""

    def add_command(self, commands: Any) -> None:
        """Add the subcommand's parser."""

    def run(self, arguments: argparse.Namespace) -> int:
        """Run it; returns the exit code."""


# In the order in which a network passes through them on its way to the device.
_COMMANDS: Mapping[str, Command] = {
    "finish": finish_command,
    "refine": refine_command,
    "prune": prune_command,
    "scale": scale_command,
    "compress": compress_command,
    "export": export_command,
    "predict": predict_command,
    "benchmark": benchmark_command,
    "compare": compare_command,
    "recommend": recommend_command,
}

EXAMPLES = """\
examples:
  python -m nas.deploy finish runs/my_run --pick knee --data folder:flowers
  python -m nas.deploy scale mobilenet_v3_large --device pixel_lut --multiples 0.5,1,2,4

`python -m nas.deploy COMMAND --help` shows more of each.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    arguments = _parser().parse_args(argv)
    return console.run(lambda: _COMMANDS[arguments.command].run(arguments))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m nas.deploy",
        description="From a network to what runs on a device.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for command in _COMMANDS.values():
        command.add_command(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
