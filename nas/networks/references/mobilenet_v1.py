"""MobileNetV1."""

from __future__ import annotations

from typing import NamedTuple

from nas.networks.architecture import Architecture, Block
from nas.networks.scaling import make_divisible


class SeparableRow(NamedTuple):
    """`repeats` depthwise separable convolutions, each with `stride`: a row "Conv dw" and the row "Conv" after it."""

    out_channels: int
    stride: int
    repeats: int = 1


# MobileNetV1, arXiv:1704.04861, table 1. The last row's stride is printed as 2, but its input and output are both 7×7.
MOBILENET_V1 = (
    SeparableRow(out_channels=64, stride=1),
    SeparableRow(out_channels=128, stride=2),
    SeparableRow(out_channels=128, stride=1),
    SeparableRow(out_channels=256, stride=2),
    SeparableRow(out_channels=256, stride=1),
    SeparableRow(out_channels=512, stride=2),
    SeparableRow(out_channels=512, stride=1, repeats=5),
    SeparableRow(out_channels=1024, stride=2),
    SeparableRow(out_channels=1024, stride=1),
)


def mobilenet_v1(*, width: float = 1.0, resolution: int = 224, classes: int = 1000) -> Architecture:
    """MobileNetV1. The paper has widths 1, 0.75, 0.5 and 0.25 at 224, 192, 160 and 128 pixels (section 3.3, 3.4).

    Activations are ReLU6, as in the authors' code; the paper says ReLU.
    """
    blocks = [Block("conv", make_divisible(32 * width), kernel_size=3, stride=2, activation="relu6")]
    for row in MOBILENET_V1:
        out_channels = make_divisible(row.out_channels * width)
        block = Block("ds_conv", out_channels, kernel_size=3, stride=row.stride, activation="relu6")
        blocks += [block] * row.repeats
    return Architecture(resolution, classes, (*blocks, Block("pool"), Block("linear", classes)))
