"""Options that several subcommands of `python -m nas.latency` share, and the checks of their values."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from nas.files import NAME_PATTERN

# The conditions of a table that a command can be told, by their keys in the table's .yaml.
CONDITIONS: Mapping[str, str] = {
    "device": "name of the device, in words",
    "soc": "the device's system on a chip",
    "cores": "the cores that ran",
    "threads": "the number of threads",
    "governor": "the frequency governor",
    "runtime": "the runtime, such as ONNX Runtime",
    "runtime_version": "the runtime's version",
    "execution_provider": "the execution provider, such as CPU",
    "precision": "the precision, such as float32",
    "date": "the date of the measurements",
    "protocol": "the way of measuring: warm-up, repetitions, and the statistic of them that a latency is",
}
TABLE = "a table: its name, or the path of its .yaml"
SPACE = "a search space: its name, or the path of its .yaml"


def table_name(text: str) -> str:
    """An argument that names a table to be written."""
    if not re.fullmatch(NAME_PATTERN, text):
        raise argparse.ArgumentTypeError(
            f"must be a name (up to 100 letters, digits, '_', '-', '.', the first a letter or digit), but got {text!r}"
        )
    return text


def whole_number(least: int) -> Callable[[str], int]:
    """The type of an argument that must be a whole number of at least `least`."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"\d+", text, re.ASCII) or int(text) < least:
            raise argparse.ArgumentTypeError(f"must be a whole number of at least {least}, but got {text!r}")
        return int(text)

    return parse


def add_out(parser: argparse.ArgumentParser) -> None:
    """Add --out, the folder of a table."""
    parser.add_argument(
        "--out",
        metavar="DIR",
        type=Path,
        default=Path("latency_tables"),
        help="folder of the table; a table of the same name is overwritten (default: %(default)s)",
    )


def add_networks(parser: argparse.ArgumentParser, purpose: str) -> None:
    """Add --network, for several networks."""
    parser.add_argument(
        "--network",
        metavar="NAME",
        nargs="+",
        default=[],
        help=f"networks {purpose}: names of published ones, or architectures' .json files",
    )


def add_texts(parser: argparse.ArgumentParser, texts: Mapping[str, str]) -> None:
    """Add an option that takes a text for each key, with its help."""
    for key, text in texts.items():
        parser.add_argument(f"--{key.replace('_', '-')}", metavar="TEXT", help=text)


def stated_texts(arguments: argparse.Namespace, texts: Mapping[str, str]) -> dict[str, str]:
    """The texts that were stated by options of `add_texts`, by key."""
    return {key: getattr(arguments, key) for key in texts if getattr(arguments, key) is not None}
