"""MobileNetV2."""

from __future__ import annotations

from nas.networks.architecture import Architecture, Block
from nas.networks.references.stages import Stage, mbconv_stages
from nas.networks.scaling import make_divisible

# MobileNetV2, arXiv:1801.04381, table 2.
MOBILENET_V2 = (
    Stage(channels=16, repeats=1, stride=1, kernel_size=3, expand_ratio=1),
    Stage(channels=24, repeats=2, stride=2, kernel_size=3, expand_ratio=6),
    Stage(channels=32, repeats=3, stride=2, kernel_size=3, expand_ratio=6),
    Stage(channels=64, repeats=4, stride=2, kernel_size=3, expand_ratio=6),
    Stage(channels=96, repeats=3, stride=1, kernel_size=3, expand_ratio=6),
    Stage(channels=160, repeats=3, stride=2, kernel_size=3, expand_ratio=6),
    Stage(channels=320, repeats=1, stride=1, kernel_size=3, expand_ratio=6),
)


def mobilenet_v2(*, width: float = 1.0, resolution: int = 224, classes: int = 1000) -> Architecture:
    """MobileNetV2. The last convolution keeps its 1280 channels for widths below 1 (section 6.1)."""
    stem = Block("conv", make_divisible(32 * width), kernel_size=3, stride=2, activation="relu6")
    blocks = (
        stem,
        *mbconv_stages(MOBILENET_V2, stem.out_channels, width=width, activation="relu6"),
        Block("conv", make_divisible(1280 * max(1.0, width)), activation="relu6"),
        Block("pool"),
        Block("linear", classes),
    )
    return Architecture(resolution, classes, blocks)
