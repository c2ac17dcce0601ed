"""python -m nas.deploy predict: what an exported file sees in images."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nas import console
from nas.errors import NasError

if TYPE_CHECKING:
    from nas.deploy.inference.predict import Prediction

EXAMPLES = """\
examples:
  python -m nas.deploy predict exported/knee.onnx photo.jpg
  python -m nas.deploy predict exported/knee.tflite photos/ --top 5 --csv > seen.csv
"""


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `predict` and its options."""
    parser = commands.add_parser(
        "predict",
        help="run an exported file, or a trained network, on images",
        description="Run an exported file of any format in its own runtime, or a trained network in torch, on images "
        "and folders of images, prepared as those that it was trained on.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", metavar="MODEL", help="an exported file (its manifest beside it), or a NETWORK")
    parser.add_argument("images", metavar="IMAGE", nargs="+", type=Path, help="image files, and folders of them")
    parser.add_argument(
        "--pick", metavar="PICK", help="of a run: knee (default), 30ms, a pick's name, a trial's number"
    )
    parser.add_argument("--top", metavar="N", type=int, default=1, help="classes of each image (default: %(default)s)")
    parser.add_argument("--batch-size", metavar="N", type=int, default=32, help="images at once (default: %(default)s)")
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="print JSON")
    output.add_argument("--csv", action="store_true", help="print CSV")


def run(arguments: argparse.Namespace) -> int:
    """Run it; returns the exit code."""
    for name in ("top", "batch_size"):
        if getattr(arguments, name) < 1:
            raise NasError(f"--{name.replace('_', '-')} must be at least 1, but is {getattr(arguments, name)}")

    from nas.deploy.inference.model import open_model
    from nas.deploy.inference.predict import as_csv, as_json, images_in, predict

    images = images_in(arguments.images)
    model = open_model(arguments.model, pick=arguments.pick)
    progress = _progress if sys.stderr.isatty() else None
    found = predict(model, images, top=arguments.top, batch_size=arguments.batch_size, on_batch=progress)
    if arguments.json:
        print(as_json(found))
    elif arguments.csv:
        print(as_csv(found), end="")
    else:
        _print(found)
    return 0


def _print(predictions: Sequence[Prediction]) -> None:
    most = max(len(one.classes) for one in predictions)
    columns = ("image", *(f"{rank}." for rank in range(1, most + 1)))
    rows = [(one.image, *(f"{label} {share:.1%}" for label, share in one.classes)) for one in predictions]
    console.print_table(columns, rows)


def _progress(done: int, total: int) -> None:
    print(f"\r{done} of {total} images", end="\n" if done == total else "", file=sys.stderr, flush=True)
