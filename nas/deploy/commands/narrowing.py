"""Options that `prune` and `refine` share: the network, the images, and how a narrower network is trained."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from nas.config import Settings
from nas.deploy.help import DATA_HELP, PICK_HELP
from nas.options import Seed, checked_options

if TYPE_CHECKING:
    from nas.accuracy.training.settings import TrainingSettings


class NarrowingOptions(Settings):
    """The options of the proxy that is trained, and the seed."""

    resolution: int | None = Field(default=None, ge=8, json_schema_extra={"unit": "pixels"})
    max_stride: int | None = Field(default=None, ge=1, le=64)
    seed: Seed = 0


def add_narrowing_options(parser: argparse.ArgumentParser) -> None:
    """Add what both commands take."""
    parser.add_argument("network", metavar="NETWORK", help="a trained network's folder, or a run's directory (--pick)")
    parser.add_argument("--pick", metavar="NAME", help=PICK_HELP)
    parser.add_argument("--data", metavar="SOURCE", required=True, help=DATA_HELP)
    parser.add_argument("--device", metavar="NAME", default="pixel_lut", help="latency table (default: %(default)s)")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder that the network is written to")
    parser.add_argument("--resolution", metavar="N", type=int, help="train a proxy for images of N pixels")
    parser.add_argument("--max-stride", metavar="N", type=int, help="train a proxy that shrinks images by N at most")
    parser.add_argument(
        "--epochs",
        metavar="N",
        type=int,
        default=1,
        help="epochs that the narrowed network is trained (default: %(default)s)",
    )
    parser.add_argument(
        "--batch-size", metavar="N", type=int, default=64, help="training images of a step (default: %(default)s)"
    )
    parser.add_argument(
        "--rate", type=float, default=0.05, help="highest learning rate, for 256 images (default: %(default)s)"
    )
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="seed of the training (default: %(default)s)")
    parser.add_argument("--quiet", action="store_true", help="show no progress")


def training_settings(arguments: argparse.Namespace) -> TrainingSettings:
    """How a narrower network is trained. Raises ConfigError with a line for each option that is out of range."""
    from nas.accuracy.training.settings import TrainingSettings

    options = {"epochs": "--epochs", "batch_size": "--batch-size", "learning_rate": "--rate"}
    return checked_options(TrainingSettings, arguments, options=options)
