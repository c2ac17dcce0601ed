"""python -m nas.deploy benchmark: time models on this machine, side by side."""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from nas import console
from nas.config import Settings
from nas.deploy.help import PICK_HELP
from nas.errors import NasError
from nas.options import checked_options

if TYPE_CHECKING:
    from nas.deploy.inference.benchmark import Benchmark, Contender
    from nas.latency.table import LatencyTable

EXAMPLES = """\
examples:
  python -m nas.deploy benchmark exported/my_run-knee.onnx --target-fps 30 --profile
  python -m nas.deploy benchmark mobilenet_v3_small --resolutions 160,192,224 --batches 1,8
  python -m nas.deploy compare exported/my_run-knee.onnx exported/my_run-knee-int8-static.onnx
  python -m nas.deploy compare exported/my_run-knee.onnx mobilenet_v3_large --device my_phone

All are timed in the same rounds, so that their ratios hold even where the machine's own speed wanders. Times are of
this machine; --device adds what a latency table says of another.
"""

# What latency tables call the precision of an exported file. They have none like int8-dynamic, whose convolutions are
# in float. assumption: a table that does not state its precision is of float32.
_TABLE_PRECISIONS = {"float32": "float32", "float16": "float16", "int8-static": "int8", "int8-qat": "int8"}


class BenchmarkOptions(Settings):
    """The options of `benchmark` and `compare` that are numbers."""

    runs: int = Field(default=100, ge=1)
    threads: int = Field(default=1, ge=1)
    target_fps: float | None = Field(default=None, gt=0, allow_inf_nan=False)


