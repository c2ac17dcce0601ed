"""PP-LCNet."""

from __future__ import annotations

from typing import NamedTuple

from nas.networks.architecture import Architecture, Block
from nas.networks.scaling import make_divisible


class SeparableRow(NamedTuple):
    """A row "DepthSepConv" of PP-LCNet's table, `repeats` times, each time with `stride`."""

    kernel_size: int
    out_channels: int
    stride: int
    se: bool = False
    repeats: int = 1


# PP-LCNet, arXiv:2109.15099, table 1.
LCNET = (
    SeparableRow(kernel_size=3, out_channels=32, stride=1),
    SeparableRow(kernel_size=3, out_channels=64, stride=2),
    SeparableRow(kernel_size=3, out_channels=64, stride=1),
    SeparableRow(kernel_size=3, out_channels=128, stride=2),
    SeparableRow(kernel_size=3, out_channels=128, stride=1),
    SeparableRow(kernel_size=3, out_channels=256, stride=2),
    SeparableRow(kernel_size=5, out_channels=256, stride=1, repeats=5),
    SeparableRow(kernel_size=5, out_channels=512, stride=2, se=True),
    SeparableRow(kernel_size=5, out_channels=512, stride=1, se=True),
)


def lcnet(*, width: float = 1.0, resolution: int = 224, classes: int = 1000) -> Architecture:
    """PP-LCNet. The layer before the classifier has 1280 channels at every width (section 3.4).

    That layer has a bias, as in timm; in the authors' code it has none, which saves 1280 parameters.
    """
    channels = make_divisible(16 * width)
    blocks = [Block("conv", channels, kernel_size=3, stride=2, activation="hswish")]
    for row in LCNET:
        out_channels = make_divisible(row.out_channels * width)
        for _ in range(row.repeats):
            # Squeeze-and-excitation follows the depthwise convolution, so it scales the block's input channels.
            block = Block(
                "ds_conv",
                out_channels,
                kernel_size=row.kernel_size,
                stride=row.stride,
                se_channels=channels // 4 if row.se else 0,
                se_gate="hsigmoid" if row.se else "",
                activation="hswish",
            )
            blocks.append(block)
            channels = out_channels
    head = (Block("pool"), Block("linear", 1280, activation="hswish"), Block("linear", classes))
    return Architecture(resolution, classes, (*blocks, *head))
