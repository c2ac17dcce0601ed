"""`python -m nas.latency measure`, `validate` and `protocols`: measure tables, and check them on whole networks."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas import console
from nas.errors import NasError
from nas.files import check_writable
from nas.latency.commands.options import SPACE, add_out, table_name, whole_number
from nas.latency.verdict import PASSED

if TYPE_CHECKING:
    from nas.latency.energy import Power
    from nas.latency.measuring.agreement import LatencyAgreement
    from nas.latency.measuring.kit import RunSettings
    from nas.latency.measuring.plan import Plan
    from nas.latency.measuring.samples import Results
    from nas.latency.measuring.targets import Target
    from nas.latency.table import LatencyTable

MEASURE = """\
examples:
  python -m nas.latency measure --space mbv3 --device my_board
  python -m nas.latency measure --space mbv2 --resolution 224 --device pi5 --target ssh:pi@raspberry --threads 4
  python -m nas.latency measure --space mbv3 --device my_board --network pruned.json     # adds rows for it
  python -m nas.latency measure --space mbv3 --device phone --target kit     # writes a kit to carry by hand
  python -m nas.latency measure --space mbv3 --device phone --results results.jsonl
"""
DEFAULT_REFERENCES = ("mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small")
_DEFAULT_REFERENCES_TEXT = f"(default: {' '.join(DEFAULT_REFERENCES)})"


def add_commands(commands: Any) -> None:
    """Add the three subcommands to those of `python -m nas.latency`."""
    _add_measure(commands)
    _add_validate(commands)
    _add_protocols(commands)


def _add_measure(commands: Any) -> None:
    measure = commands.add_parser(
        "measure",
        help="time a space's units with ONNX Runtime, and make a table of them",
        description="Time every unit of a search space and some whole networks with ONNX Runtime, here or on another "
        "machine. Some of the networks calibrate the sums of units, the others check the table. If the command is "
        "stopped or killed, run it again to go on.",
        epilog=MEASURE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    measure.add_argument("--space", metavar="NAME", required=True, help=SPACE)
    measure.add_argument("--device", metavar="NAME", type=table_name, required=True, help="name of the table")
    measure.add_argument(
        "--resolution",
        metavar="N",
        type=int,
        nargs="+",
        default=[],
        help="image sizes to measure, in pixels (default: those of the space)",
    )
    measure.add_argument(
        "--reference",
        metavar="NAME",
        nargs="*",
        default=list(DEFAULT_REFERENCES),
        help=f"published networks whose units get rows, and that the table is checked on {_DEFAULT_REFERENCES_TEXT}",
    )
    measure.add_argument(
        "--network",
        metavar="FILE.json",
        nargs="+",
        default=[],
        help="further networks whose units get rows, and that the table is checked on, at their own resolution: "
        "architectures' .json files, or names of published networks",
    )
    measure.add_argument("--held-out", metavar="N", type=int, default=50, help="networks to check with (default: 50)")
    measure.add_argument("--fit", metavar="N", type=int, default=20, help="networks to calibrate with (default: 20)")
    measure.add_argument(
        "--description", metavar="TEXT", help="name of the device, in words (default: the table's name)"
    )
    measure.add_argument("--soc", metavar="TEXT", help="the device's system on a chip (default: its processor)")
    add_out(measure)
    _add_running(measure)


def _add_validate(commands: Any) -> None:
    validate = commands.add_parser(
        "validate",
        help="check a measured table on whole networks",
        description="Time new random networks under the conditions of a measured table, and write the errors of the "
        "table on them into its .yaml. Nothing is fitted.",
        epilog="example:\n  python -m nas.latency validate my_board",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    validate.add_argument("name", metavar="NAME", help="a measured table: its name, or the path of its .yaml")
    validate.add_argument(
        "--space", metavar="NAME", help="search space to draw networks from (default: the table's space)"
    )
    validate.add_argument(
        "--reference",
        metavar="NAME",
        nargs="*",
        default=list(DEFAULT_REFERENCES),
        help=f"published networks to check the table on as well {_DEFAULT_REFERENCES_TEXT}",
    )
    validate.add_argument("--networks", metavar="N", type=int, default=50, help="networks to draw (default: 50)")
    validate.add_argument(
        "--seed", metavar="N", type=whole_number(0), default=1, help="seed of the drawn networks (default: 1)"
    )
    validate.add_argument(
        "--work", metavar="DIR", type=Path, help="folder of kit and raw samples (default: runs/validation-NAME-SEED)"
    )
    _add_target(validate)


def _add_protocols(commands: Any) -> None:
    protocols = commands.add_parser(
        "protocols",
        help="compare ways of timing a unit, by the errors of the tables that they give",
        description="Compare protocols of turning a measurement's samples into unit latencies, and forms of the "
        "calibration, each by its error on held-out networks.",
    )
    protocols.add_argument("work", metavar="DIR", type=Path, help="folder of a measurement, such as runs/latency-NAME")
    protocols.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Run the subcommand that `arguments` are for."""
    return {"measure": _measure, "validate": _validate, "protocols": _protocols}[arguments.command](arguments)


