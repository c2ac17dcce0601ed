"""python -m nas.deploy export: write a network as files that devices run."""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas import console
from nas.deploy.help import DATA_HELP, NETWORK_HELP, PICK_HELP
from nas.errors import NasError

if TYPE_CHECKING:
    from nas.deploy.export.manifest import Manifest
    from nas.deploy.find import FoundNetwork
    from nas.deploy.tasks import ExportSource

EXAMPLES = """\
examples:
  python -m nas.deploy export runs/mbv3-pixel_lut-digits --pick knee --format onnx,openvino --data digits
  python -m nas.deploy export trained/my_run-knee --format all --out files
  python -m nas.deploy export mobilenet_v3_small --format litert --trial

Each file is run in its own runtime, where that runs here, and must give torch's logits. FILE.json beside it has the
hashes, labels, preprocessing and the result of that check. TensorRT takes the ONNX file: trtexec --onnx=FILE, or ONNX
Runtime's TensorrtExecutionProvider.
"""


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `export` and its options."""
    parser = commands.add_parser(
        "export",
        help="write a network as ONNX, LiteRT, Core ML, ExecuTorch and OpenVINO files",
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
    from nas.console import WorkProgress
    from nas.deploy.export.expressible import refusals

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


def _export(found: FoundNetwork, formats: tuple[str, ...], arguments: argparse.Namespace) -> int:
    """Write a file in each format, and print how they agree with torch; returns the exit code."""
    from nas.deploy.tasks import export_source

    source = export_source(found, arguments.data, progress=sys.stderr.isatty() and not arguments.quiet)
    results, failed = [], False
    for name in formats:
        began = time.perf_counter()
        try:
            path, manifest = source.export(name, arguments.out, name=arguments.name)
        except NasError as error:
            # The other formats are written all the same.
            print(f"error: {_with_culprits(found, name, error)}", file=sys.stderr)
            failed = True
            continue
        results.append(_row(path, manifest, time.perf_counter() - began))
    _print(results, source, as_json=arguments.json)
    return 1 if failed else 0


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


def _print(rows: list[dict[str, Any]], source: ExportSource, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"weights": source.weights, "files": rows}, indent=2))
        return
    print(f"weights: {source.weights}")
    recorded = {"labels": source.labels, "preprocessing": source.preprocessing}
    if None in recorded.values():
        lacking = [name for name, value in recorded.items() if value is None]
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
