"""HELP's published latencies of 5,000 networks of FBNet's space on 23 devices (arXiv:2106.08630).

The networks are for images of 32×32 pixels (CIFAR-100), as HW-NAS-Bench builds them (arXiv:2103.10584; FBNet_Infer in
https://github.com/GATECH-EIC/HW-NAS-Bench). The stem and the first stages have no stride. A skipped layer that would
change the shape is replaced by a 1×1 convolution with activation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nas.errors import NasError
from nas.latency.published.files import read_published
from nas.networks.architecture import Architecture, Block

HELP_NETWORKS = "published_latency/help_fbnet/fbnet_cifar100_latency.csv.gz"
# The latencies of these phones are rounded to 1 ms, and noisy.
ROUNDED_PHONES = ("essential_ph_1", "pixel2", "samsung_a50", "samsung_s7")
# The columns that were measured network by network. The other four columns of the file are exact sums of tables.
DEVICES = (
    *(f"{gpu}_{batch}" for gpu in ("1080ti", "2080ti", "titan_rtx", "titanx", "titanxp") for batch in (1, 32, 64)),
    *("gold_6226", "gold_6240", "silver_4114", "silver_4210r"),
    *ROUNDED_PHONES,
)

# Kernel size, expansion ratio and groups of FBNet's eight blocks (arXiv:1812.03443, table 2), in order of their digits.
_BLOCKS = ((3, 1, 1), (3, 1, 2), (3, 3, 1), (3, 6, 1), (5, 1, 1), (5, 1, 2), (5, 3, 1), (5, 6, 1))
_SKIP = len(_BLOCKS)
_STEM, _HEAD, _RESOLUTION, _CLASSES = 16, 1504, 32, 100
# Layers, output channels and first stride of each stage.
_STAGES = ((1, 16, 1), (4, 24, 1), (4, 32, 2), (4, 64, 2), (4, 112, 1), (4, 184, 2), (1, 352, 1))
_LAYERS = tuple(
    (channels, stride if layer == 0 else 1) for layers, channels, stride in _STAGES for layer in range(layers)
)


@dataclass(frozen=True)
class MeasuredNetwork:
    """One line of the file: the network's 22 digits, and its latency on each of DEVICES in milliseconds."""

    digits: str
    latencies_ms: tuple[float, ...]

    @property
    def latency_ms(self) -> float:
        """The lowest of them, so that `read_published` refuses a line with one that is not above 0."""
        return float(np.min(self.latencies_ms))


def read_help_fbnet(folder: Path) -> tuple[list[Architecture], NDArray[np.float64]]:
    """Read the networks, and their latencies on DEVICES (devices, networks) in milliseconds.

    Raises NasError for a missing file, and for a line that is not a network with its latencies, naming the line.
    """
    lines = read_published(folder / HELP_NETWORKS, ("arch", *DEVICES), _line)
    networks = [help_network(line.digits) for line in lines]
    return networks, np.array([line.latencies_ms for line in lines]).T


def help_network(digits: str) -> Architecture:
    """The network of 22 digits, one a layer: 0 to 7 choose its block, 8 skips it. Raises NasError for other texts."""
    if len(digits) != len(_LAYERS) or not set(digits) <= set("012345678"):
        raise NasError(f"a network has {len(_LAYERS)} digits from 0 to {_SKIP}, but got {digits!r}")
    blocks = [Block("conv", _STEM, 3, activation="relu")]
    channels = _STEM
    for digit, (out_channels, stride) in zip(digits, _LAYERS, strict=True):
        blocks += _layer(int(digit), channels, out_channels, stride)
        channels = out_channels
    blocks += [Block("conv", _HEAD, activation="relu"), Block("pool"), Block("linear", _CLASSES)]
    return Architecture(_RESOLUTION, _CLASSES, tuple(blocks))


def _layer(choice: int, channels: int, out_channels: int, stride: int) -> Sequence[Block]:
    if choice < _SKIP:
        kernel_size, expand_ratio, groups = _BLOCKS[choice]
        hidden = channels * expand_ratio
        block = partial(Block, "fbnet", out_channels, kernel_size, stride, activation="relu")
        return [block(hidden_channels=hidden, groups=groups)]
    if channels == out_channels and stride == 1:
        return []
    return [Block("conv", out_channels, 1, stride, activation="relu")]


def _line(row: dict[str, str]) -> MeasuredNetwork:
    return MeasuredNetwork(row["arch"], tuple(float(row[device]) for device in DEVICES))
