"""nas: the commands of all rooms under one name."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from nas import __version__
from nas.errors import unknown_name

COMMANDS = {
    "search": "search a space for the networks that are best on a device",
    "report": "write a run's report again",
    "networks": "show a network or a search space, check a space file",
    "latency": "build and show latency tables",
    "accuracy": "measure training throughput",
    "deploy": "scale a network to a family for a device",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Hand over to the command that the first word names."""
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
    lines = [f"  {name:<10} {text}" for name, text in COMMANDS.items()]
    return "\n".join(["usage: nas COMMAND ... (nas COMMAND --help says more)", "", "commands:", *lines])


if __name__ == "__main__":
    sys.exit(main())
