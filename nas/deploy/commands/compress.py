"""python -m nas.deploy compress: a trained network in int8 or float16."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas import console
from nas.errors import NasError

if TYPE_CHECKING:
    from onnx import ModelProto

    from nas.deploy.export.manifest import Manifest
    from nas.deploy.inference.images import Images
    from nas.deploy.quantisation.compress import Compressed, Quality

    # The images that were used, what was made, and what a method alone records.
    Made = tuple[Images, Compressed, Mapping[str, Any]]

EXAMPLES = """\
examples:
  python -m nas.deploy compress finished/knee --method int8-static --data folder:flowers
  python -m nas.deploy compress finished/knee --method int8-qat --data folder:flowers --epochs 3
  python -m nas.deploy compress exported/knee.onnx --method float16 --data digits
"""

METHODS = ("int8-static", "int8-qat", "int8-dynamic", "float16")
# Of the options of int8-qat, where they are not given.
_EPOCHS, _BATCH_SIZE, _LEARNING_RATE, _SEED = 1, 64, 0.01, 0
_CALIBRATED = ("int8-static", "int8-qat")
# Of their options, likewise.
_CALIBRATION, _PERCENTILE, _IMAGES = "minmax", 99.99, 256


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `compress` and its options."""
    parser = commands.add_parser(
        "compress",
        help="a trained network in int8 or float16",
        description="Quantise a trained network through ONNX Runtime, as it is or (int8-qat) after training it on with "
        "the rounding of int8, and say what that does to its accuracy, size and latency. A network that loses too much "
        "is refused.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("network", metavar="NETWORK", help="a trained network's folder, or an exported .onnx file")
    parser.add_argument(
        "--pick", metavar="PICK", help="of a run: knee (default), 30ms, a pick's name, a trial's number"
    )
    parser.add_argument("--method", choices=METHODS, default="int8-static", help="default: %(default)s")
    parser.add_argument(
        "--data",
        metavar="SOURCE",
        required=True,
        help="digits, folder:PATH, cifar10[:PATH]: training images set the ranges, validation images give the scores",
    )
    parser.add_argument(
        "--calibration",
        choices=("minmax", "entropy", "percentile"),
        help=f"int8-static: how an activation's range is chosen; int8-qat: at the start (default: {_CALIBRATION})",
    )
    parser.add_argument(
        "--percentile",
        metavar="P",
        type=float,
        help=f"of --calibration percentile (default: {_PERCENTILE})",
    )
    parser.add_argument(
        "--images",
        metavar="N",
        type=int,
        help=f"int8-static, int8-qat: calibration images (default: {_IMAGES})",
    )
    parser.add_argument("--exclude", metavar="NODE,NODE", help="int8-static, int8-qat: nodes that stay in float")
    _add_training(parser.add_argument_group("int8-qat"))
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


def _add_training(group: argparse._ArgumentGroup) -> None:
    length = group.add_mutually_exclusive_group()
    length.add_argument("--epochs", metavar="N", type=int, help=f"to train (default: {_EPOCHS})")
    length.add_argument("--steps", metavar="N", type=int, help="to train, instead of whole epochs")
    group.add_argument("--batch-size", metavar="N", type=int, help=f"default: {_BATCH_SIZE}")
    group.add_argument(
        "--learning-rate", metavar="RATE", type=float, help=f"for 256 images, at the start (default: {_LEARNING_RATE})"
    )
    group.add_argument("--train-images", metavar="N", type=int, help="that are trained on (default: all)")
    group.add_argument("--seed", metavar="N", type=int, help=f"default: {_SEED}")


def run(arguments: argparse.Namespace) -> int:
    """Run it; returns the exit code."""
    _check_options(arguments)

    from nas.deploy.quantisation.compress import check_drop
    from nas.deploy.quantisation.onnx import check_excluded
    from nas.files import check_writable

    check_writable(arguments.out)
    model, manifest = _float_model(arguments.network, arguments.pick)
    check_excluded(model, _excluded(arguments))
    make = _trained if arguments.method == "int8-qat" else _quantised
    images, compressed, record = make(arguments, model, manifest)
    if not arguments.allow:
        check_drop(compressed, arguments.most_drop)
    path = _save(compressed, manifest, images, arguments, record)
    if arguments.json:
        print(json.dumps({"file": str(path), **compressed.to_json()}, indent=2))
    else:
        _print(compressed, manifest, path)
    return 0


def _quantised(arguments: argparse.Namespace, model: ModelProto, manifest: Manifest) -> Made:
    """The model by a method that does not train."""
    from nas.deploy.inference.images import check_labels, load_images
    from nas.deploy.quantisation.compress import compress

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
        exclude=_excluded(arguments),
        runs=arguments.runs,
        threads=arguments.threads,
        progress=_progress("calibration images"),
    )
    return images, compressed, {}


def _trained(arguments: argparse.Namespace, model: ModelProto, manifest: Manifest) -> Made:
    """The model by quantisation-aware training."""
    from nas.accuracy.training.settings import TrainingSettings
    from nas.deploy.inference.images import check_labels
    from nas.deploy.quantisation.compress import compared
    from nas.deploy.quantisation.fake_quantised import check_torchao
    from nas.deploy.quantisation.training import load_training_images, steps_of, trained_for_int8

    check_torchao()
    images, dataset = load_training_images(
        arguments.data,
        manifest.architecture,
        preprocessing=manifest.preprocessing,
        calibration=arguments.images,
        max_images=arguments.train_images,
        seed=arguments.seed,
    )
    check_labels(images, manifest.labels, manifest.architecture.classes)
    training = TrainingSettings(
        batch_size=arguments.batch_size, learning_rate=arguments.learning_rate, weight_decay=0.0
    )
    steps = arguments.steps or steps_of(arguments.epochs, dataset, training)
    made = trained_for_int8(
        model,
        images.calibration_inputs(),
        dataset,
        training,
        steps=steps,
        seed=arguments.seed,
        calibration=arguments.calibration,
        percentile=arguments.percentile,
        exclude=_excluded(arguments),
        progress=_progress("training steps"),
    )
    facts = {
        "images": len(dataset.train),
        "steps": steps,
        "batch_size": training.batch_size,
        "learning_rate": training.learning_rate,
        "seed": arguments.seed,
        "torchao": version("torchao"),
    }
    compressed = compared(model, made, images, runs=arguments.runs, threads=arguments.threads)
    return images, compressed, {"training": facts}


