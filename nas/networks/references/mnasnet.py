"""MnasNet-A1, -B1 and -small."""

from __future__ import annotations

from nas.networks.architecture import Architecture, Block
from nas.networks.references.stages import Stage, mbconv_stages
from nas.networks.scaling import make_divisible

# MnasNet-A1, arXiv:1807.11626, figure 7.
MNASNET_A1 = (
    Stage(channels=16, repeats=1, stride=1, kernel_size=3, expand_ratio=1),
    Stage(channels=24, repeats=2, stride=2, kernel_size=3, expand_ratio=6),
    Stage(channels=40, repeats=3, stride=2, kernel_size=5, expand_ratio=3, se_ratio=0.25),
    Stage(channels=80, repeats=4, stride=2, kernel_size=3, expand_ratio=6),
    Stage(channels=112, repeats=2, stride=1, kernel_size=3, expand_ratio=6, se_ratio=0.25),
    Stage(channels=160, repeats=3, stride=2, kernel_size=5, expand_ratio=6, se_ratio=0.25),
    Stage(channels=320, repeats=1, stride=1, kernel_size=3, expand_ratio=6),
)

# MnasNet-B1 (found without squeeze-and-excitation) and -small: the authors' code (tensorflow/tpu, mnasnet_models.py).
MNASNET_B1 = (
    Stage(channels=16, repeats=1, stride=1, kernel_size=3, expand_ratio=1),
    Stage(channels=24, repeats=3, stride=2, kernel_size=3, expand_ratio=3),
    Stage(channels=40, repeats=3, stride=2, kernel_size=5, expand_ratio=3),
    Stage(channels=80, repeats=3, stride=2, kernel_size=5, expand_ratio=6),
    Stage(channels=96, repeats=2, stride=1, kernel_size=3, expand_ratio=6),
    Stage(channels=192, repeats=4, stride=2, kernel_size=5, expand_ratio=6),
    Stage(channels=320, repeats=1, stride=1, kernel_size=3, expand_ratio=6),
)
MNASNET_SMALL = (
    Stage(channels=8, repeats=1, stride=1, kernel_size=3, expand_ratio=1),
    Stage(channels=16, repeats=1, stride=2, kernel_size=3, expand_ratio=3),
    Stage(channels=16, repeats=2, stride=2, kernel_size=3, expand_ratio=6),
    Stage(channels=32, repeats=4, stride=2, kernel_size=5, expand_ratio=6, se_ratio=0.25),
    Stage(channels=32, repeats=3, stride=1, kernel_size=3, expand_ratio=6, se_ratio=0.25),
    Stage(channels=88, repeats=3, stride=2, kernel_size=5, expand_ratio=6, se_ratio=0.25),
    Stage(channels=144, repeats=1, stride=1, kernel_size=3, expand_ratio=6),
)


def mnasnet_a1(*, width: float = 1.0, resolution: int = 224, classes: int = 1000) -> Architecture:
    """MnasNet-A1. The stem is scaled with the stages; the last convolution has 1280 channels at every width."""
    return _mnasnet(MNASNET_A1, 32, width, resolution, classes)


def mnasnet_b1(*, width: float = 1.0, resolution: int = 224, classes: int = 1000) -> Architecture:
    """MnasNet-B1, scaled like MnasNet-A1, as in version 2 of torchvision's networks."""
    return _mnasnet(MNASNET_B1, 32, width, resolution, classes)


def mnasnet_small(*, width: float = 1.0, resolution: int = 224, classes: int = 1000) -> Architecture:
    """MnasNet-small, scaled like MnasNet-A1."""
    return _mnasnet(MNASNET_SMALL, 8, width, resolution, classes)


def _mnasnet(
    stages: tuple[Stage, ...], stem_channels: int, width: float, resolution: int, classes: int
) -> Architecture:
    stem = Block("conv", make_divisible(stem_channels * width), kernel_size=3, stride=2, activation="relu")
    blocks = (
        stem,
        *mbconv_stages(stages, stem.out_channels, width=width, activation="relu"),
        Block("conv", 1280, activation="relu"),
        Block("pool"),
        Block("linear", classes),
    )
    return Architecture(resolution, classes, blocks)
