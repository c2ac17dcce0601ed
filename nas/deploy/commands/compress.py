"""python -m nas.deploy compress: turn a trained network into int8 or float16."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from nas import console
from nas.config import Settings
from nas.deploy.help import DATA_HELP, PICK_HELP
from nas.errors import NasError
from nas.options import Seed, checked_options, refuse_without_effect

if TYPE_CHECKING:
    from onnx import ModelProto

    from nas.deploy.export.manifest import Manifest
    from nas.deploy.inference.images import LabelledImages
    from nas.deploy.quantisation.compress import Compressed, Quality

    # The images, the model that came of them, and what only one method records.
    Made = tuple[LabelledImages, Compressed, Mapping[str, Any]]

EXAMPLES = """\
examples:
  python -m nas.deploy compress trained/my_run-knee --method int8-static --data folder:flowers
  python -m nas.deploy compress trained/my_run-knee --method int8-qat --data folder:flowers --epochs 3
  python -m nas.deploy compress exported/my_run-knee.onnx --method float16 --data digits
"""

METHODS = ("int8-static", "int8-qat", "int8-dynamic", "float16")
_CALIBRATED = ("int8-static", "int8-qat")
_CALIBRATION_OPTIONS = ("calibration", "percentile", "images", "exclude")
_TRAINING_OPTIONS = ("epochs", "steps", "batch_size", "learning_rate", "train_images", "seed")


class CompressOptions(Settings):
    """The options of `compress`, with their defaults; the command line shows what each of them means."""

    calibration: Literal["minmax", "entropy", "percentile"] = "minmax"
    percentile: float = Field(default=99.99, gt=50, le=100)
    images: int = Field(default=256, ge=1)
    exclude: str = ""
    epochs: int = Field(default=1, ge=1)
    steps: int | None = Field(default=None, ge=1)
    batch_size: int = Field(default=64, ge=2, le=65_536)
    learning_rate: float = Field(default=0.01, gt=0, le=100)
    train_images: int | None = Field(default=None, ge=1)
    seed: Seed = 0
    most_drop: float = Field(default=1.0, ge=0, le=100, json_schema_extra={"unit": "points"})
    runs: int = Field(default=100, ge=1)
    threads: int = Field(default=1, ge=1)

    @property
    def excluded(self) -> tuple[str, ...]:
        """The names of the nodes that stay in float."""
        return tuple(name for name in self.exclude.split(",") if name)


_DEFAULTS = CompressOptions()


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `compress` and its options."""
    parser = commands.add_parser(
        "compress",
        help="make a trained network int8 or float16",
        description="Quantise a trained network through ONNX Runtime, as it is or (int8-qat) after training it on with "
        "the rounding of int8, and say what that does to its accuracy, size and latency. A network that loses too much "
        "is refused.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("network", metavar="NETWORK", help="a trained network's folder, or an exported .onnx file")
    parser.add_argument("--pick", metavar="PICK", help=PICK_HELP)
    parser.add_argument(
        "--method",
        choices=METHODS,
        default="int8-static",
        help="precision, and how it is reached (default: %(default)s)",
    )
    parser.add_argument(
        "--data",
        metavar="SOURCE",
        required=True,
        help=f"{DATA_HELP}; training images set the ranges, validation images give the scores",
    )
    parser.add_argument(
        "--calibration",
        choices=("minmax", "entropy", "percentile"),
        help="how an activation's range is chosen in int8-static, and its first range in int8-qat "
        f"(default: {_DEFAULTS.calibration})",
    )
    parser.add_argument(
        "--percentile",
        metavar="P",
        type=float,
        help=f"share of values, in percent, that --calibration percentile keeps (default: {_DEFAULTS.percentile})",
    )
    parser.add_argument(
        "--images",
        metavar="N",
        type=int,
        help=f"number of calibration images, in int8-static and int8-qat (default: {_DEFAULTS.images})",
    )
    parser.add_argument(
        "--exclude", metavar="NODE,NODE", help="nodes of the graph that stay in float, in int8-static and int8-qat"
    )
    _add_training(parser.add_argument_group("int8-qat"))
    parser.add_argument(
        "--most-drop",
        metavar="POINTS",
        type=float,
        default=_DEFAULTS.most_drop,
        help="most that top-1 may fall, in percentage points (default: %(default)s)",
    )
    parser.add_argument("--allow", action="store_true", help="keep a network that loses more")
    parser.add_argument(
        "--runs", metavar="N", type=int, default=_DEFAULTS.runs, help="number of timed runs (default: %(default)s)"
    )
    parser.add_argument(
        "--threads",
        metavar="N",
        type=int,
        default=_DEFAULTS.threads,
        help="threads that the timed runs use (default: %(default)s)",
    )
    parser.add_argument(
        "--out", metavar="DIR", type=Path, default=Path("exported"), help="folder of the file (default: %(default)s)"
    )
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _add_training(group: argparse._ArgumentGroup) -> None:
    length = group.add_mutually_exclusive_group()
    length.add_argument("--epochs", metavar="N", type=int, help=f"epochs to train (default: {_DEFAULTS.epochs})")
    length.add_argument("--steps", metavar="N", type=int, help="steps to train, instead of whole epochs")
    group.add_argument(
        "--batch-size", metavar="N", type=int, help=f"training images of a step (default: {_DEFAULTS.batch_size})"
    )
    group.add_argument(
        "--learning-rate",
        metavar="RATE",
        type=float,
        help=f"learning rate of the first step, for 256 images (default: {_DEFAULTS.learning_rate})",
    )
    group.add_argument("--train-images", metavar="N", type=int, help="number of training images (default: all)")
    group.add_argument("--seed", metavar="N", type=int, help=f"seed of the training (default: {_DEFAULTS.seed})")


def run(arguments: argparse.Namespace) -> int:
    """Run it; returns the exit code."""
    options = _checked_options(arguments)

    from nas.deploy.quantisation.compress import check_drop
    from nas.deploy.quantisation.onnx import check_excluded
    from nas.files import check_writable

    check_writable(arguments.out)
    model, manifest = _float_model(arguments.network, arguments.pick)
    check_excluded(model, options.excluded)
    make = _trained if arguments.method == "int8-qat" else _quantised
    images, compressed, record = make(arguments, options, model, manifest)
    if not arguments.allow:
        check_drop(compressed, options.most_drop)
    path = _save(compressed, manifest, images, arguments, options, record)
    if arguments.json:
        print(json.dumps({"file": str(path), **compressed.to_json()}, indent=2))
    else:
        _print(compressed, manifest, path)
    return 0


def _quantised(arguments: argparse.Namespace, options: CompressOptions, model: ModelProto, manifest: Manifest) -> Made:
    """The model by a method that does not train."""
    from nas.deploy.inference.images import check_labels, load_labelled_images
    from nas.deploy.quantisation.compress import compress

    images = load_labelled_images(
        arguments.data,
        manifest.architecture,
        preprocessing=manifest.preprocessing,
        calibration=options.images,
        progress=_is_live(arguments),
    )
    check_labels(images, manifest.labels, manifest.architecture.classes)
    with console.WorkProgress("calibration images", quiet=arguments.quiet) as progress:
        compressed = compress(
            model,
            images,
            arguments.method,
            calibration=options.calibration,
            percentile=options.percentile,
            exclude=options.excluded,
            runs=options.runs,
            threads=options.threads,
            progress=progress.count,
        )
    return images, compressed, {}


def _trained(arguments: argparse.Namespace, options: CompressOptions, model: ModelProto, manifest: Manifest) -> Made:
    """The model by quantisation-aware training."""
    from nas.accuracy.training.settings import TrainingSettings
    from nas.deploy.inference.images import check_labels
    from nas.deploy.quantisation.compress import compare_models
    from nas.deploy.quantisation.fake_quantised import check_torchao
    from nas.deploy.quantisation.training import load_training_images, steps_of, trained_for_int8

    check_torchao()
    images, dataset = load_training_images(
        arguments.data,
        manifest.architecture,
        preprocessing=manifest.preprocessing,
        calibration=options.images,
        max_images=options.train_images,
        seed=options.seed,
        progress=_is_live(arguments),
    )
    check_labels(images, manifest.labels, manifest.architecture.classes)
    training = TrainingSettings(batch_size=options.batch_size, learning_rate=options.learning_rate, weight_decay=0.0)
    steps = options.steps or steps_of(options.epochs, dataset, training)
    with console.WorkProgress("training steps", quiet=arguments.quiet) as progress:
        int8_model = trained_for_int8(
            model,
            images.calibration_inputs(),
            dataset,
            training,
            steps=steps,
            seed=options.seed,
            calibration=options.calibration,
            percentile=options.percentile,
            exclude=options.excluded,
            progress=progress.count,
        )
    facts = {
        "images": len(dataset.train),
        "steps": steps,
        "batch_size": training.batch_size,
        "learning_rate": training.learning_rate,
        "seed": options.seed,
        "torchao": version("torchao"),
    }
    compressed = compare_models(model, int8_model, images, runs=options.runs, threads=options.threads)
    return images, compressed, {"training": facts}


def _checked_options(arguments: argparse.Namespace) -> CompressOptions:
    """Raise NasError for options that have no effect, and for values that are out of range."""
    if arguments.method != "int8-qat":
        refuse_without_effect(arguments, _TRAINING_OPTIONS, "--method int8-qat")
    if arguments.method not in _CALIBRATED:
        refuse_without_effect(arguments, _CALIBRATION_OPTIONS, f"--method {' or '.join(_CALIBRATED)}")
    if arguments.calibration != "percentile":
        refuse_without_effect(arguments, ("percentile",), "--calibration percentile")
    return checked_options(CompressOptions, arguments)


def _is_live(arguments: argparse.Namespace) -> bool:
    """Whether reading images shows its bar."""
    return sys.stderr.isatty() and not arguments.quiet


def _float_model(text: str, pick: str | None) -> tuple[ModelProto, Manifest]:
    """The network that `text` means as an ONNX model of float32, with its manifest."""
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
    source = find_network(text, pick=pick)
    if source.weights is None:
        raise NasError(f"{source.name} has no trained weights, whose accuracy could be compared: train it first")
    network, weights = source.deployed()
    with tempfile.TemporaryDirectory() as folder:
        path, manifest = export_file(network, source.float_manifest("onnx", weights), Path(folder))
        return load_onnx(path.read_bytes(), text), manifest


def _save(
    compressed: Compressed,
    manifest: Manifest,
    images: LabelledImages,
    arguments: argparse.Namespace,
    options: CompressOptions,
    record: Mapping[str, Any],
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
                "calibration": options.calibration if method in _CALIBRATED else None,
                "calibration_images": len(images.calibration) if method in _CALIBRATED else None,
                "percentile": options.percentile if options.calibration == "percentile" else None,
                "exclude": list(options.excluded),
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
