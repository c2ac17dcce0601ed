"""MobileNetEdgeTPUV2."""

from __future__ import annotations

from typing import NamedTuple

from nas.networks.architecture import Architecture, Block


class Size(NamedTuple):
    """A member of the family: `channels` are those of its seven stages, `last_channels` those of the last convolution.

    Grouped convolutions have `group_channels` channels in each group.
    """

    stem_channels: int
    stem_kernel_size: int
    channels: tuple[int, int, int, int, int, int, int]
    group_channels: int
    last_channels: int


class EdgeRow(NamedTuple):
    """`repeats` blocks of a stage, the first with `stride`; `grouped`: the k×k convolution has groups."""

    op: str
    stage: int
    expand_ratio: int
    stride: int = 1
    grouped: bool = False
    repeats: int = 1


# MobileNetEdgeTPUV2, arXiv:2204.14007; the numbers are those of the authors' code (TensorFlow Model Garden,
# official/projects/edgetpu/vision). Convolutions are dense or grouped on large feature maps, depthwise on small ones.
EDGETPU_V2 = (
    EdgeRow("fused_mbconv", stage=1, expand_ratio=8, stride=2),
    EdgeRow("fused_mbconv", stage=1, expand_ratio=4, grouped=True),
    EdgeRow("fused_mbconv", stage=2, expand_ratio=8, stride=2),
    EdgeRow("fused_mbconv", stage=2, expand_ratio=4, grouped=True),
    EdgeRow("fused_mbconv", stage=2, expand_ratio=4),
    EdgeRow("fused_mbconv", stage=2, expand_ratio=4, grouped=True),
    EdgeRow("fused_mbconv", stage=3, expand_ratio=8, stride=2),
    EdgeRow("mbconv", stage=3, expand_ratio=4, repeats=3),
    EdgeRow("mbconv", stage=4, expand_ratio=8),
    EdgeRow("mbconv", stage=4, expand_ratio=4, repeats=3),
    EdgeRow("mbconv", stage=5, expand_ratio=8, stride=2),
    EdgeRow("mbconv", stage=5, expand_ratio=4, repeats=3),
    EdgeRow("mbconv", stage=6, expand_ratio=8),
)
EDGETPU_V2_XS = Size(
    stem_channels=32,
    stem_kernel_size=3,
    channels=(16, 32, 48, 96, 144, 160, 192),
    group_channels=64,
    last_channels=1280,
)
EDGETPU_V2_S = Size(
    stem_channels=64,
    stem_kernel_size=5,
    channels=(24, 48, 64, 128, 160, 192, 256),
    group_channels=64,
    last_channels=1280,
)
EDGETPU_V2_M = Size(
    stem_channels=64,
    stem_kernel_size=5,
    channels=(32, 64, 80, 160, 192, 240, 320),
    group_channels=64,
    last_channels=1344,
)
EDGETPU_V2_L = Size(
    stem_channels=64,
    stem_kernel_size=7,
    channels=(32, 64, 96, 192, 240, 256, 384),
    group_channels=128,
    last_channels=1408,
)


def mobilenet_edgetpu_v2(size: Size, *, resolution: int = 224, classes: int = 1000) -> Architecture:
    """MobileNetEdgeTPUV2 of one size, such as `EDGETPU_V2_S`."""
    channels = size.channels[0]
    blocks = [
        Block("conv", size.stem_channels, kernel_size=size.stem_kernel_size, stride=2, activation="relu"),
        # The first stage is an inverted residual without expansion and depthwise convolution: only the projection.
        Block("conv", channels, activation="relu"),
    ]
    for row in EDGETPU_V2:
        for repeat in range(row.repeats):
            hidden_channels = channels * row.expand_ratio
            channels = size.channels[row.stage]
            blocks.append(
                Block(
                    row.op,
                    channels,
                    kernel_size=3,
                    stride=row.stride if repeat == 0 else 1,
                    hidden_channels=hidden_channels,
                    groups=hidden_channels // size.group_channels if row.grouped else 1,
                    activation="relu",
                )
            )
    head = (Block("conv", size.last_channels, activation="relu"), Block("pool"), Block("linear", classes))
    return Architecture(resolution, classes, (*blocks, *head))
