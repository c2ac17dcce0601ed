"""python -m nas.deploy compress: a trained network in int8 or float16."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from nas import console
from nas.errors import NasError

if TYPE_CHECKING:
    from onnx import ModelProto

    from nas.deploy.compress import Compressed, Quality
    from nas.deploy.images import Images
    from nas.deploy.manifest import Manifest

EXAMPLES = """\
examples:
  python -m nas.deploy compress finished/knee --method int8-static --data folder:flowers
  python -m nas.deploy compress exported/knee.onnx --method float16 --data digits
"""


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `compress` and its options."""
    parser = commands.add_parser(
        "compress",
        help="a trained network in int8 or float16, without training it again",
        description="Quantise a trained network through ONNX Runtime, and say what that does to its accuracy, size and "
        "latency. A network that loses too much is refused.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("network", metavar="NETWORK", help="a trained network's folder, or an exported .onnx file")
    parser.add_argument(
        "--pick", metavar="PICK", help="of a run: knee (default), 30ms, a pick's name, a trial's number"
    )
    parser.add_argument("--method", choices=("int8-static", "int8-dynamic", "float16"), default="int8-static")
    parser.add_argument(
        "--data",
        metavar="SOURCE",
        required=True,
        help="digits, folder:PATH, cifar10[:PATH]: training images set the ranges, validation images give the scores",
    )
    parser.add_argument(
        "--calibration",
        choices=("minmax", "entropy", "percentile"),
        default="minmax",
        help="int8-static: how an activation's range is chosen (default: %(default)s)",
    )
    parser.add_argument(
        "--percentile",
        metavar="P",
        type=float,
        default=99.99,
        help="of --calibration percentile (default: %(default)s)",
    )
    parser.add_argument(
        "--images", metavar="N", type=int, default=256, help="int8-static: calibration images (default: %(default)s)"
    )
    parser.add_argument("--exclude", metavar="NODE,NODE", default="", help="int8-static: nodes that stay in float")
    parser.add_argument(
        "--most-drop",
        metavar="POINTS",
        type=float,
        default=1.0,
        help="most that top-1 may fall, in percentage points (default: %(default)s)",
    )
    parser.add_argument("--allow", action="store_true", help="keep a network that loses more")
    parser.add_argument("--runs", metavar="N", type=int, default=100, help="that are timed (default: %(default)s)")
    parser.add_argument("--threads", metavar="N", type=int, default=1, help="default: %(default)s")
    parser.add_argument("--out", metavar="DIR", type=Path, default=Path("exported"), help="default: %(default)s")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Run it; returns the exit code."""
    _check_options(arguments)

    from nas.deploy.compress import check_drop, compress
    from nas.deploy.images import check_labels, load_images
    from nas.files import check_writable

    check_writable(arguments.out)
    model, manifest = _float_model(arguments.network, arguments.pick)
    images = load_images(
        arguments.data, manifest.architecture, preprocessing=manifest.preprocessing, calibration=arguments.images
    )
    check_labels(images, manifest.labels, manifest.architecture.classes)
    compressed = compress(
        model,
        images,
        arguments.method,
        calibration=arguments.calibration,
        percentile=arguments.percentile,
        exclude=tuple(name for name in arguments.exclude.split(",") if name),
        runs=arguments.runs,
        threads=arguments.threads,
        progress=_progress if sys.stderr.isatty() else None,
    )
    if not arguments.allow:
        check_drop(compressed, arguments.most_drop)
    path = _save(compressed, manifest, images, arguments)
    if arguments.json:
        print(json.dumps({"file": str(path), **compressed.to_json()}, indent=2))
    else:
        _print(compressed, manifest, path)
    return 0


def _check_options(arguments: argparse.Namespace) -> None:
    for name in ("images", "runs", "threads"):
        if getattr(arguments, name) < 1:
            raise NasError(f"--{name} must be at least 1, but is {getattr(arguments, name)}")
    if not 50 < arguments.percentile <= 100:
        raise NasError(f"--percentile must be above 50 and at most 100, but is {arguments.percentile:g}")
    if not 0 <= arguments.most_drop <= 100:
        raise NasError(f"--most-drop must be 0 to 100 points, but is {arguments.most_drop:g}")


def _float_model(text: str, pick: str | None) -> tuple[ModelProto, Manifest]:
    """The network that `text` means as an ONNX model of float32, and what is known of it."""
    from nas.deploy.compress import load_onnx
    from nas.deploy.export import export_file
    from nas.deploy.find import find_network
    from nas.deploy.manifest import Manifest, load_manifest
    from nas.deploy.model import is_exported
    from nas.networks.deployed import deployed

    if is_exported(text):
        path = Path(text)
        manifest = load_manifest(path)
        if (manifest.format, manifest.precision) != ("onnx", "float32"):
            raise NasError(
                f"{text} must be an ONNX file of float32, but is {manifest.format} of {manifest.precision}. "
                "Compress the network that it was made of."
            )
        return load_onnx(path.read_bytes(), text), manifest
    found = find_network(text, pick=pick)
    if found.weights is None:
        raise NasError(f"{found.name} has no trained weights, so that nothing can be said of what it loses: train it")
    network, weights = found.deployed()
    facts = Manifest(
        name=found.name,
        format="onnx",
        precision="float32",
        any_batch=True,
        architecture=deployed(found.architecture),
        weights=weights,
        labels=found.labels,
        preprocessing=found.preprocessing,
        versions={},
        check={},
    )
    with tempfile.TemporaryDirectory() as folder:
        path, manifest = export_file(network, facts, Path(folder))
        return load_onnx(path.read_bytes(), text), manifest


def _save(compressed: Compressed, manifest: Manifest, images: Images, arguments: argparse.Namespace) -> Path:
    from nas.deploy.manifest import save_with_manifest

    method = arguments.method
    done = replace(
        manifest,
        name=f"{manifest.name}-{method}",
        precision=method,
        labels=manifest.labels or images.labels,
        preprocessing=images.preprocessing,
        check={"not_run": "compared with float32 by its accuracy: see history"},
        history={
            **manifest.history,
            "compress": {
                "method": method,
                "calibration": arguments.calibration if method == "int8-static" else None,
                "calibration_images": len(images.calibration) if method == "int8-static" else None,
                "data": images.source,
                **compressed.to_json(),
            },
        },
    )
    path: Path = arguments.out / f"{done.name}.onnx"
    arguments.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=arguments.out, prefix=f".{done.name}.") as place:
        (Path(place) / path.name).write_bytes(compressed.model.SerializeToString())
        save_with_manifest(Path(place), path, done)
    return path


def _print(compressed: Compressed, manifest: Manifest, path: Path) -> None:
    print(f"weights: {manifest.weights}")
    columns = ("", "top-1 %", "MB", "p50 ms", "p90 ms")
    rows = [("before", *_cells(compressed.before)), (path.name, *_cells(compressed.after))]
    console.print_table(columns, rows, numbers=columns[1:])
    size = compressed.after.size_bytes / compressed.before.size_bytes
    print(
        f"\ntop-1 {-compressed.drop:+.2f} points on {compressed.images:,} images ({compressed.same_class:.1%} in the "
        f"same class), size × {size:.2f}, latency × {compressed.latency_ratio:.2f} (side by side, "
        f"{compressed.threads} thread{'s' * (compressed.threads > 1)}, one image)"
    )
    if path.name.endswith(("int8-static.onnx", "int8-dynamic.onnx")):
        others = ", ".join(f"{count} {name}" for name, count in compressed.runs_as.other_float.items()) or "none"
        print(
            f"ONNX Runtime runs {compressed.runs_as.integer} operators in integers; convolutions and products in "
            f"float: {compressed.runs_as.heavy_float}; other operators in float: {others}"
        )
    print(f"wrote {path}")


def _cells(quality: Quality) -> tuple[str, ...]:
    times = quality.latency
    return (
        f"{quality.top1:.2f}",
        f"{quality.size_bytes / 1e6:.3f}",
        f"{times.median:.3f}",
        f"{times.percentile(90):.3f}",
    )


def _progress(done: int, total: int) -> None:
    print(f"\r{done} of {total} calibration images", end="\n" if done == total else "", file=sys.stderr, flush=True)
