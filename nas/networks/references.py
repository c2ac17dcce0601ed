"""Which published networks are known here, exactly?

Each is a table with its columns named, as in the paper that is cited above it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from nas.errors import NasError, unknown_name
from nas.networks.architecture import Architecture, Block
from nas.networks.scaling import make_divisible


class InvertedResidualRow(NamedTuple):
    """A row of MobileNetV2's table 2: expansion factor t, channels c, repetitions n, stride s of the first."""

    expand_ratio: int
    channels: int
    repeats: int
    stride: int


class BottleneckRow(NamedTuple):
    """A row ("bneck") of MobileNetV3's tables 1 and 2."""

    kernel_size: int
    hidden_channels: int
    out_channels: int
    se: bool
    activation: str
    stride: int


class MnasNetRow(NamedTuple):
    """A row of MnasNet's figure 7; squeeze-and-excitation has a quarter of the block's input channels."""

    expand_ratio: int
    channels: int
    repeats: int
    stride: int
    kernel_size: int
    se: bool


# MobileNetV2, arXiv:1801.04381, table 2.
MOBILENET_V2 = (
    InvertedResidualRow(expand_ratio=1, channels=16, repeats=1, stride=1),
    InvertedResidualRow(expand_ratio=6, channels=24, repeats=2, stride=2),
    InvertedResidualRow(expand_ratio=6, channels=32, repeats=3, stride=2),
    InvertedResidualRow(expand_ratio=6, channels=64, repeats=4, stride=2),
    InvertedResidualRow(expand_ratio=6, channels=96, repeats=3, stride=1),
    InvertedResidualRow(expand_ratio=6, channels=160, repeats=3, stride=2),
    InvertedResidualRow(expand_ratio=6, channels=320, repeats=1, stride=1),
)

# MobileNetV3, arXiv:1905.02244, table 1 (Large).
MOBILENET_V3_LARGE = (
    BottleneckRow(3, 16, 16, False, "relu", 1),
    BottleneckRow(3, 64, 24, False, "relu", 2),
    BottleneckRow(3, 72, 24, False, "relu", 1),
    BottleneckRow(5, 72, 40, True, "relu", 2),
    BottleneckRow(5, 120, 40, True, "relu", 1),
    BottleneckRow(5, 120, 40, True, "relu", 1),
    BottleneckRow(3, 240, 80, False, "hswish", 2),
    BottleneckRow(3, 200, 80, False, "hswish", 1),
    BottleneckRow(3, 184, 80, False, "hswish", 1),
    BottleneckRow(3, 184, 80, False, "hswish", 1),
    BottleneckRow(3, 480, 112, True, "hswish", 1),
    BottleneckRow(3, 672, 112, True, "hswish", 1),
    BottleneckRow(5, 672, 160, True, "hswish", 2),
    BottleneckRow(5, 960, 160, True, "hswish", 1),
    BottleneckRow(5, 960, 160, True, "hswish", 1),
)

# MobileNetV3, arXiv:1905.02244, table 2 (Small).
MOBILENET_V3_SMALL = (
    BottleneckRow(3, 16, 16, True, "relu", 2),
    BottleneckRow(3, 72, 24, False, "relu", 2),
    BottleneckRow(3, 88, 24, False, "relu", 1),
    BottleneckRow(5, 96, 40, True, "hswish", 2),
    BottleneckRow(5, 240, 40, True, "hswish", 1),
    BottleneckRow(5, 240, 40, True, "hswish", 1),
    BottleneckRow(5, 120, 48, True, "hswish", 1),
    BottleneckRow(5, 144, 48, True, "hswish", 1),
    BottleneckRow(5, 288, 96, True, "hswish", 2),
    BottleneckRow(5, 576, 96, True, "hswish", 1),
    BottleneckRow(5, 576, 96, True, "hswish", 1),
)


# MnasNet-A1, arXiv:1807.11626, figure 7.
MNASNET_A1 = (
    MnasNetRow(expand_ratio=1, channels=16, repeats=1, stride=1, kernel_size=3, se=False),
    MnasNetRow(expand_ratio=6, channels=24, repeats=2, stride=2, kernel_size=3, se=False),
    MnasNetRow(expand_ratio=3, channels=40, repeats=3, stride=2, kernel_size=5, se=True),
    MnasNetRow(expand_ratio=6, channels=80, repeats=4, stride=2, kernel_size=3, se=False),
    MnasNetRow(expand_ratio=6, channels=112, repeats=2, stride=1, kernel_size=3, se=True),
    MnasNetRow(expand_ratio=6, channels=160, repeats=3, stride=2, kernel_size=5, se=True),
    MnasNetRow(expand_ratio=6, channels=320, repeats=1, stride=1, kernel_size=3, se=False),
)


def mobilenet_v2(*, width: float = 1.0, resolution: int = 224, classes: int = 1000) -> Architecture:
    """MobileNetV2. The last convolution keeps its 1280 channels for widths below 1 (section 6.1)."""
    channels = make_divisible(32 * width)
    blocks = [Block("conv", channels, kernel_size=3, stride=2, activation="relu6")]
    for row in MOBILENET_V2:
        out_channels = make_divisible(row.channels * width)
        for repeat in range(row.repeats):
            blocks.append(
                Block(
                    "mbconv",
                    out_channels,
                    kernel_size=3,
                    stride=row.stride if repeat == 0 else 1,
                    hidden_channels=channels * row.expand_ratio,
                    activation="relu6",
                )
            )
            channels = out_channels
    blocks += [
        Block("conv", make_divisible(1280 * max(1.0, width)), activation="relu6"),
        Block("pool"),
        Block("linear", classes),
    ]
    return Architecture(resolution, classes, tuple(blocks))