_DEFAULTS = BenchmarkOptions()


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `benchmark` and its options."""
    parser = commands.add_parser(
        "benchmark",
        help="time exported files and published networks here",
        description="Time exported files, in their own runtimes, and networks, through ONNX Runtime, on this machine.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_options(parser)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that `benchmark` and `compare` have in common."""
    parser.add_argument("models", metavar="MODEL", nargs="+", help="an exported file, or a NETWORK")
    parser.add_argument("--pick", metavar="PICK", help=PICK_HELP)
    parser.add_argument(
        "--resolutions", metavar="N,N", help="image sizes that networks are timed at, in pixels (default: their own)"
    )
    parser.add_argument(
        "--batches", metavar="N,N", default="1", help="batch sizes that models are timed at (default: %(default)s)"
    )
    parser.add_argument(
        "--runs", metavar="N", type=int, help=f"number of timed runs of each model (default: {_DEFAULTS.runs})"
    )
    parser.add_argument(
        "--threads", metavar="N", type=int, help=f"number of threads that a model uses (default: {_DEFAULTS.threads})"
    )
    parser.add_argument(
        "--target-fps", metavar="F", type=float, help="frame rate; say what share of the runs keeps up with it"
    )
    parser.add_argument("--device", metavar="TABLE", help="latency table whose prediction is printed, too")
    parser.add_argument("--profile", action="store_true", help="print the time of each block of ONNX files, too")
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Run it; returns the exit code."""
    resolutions = _numbers("--resolutions", arguments.resolutions) if arguments.resolutions else ()
    batches = _numbers("--batches", arguments.batches)
    options = checked_options(BenchmarkOptions, arguments)

    from nas.deploy.inference.benchmark import contenders_of, measure
    from nas.deploy.inference.model import is_exported, refuse_pick
    from nas.latency.table import load_table

    if all(map(is_exported, arguments.models)):
        refuse_pick(arguments.models[0], arguments.pick)
    table = load_table(arguments.device) if arguments.device else None
    with tempfile.TemporaryDirectory() as folder:
        contenders = [
            contender
            for text in arguments.models
            for contender in contenders_of(
                text, Path(folder), resolutions=resolutions, batches=batches, pick=arguments.pick
            )
        ]
        predictions = [_prediction(contender, table) for contender in contenders]
        with console.WorkProgress("rounds", quiet=arguments.quiet) as progress:
            benchmarks = measure(contenders, runs=options.runs, threads=options.threads, on_round=progress.count)
        profiles = [_profile(contender, options.threads) for contender in contenders] if arguments.profile else []
    if arguments.json:
        _print_json(benchmarks, predictions, profiles, options)
    else:
        _print(benchmarks, predictions, profiles, options, arguments.device)
    return 0


def _prediction(contender: Contender, table: LatencyTable | None) -> dict[str, Any]:
    """What a table predicts for a network: the latency of one image, and its energy where the table has the power.

    A table of another precision predicts nothing; "not_predicted" then says why.
    """
    if table is None:
        return {}
    ours, theirs = contender.manifest.precision, table.conditions.precision
    if _TABLE_PRECISIONS.get(ours) != (theirs if theirs in _TABLE_PRECISIONS.values() else "float32"):
        return {"device": table.name, "not_predicted": f"{table.name} is of {theirs}, not of {ours}"}
    from nas.deploy.scaling.family import estimate_extended
    from nas.latency.energy import energy_mj, inferences_per_charge

    latency_ms = estimate_extended(table, contender.manifest.architecture).latency_ms
    power = table.conditions.power
    said: dict[str, Any] = {"device": table.name, "predicted_ms": latency_ms}
    if power is not None:
        said["energy_mj"] = energy_mj(power.watts, latency_ms)
        if power.battery_wh is not None:
            said["inferences_per_charge"] = inferences_per_charge(power.battery_wh, said["energy_mj"])
    return said


def _profile(contender: Contender, threads: int) -> list[dict[str, Any]]:
    if contender.manifest.format != "onnx":
        return []
    from nas.deploy.inference.profile import profile_onnx

    layers = profile_onnx(contender.path, contender.manifest.architecture, batch=contender.batch, threads=threads)
    return [vars(layer) for layer in layers]


def _print_json(
    benchmarks: Sequence[Benchmark],
    predictions: Sequence[dict[str, Any]],
    profiles: Sequence[list[dict[str, Any]]],
    options: BenchmarkOptions,
) -> None:
    rows = []
    for index, benchmark in enumerate(benchmarks):
        row = {**benchmark.to_json(), **predictions[index], "threads": options.threads}
        if options.target_fps:
            row["in_time"] = benchmark.in_time(options.target_fps)
        if profiles:
            row["profile"] = profiles[index]
        rows.append(row)
    print(json.dumps(rows, indent=2))


def _print(
    benchmarks: Sequence[Benchmark],
    predictions: Sequence[dict[str, Any]],
    profiles: Sequence[list[dict[str, Any]]],
    options: BenchmarkOptions,
    device: str | None,
) -> None:
    columns = ["model", "precision", "pixels", "batch", "mean ms", "p50", "p90", "p99", "min", "max", "fps", "ratio"]
    columns += ["MB", "memory MB", "load ms"]
    columns += [f"in time for {options.target_fps:g} fps"] if options.target_fps else []
    titles = {"predicted_ms": f"ms on {device}", "energy_mj": "mJ", "inferences_per_charge": "per charge"}
    predicted = [name for name in titles if any(name in prediction for prediction in predictions)]
    columns += [titles[name] for name in predicted]
    rows = []
    for benchmark, prediction in zip(benchmarks, predictions, strict=True):
        row = _cells(benchmark)
        row += [f"{benchmark.in_time(options.target_fps):.0%}"] if options.target_fps else []
        rows.append([*row, *(f"{prediction[name]:,.4g}" if name in prediction else "" for name in predicted)])
    console.print_table(columns, rows, numbers=columns[2:])
    runs, threads = _count(options.runs, "run"), _count(options.threads, "thread")
    print(f"\n{runs} of each, side by side, {threads}; ratio: to the first, in the same rounds")
    labels = [benchmark.contender.label for benchmark in benchmarks]
    notes = [
        f"weights of {label}: {benchmark.contender.manifest.weights}"
        for label, benchmark in zip(labels, benchmarks, strict=True)
    ]
    notes += [
        f"no time of {label} on {device}: {prediction['not_predicted']}"
        for label, prediction in zip(labels, predictions, strict=True)
        if "not_predicted" in prediction
    ]
    print("\n".join(dict.fromkeys(notes)))  # once for a model of many resolutions and batch sizes
    for benchmark, layers in zip(benchmarks, profiles, strict=False):
        _print_profile(benchmark, layers)


def _cells(benchmark: Benchmark) -> list[str]:
    times, footprint, contender = benchmark.times, benchmark.footprint, benchmark.contender
    milliseconds = (times.mean, times.median, times.percentile(90), times.percentile(99), times.least, times.most)
    memory = f"{footprint.added_bytes / 1e6:.1f}" if footprint and footprint.added_bytes is not None else "unknown"
    return [
        contender.label,
        contender.manifest.precision,
        str(contender.resolution),
        str(contender.batch),
        *(f"{value:.3f}" for value in milliseconds),
        f"{benchmark.frames_per_second:.1f}",
        f"{benchmark.ratio:.3f}",
        f"{benchmark.size_bytes / 1e6:.2f}",
        memory,
        f"{footprint.load_ms:.0f}" if footprint else "unknown",
    ]


def _print_profile(benchmark: Benchmark, layers: Sequence[dict[str, Any]]) -> None:
    contender = benchmark.contender
    print(f"\n{contender.label}, {contender.resolution} pixels, batch {contender.batch}: time by block")
    if not layers:
        print("only ONNX files have a profile")
        return
    columns = ("block", "unit", "ms", "share", "operators")
    rows = [
        (
            str(layer["block"]) if layer["block"] is not None else "",
            layer["unit"],
            f"{layer['ms']:.3f}",
            f"{layer['share']:.1%}",
            ", ".join(layer["operators"]),
        )
        for layer in layers
    ]
    console.print_table(columns, rows, numbers=("block", "ms", "share"))


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _numbers(option: str, text: str) -> tuple[int, ...]:
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise NasError(f"{option} must be whole numbers with commas between them, but got {text!r}") from error
    if min(numbers) < 1:
        raise NasError(f"{option} must be at least 1, but got {text!r}")
    return numbers
