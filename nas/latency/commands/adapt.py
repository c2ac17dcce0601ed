"""`python -m nas.latency adapt`: choose the few measurements of a new device, and make its table from them."""

from __future__ import annotations

import argparse
import csv
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.errors import ConfigError, NasError
from nas.files import check_writable, read_csv, shown, write_files
from nas.latency.commands.options import CONDITIONS, SPACE, add_texts, stated_texts, table_name

if TYPE_CHECKING:
    from nas.latency.modelling.adapt import DeviceSample
    from nas.latency.table import LatencyTable
    from nas.networks.operators import Unit

EXAMPLES = """\
examples:
  python -m nas.latency adapt pixel_lut --choose 10 --space mbv3 --out my_phone    # choose what to measure
  python -m nas.latency adapt pixel_lut --samples my_phone/samples.csv --name my_phone --out latency_tables
"""
COLUMNS = ("sample", "latency_ms")
SAMPLES = "samples.csv"
# Networks to choose from and to predict well: this many in each interval of the space's range of MACs.
_STRATA, _PER_STRATUM = 20, 50
# A table says "unknown" of the governor unless it was measured.
_CONDITIONS = {key: text for key, text in CONDITIONS.items() if key != "governor"}
_CONDITIONS["device"] += " (default: NAME)"


def add_commands(commands: Any) -> None:
    """Add the subcommand to those of `python -m nas.latency`."""
    adapt = commands.add_parser(
        "adapt",
        help="make the table of a new device from tables of other devices and 10 to 50 measurements",
        description="Choose the few networks or units to measure on a new device (--choose). Then make its table from "
        "these measurements and the tables of other devices (--samples). All of its rows are modelled, and its error "
        "is cross-validated.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    adapt.add_argument(
        "sources", metavar="SOURCE", nargs="+", help="tables of other devices: their names, or .yaml files"
    )
    what = adapt.add_mutually_exclusive_group(required=True)
    what.add_argument("--choose", metavar="N", type=int, help="choose N samples and list them in DIR (needs --space)")
    what.add_argument(
        "--samples",
        metavar="FILE.csv",
        type=Path,
        help="the measurements, with the columns sample and latency_ms (needs --name). A sample is a unit, a published "
        "network, or an architecture's .json file in the same folder",
    )
    adapt.add_argument("--space", metavar="NAME", help=f"{SPACE}. Samples are chosen for its networks")
    adapt.add_argument("--units", action="store_true", help="choose units to time alone, instead of networks")
    adapt.add_argument("--name", metavar="NAME", type=table_name, help="name of the new table")
    adapt.add_argument(
        "--out", metavar="DIR", type=Path, required=True, help="folder to write into; existing files are overwritten"
    )
    add_texts(adapt, _CONDITIONS)


def run(arguments: argparse.Namespace) -> int:
    """Run the subcommand."""
    from nas.latency.table import load_table

    if arguments.samples and arguments.name is None:
        raise NasError("--samples needs --name NAME")
    if not arguments.samples and arguments.space is None:
        raise NasError("--choose needs --space NAME")
    check_writable(arguments.out)
    sources = [load_table(name) for name in arguments.sources]
    return _adapt(sources, arguments) if arguments.samples else _choose(sources, arguments)


def read_samples(path: Path) -> list[DeviceSample]:
    """Read the measurements from a CSV with COLUMNS. Raises ConfigError with every problem of the file."""
    from nas.latency.modelling.adapt import DeviceSample

    samples, problems = [], []
    for number, fields in read_csv(path, f"the samples in {shown(path)}", COLUMNS):
        try:
            if len(fields) != len(COLUMNS):
                raise NasError(f"a line must have {len(COLUMNS)} fields ({', '.join(COLUMNS)}), but has {len(fields)}")
            units, whole = _read_units(fields[0], path.parent)
            samples.append(DeviceSample(fields[0], tuple(unit.key for unit in units), _latency(fields), whole))
        except NasError as error:
            problems.append(f"{error} ({shown(path)}:{number})")
    if problems:
        raise ConfigError(problems)
    return samples