def _add_running(parser: argparse.ArgumentParser) -> None:
    _add_target(parser)
    parser.add_argument("--threads", metavar="N", type=int, default=1, help="threads of ONNX Runtime (default: 1)")
    parser.add_argument(
        "--cores",
        metavar="N",
        type=whole_number(0),
        nargs="+",
        default=[],
        help="cores to bind the process to (default: it is not bound)",
    )
    parser.add_argument(
        "--provider",
        metavar="NAME",
        default="CPUExecutionProvider",
        help="execution provider of ONNX Runtime (default: %(default)s)",
    )
    parser.add_argument(
        "--graph-optimization",
        choices=("disabled", "basic", "extended", "all"),
        default="all",
        help="graph optimisation of ONNX Runtime (default: %(default)s)",
    )
    parser.add_argument(
        "--precision",
        choices=("float32", "float16", "int8"),
        default="float32",
        help="precision of the models; int8 is quantised in the QDQ format, and float16 is for providers that compute "
        "in it, which the CPU's does not (default: %(default)s)",
    )
    parser.add_argument(
        "--passes",
        metavar="N",
        type=int,
        default=6,
        help="passes over all models in which the machine is quiet (default: 6)",
    )
    parser.add_argument(
        "--rounds", metavar="N", type=int, default=5, help="samples of a model in each pass (default: 5)"
    )
    parser.add_argument(
        "--seed", metavar="N", type=whole_number(0), default=0, help="seed of the drawn networks (default: 0)"
    )
    parser.add_argument(
        "--work", metavar="DIR", type=Path, help="folder of kit and raw samples (default: runs/latency-NAME)"
    )


def _add_target(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--target",
        metavar="TARGET",
        default="local",
        help="machine to measure on: local, ssh:HOST, adb or adb:SERIAL; kit writes a kit to carry by hand (default: "
        "%(default)s)",
    )
    parser.add_argument("--python", metavar="PATH", default="", help="path of Python on the target")
    parser.add_argument("--runner", metavar="FILE", type=Path, help="runner built for the device, with --target adb")
    parser.add_argument("--results", metavar="FILE", type=Path, help="results of a kit that was carried by hand")


