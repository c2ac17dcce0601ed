"""python -m nas.networks: show networks and search spaces with their costs, and check a search space's file."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nas import console
from nas.errors import NasError, RunFailedError
from nas.networks.architecture import Architecture
from nas.networks.references import REFERENCES, find_network, unknown_network

if TYPE_CHECKING:
    from nas.networks.space.search_space import SearchSpace

EXAMPLES = """\
examples:
  python -m nas.networks list
  python -m nas.networks show mobilenet_v3_large --svg mobilenet_v3_large.svg
  python -m nas.networks show mbv3 --json
  python -m nas.networks show mbv3 --member largest
  python -m nas.networks show runs/mbv3-pixel_lut-digits/picks/knee.json
  python -m nas.networks explain
  python -m nas.networks explain mobilenet_v2
  python -m nas.networks check search_spaces/mbv3.yaml
"""
NAMES = "a published network (see list), a search space, or a .json or .yaml file"
# The example layer of MobileNetV1 (arXiv:1704.04861, table 3).
CONVOLUTION = {"kernel": 3, "in_channels": 512, "out_channels": 512, "size": 14}
CONVOLUTION_HELP = {
    "kernel": "kernel size of the convolution",
    "in_channels": "input channels of the convolution",
    "out_channels": "output channels of the convolution",
    "size": "height and width of the convolution's output, in pixels",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    arguments = _parser().parse_args(argv)
    commands = {"list": _list, "show": _show, "explain": _explain, "check": _check}
    return console.run(lambda: commands[arguments.command](arguments))


def _parser() -> argparse.ArgumentParser:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="python -m nas.networks",
        description="Show networks and search spaces with their parameters, multiply-accumulates (MACs) and memory. "
        "No device is needed.",
        epilog=EXAMPLES,
        formatter_class=formatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)

    def add(name: str, text: str, description: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=text, description=description, epilog=EXAMPLES, formatter_class=formatter)

    listing = add("list", "list every published network with its costs", "List the published networks by family.")
    listing.add_argument("--json", action="store_true", help="print JSON")
    show = add(
        "show",
        "show a network's units and costs, or a search space's decisions and size",
        "Show a published network, a search space, or the architecture in a JSON file.",
    )
    show.add_argument("name", metavar="NAME", help=NAMES)
    show.add_argument("--json", action="store_true", help="print JSON")
    show.add_argument(
        "--member",
        choices=("smallest", "largest"),
        help="show the member of a search space with the fewest or the most MACs",
    )
    show.add_argument("--svg", metavar="FILE", help="SVG file into which the network or the --member is drawn")
    explain = add(
        "explain",
        "compare depthwise separable convolutions with standard ones, layer by layer",
        "Compare depthwise separable convolutions with standard ones: those of a network, or one whose\n"
        "shape the options set. For a network, also show the share of each kind of operation in MACs and weights.",
    )
    explain.add_argument("name", metavar="NAME", nargs="?", help="a published network (see list) or a .json file")
    explain.add_argument("--json", action="store_true", help="print JSON")
    for option, default in CONVOLUTION.items():
        text = f"{CONVOLUTION_HELP[option]}, only without NAME (default: {default})"
        explain.add_argument(_flag(option), type=int, metavar="N", help=text)
    check = add(
        "check",
        "report every problem of a search space's file",
        "Check a search space's file: print one line for each problem, and exit with code 2 if there is any.",
    )
    check.add_argument("file", metavar="FILE.yaml", help="the search space's file")
    return parser


def _list(arguments: argparse.Namespace) -> int:
    from nas.networks.show import list_networks

    list_networks(as_json=arguments.json)
    return 0


def _show(arguments: argparse.Namespace) -> int:
    from nas.networks.show import show_network, show_space

    name: str = arguments.name
    if arguments.svg == "":
        raise NasError("--svg must be the path of a file to write, but is empty")
    if _is_network(name):
        if arguments.member:
            raise NasError(f"--member is for search spaces, but {name} is a network")
        shown, network = Path(name).stem, find_network(name)
    else:
        space = _find_space(name)
        if not arguments.member:
            if arguments.svg:
                raise NasError(f"{space.name} is a search space: add --member smallest or --member largest to draw one")
            show_space(space, as_json=arguments.json)
            return 0
        smallest = arguments.member == "smallest"
        shown = f"{arguments.member} member of {space.name}"
        network = space.decode(space.smallest_parameters() if smallest else space.largest_parameters())
    show_network(shown, network, as_json=arguments.json)
    if arguments.svg:
        _draw(arguments.svg, network, shown)
    return 0


def _draw(file: str, network: Architecture, title: str) -> None:
    from nas.networks.drawing import draw_network

    try:
        Path(file).write_text(draw_network(network, title), encoding="utf-8")
    except OSError as error:
        raise RunFailedError(f"cannot write {file}: {error.strerror}") from error
    print(f"wrote {file}", file=sys.stderr)


def _explain(arguments: argparse.Namespace) -> int:
    from nas.networks.show import explain_convolutions, explain_network

    options = {option: getattr(arguments, option) for option in CONVOLUTION if getattr(arguments, option) is not None}
    if arguments.name is None:
        _check_convolution(options)
        kernel, in_channels, out_channels, size = (CONVOLUTION | options).values()
        explain_convolutions(kernel, in_channels, out_channels, size, as_json=arguments.json)
        return 0
    if options:
        flags = ", ".join(map(_flag, options))
        raise NasError(f"{flags} cannot be given for a network, whose convolutions have their own shapes")
    if not _is_network(arguments.name):
        raise NasError(_no_network(arguments.name))
    explain_network(Path(arguments.name).stem, find_network(arguments.name), as_json=arguments.json)
    return 0


def _flag(option: str) -> str:
    return f"--{option.replace('_', '-')}"


def _check_convolution(options: Mapping[str, int]) -> None:
    """Raise NasError, naming the option, for a shape that no convolution has."""
    for option, value in options.items():
        if value < 1 or (option == "kernel" and value % 2 == 0):
            kind = "odd and at least 1" if option == "kernel" else "at least 1"
            raise NasError(f"{_flag(option)} must be {kind}, but got {value}")


def _check(arguments: argparse.Namespace) -> int:
    if not arguments.file.endswith((".yaml", ".yml")):
        raise NasError(f"check takes the path of a .yaml file, but got {arguments.file!r}")
    from nas.networks.space.search_space import load_space

    space = load_space(arguments.file)
    print(f"{arguments.file}: no problems. {space.name} holds {space.size:,} networks.")
    return 0


def _no_network(name: str) -> str:
    """The message that `name` is not a network, with what to do if it is a search space."""
    from nas.files import known_names

    if name.endswith((".yaml", ".yml")) or name in known_names("search_spaces"):
        return (
            f"{name} is a search space, but explain takes a network. A member of it is written to a file by "
            f"`python -m nas.networks show {name} --member largest --json > largest.json`"
        )
    return unknown_network("network", name, REFERENCES)


def _is_network(name: str) -> bool:
    return name in REFERENCES or name.endswith(".json")


def _find_space(name: str) -> SearchSpace:
    # Imported here, because it loads NumPy and pydantic, which a reference network does not need.
    from nas.files import known_names
    from nas.networks.space.search_space import load_space

    spaces = known_names("search_spaces")
    if re.fullmatch(r"\w+", name) and name not in spaces:
        raise NasError(unknown_network("network or search space", name, [*REFERENCES, *spaces]))
    return load_space(name)


if __name__ == "__main__":
    sys.exit(main())
