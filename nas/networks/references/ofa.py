"""The largest and smallest networks of once-for-all's MobileNetV3 space, and others of one setting throughout."""

from __future__ import annotations

from typing import NamedTuple

from nas.networks.architecture import Architecture, Block
from nas.networks.scaling import make_divisible


class OfaStage(NamedTuple):
    """A stage of the super-network; the depth, kernel size and expansion of its blocks are free."""

    channels: int
    stride: int
    se: bool
    activation: str


# Once-for-all, arXiv:1908.09791, section 4.1, and the authors' code: the stages of MobileNetV3-Large.
OFA_MOBILENET_V3 = (
    OfaStage(channels=24, stride=2, se=False, activation="relu"),
    OfaStage(channels=40, stride=2, se=True, activation="relu"),
    OfaStage(channels=80, stride=2, se=False, activation="hswish"),
    OfaStage(channels=112, stride=1, se=True, activation="hswish"),
    OfaStage(channels=160, stride=2, se=True, activation="hswish"),
)


def ofa_mobilenet_v3(
    *,
    depth: int = 4,
    kernel_size: int = 7,
    expand_ratio: int = 6,
    width: float = 1.0,
    resolution: int = 224,
    classes: int = 1000,
) -> Architecture:
    """The member with one depth (2, 3, 4), kernel size (3, 5, 7) and expansion (3, 4, 6) in all stages.

    The default is the largest, `ofa_mobilenet_v3(depth=2, kernel_size=3, expand_ratio=3)` the smallest. There are
    published super-networks of widths 1 and 1.2. The layer before the classifier has neither bias nor normalisation.
    """
    channels = make_divisible(16 * width)
    blocks = [
        Block("conv", channels, kernel_size=3, stride=2, activation="hswish"),
        Block("mbconv", channels, kernel_size=3, hidden_channels=channels, activation="relu"),
    ]
    for stage in OFA_MOBILENET_V3:
        for position in range(depth):
            hidden_channels = make_divisible(channels * expand_ratio)
            channels = make_divisible(stage.channels * width)
            blocks.append(
                Block(
                    "mbconv",
                    channels,
                    kernel_size=kernel_size,
                    stride=stage.stride if position == 0 else 1,
                    hidden_channels=hidden_channels,
                    se_channels=make_divisible(hidden_channels // 4) if stage.se else 0,
                    se_gate="hsigmoid" if stage.se else "",
                    activation=stage.activation,
                )
            )
    head = (
        Block("conv", make_divisible(960 * width), activation="hswish"),
        Block("pool"),
        Block("linear", make_divisible(1280 * width), activation="hswish", bias=False),
        Block("linear", classes),
    )
    return Architecture(resolution, classes, (*blocks, *head))
