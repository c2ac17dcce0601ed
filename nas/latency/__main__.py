"""python -m nas.latency: what is known of a device, and what does a network cost on it?"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas import console
from nas.errors import NasError

if TYPE_CHECKING:
    from nas.latency.table import LatencyTable
    from nas.networks.architecture import Architecture

EXAMPLES = """\
examples:
  python -m nas.latency show pixel_lut
  python -m nas.latency show pixel_lut --network mobilenet_v3_large
  python -m nas.latency build pixel_lut --published ~/published
  python -m nas.latency extend pixel_lut --network efficientnet_b0 --out my_tables
"""
BUILT = ("pixel_lut",)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    arguments = _parser().parse_args(argv)
    command = {"show": _show, "build": _build, "extend": _extend}[arguments.command]
    return console.run(lambda: command(arguments))


def _parser() -> argparse.ArgumentParser:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="python -m nas.latency",
        description="Latency tables: what each unit of a network costs on a device.",
        epilog=EXAMPLES,
        formatter_class=formatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    show = commands.add_parser(
        "show",
        help="a table's conditions, sources and agreement, or what a network costs by it",
        description="Show where a table's figures come from, or a network's latency unit by unit.",
        epilog=EXAMPLES,
        formatter_class=formatter,
    )
    show.add_argument("name", metavar="NAME", help="a table: its name, or the path of its .yaml")
    show.add_argument("--network", metavar="NAME", help="a published network, or an architecture's .json file")
    show.add_argument("--json", action="store_true", help="print JSON")
    build = commands.add_parser(
        "build",
        help="make a table from published figures",
        description="Make a table again from the files in which others published their figures. "
        "latency_tables/README.md says which files, where they come from and how they are laid out.",
        epilog=EXAMPLES,
        formatter_class=formatter,
    )
    build.add_argument("name", choices=BUILT, help="the table")
    build.add_argument("--published", metavar="DIR", type=Path, required=True, help="folder of the published files")
    build.add_argument(
        "--space",
        metavar="NAME",
        nargs="+",
        default=["mbv3"],
        help="search spaces whose units get rows, besides those of the published networks (default: mbv3)",
    )
    build.add_argument(
        "--out", metavar="DIR", type=Path, default=Path("latency_tables"), help="default: %(default)s; overwrites"
    )
    extend = commands.add_parser(
        "extend",
        help="a table with modelled rows for more units",
        description="Write a table again with rows for the units of more networks and spaces, modelled by the cost "
        "model that the table holds. Units with operations that the model was not fitted to are refused.",
        epilog=EXAMPLES,
        formatter_class=formatter,
    )
    extend.add_argument("name", metavar="NAME", help="a table: its name, or the path of its .yaml")
    extend.add_argument(
        "--network", metavar="NAME", nargs="+", default=[], help="published networks, or architectures' .json files"
    )
    extend.add_argument("--space", metavar="NAME", nargs="+", default=[], help="search spaces")
    extend.add_argument("--out", metavar="DIR", type=Path, required=True, help="where the table is written; overwrites")
    return parser


def _show(arguments: argparse.Namespace) -> int:
    from nas.latency.table import load_table
    from nas.networks.references import find_network

    table = load_table(arguments.name)
    architecture = find_network(arguments.network) if arguments.network else None
    if architecture:
        table.require(_units(architecture))
    if arguments.json:
        print(json.dumps(_as_json(table, architecture), indent=2))
    elif architecture:
        _print_network(table, arguments.network, architecture)
    else:
        _print_conditions(table)
        print()
        _print_rows_and_agreement(table)
    return 0


def _build(arguments: argparse.Namespace) -> int:
    # Imported here: fitting brings SciPy, which showing has no use for.
    from nas.latency.pixel_lut import build_pixel_lut
    from nas.latency.table import save_table
    from nas.networks.space import load_space

    wanted = [unit for name in arguments.space for unit in load_space(name).units()]
    table = build_pixel_lut(arguments.published, wanted)
    for path in save_table(table, arguments.out):
        print(f"wrote {path}")
    print()
    _print_rows_and_agreement(table)
    return 0


def _extend(arguments: argparse.Namespace) -> int:
    from nas.latency.extend import with_modelled
    from nas.latency.table import load_table, save_table
    from nas.networks.references import find_network
    from nas.networks.space import load_space

    if not arguments.network and not arguments.space:
        raise NasError("say what the table is to be extended for: --network NAME or --space NAME")
    table = load_table(arguments.name)
    wanted = [unit for name in arguments.network for unit in _units(find_network(name))]
    wanted += [unit for name in arguments.space for unit in load_space(name).units()]
    extended = with_modelled(table, wanted)
    for path in save_table(extended, arguments.out):
        print(f"wrote {path}")
    added = len(extended.rows) - len(table.rows)
    print(f"added {added:,} modelled {'row' if added == 1 else 'rows'}\n")
    _print_rows_and_agreement(extended)
    return 0


def _units(architecture: Architecture) -> Sequence[Any]:
    from nas.networks.operators import units

    return units(architecture)


def _as_json(table: LatencyTable, architecture: Architecture | None) -> dict[str, Any]:
    data: dict[str, Any] = {
        "name": table.name,
        "conditions": table.conditions.model_dump(mode="json"),
        "rows_by_source": _rows_by_source(table),
    }
    if architecture:
        estimate = table.estimate(architecture)
        keys = [unit.key for unit in _units(architecture)]
        data["network"] = {
            "fingerprint": architecture.fingerprint,
            "latency_ms": estimate.latency_ms,
            "latency_by_source_ms": dict(estimate.by_source),
            "units": [
                {"unit": key, "latency_ms": table.rows[key].latency_ms, "source": table.rows[key].source}
                for key in keys
            ],
        }
    return data


def _print_conditions(table: LatencyTable) -> None:
    conditions = table.conditions
    print(f"{table.name}: {conditions.device}, {conditions.runtime}, {conditions.precision}\n")
    names = ("soc", "cores", "threads", "governor", "runtime_version", "execution_provider", "date", "protocol")
    for name in names:
        print(f"{name + ':':<20}{getattr(conditions, name)}")
    calibration = conditions.calibration
    print(f"{'calibration:':<20}{calibration.offset_ms:g} ms + {calibration.scale:g} x the sum of the units")
    for source, citations in conditions.sources.items():
        for citation in citations:
            print(f"{source + ':':<20}{citation.title} ({citation.licence}) {citation.url}")


def _print_rows_and_agreement(table: LatencyTable) -> None:
    counts = _rows_by_source(table)
    console.print_table(
        ("source", "rows"), [(source, f"{count:,}") for source, count in counts.items()], numbers=("rows",)
    )
    rows = [
        (name, f"{check['published_ms']:g}", f"{check['table_ms']:.2f}", str(check["difference"]))
        for name, check in table.conditions.validation.items()
        if isinstance(check, dict) and {"published_ms", "table_ms", "difference"} <= check.keys()
    ]
    if rows:
        columns = ("network", "published ms", "table ms", "difference")
        print()
        console.print_table(columns, rows, numbers=columns[1:])


def _print_network(table: LatencyTable, name: str, architecture: Architecture) -> None:
    estimate = table.estimate(architecture)
    rows = [(unit.key, table.rows[unit.key]) for unit in _units(architecture)]
    total = sum(estimate.by_source.values())
    print(f"{name} on {table.name} ({table.conditions.device})\n")
    listed = [(key, f"{row.latency_ms:.3f}", row.source) for key, row in rows]
    console.print_table(("unit", "ms", "source"), [*listed, ("sum", f"{total:.3f}", "")], numbers=("ms",))
    shares = ", ".join(f"{estimate.share(source):.0%} {source}" for source, ms in estimate.by_source.items() if ms)
    print(f"\nlatency: {estimate.latency_ms:.2f} ms ({shares})")


def _rows_by_source(table: LatencyTable) -> dict[str, int]:
    counts = Counter(row.source for row in table.rows.values())
    return {source: counts[source] for source in sorted(counts)}


if __name__ == "__main__":
    sys.exit(main())
