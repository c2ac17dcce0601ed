"""MixNet-S, -M and -L."""

from __future__ import annotations

from typing import NamedTuple

from nas.networks.architecture import Architecture, Block
from nas.networks.scaling import make_divisible


class MixStage(NamedTuple):
    """`repeats` blocks of depthwise kernels 3, 5, .. up to `kernel_size`, the first with `stride`.

    `expand_groups` and `groups` are those of the 1×1s, `se_ratio` is the share of the block's input channels that
    squeeze-and-excitation squeezes to (0: none).
    """

    channels: int
    repeats: int
    stride: int
    kernel_size: int
    expand_ratio: int
    expand_groups: int
    groups: int
    se_ratio: float
    activation: str


# MixNet, arXiv:1907.09595, section 4 (the figure of MixNet-S and M), completed from the authors' code.
MIXNET_S = (
    MixStage(24, 1, 2, 3, 6, 2, 2, 0.0, "relu"),
    MixStage(24, 1, 1, 3, 3, 2, 2, 0.0, "relu"),
    MixStage(40, 1, 2, 7, 6, 1, 1, 0.5, "silu"),
    MixStage(40, 3, 1, 5, 6, 2, 2, 0.5, "silu"),
    MixStage(80, 1, 2, 7, 6, 1, 2, 0.25, "silu"),
    MixStage(80, 2, 1, 5, 6, 1, 2, 0.25, "silu"),
    MixStage(120, 1, 1, 7, 6, 2, 2, 0.5, "silu"),
    MixStage(120, 2, 1, 9, 3, 2, 2, 0.5, "silu"),
    MixStage(200, 1, 2, 11, 6, 1, 1, 0.5, "silu"),
    MixStage(200, 2, 1, 9, 6, 1, 2, 0.5, "silu"),
)
MIXNET_M = (
    MixStage(32, 1, 2, 7, 6, 2, 2, 0.0, "relu"),
    MixStage(32, 1, 1, 3, 3, 2, 2, 0.0, "relu"),
    MixStage(40, 1, 2, 9, 6, 1, 1, 0.5, "silu"),
    MixStage(40, 3, 1, 5, 6, 2, 2, 0.5, "silu"),
    MixStage(80, 1, 2, 7, 6, 1, 1, 0.25, "silu"),
    MixStage(80, 3, 1, 9, 6, 2, 2, 0.25, "silu"),
    MixStage(120, 1, 1, 3, 6, 1, 1, 0.5, "silu"),
    MixStage(120, 3, 1, 9, 3, 2, 2, 0.5, "silu"),
    MixStage(200, 1, 2, 9, 6, 1, 1, 0.5, "silu"),
    MixStage(200, 3, 1, 9, 6, 1, 2, 0.5, "silu"),
)


def mixnet_s(*, width: float = 1.0, resolution: int = 224, classes: int = 1000) -> Architecture:
    """MixNet-S. The last convolution has 1536 channels at every width."""
    return _network(MIXNET_S, 16, width, resolution, classes)


def mixnet_m(*, width: float = 1.0, resolution: int = 224, classes: int = 1000) -> Architecture:
    """MixNet-M; MixNet-L is the same at width 1.3. The last convolution has 1536 channels at every width."""
    return _network(MIXNET_M, 24, width, resolution, classes)


def _network(
    stages: tuple[MixStage, ...], stem_channels: int, width: float, resolution: int, classes: int
) -> Architecture:
    channels = make_divisible(stem_channels * width)
    blocks = [
        Block("conv", channels, kernel_size=3, stride=2, activation="relu"),
        Block("mbconv", channels, kernel_size=3, hidden_channels=channels, activation="relu"),
    ]
    for stage in stages:
        out_channels = make_divisible(stage.channels * width)
        for repeat in range(stage.repeats):
            se_channels = int(channels * stage.se_ratio)
            blocks.append(
                Block(
                    "mixconv",
                    out_channels,
                    kernel_size=stage.kernel_size,
                    stride=stage.stride if repeat == 0 else 1,
                    hidden_channels=make_divisible(channels * stage.expand_ratio),
                    expand_groups=stage.expand_groups,
                    groups=stage.groups,
                    se_channels=se_channels,
                    se_gate="sigmoid" if se_channels else "",
                    se_activation="silu" if se_channels else "",
                    activation=stage.activation,
                )
            )
            channels = out_channels
    blocks += [Block("conv", 1536, activation="relu"), Block("pool"), Block("linear", classes)]
    return Architecture(resolution, classes, tuple(blocks))
