"""MobileOne: S0 to S4."""

from __future__ import annotations

from typing import NamedTuple

from nas.networks.architecture import Architecture, Block


class MobileOneVariant(NamedTuple):
    """Each stage's width multiplier, the branches of its blocks, and how many of its last blocks have SE."""

    widths: tuple[float, float, float, float]
    branches: int
    se_blocks: tuple[int, int, int, int] = (0, 0, 0, 0)


# MobileOne, arXiv:2206.04040, the table of its specifications: channels and blocks (a depthwise and a pointwise one
# each) of the stages after the stem. The third stage here is two stages of 5 blocks each, equal in every variant.
CHANNELS = (64, 128, 256, 512)
REPEATS = (2, 8, 10, 1)

# The same table; the branches are from the authors' code.
MOBILEONE_S0 = MobileOneVariant((0.75, 1.0, 1.0, 2.0), branches=4)
MOBILEONE_S1 = MobileOneVariant((1.5, 1.5, 2.0, 2.5), branches=1)
MOBILEONE_S2 = MobileOneVariant((1.5, 2.0, 2.5, 4.0), branches=1)
MOBILEONE_S3 = MobileOneVariant((2.0, 2.5, 3.0, 4.0), branches=1)
MOBILEONE_S4 = MobileOneVariant((3.0, 3.5, 3.5, 4.0), branches=1, se_blocks=(0, 0, 5, 1))

SQUEEZE_RATIO = 16


def mobileone(variant: MobileOneVariant, *, resolution: int = 224, classes: int = 1000) -> Architecture:
    """MobileOne in its training form; `nas.networks.deployed` gives the deployed form.

    The stem has the channels of the first stage, at most 64, and one branch in every variant.
    """
    channels = min(64, int(64 * variant.widths[0]))
    blocks = [Block("mobile_one", channels, kernel_size=3, stride=2, branches=1, activation="relu")]
    for stage, repeats in enumerate(REPEATS):
        out_channels = int(CHANNELS[stage] * variant.widths[stage])
        for repeat in range(repeats):
            se = repeat >= repeats - variant.se_blocks[stage]
            stride = 2 if repeat == 0 else 1
            blocks += [
                _block(variant, channels, kernel_size=3, stride=stride, groups=channels, se=se),
                _block(variant, out_channels, kernel_size=1, stride=1, groups=1, se=se),
            ]
            channels = out_channels
    return Architecture(resolution, classes, (*blocks, Block("pool"), Block("linear", classes)))


def _block(variant: MobileOneVariant, channels: int, *, kernel_size: int, stride: int, groups: int, se: bool) -> Block:
    return Block(
        "mobile_one",
        channels,
        kernel_size=kernel_size,
        stride=stride,
        groups=groups,
        branches=variant.branches,
        se_channels=channels // SQUEEZE_RATIO if se else 0,
        se_gate="sigmoid" if se else "",
        activation="relu",
    )
