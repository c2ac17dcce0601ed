"""`python -m nas.latency show`, `diff`, `build`, `extend` and `import`: show, compare and make tables."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.errors import NasError
from nas.latency.commands.options import (
    CONDITIONS,
    TABLE,
    add_networks,
    add_out,
    add_texts,
    stated_texts,
    table_name,
    whole_number,
)

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
_CITATION = {
    "title": "title of the figures' source",
    "url": "address of the figures' source",
    "licence": "licence of the figures",
}


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
        "show a table's conditions, sources and agreement, or a network's latency by it",
        "Show what a table holds and where its figures come from, or a network's latency by unit and by stage.",
    )
    show.add_argument("name", metavar="NAME", help=TABLE)
    show.add_argument("--network", metavar="NAME", help="a published network, or an architecture's .json file")
    show.add_argument("--json", action="store_true", help="print JSON")


def _add_diff(commands: Any) -> None:
    diff = _add(
        commands,
        "diff",
        "compare two tables on their common units and on networks",
        "Compare two tables: the conditions in which they differ, and the ratios of the latencies of units and "
        "networks by the second table to those by the first.",
    )
    diff.add_argument("first", metavar="A", help=TABLE)
    diff.add_argument("second", metavar="B", help="the table to compare with the first")
    add_networks(diff, "to compare the tables on")
    diff.add_argument(
        "--space",
        metavar="NAME",
        nargs="+",
        default=[],
        help="search spaces, to compare the tables on random networks of each",
    )
    diff.add_argument(
        "--count", metavar="N", type=whole_number(1), default=1000, help="random networks of each space (default: 1000)"
    )
    diff.add_argument(
        "--seed", metavar="N", type=whole_number(0), default=0, help="seed of the random networks (default: 0)"
    )
    diff.add_argument(
        "--largest",
        metavar="N",
        type=whole_number(1),
        default=10,
        help="number of units to list, furthest from the median ratio first (default: 10)",
    )
    diff.add_argument("--json", action="store_true", help="print JSON")


def _add_build(commands: Any) -> None:
    build = _add(
        commands,
        "build",
        "make a table from published figures",
        "Make a table again from the files in which others published their figures. latency_tables/README.md lists "
        "the tables, the files that they need, their sources and their layout.",
    )
    build.add_argument("name", metavar="NAME", help="name of the table, such as note10_lut")
    build.add_argument("--published", metavar="DIR", type=Path, required=True, help="folder of the published files")
    build.add_argument(
        "--space",
        metavar="NAME",
        nargs="+",
        help="search spaces whose units get rows in pixel_lut, besides those of published networks (default: mbv3)",
    )
    add_out(build)


def _add_extend(commands: Any) -> None:
    extend = _add(
        commands,
        "extend",
        "add modelled rows for more units to a table",
        "Write a table again with rows for the units of more networks and spaces, modelled by the cost model of the "
        "table. Units with operations that the model was not fitted to are refused.",
    )
    extend.add_argument("name", metavar="NAME", help=TABLE)
    add_networks(extend, "whose units get rows")
    extend.add_argument("--space", metavar="NAME", nargs="+", default=[], help="search spaces whose units get rows")
    extend.add_argument(
        "--out",
        metavar="DIR",
        type=Path,
        required=True,
        help="folder of the extended table; a table of the same name is overwritten",
    )


def _add_import(commands: Any) -> None:
    importing = _add(
        commands,
        "import",
        "make a table from a CSV of your own measurements",
        "Make a table from a CSV with the columns unit and latency_ms, and optionally spread_ms and runs, in any "
        "order. The conditions of the measurements come from a .yaml with the keys of a table's .yaml, from options, "
        "or from both.",
    )
    importing.add_argument("file", metavar="FILE.csv", type=Path, help="the measurements")
    importing.add_argument("--name", metavar="NAME", type=table_name, required=True, help="name of the table")
    importing.add_argument(
        "--source",
        choices=("measured", "published"),
        default="measured",
        help="source of the rows (default: %(default)s)",
    )
    importing.add_argument(
        "--conditions",
        metavar="FILE.yaml",
        type=Path,
        help="file of the conditions; an option takes precedence over its key in the file",
    )
    add_texts(importing, {**CONDITIONS, **_CITATION})
    add_out(importing)


def _add(commands: Any, name: str, help_text: str, description: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=help_text,
        description=description,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return parser


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
    # Without a common unit, tables can still be compared on networks; without networks that is an error.
    comparable = first.rows.keys() & second.rows.keys() or not (arguments.network or arguments.space)
    difference = compare_tables(first, second, largest=arguments.largest) if comparable else None
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
    _print_written(save_table(table, arguments.out))
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
    new_units = [unit for name in arguments.network for unit in units(_network(name))]
    new_units += [unit for name in arguments.space for unit in load_space(name).units()]
    extended = with_modelled(table, new_units)
    _print_written(save_table(extended, arguments.out))
    added = len(extended.rows) - len(table.rows)
    print(f"added {added:,} modelled {'row' if added == 1 else 'rows'}\n")
    print_rows_and_agreement(extended)
    return 0


def _import(arguments: argparse.Namespace) -> int:
    from nas.latency.commands.show import print_rows_and_agreement
    from nas.latency.published.importing import import_table
    from nas.latency.table import save_table

    table = import_table(arguments.file, arguments.name, _conditions(arguments), arguments.source)
    _print_written(save_table(table, arguments.out))
    print()
    print_rows_and_agreement(table)
    return 0


def _conditions(arguments: argparse.Namespace) -> Document:
    """The conditions in the .yaml, if one was given, overridden by the options."""
    from nas.config import load_document, parse_document, with_overrides

    path = arguments.conditions
    document = load_document(path) if path else parse_document("{}", "the options, or a .yaml given by --conditions")
    overrides: dict[str, Any] = {**stated_texts(arguments, CONDITIONS)}
    citation = stated_texts(arguments, _CITATION)
    if citation or not path:
        default = {"title": f"imported from {arguments.file.name}", "url": "", "licence": "not stated", "use": "rows"}
        overrides[f"sources.{arguments.source}"] = [default | citation]
    return with_overrides(document, overrides)


def _network(name: str) -> Architecture:
    from nas.networks.deployed import deployed
    from nas.networks.references import find_network

    return deployed(find_network(name))


def _print_written(paths: Sequence[Path]) -> None:
    for path in paths:
        print(f"wrote {path}")
