"""python -m nas.deploy export: write a network as files that devices run."""

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
from nas.deploy.help import DATA_HELP, NETWORK_HELP, PICK_HELP
from nas.errors import NasError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from nas.deploy.export.manifest import Manifest
    from nas.deploy.find import FoundNetwork
    from nas.deploy.trained import Preprocessing

EXAMPLES = """\
examples:
  python -m nas.deploy export runs/mbv3-pixel_lut-digits --pick knee --format onnx,openvino --data digits
  python -m nas.deploy export trained/my_run-knee --format all --out files
  python -m nas.deploy export mobilenet_v3_small --format litert --trial

Each file is run in its own runtime, where that runs here, and must give torch's logits. FILE.json beside it has the
hashes, labels, preprocessing and the result of that check. TensorRT takes the ONNX file: trtexec --onnx=FILE, or ONNX
Runtime's TensorrtExecutionProvider.
"""
# A file is compared with torch on so many real images, in batches of _BATCH.
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
        help=f"{NETWORK_HELP}; the last two have fresh weights",
    )
    parser.add_argument("--pick", metavar="PICK", help=PICK_HELP)
    parser.add_argument(
        "--format",
        metavar="F,F",
        default="onnx",
        help="formats to write: onnx, litert, coreml, executorch, openvino, or all (default: %(default)s)",
    )
    parser.add_argument(
        "--data", metavar="SOURCE", help=f"compare each file with torch on these {DATA_HELP} (default: random images)"
    )
    parser.add_argument("--name", metavar="NAME", help="name of the files, without ending (default: the network's)")
    parser.add_argument(
        "--out", metavar="DIR", type=Path, default=Path("exported"), help="folder of the files (default: %(default)s)"
    )
    parser.add_argument(
        "--trial",
        action="store_true",
        help="write nothing; try one block of each kind, and say which of them the formats cannot express",
    )
    parser.add_argument("--quiet", action="store_true", help="show no progress")
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
    source = find_network(arguments.network, pick=arguments.pick)
    if arguments.trial:
        return _trial(source, formats, arguments)
    check_writable(arguments.out)
    return _export(source, formats, arguments)


def _trial(source: FoundNetwork, formats: tuple[str, ...], arguments: argparse.Namespace) -> int:
    """Try each kind of block in each format, and print what cannot be expressed; returns the exit code."""
    from nas.deploy.export.expressible import refusals
    from nas.deploy.progress import WorkProgress

    with WorkProgress("blocks", quiet=arguments.quiet) as progress:
        refused = refusals(
            source.architecture, formats, on_trial=lambda name, block: progress.say(f"trying {block.op} in {name}")
        )
    if arguments.json:
        data = [{"format": r.format, "op": r.block.op, "blocks": r.blocks, "reason": r.reason} for r in refused]
        print(json.dumps(data, indent=2))
    else:
        lines = [str(refusal) for refusal in refused]
        print("\n".join(lines) or f"{', '.join(formats)}: every kind of block of {source.name} can be expressed")
    return 1 if refused else 0


def _export(source: FoundNetwork, formats: tuple[str, ...], arguments: argparse.Namespace) -> int:
    """Write a file in each format, and print how they agree with torch; returns the exit code."""
    network, weights = source.deployed()
    live = sys.stderr.isatty() and not arguments.quiet
    labels, preprocessing, batches, of = _images(source, arguments.data, progress=live)
    results, failed = [], False
    for name in formats:
        began = time.perf_counter()
        try:
            path, manifest = _one(source, network, name, arguments, (weights, labels, preprocessing, batches, of))
        except NasError as error:
            # The other formats are written all the same.
            print(f"error: {_with_culprits(source, name, error)}", file=sys.stderr)
            failed = True
            continue
        results.append(_row(path, manifest, time.perf_counter() - began))
    _print(results, weights, labels, preprocessing, as_json=arguments.json)
    return 1 if failed else 0


def _one(
    source: FoundNetwork,
    network: nn.Module,
    name: str,
    arguments: argparse.Namespace,
    facts: tuple[str, tuple[str, ...] | None, Preprocessing | None, list[Tensor], str],
) -> tuple[Path, Manifest]:
    """Write the file of the format `name`; returns its path and its manifest."""
    from nas.deploy.export.export import export_file

    weights, labels, preprocessing, batches, of = facts
    manifest = source.float_manifest(name, weights)
    manifest = replace(manifest, name=arguments.name or source.name, labels=labels, preprocessing=preprocessing)
    return export_file(network, manifest, arguments.out, batches=batches, of=of)


def _images(
    source: FoundNetwork, data: str | None, *, progress: bool
) -> tuple[tuple[str, ...] | None, Preprocessing | None, list[Tensor], str]:
    """What is recorded of labels and preprocessing; the images to compare on (none: random ones), and their name."""
    if data is None:
        return source.labels, source.preprocessing, [], "random images"
    from nas.deploy.inference.images import load_labelled_images

    images = load_labelled_images(data, source.architecture, preprocessing=source.preprocessing, progress=progress)
    fits = len(images.labels) == source.architecture.classes
    labels = source.labels or (images.labels if fits else None)
    return labels, images.preprocessing, _in_batches(images.some(_IMAGES)), f"validation images of {data}"


def _in_batches(images: Tensor) -> list[Tensor]:
    return [images[start : start + _BATCH] for start in range(0, len(images), _BATCH)]


def _with_culprits(source: FoundNetwork, name: str, error: NasError) -> str:
    """The error, and the kinds of block that the format refuses when each is tried by itself."""
    from nas.deploy.export.expressible import refusals

    if "cannot express" not in str(error) and "cannot export" not in str(error):
        return str(error)
    lines = [str(refusal) for refusal in refusals(source.architecture, [name])]
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
