"""`python -m nas.latency`: show, compare, make, measure and adapt latency tables."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from nas import console
from nas.latency.commands import adapt as adapt_command
from nas.latency.commands import measure as measure_command
from nas.latency.commands import table as table_command

# The function that runs each subcommand.
_RUN = {
    **dict.fromkeys(("show", "diff", "build", "extend", "import"), table_command.run),
    **dict.fromkeys(("measure", "validate", "protocols"), measure_command.run),
    "adapt": adapt_command.run,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    arguments = _parser().parse_args(argv)
    return console.run(lambda: _RUN[arguments.command](arguments))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m nas.latency",
        description="Latency tables: the latency of each unit of a network on a device.",
        epilog=table_command.EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    table_command.add_commands(commands)
    measure_command.add_commands(commands)
    adapt_command.add_commands(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
