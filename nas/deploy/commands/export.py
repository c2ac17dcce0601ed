"""python -m nas.deploy export: a network as files that devices run."""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas import console
from nas.errors import NasError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from nas.deploy.export.manifest import Manifest
    from nas.deploy.find import FoundNetwork
    from nas.deploy.trained import Preprocessing
    from nas.networks.architecture import Block

EXAMPLES = """\
examples:
  python -m nas.deploy export runs/mbv3-pixel_lut-digits --pick knee --format onnx,openvino --data digits
  python -m nas.deploy export finished/knee --format all --out files
  python -m nas.deploy export mobilenet_v3_small --format litert --trial

Each file is run in its own runtime, where that runs here, and must give torch's logits. FILE.json beside it has the
hashes, labels, preprocessing and what was found. TensorRT takes the ONNX file: trtexec --onnx=FILE, or ONNX Runtime's
TensorrtExecutionProvider.
"""
# How many real images a file is compared on, in batches of so many.
_IMAGES = 64
_BATCH = 16


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `export` and its options."""
    parser = commands.add_parser(
        "export",
        help="a network as ONNX, LiteRT, Core ML, ExecuTorch and OpenVINO files",
        description="Write a network as files that devices run, each checked against torch.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "network",
        metavar="NETWORK",
        help="a trained network's folder, a run's directory, an architecture's .json, or a published network's name "
        "(the last two: with fresh weights)",
    )
    parser.add_argument(
        "--pick", metavar="PICK", help="of a run: knee (default), 30ms, a pick's name, a trial's number"
    )
    parser.add_argument(
        "--format",
        metavar="F,F",
        default="onnx",
        help="onnx, litert, coreml, executorch, openvino, or all (default: %(default)s)",
    )
    parser.add_argument(
        "--data", metavar="SOURCE", help="images to compare on: digits, folder:PATH, cifar10[:PATH] (default: drawn)"
    )
    parser.add_argument("--name", metavar="NAME", help="of the files (default: the network's)")
    parser.add_argument("--out", metavar="DIR", type=Path, default=Path("exported"), help="default: %(default)s")
    parser.add_argument(
        "--trial", action="store_true", help="only say what the formats cannot express: one block of each kind is tried"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Run it; returns the exit code."""
    from nas.deploy.export.formats import check_installed, formats_in
    from nas.deploy.find import find_network
    from nas.files import NAME_PATTERN, check_writable

    if arguments.name is not None and not re.fullmatch(NAME_PATTERN, arguments.name):
        raise NasError(
            "--name must be a name (up to 100 letters, digits, '_', '-', '.', the first a letter or digit), "
            f"but got {arguments.name!r}"
        )
    formats = formats_in(arguments.format)
    check_installed(formats)
    found = find_network(arguments.network, pick=arguments.pick)
    if arguments.trial:
        return _trial(found, formats, as_json=arguments.json)
    check_writable(arguments.out)
    return _export(found, formats, arguments)


def _trial(found: FoundNetwork, formats: tuple[str, ...], *, as_json: bool) -> int:
    from nas.deploy.export.expressible import refusals

    found_refusals = refusals(found.architecture, formats, on_trial=_announce)
    if as_json:
        data = [{"format": r.format, "op": r.block.op, "blocks": r.blocks, "reason": r.reason} for r in found_refusals]
        print(json.dumps(data, indent=2))
    else:
        lines = [str(refusal) for refusal in found_refusals]
        print("\n".join(lines) or f"{', '.join(formats)}: every kind of block of {found.name} can be expressed")
    return 1 if found_refusals else 0


def _export(found: FoundNetwork, formats: tuple[str, ...], arguments: argparse.Namespace) -> int:
    network, weights = found.deployed()
    labels, preprocessing, batches, of = _images(found, arguments.data)
    results, failed = [], False
    for name in formats:
        began = time.perf_counter()
        try:
            path, manifest = _one(found, network, name, arguments, (weights, labels, preprocessing, batches, of))
        except NasError as error:
            # The other formats have no part in it.
            print(f"error: {_with_culprits(found, name, error)}", file=sys.stderr)
            failed = True
            continue
        results.append(_row(path, manifest, time.perf_counter() - began))
    _print(results, weights, labels, preprocessing, as_json=arguments.json)
    return 1 if failed else 0


