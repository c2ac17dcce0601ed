"""MobileNetV4: the networks of convolutions alone, Conv-S, -M and -L."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from nas.networks.architecture import Architecture, Block


class UibRow(NamedTuple):
    """A row of the paper's tables: the depthwise kernels before and after the expansion ("DW k1", "DW k2"; 0: none)."""

    start_kernel_size: int
    kernel_size: int
    hidden_channels: int
    out_channels: int
    stride: int = 1


# MobileNetV4, arXiv:2404.10518, the specifications in the appendix, as the authors' code has them.
CONV_SMALL = (
    UibRow(5, 5, 192, 96, stride=2),
    UibRow(0, 3, 192, 96),
    UibRow(0, 3, 192, 96),
    UibRow(0, 3, 192, 96),
    UibRow(0, 3, 192, 96),
    UibRow(3, 0, 384, 96),
    UibRow(3, 3, 576, 128, stride=2),
    UibRow(5, 5, 512, 128),
    UibRow(0, 5, 512, 128),
    UibRow(0, 5, 384, 128),
    UibRow(0, 3, 512, 128),
    UibRow(0, 3, 512, 128),
)
CONV_MEDIUM = (
    UibRow(3, 5, 192, 80, stride=2),
    UibRow(3, 3, 160, 80),
    UibRow(3, 5, 480, 160, stride=2),
    UibRow(3, 3, 640, 160),
    UibRow(3, 3, 640, 160),
    UibRow(3, 5, 640, 160),
    UibRow(3, 3, 640, 160),
    UibRow(3, 0, 640, 160),
    UibRow(0, 0, 320, 160),
    UibRow(3, 0, 640, 160),
    UibRow(5, 5, 960, 256, stride=2),
    UibRow(5, 5, 1024, 256),
    UibRow(3, 5, 1024, 256),
    UibRow(3, 5, 1024, 256),
    UibRow(0, 0, 1024, 256),
    UibRow(3, 0, 1024, 256),
    UibRow(3, 5, 512, 256),
    UibRow(5, 5, 1024, 256),
    UibRow(0, 0, 1024, 256),
    UibRow(0, 0, 1024, 256),
    UibRow(5, 0, 512, 256),
)
CONV_LARGE = (
    UibRow(3, 5, 192, 96, stride=2),
    UibRow(3, 3, 384, 96),
    UibRow(3, 5, 384, 192, stride=2),
    UibRow(3, 3, 768, 192),
    UibRow(3, 3, 768, 192),
    UibRow(3, 3, 768, 192),
    UibRow(3, 5, 768, 192),
    UibRow(5, 3, 768, 192),
    UibRow(5, 3, 768, 192),
    UibRow(5, 3, 768, 192),
    UibRow(5, 3, 768, 192),
    UibRow(5, 3, 768, 192),
    UibRow(3, 0, 768, 192),
    UibRow(5, 5, 768, 512, stride=2),
    UibRow(5, 5, 2048, 512),
    UibRow(5, 5, 2048, 512),
    UibRow(5, 5, 2048, 512),
    UibRow(5, 0, 2048, 512),
    UibRow(5, 3, 2048, 512),
    UibRow(5, 0, 2048, 512),
    UibRow(5, 0, 2048, 512),
    UibRow(5, 3, 2048, 512),
    UibRow(5, 5, 2048, 512),
    UibRow(5, 0, 2048, 512),
    UibRow(5, 0, 2048, 512),
    UibRow(5, 0, 2048, 512),
)


def mobilenet_v4_conv_small(*, resolution: int = 224, classes: int = 1000) -> Architecture:
    """MobileNetV4-Conv-S."""
    stem = (
        Block("conv", 32, kernel_size=3, stride=2, activation="relu"),
        Block("conv", 32, kernel_size=3, stride=2, activation="relu"),
        Block("conv", 32, activation="relu"),
        Block("conv", 96, kernel_size=3, stride=2, activation="relu"),
        Block("conv", 64, activation="relu"),
    )
    return _mobilenet_v4(stem, CONV_SMALL, resolution, classes)


def mobilenet_v4_conv_medium(*, resolution: int = 256, classes: int = 1000) -> Architecture:
    """MobileNetV4-Conv-M."""
    return _mobilenet_v4(_fused_stem(32), CONV_MEDIUM, resolution, classes)


def mobilenet_v4_conv_large(*, resolution: int = 384, classes: int = 1000) -> Architecture:
    """MobileNetV4-Conv-L."""
    return _mobilenet_v4(_fused_stem(24), CONV_LARGE, resolution, classes)


def _fused_stem(channels: int) -> tuple[Block, ...]:
    return (
        Block("conv", channels, kernel_size=3, stride=2, activation="relu"),
        Block("fused_mbconv", 48, kernel_size=3, stride=2, hidden_channels=4 * channels, activation="relu"),
    )


def _mobilenet_v4(stem: Sequence[Block], rows: Sequence[UibRow], resolution: int, classes: int) -> Architecture:
    body = (
        Block(
            "uib",
            row.out_channels,
            kernel_size=row.kernel_size,
            stride=row.stride,
            hidden_channels=row.hidden_channels,
            activation="relu",
            start_kernel_size=row.start_kernel_size,
        )
        for row in rows
    )
    # The last convolution follows the pooling, like the first linear layer of MobileNetV3, but is normalised.
    head = (
        Block("conv", 960, activation="relu"),
        Block("pool"),
        Block("conv", 1280, activation="relu"),
        Block("linear", classes),
    )
    return Architecture(resolution, classes, (*stem, *body, *head))
