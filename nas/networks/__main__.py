"""python -m nas.networks: what is a network or a search space, and what does it cost on any device?"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas import console
from nas.errors import NasError, unknown_name
from nas.networks.architecture import Architecture
from nas.networks.operators import Unit, estimate_costs, units
from nas.networks.references import REFERENCES, find_network

if TYPE_CHECKING:
    from nas.networks.space import SearchSpace
    from nas.networks.space_format import LayerFormat

EXAMPLES = """\
examples:
  python -m nas.networks show mobilenet_v3_large
  python -m nas.networks show mbv3 --json
  python -m nas.networks show runs/mbv3-pixel_lut-digits/architectures/knee.json
  python -m nas.networks check search_spaces/mbv3.yaml
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    arguments = _parser().parse_args(argv)
    return console.run(lambda: _show(arguments) if arguments.command == "show" else _check(arguments))


def _parser() -> argparse.ArgumentParser:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="python -m nas.networks",
        description="Networks and search spaces: parameters, multiply-accumulates (MACs), sizes. Needs no device.",
        epilog=EXAMPLES,
        formatter_class=formatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    show = commands.add_parser(
        "show",
        help="a network's units and costs, or a space's decisions and size",
        description="Show a published network, a search space, or the architecture in a JSON file.",
        epilog=EXAMPLES,
        formatter_class=formatter,
    )
    show.add_argument("name", metavar="NAME", help=f"{', '.join(REFERENCES)}, a search space, or a .json or .yaml file")
    show.add_argument("--json", action="store_true", help="print JSON")
    check = commands.add_parser(
        "check",
        help="every problem of a search space's file",
        description="Check a search space's file: one line for each problem, exit code 2 if there is one.",
        epilog=EXAMPLES,
        formatter_class=formatter,
    )
    check.add_argument("file", metavar="FILE.yaml", help="the search space")
    return parser


def _show(arguments: argparse.Namespace) -> int:
    name: str = arguments.name
    if name in REFERENCES or name.endswith(".json"):
        _show_network(Path(name).stem, find_network(name), as_json=arguments.json)
    else:
        _show_space(_find_space(name), as_json=arguments.json)
    return 0


def _check(arguments: argparse.Namespace) -> int:
    if not arguments.file.endswith((".yaml", ".yml")):
        raise NasError(f"check takes the path of a .yaml file, but got {arguments.file!r}")
    from nas.networks.space import load_space

    space = load_space(arguments.file)
    print(f"{arguments.file}: no problems. {space.name} holds {space.size:,} networks.")
    return 0


def _find_space(name: str) -> SearchSpace:
    # Imported here, because it brings NumPy and pydantic, which a reference network has no use for.
    from nas.files import known_names
    from nas.networks.space import load_space

    spaces = known_names("search_spaces")
    if re.fullmatch(r"\w+", name) and name not in spaces:
        raise NasError(unknown_name("network or search space", name, [*REFERENCES, *spaces]))
    return load_space(name)


def _show_network(name: str, architecture: Architecture, *, as_json: bool) -> None:
    rows = units(architecture)
    costs = _costs(architecture)
    if as_json:
        listed = [
            {"unit": u.key, "params": u.params, "macs": u.macs, "output": [u.out_channels, u.out_height, u.out_width]}
            for u in rows
        ]
        _print_json(
            {
                "name": name,
                "fingerprint": architecture.fingerprint,
                "resolution": architecture.resolution,
                "classes": architecture.classes,
                **costs,
                "units": listed,
                "architecture": architecture.to_json(),
            }
        )
        return
    print(f"{name}: {architecture.resolution} pixels, {architecture.classes} classes, {architecture.fingerprint}\n")
    columns = ("unit", "params", "MACs", "output")
    table = [(u.key, f"{u.params:,}", f"{u.macs:,}", _shape(u)) for u in rows]
    table.append(("total", f"{costs['params']:,}", f"{costs['macs']:,}", ""))
    console.print_table(columns, table, numbers=("params", "MACs"))
    print(f"\npeak activation memory: {costs['peak_activation_bytes']:,} bytes (one float32 image, block after block)")


def _show_space(space: SearchSpace, *, as_json: bool) -> None:
    members = {
        "smallest": _costs(space.decode(space.smallest_parameters())),
        "largest": _costs(space.decode(space.largest_parameters())),
    }
    layout = space.format
    if as_json:
        parameters = [{"name": p.name, "choices": list(p.choices)} for p in space.parameters]
        _print_json({"name": space.name, "size": space.size, "parameters": parameters, **members})
        return
    print(f"{space.name}: {space.size:,} networks, {len(space.parameters)} parameters")
    print(f"resolution {_choice(layout.resolution)}; width {_choice(layout.width)}; {layout.classes} classes\n")
    columns = ("row", "op", "out", "stride", "depth", "kernel", "expand", "se", "act")
    table = [_layer_row("stem", layout.stem)]
    for number, stage in enumerate(layout.stages, start=1):
        choices = (stage.depth, stage.kernel, stage.expand, stage.se, stage.act)
        row = (f"stage{number}", _choice(stage.op), _choice(stage.out), str(stage.stride))
        table.append((*row, *(_choice(choice) for choice in choices)))
    table += [_layer_row("head", layer) for layer in layout.head]
    console.print_table(columns, table)
    print()
    for name, costs in members.items():
        print(f"{name} member: {costs['params']:,} params, {costs['macs']:,} MACs")


def _layer_row(name: str, layer: LayerFormat) -> tuple[str, ...]:
    stride, kernel = (str(layer.stride), str(layer.kernel)) if layer.op == "conv" else ("", "")
    out, act = "" if layer.out is None else str(layer.out), "" if layer.op == "pool" else layer.act
    return (name, layer.op, out, stride, "", kernel, "", "", act)


def _costs(architecture: Architecture) -> dict[str, int]:
    costs = estimate_costs(architecture)
    return {"params": costs.params, "macs": costs.macs, "peak_activation_bytes": costs.peak_activation_bytes}


def _shape(unit: Unit) -> str:
    return f"{unit.out_channels}x{unit.out_height}x{unit.out_width}"


def _choice(choices: Sequence[int | float | str]) -> str:
    return "|".join(f"{choice:g}" if isinstance(choice, float) else str(choice) for choice in choices)


def _print_json(data: Mapping[str, Any]) -> None:
    print(json.dumps(data, indent=2))


if __name__ == "__main__":
    sys.exit(main())