def _excluded(arguments: argparse.Namespace) -> tuple[str, ...]:
    return tuple(name for name in arguments.exclude.split(",") if name)


def _check_options(arguments: argparse.Namespace) -> None:
    _check_training_options(arguments)
    _check_calibration_options(arguments)
    for name in ("images", "runs", "threads"):
        if getattr(arguments, name) < 1:
            raise NasError(f"--{name} must be at least 1, but is {getattr(arguments, name)}")
    if not 50 < arguments.percentile <= 100:
        raise NasError(f"--percentile must be above 50 and at most 100, but is {arguments.percentile:g}")
    if not 0 <= arguments.most_drop <= 100:
        raise NasError(f"--most-drop must be 0 to 100 points, but is {arguments.most_drop:g}")


def _check_training_options(arguments: argparse.Namespace) -> None:
    """Fill in what was not given; raise NasError for options that have no effect and for values out of range."""
    defaults = {
        "epochs": _EPOCHS,
        "steps": None,
        "batch_size": _BATCH_SIZE,
        "learning_rate": _LEARNING_RATE,
        "train_images": None,
        "seed": _SEED,
    }
    given = [name for name in defaults if getattr(arguments, name) is not None]
    if given and arguments.method != "int8-qat":
        raise NasError(f"{', '.join(map(_option, given))}: only with --method int8-qat")
    for name in ("epochs", "steps", "train_images"):
        if name in given and getattr(arguments, name) < 1:
            raise NasError(f"{_option(name)} must be at least 1, but is {getattr(arguments, name)}")
    for name in defaults.keys() - set(given):
        setattr(arguments, name, defaults[name])
    if not 2 <= arguments.batch_size <= 65_536:
        raise NasError(f"--batch-size must be 2 to 65536, but is {arguments.batch_size}")
    if not 0 < arguments.learning_rate <= 100:
        raise NasError(f"--learning-rate must be above 0 and at most 100, but is {arguments.learning_rate:g}")
    if not 0 <= arguments.seed < 2**31:
        raise NasError(f"--seed must be a whole number from 0 to {2**31 - 1}, but is {arguments.seed}")


def _check_calibration_options(arguments: argparse.Namespace) -> None:
    """Fill in what was not given; raise NasError for options that have no effect."""
    defaults = {"calibration": _CALIBRATION, "percentile": _PERCENTILE, "images": _IMAGES, "exclude": ""}
    given = [name for name in defaults if getattr(arguments, name) is not None]
    if given and arguments.method not in _CALIBRATED:
        raise NasError(f"{', '.join(map(_option, given))}: only with --method {' or '.join(_CALIBRATED)}")
    if "percentile" in given and arguments.calibration != "percentile":
        raise NasError("--percentile: only with --calibration percentile")
    for name in defaults.keys() - set(given):
        setattr(arguments, name, defaults[name])


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _float_model(text: str, pick: str | None) -> tuple[ModelProto, Manifest]:
    """The network that `text` means as an ONNX model of float32, and what is known of it."""
    from nas.deploy.export.export import export_file
    from nas.deploy.export.manifest import load_manifest
    from nas.deploy.find import find_network
    from nas.deploy.inference.model import is_exported, refuse_pick
    from nas.deploy.quantisation.compress import load_onnx

    if is_exported(text):
        refuse_pick(text, pick)
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
    with tempfile.TemporaryDirectory() as folder:
        path, manifest = export_file(network, found.float_manifest("onnx", weights), Path(folder))
        return load_onnx(path.read_bytes(), text), manifest


def _save(
    compressed: Compressed, manifest: Manifest, images: Images, arguments: argparse.Namespace, record: Mapping[str, Any]
) -> Path:
    from nas.deploy.export.manifest import save_with_manifest

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
                "calibration": arguments.calibration if method in _CALIBRATED else None,
                "calibration_images": len(images.calibration) if method in _CALIBRATED else None,
                "percentile": arguments.percentile if arguments.calibration == "percentile" else None,
                "exclude": list(_excluded(arguments)),
                "data": images.source,
                **record,
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
    change = 0.0 - round(compressed.drop, 2)  # not -0.0 for none
    print(
        f"\ntop-1 {change:+.2f} points on {compressed.images:,} images ({compressed.same_class:.1%} in the "
        f"same class), size × {size:.2f}, latency × {compressed.latency_ratio:.2f} (side by side, "
        f"{compressed.threads} thread{'s' * (compressed.threads > 1)}, one image)"
    )
    if "-int8-" in path.name:
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


def _progress(what: str) -> Callable[[int, int], None] | None:
    """What shows on a terminal how many are done."""
    if not sys.stderr.isatty():
        return None

    def show(done: int, total: int) -> None:
        print(f"\r{done} of {total} {what}", end="\n" if done == total else "", file=sys.stderr, flush=True)

    return show