def _measure(arguments: argparse.Namespace) -> int:
    from nas.latency.measuring.kit import MOST_PASSES, RunSettings
    from nas.latency.measuring.measure import build_table
    from nas.latency.measuring.plan import plan_measurement
    from nas.latency.table import save_table
    from nas.networks.space.search_space import load_space

    check_writable(arguments.out)
    target = _target(arguments)
    space = load_space(arguments.space)
    foreign_sizes = sorted(set(arguments.resolution) - set(space.format.resolution))
    if foreign_sizes:
        sizes = ", ".join(map(str, foreign_sizes))
        note = f"{space.name} has no networks for {sizes} pixels, so its search will not use these rows"
        print(f"note: {note}", file=sys.stderr)
    settings = RunSettings(
        provider=arguments.provider,
        threads=arguments.threads,
        cores=tuple(arguments.cores),
        graph_optimization=arguments.graph_optimization,
        precision=arguments.precision,
        passes=arguments.passes,
        most_passes=MOST_PASSES * arguments.passes,
        rounds=arguments.rounds,
    )
    plan = plan_measurement(
        space,
        resolutions=arguments.resolution,
        references=arguments.reference,
        networks=arguments.network,
        fit=arguments.fit,
        held_out=arguments.held_out,
        seed=arguments.seed,
    )
    work: Path = arguments.work or Path("runs") / f"latency-{arguments.device}"
    results = _run_kit(plan, settings, work, target, arguments.results)
    if results is None:
        return 0
    device = {"device": arguments.description, "soc": arguments.soc, "power": _power(arguments.out, arguments.device)}
    table = build_table(arguments.device, plan, results, {key: value for key, value in device.items() if value})
    for path in save_table(table, arguments.out):
        print(f"wrote {path}")
    return _conclude(table, plan, results, work)


def _power(folder: Path, name: str) -> Power | None:
    """The power in an existing table that is measured again, because timing does not measure power."""
    from nas.latency.table import read_table

    path = folder / f"{name}.yaml"
    return read_table(path).conditions.power if path.exists() else None


def _validate(arguments: argparse.Namespace) -> int:
    from nas.files import find_file, known_names
    from nas.latency.measuring.kit import RunSettings
    from nas.latency.measuring.measure import validate
    from nas.latency.measuring.plan import plan_measurement
    from nas.latency.table import load_table, save_table
    from nas.networks.space.search_space import load_space

    table = load_table(arguments.name)
    measurement = table.conditions.measurement
    if not measurement:
        raise NasError(f"the table {table.name} was not measured, so there are no conditions to measure again under")
    folder = find_file("latency_tables", arguments.name).parent
    check_writable(folder)
    target = _target(arguments)
    space = arguments.space or measurement["space"]
    if arguments.space is None and space not in known_names("search_spaces"):
        raise NasError(
            f"the table {table.name} was measured for the search space {space!r}, which is not found here: give the "
            "file of that space as --space FILE.yaml"
        )
    plan = plan_measurement(
        load_space(space),
        resolutions=measurement["resolutions"],
        references=arguments.reference,
        fit=0,
        held_out=arguments.networks,
        seed=arguments.seed,
        with_units=False,
    )
    table.require(unit for network in plan.networks for unit in network.units)
    settings = RunSettings.from_json(measurement["settings"])
    work: Path = arguments.work or Path("runs") / f"validation-{table.name}-{arguments.seed}"
    results = _run_kit(plan, settings, work, target, arguments.results)
    if results is None:
        return 0
    validated = validate(table, plan, results)
    save_table(validated, folder)
    print(f"wrote {folder / table.name}.yaml")
    return _conclude(validated, plan, results, work)


def _target(arguments: argparse.Namespace) -> Target | None:
    """The machine to run the kit on; None where the kit is carried by hand."""
    from nas.latency.measuring.targets import parse_target

    if arguments.target == "kit" or arguments.results is not None:
        return None
    return parse_target(arguments.target, python=arguments.python, runner=arguments.runner)


def _run_kit(
    plan: Plan, settings: RunSettings, work: Path, target: Target | None, carried: Path | None
) -> Results | None:
    """Write the kit, run it and read its results; None where the kit is still to be carried to the device."""
    from nas.latency.measuring.measure import KIT, RESULTS, keep_carried, prepare
    from nas.latency.measuring.samples import read_results

    with console.WorkProgress("models exported") as progress:
        identity = prepare(plan, settings, work, progress.count)
    path = carried or work / RESULTS
    if target is not None:
        target.run(work / KIT, identity, path)
    elif carried is None:
        print(f"the kit is {work / KIT}: carry it to the device and run `python run.py` in it. Then run this command")
        print(f"again with --results results.jsonl, the file that it writes (kit {identity})")
        return None
    results = read_results(path, identity)
    if carried is not None:
        keep_carried(carried, work)
    for name, reason in results.failed.items():
        print(f"not measured: {name}: {reason}", file=sys.stderr)
    print(f"raw samples: {work / RESULTS}")
    return results