def _one(
    found: FoundNetwork,
    network: nn.Module,
    name: str,
    arguments: argparse.Namespace,
    facts: tuple[str, tuple[str, ...] | None, Preprocessing | None, list[Tensor], str],
) -> tuple[Path, Manifest]:
    from nas.deploy.export.export import export_file

    weights, labels, preprocessing, batches, of = facts
    manifest = found.float_manifest(name, weights)
    manifest = replace(manifest, name=arguments.name or found.name, labels=labels, preprocessing=preprocessing)
    return export_file(network, manifest, arguments.out, batches=batches, of=of)


def _images(
    found: FoundNetwork, source: str | None
) -> tuple[tuple[str, ...] | None, Preprocessing | None, list[Tensor], str]:
    """The labels and the preprocessing as far as they are known, and the images to compare on (none: drawn ones)."""
    if source is None:
        return found.labels, found.preprocessing, [], "random images"
    from nas.deploy.inference.images import load_labelled_images

    images = load_labelled_images(source, found.architecture, preprocessing=found.preprocessing)
    fits = len(images.labels) == found.architecture.classes
    labels = found.labels or (images.labels if fits else None)
    return labels, images.preprocessing, _in_batches(images.some(_IMAGES)), f"validation images of {source}"


def _in_batches(images: Tensor) -> list[Tensor]:
    return [images[start : start + _BATCH] for start in range(0, len(images), _BATCH)]


def _with_culprits(found: FoundNetwork, name: str, error: NasError) -> str:
    """The error, and which kinds of block the format refuses, each tried by itself."""
    from nas.deploy.export.expressible import refusals

    if "cannot express" not in str(error) and "cannot export" not in str(error):
        return str(error)
    lines = [str(refusal) for refusal in refusals(found.architecture, [name])]
    return "\n       ".join([str(error), *lines])


def _row(path: Path, manifest: Manifest, seconds: float) -> dict[str, Any]:
    from nas.deploy.export.manifest import size_of

    return {
        "format": manifest.format,
        "file": str(path),
        "bytes": size_of(path, manifest),
        "seconds": round(seconds, 1),
        "check": dict(manifest.check),
        "versions": dict(manifest.versions),
    }


def _print(
    rows: list[dict[str, Any]],
    weights: str,
    labels: tuple[str, ...] | None,
    preprocessing: Preprocessing | None,
    *,
    as_json: bool,
) -> None:
    if as_json:
        print(json.dumps({"weights": weights, "files": rows}, indent=2))
        return
    print(f"weights: {weights}")
    if labels is None or preprocessing is None:
        lacking = [name for name, value in (("labels", labels), ("preprocessing", preprocessing)) if value is None]
        print(f"not recorded: {' and '.join(lacking)}, which predict needs; --data gives them")
    if rows:
        columns = ("format", "file", "MB", "seconds", "agrees with torch")
        cells = [
            (
                row["format"],
                row["file"],
                f"{row['bytes'] / 1e6:.2f}",
                f"{row['seconds']:.1f}",
                _check_words(row["check"]),
            )
            for row in rows
        ]
        console.print_table(columns, cells, numbers=("MB", "seconds"))


def _check_words(check: dict[str, Any]) -> str:
    if "not_run" in check:
        return f"not run: {check['not_run']}"
    return (
        f"within {check['relative_difference']:.1e} of the largest logit (limit {check['tolerance']:.1e}), "
        f"same class in {check['top1_agreement']:.1%} of {check['images']} {check['of']}"
    )


def _announce(name: str, block: Block) -> None:
    print(f"trying {block.op} in {name}", file=sys.stderr)
