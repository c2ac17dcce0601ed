"""Single-Path NAS's network."""

from __future__ import annotations

from nas.networks.architecture import Architecture, Block
from nas.networks.references.stages import Stage, mbconv_stages

# Single-Path NAS, arXiv:1904.02877, figure 4.
SINGLE_PATH_NAS = (
    Stage(channels=16, repeats=1, stride=1, kernel_size=3, expand_ratio=1),
    Stage(channels=24, repeats=3, stride=2, kernel_size=3, expand_ratio=3),
    Stage(channels=40, repeats=1, stride=2, kernel_size=5, expand_ratio=6),
    Stage(channels=40, repeats=3, stride=1, kernel_size=3, expand_ratio=3),
    Stage(channels=80, repeats=1, stride=2, kernel_size=5, expand_ratio=6),
    Stage(channels=80, repeats=3, stride=1, kernel_size=3, expand_ratio=3),
    Stage(channels=96, repeats=1, stride=1, kernel_size=5, expand_ratio=6),
    Stage(channels=96, repeats=3, stride=1, kernel_size=5, expand_ratio=3),
    Stage(channels=192, repeats=4, stride=2, kernel_size=5, expand_ratio=6),
    Stage(channels=320, repeats=1, stride=1, kernel_size=3, expand_ratio=6),
)


def single_path_nas(*, resolution: int = 224, classes: int = 1000) -> Architecture:
    """Single-Path NAS's network, searched for a Pixel 1."""
    blocks = (
        Block("conv", 32, kernel_size=3, stride=2, activation="relu"),
        *mbconv_stages(SINGLE_PATH_NAS, 32, activation="relu"),
        Block("conv", 1280, activation="relu"),
        Block("pool"),
        Block("linear", classes),
    )
    return Architecture(resolution, classes, blocks)
