"""python -m nas.deploy: train, narrow, scale, compress, export and time networks for a device."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, cast

from nas import console


class Command(Protocol):
    """A module that is one subcommand. Importing it must be quick: torch and its like wait until it is run."""

    def add_command(self, commands: Any) -> None:
        """Add the subcommand's parser."""

    def run(self, arguments: argparse.Namespace) -> int:
        """Run it; returns the exit code."""


# What each subcommand does, in the order of a network's way to the device. Written here, so that only the one that is
# asked for is loaded: nas/deploy/commands/NAME.py.
COMMANDS: Mapping[str, str] = {
    "finish": "train a network to the end",
    "refine": "narrow a trained network to a latency (NetAdapt)",
    "prune": "take away a trained network's channels, or single weights",
    "scale": "make a family of smaller and larger networks, by the device's latency",
    "compress": "make a trained network int8 or float16",
    "export": "write a network as ONNX, LiteRT, Core ML, ExecuTorch and OpenVINO files",
    "predict": "run an exported file, or a trained network, on images",
    "benchmark": "time exported files and published networks here",
    "compare": "show several models side by side",
    "recommend": "say which network to take for a device and a use",
}

EXAMPLES = """\
examples:
  python -m nas.deploy finish runs/my_run --pick knee --data folder:flowers
  python -m nas.deploy scale mobilenet_v3_large --device pixel_lut --multiples 0.5,1,2,4

`python -m nas.deploy COMMAND --help` shows more of each.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    first = next((word for word in words if not word.startswith("-")), "")
    command = _command(first) if first in COMMANDS else None
    arguments = _parser(first, command).parse_args(words)
    # Another subcommand than the first word is none: argparse has refused it.
    assert command is not None
    return console.run(lambda: command.run(arguments))


def _command(name: str) -> Command:
    return cast(Command, importlib.import_module(f"nas.deploy.commands.{name}"))


def _parser(name: str, command: Command | None) -> argparse.ArgumentParser:
    """The parser of all subcommands, of which only the one called `name` has its options."""
    parser = argparse.ArgumentParser(
        prog="python -m nas.deploy",
        description="From a network to what runs on a device.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for other, text in COMMANDS.items():
        if command is not None and other == name:
            command.add_command(commands)
        else:
            commands.add_parser(other, help=text)
    return parser


if __name__ == "__main__":
    sys.exit(main())