def mobilenet_v3_large(
    *,
    width: float = 1.0,
    resolution: int = 224,
    classes: int = 1000,
    minimalistic: bool = False,
    slim: bool = False,
) -> Architecture:
    """MobileNetV3-Large.

    `minimalistic` is the authors' variant without squeeze-and-excitation, h-swish and 5×5 kernels. Widths other than 1
    have two readings: by default torchvision's (hidden widths and the last linear layers are scaled as all others);
    with `slim`, that of the authors' code, whose latencies are published (hidden widths follow from the scaled input,
    the last layer keeps its width): 155 instead of 140 million MACs at width 0.75.
    """
    return _mobilenet_v3(MOBILENET_V3_LARGE, 1280, width, resolution, classes, minimalistic, slim)


def mobilenet_v3_small(
    *,
    width: float = 1.0,
    resolution: int = 224,
    classes: int = 1000,
    minimalistic: bool = False,
    slim: bool = False,
) -> Architecture:
    """MobileNetV3-Small; options as for MobileNetV3-Large."""
    return _mobilenet_v3(MOBILENET_V3_SMALL, 1024, width, resolution, classes, minimalistic, slim)


def mnasnet_a1(*, width: float = 1.0, resolution: int = 224, classes: int = 1000) -> Architecture:
    """MnasNet-A1. The last convolution has 1280 channels at every width."""
    channels = make_divisible(32 * width)
    blocks = [Block("conv", channels, kernel_size=3, stride=2, activation="relu")]
    for row in MNASNET_A1:
        out_channels = make_divisible(row.channels * width)
        for repeat in range(row.repeats):
            blocks.append(
                Block(
                    "mbconv",
                    out_channels,
                    kernel_size=row.kernel_size,
                    stride=row.stride if repeat == 0 else 1,
                    hidden_channels=channels * row.expand_ratio,
                    se_channels=max(1, channels // 4) if row.se else 0,
                    se_gate="sigmoid" if row.se else "",
                    activation="relu",
                )
            )
            channels = out_channels
    blocks += [Block("conv", 1280, activation="relu"), Block("pool"), Block("linear", classes)]
    return Architecture(resolution, classes, tuple(blocks))


REFERENCES: dict[str, Callable[[], Architecture]] = {
    "mobilenet_v2": mobilenet_v2,
    "mobilenet_v3_large": mobilenet_v3_large,
    "mobilenet_v3_small": mobilenet_v3_small,
    "mobilenet_v3_large_minimalistic": partial(mobilenet_v3_large, minimalistic=True),
    "mobilenet_v3_small_minimalistic": partial(mobilenet_v3_small, minimalistic=True),
    "mnasnet_a1": mnasnet_a1,
}


def reference(name: str) -> Architecture:
    """The published network called `name`, as published. Raises NasError (listing the names) for any other."""
    if name not in REFERENCES:
        raise NasError(unknown_name("reference network", name, REFERENCES))
    return REFERENCES[name]()


def find_network(name: str) -> Architecture:
    """The published network called `name`, or the one in the file `name` (ending in .json).

    The file holds what `Architecture.to_json` gives, itself or under the key "architecture", as a search's picks do.
    Raises NasError for a name that is not known and a file that holds no architecture.
    """
    if not name.endswith(".json"):
        return reference(name)
    try:
        data = json.loads(Path(name).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise NasError(f"cannot read {name}: {error}") from error
    except (ValueError, RecursionError) as error:
        raise NasError(f"malformed JSON: {error} ({name})") from error
    if isinstance(data, dict) and "architecture" in data:
        data = data["architecture"]
    try:
        return Architecture.from_json(data)
    except NasError as error:
        raise NasError(f"{error} ({name})") from error


def _mobilenet_v3(
    rows: tuple[BottleneckRow, ...],
    last_features: int,
    width: float,
    resolution: int,
    classes: int,
    minimalistic: bool,
    slim: bool,
) -> Architecture:
    if minimalistic:
        rows = tuple(row._replace(kernel_size=3, se=False, activation="relu") for row in rows)
    outside = "relu" if minimalistic else "hswish"
    channels, table_channels = make_divisible(16 * width), 16
    blocks = [Block("conv", channels, kernel_size=3, stride=2, activation=outside)]
    for row in rows:
        expand_ratio = row.hidden_channels / table_channels
        hidden_channels = make_divisible(channels * expand_ratio if slim else row.hidden_channels * width)
        channels, table_channels = make_divisible(row.out_channels * width), row.out_channels
        blocks.append(
            Block(
                "mbconv",
                channels,
                kernel_size=row.kernel_size,
                stride=row.stride,
                hidden_channels=hidden_channels,
                se_channels=make_divisible(hidden_channels / 4) if row.se else 0,
                se_gate="hsigmoid" if row.se else "",
                activation=row.activation,
            )
        )
    blocks += [
        Block("conv", 6 * channels, activation=outside),
        Block("pool"),
        Block("linear", last_features if slim else make_divisible(last_features * width), activation=outside),
        Block("linear", classes),
    ]
    return Architecture(resolution, classes, tuple(blocks))
