"""python -m nas.deploy predict: classify images with an exported file or a trained network."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from nas import console
from nas.config import Settings
from nas.deploy.help import PICK_HELP
from nas.options import checked_options

if TYPE_CHECKING:
    from nas.deploy.inference.predict import Prediction

EXAMPLES = """\
examples:
  python -m nas.deploy predict exported/my_run-knee.onnx photo.jpg
  python -m nas.deploy predict exported/my_run-knee.tflite photos/ --top 5 --csv > seen.csv
"""


class PredictOptions(Settings):
    """The options of `predict` that are numbers."""

    top: int = Field(default=1, ge=1)
    batch_size: int = Field(default=32, ge=1)


_DEFAULTS = PredictOptions()


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
    parser.add_argument("--pick", metavar="PICK", help=PICK_HELP)
    parser.add_argument(
        "--top",
        metavar="N",
        type=int,
        help=f"number of classes to print for each image, the most probable first (default: {_DEFAULTS.top})",
    )
    parser.add_argument(
        "--batch-size",
        metavar="N",
        type=int,
        help=f"number of images that run at once (default: {_DEFAULTS.batch_size})",
    )
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="print JSON")
    output.add_argument("--csv", action="store_true", help="print CSV")


def run(arguments: argparse.Namespace) -> int:
    """Run it; returns the exit code."""
    options = checked_options(PredictOptions, arguments)

    from nas.deploy.inference.model import open_model
    from nas.deploy.inference.predict import as_csv, as_json, images_in, predict

    images = images_in(arguments.images)
    model = open_model(arguments.model, pick=arguments.pick)
    with console.WorkProgress("images", quiet=arguments.quiet) as progress:
        predictions = predict(model, images, top=options.top, batch_size=options.batch_size, on_batch=progress.count)
    if arguments.json:
        print(as_json(predictions))
    elif arguments.csv:
        print(as_csv(predictions), end="")
    else:
        _print(predictions)
    return 0


def _print(predictions: Sequence[Prediction]) -> None:
    most = max(len(one.classes) for one in predictions)
    columns = ("image", *(f"{rank}." for rank in range(1, most + 1)))
    rows = [(one.image, *(f"{label} {share:.1%}" for label, share in one.classes)) for one in predictions]
    console.print_table(columns, rows)
