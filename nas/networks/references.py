"""Which published networks are known here, exactly?

Each is a table with its columns named, as in the paper that is cited above it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
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
    *, width: float = 1.0, resolution: int = 224, classes: int = 1000, minimalistic: bool = False
) -> Architecture:
    """MobileNetV3-Large; `width` also scales the last layers, as torchvision and timm do.

    `minimalistic` is the authors' variant without squeeze-and-excitation, h-swish and 5×5 kernels.
    """
    return _mobilenet_v3(MOBILENET_V3_LARGE, 1280, width, resolution, classes, minimalistic)


def mobilenet_v3_small(
    *, width: float = 1.0, resolution: int = 224, classes: int = 1000, minimalistic: bool = False
) -> Architecture:
    """MobileNetV3-Small; options as for MobileNetV3-Large."""
    return _mobilenet_v3(MOBILENET_V3_SMALL, 1024, width, resolution, classes, minimalistic)


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


def _mobilenet_v3(
    rows: tuple[BottleneckRow, ...],
    last_features: int,
    width: float,
    resolution: int,
    classes: int,
    minimalistic: bool,
) -> Architecture:
    if minimalistic:
        rows = tuple(row._replace(kernel_size=3, se=False, activation="relu") for row in rows)
    outside = "relu" if minimalistic else "hswish"
    blocks = [Block("conv", make_divisible(16 * width), kernel_size=3, stride=2, activation=outside)]
    for row in rows:
        hidden_channels = make_divisible(row.hidden_channels * width)
        blocks.append(
            Block(
                "mbconv",
                make_divisible(row.out_channels * width),
                kernel_size=row.kernel_size,
                stride=row.stride,
                hidden_channels=hidden_channels,
                se_channels=make_divisible(hidden_channels / 4) if row.se else 0,
                se_gate="hsigmoid" if row.se else "",
                activation=row.activation,
            )
        )
    blocks += [
        Block("conv", 6 * blocks[-1].out_channels, activation=outside),
        Block("pool"),
        Block("linear", make_divisible(last_features * width), activation=outside),
        Block("linear", classes),
    ]
    return Architecture(resolution, classes, tuple(blocks))
