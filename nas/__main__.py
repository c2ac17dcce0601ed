"""The command `nas`: every room's command under one name."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from nas import __version__
from nas.errors import unknown_name

# What each command does. Written here, so that `nas --help` need not load any of them.
COMMANDS = {
    "search": "search a space for the networks that are best on a device",
    "report": "write the report of a run again",
    "networks": "show networks and search spaces with their costs, check a search space's file",
    "latency": "show, make and check latency tables: the cost of each unit of a network on a device",
    "accuracy": "measure the training loop's throughput in images a second",
    "deploy": "train a network to the end, shrink or scale it, export, run, time and compare it",
}
SUBCOMMANDS = {
    "networks": ("list", "show", "explain", "check"),
    "latency": ("show", "diff", "build", "extend", "import", "measure", "validate", "protocols", "adapt"),
    "accuracy": ("benchmark",),
    "deploy": (
        "finish",
        "refine",
        "prune",
        "scale",
        "compress",
        "export",
        "predict",
        "benchmark",
        "compare",
        "recommend",
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that the first word names with the words after it; returns its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help"):
        print(_usage())
        return 0 if words else 2
    if words[0] == "--version":
        print(f"nas {__version__}")
        return 0
    if words[0] not in COMMANDS:
        print(f"error: {unknown_name('command', words[0], COMMANDS)}", file=sys.stderr)
        return 2
    module = importlib.import_module(f"nas.{words[0]}.__main__")
    code: int = module.main(words[1:])
    return code


def _usage() -> str:
    lines = []
    for name, text in COMMANDS.items():
        lines.append(f"  {name:<10} {text}")
        if name in SUBCOMMANDS:
            lines.append(f"{'':<13}({', '.join(SUBCOMMANDS[name])})")
    return "\n".join(["usage: nas COMMAND ... (nas COMMAND --help says more)", "", "commands:", *lines])


if __name__ == "__main__":
    sys.exit(main())