def _choose(sources: Sequence[LatencyTable], arguments: argparse.Namespace) -> int:
    import numpy as np

    from nas.latency.modelling.adapt import choose_samples
    from nas.networks.deployed import deployed
    from nas.networks.operators import units
    from nas.networks.space.search_space import load_space
    from nas.networks.space.table import SpaceTable

    _refuse_measured(arguments.out / SAMPLES)
    space = load_space(arguments.space)
    for source in sources:
        source.require(space.units())
    members, _, _ = SpaceTable(space).sample_stratified(
        _PER_STRATUM, _STRATA, lambda unit: unit.macs, np.random.default_rng(0)
    )
    architectures = list(dict.fromkeys(members))
    networks = [units(deployed(architecture)) for architecture in architectures]
    options: Sequence[Sequence[Unit]] = [(unit,) for unit in space.units()] if arguments.units else networks
    chosen = choose_samples(sources, options, networks, arguments.choose)
    texts = {}
    if arguments.units:
        names = [options[index][0].key for index in chosen]
    else:
        names = [f"sample_{number:02d}.json" for number in range(1, len(chosen) + 1)]
        texts = {
            name: json.dumps(architectures[index].to_json(), indent=2) + "\n"
            for name, index in zip(names, chosen, strict=True)
        }
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([COLUMNS, *((name, "") for name in names)])
    write_files(arguments.out, {**texts, SAMPLES: text.getvalue()})
    path = arguments.out / SAMPLES
    kind = "units" if arguments.units else "networks"
    print(f"wrote {path}: measure these {len(names)} {kind}, fill in latency_ms (the median of many runs), then")
    tables = " ".join(arguments.sources)
    print(f"  python -m nas.latency adapt {tables} --samples {path} --name NAME --out latency_tables")
    return 0


def _refuse_measured(path: Path) -> None:
    """Raise NasError where a list of samples has latencies, which were typed in by hand and must not be lost."""
    if not path.exists():
        return
    first, *rows = [fields for _, fields in read_csv(path, shown(path))] or [[]]
    if tuple(first) != COLUMNS or not all(len(row) == len(COLUMNS) and not row[1].strip() for row in rows):
        raise NasError(f"{shown(path)} is filled in already, and choosing again would overwrite it: give another --out")


def _adapt(sources: Sequence[LatencyTable], arguments: argparse.Namespace) -> int:
    from nas.latency.modelling.adapt import adapt_table
    from nas.latency.table import save_table

    conditions = stated_texts(arguments, _CONDITIONS)
    table = adapt_table(sources, read_samples(arguments.samples), arguments.name, conditions)
    for path in save_table(table, arguments.out):
        print(f"wrote {path}")
    error = table.conditions.calibration.held_out_error
    print(f"{len(table.rows):,} modelled rows; cross-validated error: {error}")
    return 0


def _read_units(name: str, folder: Path) -> tuple[Sequence[Unit], bool]:
    """The units of a sample, and whether it is a whole network. Raises NasError for another text."""
    from nas.networks.deployed import deployed
    from nas.networks.operators import parse_unit, units
    from nas.networks.references import REFERENCES, find_network

    if name.endswith(".json"):
        return units(deployed(find_network(str(folder / name)))), True
    if name in REFERENCES:
        return units(deployed(find_network(name))), True
    try:
        return (parse_unit(name),), False
    except NasError as error:
        raise NasError(f"a sample must be a unit, a published network or an architecture's .json: {error}") from error


def _latency(fields: Sequence[str]) -> float:
    try:
        latency_ms = float(fields[1])
    except ValueError:
        latency_ms = math.nan
    if not (math.isfinite(latency_ms) and latency_ms > 0):
        raise NasError(f"latency_ms must be a number above 0, but is {fields[1]!r} for {fields[0]}")
    return latency_ms
