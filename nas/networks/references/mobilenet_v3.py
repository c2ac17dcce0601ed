"""MobileNetV3: Large, Small, and timm's variant."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from nas.networks.architecture import Architecture, Block
from nas.networks.scaling import make_divisible


class BottleneckRow(NamedTuple):
    """A row ("bneck") of MobileNetV3's tables 1 and 2."""

    kernel_size: int
    hidden_channels: int
    out_channels: int
    se: bool
    activation: str
    stride: int


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


def mobilenet_v3_large(
    *,
    width: float = 1.0,
    resolution: int = 224,
    classes: int = 1000,
    minimalistic: bool = False,
    slim: bool = False,
) -> Architecture:
    """MobileNetV3-Large.

    `minimalistic` is the authors' variant without squeeze-and-excitation, h-swish and 5×5 kernels. There are
    two rules for widths other than 1. The default is torchvision's: hidden widths and the last linear layers are scaled
    as all others. `slim` is that of the authors' code, whose latencies are published: hidden widths follow from the
    scaled input, and the last layer keeps its width (155 instead of 140 million MACs at width 0.75).
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


def mobilenet_v3_rw(*, resolution: int = 224, classes: int = 1000) -> Architecture:
    """MobileNetV3-Large as in timm's `mobilenetv3_rw`, which differs from the authors' network in three places.

    Squeeze-and-excitation squeezes to exactly a quarter of the channels, with the block's own activation inside; the
    layer before the classifier has no bias; the first block does not add its input.
    """
    large = mobilenet_v3_large(resolution=resolution, classes=classes)
    stem, first, *blocks = (_squeezed_to_a_quarter(block) for block in large.blocks)
    separable = (
        Block("conv", first.out_channels, first.kernel_size, activation=first.activation, groups=first.hidden_channels),
        Block("conv", first.out_channels),
    )
    *blocks, last, classifier = blocks
    return replace(large, blocks=(stem, *separable, *blocks, replace(last, bias=False), classifier))


def _squeezed_to_a_quarter(block: Block) -> Block:
    if not block.se_channels:
        return block
    # A block spells relu, the default, as an empty text.
    se_activation = "" if block.activation == "relu" else block.activation
    return replace(block, se_channels=block.hidden_channels // 4, se_activation=se_activation)


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
