"""python -m nas.latency show, diff, build, extend and import: what do they take, and what do they print?"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.errors import NasError
from nas.files import NAME_PATTERN

if TYPE_CHECKING:
    from nas.config import Document
    from nas.networks.architecture import Architecture

EXAMPLES = """\
examples:
  python -m nas.latency show pixel_lut
  python -m nas.latency show pixel_lut --network mobilenet_v3_large
  python -m nas.latency diff pixel4_early pixel6_early
  python -m nas.latency diff pixel_lut my_board --network mobilenet_v3_large --space mbv3
  python -m nas.latency build note10_lut --published ~/published
  python -m nas.latency extend pixel_lut --network efficientnet_b0 --out my_tables
  python -m nas.latency import timings.csv --name my_board --conditions my_board.yaml
"""
# What `import` can be told of the conditions, by the key that it has in a table's .yaml.
_CONDITIONS = {
    "device": "what the device is called",
    "soc": "its system on a chip",
    "cores": "which cores ran",
    "threads": "how many threads",
    "governor": "frequency governor",
    "runtime": "such as ONNX Runtime",
    "runtime_version": "its version",
    "execution_provider": "such as CPU",
    "precision": "such as float32",
    "date": "when it was measured",
    "protocol": "warm-up, repetitions, what the figure is of",
}
_CITATION = {"title": "what the figures are", "url": "where they come from", "licence": "under which licence"}


def add_commands(commands: Any) -> None:
    """Add the five subcommands to those of `python -m nas.latency`."""
    _add_show(commands)
    _add_diff(commands)
    _add_build(commands)
    _add_extend(commands)
    _add_import(commands)


def run(arguments: argparse.Namespace) -> int:
    """Run the subcommand that `arguments` are for."""
    command = {"show": _show, "diff": _diff, "build": _build, "extend": _extend, "import": _import}
    return command[arguments.command](arguments)


def _add_show(commands: Any) -> None:
    show = _add(
        commands,
        "show",
        "a table's conditions, sources and agreement, or what a network costs by it",
        "Show what a table holds and where its figures come from, or a network's latency by unit and by stage.",
    )
    show.add_argument("name", metavar="NAME", help="a table: its name, or the path of its .yaml")
    show.add_argument("--network", metavar="NAME", help="a published network, or an architecture's .json file")
    show.add_argument("--json", action="store_true", help="print JSON")


def _add_diff(commands: Any) -> None:
    diff = _add(
        commands,
        "diff",
        "how two tables differ, on their common units and on networks",
        "Compare two tables: in which conditions they differ, and how many times as long units and networks take by "
        "the second as by the first.",
    )
    diff.add_argument("first", metavar="A", help="a table: its name, or the path of its .yaml")
    diff.add_argument("second", metavar="B", help="another")
    _add_networks(diff)
    diff.add_argument(
        "--space", metavar="NAME", nargs="+", default=[], help="search spaces, by random networks of them"
    )
    diff.add_argument("--count", metavar="N", type=_count, default=1000, help="networks of a space (default: 1000)")
    diff.add_argument("--seed", metavar="N", type=int, default=0, help="of drawing them (default: 0)")
    diff.add_argument("--largest", metavar="N", type=_count, default=10, help="units to list (default: 10)")
    diff.add_argument("--json", action="store_true", help="print JSON")


def _add_build(commands: Any) -> None:
    build = _add(
        commands,
        "build",
        "make a table from published figures",
        "Make a table again from the files in which others published their figures. latency_tables/README.md says "
        "which tables there are, which files they need, where those come from and how they are laid out.",
    )
    build.add_argument("name", metavar="NAME", help="the table, such as note10_lut")
    build.add_argument("--published", metavar="DIR", type=Path, required=True, help="folder of the published files")
    build.add_argument(
        "--space",
        metavar="NAME",
        nargs="+",
        help="for pixel_lut: search spaces whose units get rows, besides those of published networks (default: mbv3)",
    )
    _add_out(build)


def _add_extend(commands: Any) -> None:
    extend = _add(
        commands,
        "extend",
        "a table with modelled rows for more units",
        "Write a table again with rows for the units of more networks and spaces, modelled by the cost model that the "
        "table holds. Units with operations that the model was not fitted to are refused.",
    )
    extend.add_argument("name", metavar="NAME", help="a table: its name, or the path of its .yaml")
    _add_networks(extend)
    extend.add_argument("--space", metavar="NAME", nargs="+", default=[], help="search spaces")
    extend.add_argument("--out", metavar="DIR", type=Path, required=True, help="where the table is written; overwrites")


def _add_import(commands: Any) -> None:
    importing = _add(
        commands,
        "import",
        "a table from a CSV of your own measurements",
        "Make a table of a CSV with the columns unit and latency_ms, and perhaps spread_ms and runs, in any order. The "
        "conditions that it holds for come from a .yaml in the layout of a table's, from options, or from both.",
    )
    importing.add_argument("file", metavar="FILE.csv", type=Path, help="the measurements")
    importing.add_argument("--name", metavar="NAME", type=_name, required=True, help="name of the table")
    importing.add_argument("--source", choices=("measured", "published"), default="measured", help="default: measured")
    importing.add_argument("--conditions", metavar="FILE.yaml", type=Path, help="the conditions; options go before it")
    for key, text in (_CONDITIONS | _CITATION).items():
        importing.add_argument(f"--{key.replace('_', '-')}", metavar="TEXT", help=text)
    _add_out(importing)


def _add(commands: Any, name: str, help_text: str, description: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=help_text,
        description=description,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return parser


def _add_networks(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--network", metavar="NAME", nargs="+", default=[], help="published networks, or architectures' .json files"
    )


def _add_out(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out", metavar="DIR", type=Path, default=Path("latency_tables"), help="default: %(default)s; overwrites"
    )


def _show(arguments: argparse.Namespace) -> int:
    from nas.latency.commands import show
    from nas.latency.table import load_table
    from nas.networks.operators import units

    table = load_table(arguments.name)
    architecture = _network(arguments.network) if arguments.network else None
    if architecture:
        table.require(units(architecture))
    if arguments.json:
        show.print_table_json(table, architecture)
    elif architecture:
        show.print_network(table, arguments.network, architecture)
    else:
        show.print_conditions(table)
        print()
        show.print_rows_and_agreement(table)
    return 0


def _diff(arguments: argparse.Namespace) -> int:
    from nas.latency.commands import show
    from nas.latency.difference import compare_on_space, compare_tables
    from nas.latency.table import load_table
    from nas.networks.space.search_space import load_space

    first, second = load_table(arguments.first), load_table(arguments.second)
    asked = bool(arguments.network or arguments.space)
    # Tables of other units can be compared on networks all the same.
    common = first.rows.keys() & second.rows.keys()
    difference = compare_tables(first, second, largest=arguments.largest) if common or not asked else None
    networks = {}
    for name in arguments.network:
        architecture = _network(name)
        networks[name] = (first.estimate(architecture).latency_ms, second.estimate(architecture).latency_ms)
    spaces = {
        name: compare_on_space(first, second, load_space(name), arguments.count, arguments.seed)
        for name in arguments.space
    }
    printing = show.print_difference_json if arguments.json else show.print_difference
    printing(first, second, difference, networks, spaces)
    return 0


def _build(arguments: argparse.Namespace) -> int:
    from nas.latency.commands.show import print_rows_and_agreement
    from nas.latency.published.build import build_table
    from nas.latency.table import save_table

    table = build_table(arguments.name, arguments.published, arguments.space)
    _told(save_table(table, arguments.out))
    print()
    print_rows_and_agreement(table)
    return 0


def _extend(arguments: argparse.Namespace) -> int:
    from nas.latency.commands.show import print_rows_and_agreement
    from nas.latency.modelling.extend import with_modelled
    from nas.latency.table import load_table, save_table
    from nas.networks.operators import units
    from nas.networks.space.search_space import load_space

    if not arguments.network and not arguments.space:
        raise NasError("say what the table is to be extended for: --network NAME or --space NAME")
    table = load_table(arguments.name)
    wanted = [unit for name in arguments.network for unit in units(_network(name))]
    wanted += [unit for name in arguments.space for unit in load_space(name).units()]
    extended = with_modelled(table, wanted)
    _told(save_table(extended, arguments.out))
    added = len(extended.rows) - len(table.rows)
    print(f"added {added:,} modelled {'row' if added == 1 else 'rows'}\n")
    print_rows_and_agreement(extended)
    return 0


def _import(arguments: argparse.Namespace) -> int:
    from nas.latency.commands.show import print_rows_and_agreement
    from nas.latency.published.importing import import_table
    from nas.latency.table import save_table

    table = import_table(arguments.file, arguments.name, _conditions(arguments), arguments.source)
    _told(save_table(table, arguments.out))
    print()
    print_rows_and_agreement(table)
    return 0


def _conditions(arguments: argparse.Namespace) -> Document:
    """What the .yaml says, where there is one, with what the options say instead."""
    from nas.config import load_document, parse_document, with_overrides

    named = arguments.conditions
    document = load_document(named) if named else parse_document("{}", "the options, or a .yaml given by --conditions")
    given = {key: getattr(arguments, key) for key in _CONDITIONS if getattr(arguments, key) is not None}
    cited = {key: getattr(arguments, key) for key in _CITATION if getattr(arguments, key) is not None}
    if cited or not named:
        citation = {"title": f"imported from {arguments.file.name}", "url": "", "licence": "not stated", "use": "rows"}
        given[f"sources.{arguments.source}"] = [citation | cited]
    return with_overrides(document, given)


def _network(name: str) -> Architecture:
    from nas.networks.deployed import deployed
    from nas.networks.references import find_network

    return deployed(find_network(name))


def _told(paths: Sequence[Path]) -> None:
    for path in paths:
        print(f"wrote {path}")


def _name(text: str) -> str:
    if not re.fullmatch(NAME_PATTERN, text):
        raise argparse.ArgumentTypeError(
            f"must be a name (up to 100 letters, digits, '_', '-', '.'), but got {json.dumps(text)}"
        )
    return text


def _count(text: str) -> int:
    if not re.fullmatch(r"\d+", text, re.ASCII) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, but got {text!r}")
    return int(text)