def _conclude(table: LatencyTable, plan: Plan, results: Results, work: Path) -> int:
    """Draw and print the validation of a table; returns 1 where it did not pass."""
    from nas.latency.measuring.agreement_picture import save_agreement_picture

    picture = work / "validation.png"
    save_agreement_picture(picture, table, plan, results)
    print(f"picture: {picture}\n")
    print_validation(table.conditions.validation)
    return 0 if table.conditions.validation["verdict"] == PASSED else 1


def _protocols(arguments: argparse.Namespace) -> int:
    from nas.latency.measuring.measure import compare_calibrations, compare_protocols, noise_floor

    plan, results = load_measurement(arguments.work)
    compared = compare_protocols(plan, results)
    calibrations = compare_calibrations(plan, results)
    noise = noise_floor(plan, results)
    if arguments.json:
        data = {
            name: {"sum": ratio, "scale": calibration.scale, "offset_ms": calibration.offset_ms, **agreement.to_json()}
            for name, (ratio, calibration, agreement) in compared.items()
        }
        forms = {name: agreement.to_json() for name, agreement in calibrations.items()}
        print(json.dumps({"noise": noise.to_json(), "protocols": data, "calibrations": forms}, indent=2))
        return 0
    columns = ("unit timed as", "sum", "scale", "offset ms", "MAPE", "worst", "Spearman")
    rows = [
        (name, f"{ratio:.1%}", f"{calibration.scale:.4f}", f"{calibration.offset_ms:.3f}", *_cells(agreement))
        for name, (ratio, calibration, agreement) in compared.items()
    ]
    console.print_table(columns, rows, numbers=columns[1:])
    print()
    forms_columns = ("calibrated by", "MAPE", "worst", "Spearman")
    cells = [(name, *_cells(agreement)) for name, agreement in calibrations.items()]
    console.print_table(forms_columns, cells, numbers=forms_columns[1:])
    print(f"\nthe same networks measured twice: {noise.mape:.2%} apart")
    return 0


def _cells(agreement: LatencyAgreement) -> tuple[str, str, str]:
    return f"{agreement.mape:.2%}", f"{agreement.worst:.2%}", f"{agreement.spearman:.4f}"


def load_measurement(work: Path) -> tuple[Plan, Results]:
    """Load the plan and the results in the folder of a measurement. Raises NasError where it holds none."""
    from nas.latency.measuring.measure import KIT, PLAN, RESULTS
    from nas.latency.measuring.plan import load_plan
    from nas.latency.measuring.runner import KitError, read_manifest
    from nas.latency.measuring.samples import read_results

    try:
        identity = read_manifest(work / KIT)["kit"]
    except KitError as error:
        raise NasError(f"{work} is not the folder of a measurement: {error}") from error
    return load_plan(work / PLAN), read_results(work / RESULTS, identity)


def print_validation(validation: Mapping[str, Any]) -> None:
    """Print the verdict on a table, and the agreements that it is based on."""
    columns = ("", "networks", "bias", "mean_absolute", "worst", "within_5_percent", "within_10_percent", "spearman")
    names = {"held out": "held out", "references": "named", "noise": "measured twice"}
    rows = [
        (words, *(str(validation[name][column]) for column in columns[1:]))
        for name, words in names.items()
        if name in validation
    ]
    if rows:
        console.print_table([column.replace("_", " ") for column in columns], rows)
    for name, entry in validation.items():
        if isinstance(entry, dict) and str(entry.get("checked", "")).startswith("outside"):
            print(f"\n{name} ({entry['measured_ms']} ms; by the table {entry['difference']}) is {entry['checked']}")
            print("that was checked: the table is not made for networks like it")
    print(f"\nvalidation: {validation['verdict']}")
