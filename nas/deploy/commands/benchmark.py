"""python -m nas.deploy benchmark: how fast models are on this machine, side by side."""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas import console
from nas.errors import NasError

if TYPE_CHECKING:
    from nas.deploy.inference.benchmark import Benchmark, Contender
    from nas.latency.table import LatencyTable

EXAMPLES = """\
examples:
  python -m nas.deploy benchmark exported/knee.onnx --target-fps 30 --profile
  python -m nas.deploy benchmark mobilenet_v3_small --resolutions 160,192,224 --batches 1,8
  python -m nas.deploy compare exported/knee.onnx exported/knee-int8-static.onnx exported/knee.tflite
  python -m nas.deploy compare exported/knee.onnx mobilenet_v3_large --device my_phone

All are timed in the same rounds, so that their ratios hold even where the machine's own speed wanders. Times are of
this machine; --device adds what a latency table says of another.
"""


# What tables call the precision of an exported file; int8-dynamic, whose convolutions are in float, is none of theirs.
# assumption: a table that does not state its precision is of float32.
_TABLE_PRECISIONS = {"float32": "float32", "float16": "float16", "int8-static": "int8", "int8-qat": "int8"}


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `benchmark` and its options."""
    parser = commands.add_parser(
        "benchmark",
        help="how fast exported files and published networks are here",
        description="Time exported files, in their own runtimes, and networks, through ONNX Runtime, on this machine.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_options(parser)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what `benchmark` and `compare` have in common."""
    parser.add_argument("models", metavar="MODEL", nargs="+", help="an exported file, or a NETWORK")
    parser.add_argument(
        "--pick", metavar="PICK", help="of a run: knee (default), 30ms, a pick's name, a trial's number"
    )
    parser.add_argument("--resolutions", metavar="N,N", help="of networks, in pixels (default: their own)")
    parser.add_argument("--batches", metavar="N,N", default="1", help="images at once (default: %(default)s)")
    parser.add_argument("--runs", metavar="N", type=int, default=100, help="of each (default: %(default)s)")
    parser.add_argument("--threads", metavar="N", type=int, default=1, help="default: %(default)s")
    parser.add_argument("--target-fps", metavar="F", type=float, help="say which runs are fast enough for it")
    parser.add_argument("--device", metavar="TABLE", help="also say what this latency table predicts")
    parser.add_argument("--profile", action="store_true", help="also the time of each block, of ONNX files")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Run it; returns the exit code."""
    resolutions = _numbers("--resolutions", arguments.resolutions) if arguments.resolutions else ()
    batches = _numbers("--batches", arguments.batches)
    for name in ("runs", "threads", "target_fps"):
        value = getattr(arguments, name)
        if value is not None and not 0 < value < math.inf:
            raise NasError(f"--{name.replace('_', '-')} must be above 0 and finite, but is {value:g}")

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
        predicted = [_predicted(contender, table) for contender in contenders]
        progress = _progress if sys.stderr.isatty() else None
        found = measure(contenders, runs=arguments.runs, threads=arguments.threads, on_round=progress)
        profiles = [_profile(contender, arguments.threads) for contender in contenders] if arguments.profile else []
    if arguments.json:
        _print_json(found, predicted, profiles, arguments)
    else:
        _print(found, predicted, profiles, arguments)
    return 0


def _predicted(contender: Contender, table: LatencyTable | None) -> dict[str, Any]:
    """What a table says of a network: latency for one image, and, where it knows the power, energy.

    A table of another precision says nothing; why, stands under "not_predicted".
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
    found: Sequence[Benchmark],
    predicted: Sequence[dict[str, Any]],
    profiles: Sequence[list[dict[str, Any]]],
    arguments: argparse.Namespace,
) -> None:
    rows = []
    for index, one in enumerate(found):
        row = {**one.to_json(), **predicted[index], "threads": arguments.threads}
        if arguments.target_fps:
            row["in_time"] = one.in_time(arguments.target_fps)
        if profiles:
            row["profile"] = profiles[index]
        rows.append(row)
    print(json.dumps(rows, indent=2))


def _print(
    found: Sequence[Benchmark],
    predicted: Sequence[dict[str, Any]],
    profiles: Sequence[list[dict[str, Any]]],
    arguments: argparse.Namespace,
) -> None:
    columns = ["model", "precision", "pixels", "batch", "mean ms", "p50", "p90", "p99", "min", "max", "fps", "ratio"]
    columns += ["MB", "memory MB", "load ms"]
    columns += [f"in time for {arguments.target_fps:g} fps"] if arguments.target_fps else []
    extra = {"predicted_ms": f"ms on {arguments.device}", "energy_mj": "mJ", "inferences_per_charge": "per charge"}
    shown = [name for name in extra if any(name in said for said in predicted)]
    columns += [extra[name] for name in shown]
    rows = []
    for one, said in zip(found, predicted, strict=True):
        row = _cells(one)
        row += [f"{one.in_time(arguments.target_fps):.0%}"] if arguments.target_fps else []
        rows.append([*row, *(f"{said[name]:,.4g}" if name in said else "" for name in shown)])
    console.print_table(columns, rows, numbers=columns[2:])
    runs, threads = _count(arguments.runs, "run"), _count(arguments.threads, "thread")
    print(f"\n{runs} of each, side by side, {threads}; ratio: to the first, in the same rounds")
    labels = [one.contender.label for one in found]
    notes = [f"weights of {label}: {one.contender.manifest.weights}" for label, one in zip(labels, found, strict=True)]
    notes += [
        f"no time of {label} on {arguments.device}: {said['not_predicted']}"
        for label, said in zip(labels, predicted, strict=True)
        if "not_predicted" in said
    ]
    print("\n".join(dict.fromkeys(notes)))  # once for a model of many resolutions and batch sizes
    for one, layers in zip(found, profiles, strict=False):
        _print_profile(one, layers)


def _cells(one: Benchmark) -> list[str]:
    times, footprint, contender = one.times, one.footprint, one.contender
    milliseconds = (times.mean, times.median, times.percentile(90), times.percentile(99), times.least, times.most)
    memory = f"{footprint.added_bytes / 1e6:.1f}" if footprint and footprint.added_bytes is not None else "unknown"
    return [
        contender.label,
        contender.manifest.precision,
        str(contender.resolution),
        str(contender.batch),
        *(f"{value:.3f}" for value in milliseconds),
        f"{one.frames_per_second:.1f}",
        f"{one.ratio:.3f}",
        f"{one.size_bytes / 1e6:.2f}",
        memory,
        f"{footprint.load_ms:.0f}" if footprint else "unknown",
    ]


def _print_profile(one: Benchmark, layers: Sequence[dict[str, Any]]) -> None:
    contender = one.contender
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


def _progress(done: int, total: int) -> None:
    print(f"\r{done} of {total} rounds", end="\n" if done == total else "", file=sys.stderr, flush=True)
