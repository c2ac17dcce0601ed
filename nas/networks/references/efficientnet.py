"""EfficientNet of the first generation: B0 to B7, Lite and EdgeTPU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from nas.networks.architecture import Architecture, Block
from nas.networks.references.stages import Stage, deepened, mbconv_stages
from nas.networks.scaling import make_divisible


class Size(NamedTuple):
    """A row of a family's table: the factors of channels and repeats, and the resolution in pixels."""

    width: float
    depth: float
    resolution: int


# EfficientNet-B0, arXiv:1905.11946, table 1.
EFFICIENTNET_B0 = (
    Stage(channels=16, repeats=1, stride=1, kernel_size=3, expand_ratio=1, se_ratio=0.25),
    Stage(channels=24, repeats=2, stride=2, kernel_size=3, expand_ratio=6, se_ratio=0.25),
    Stage(channels=40, repeats=2, stride=2, kernel_size=5, expand_ratio=6, se_ratio=0.25),
    Stage(channels=80, repeats=3, stride=2, kernel_size=3, expand_ratio=6, se_ratio=0.25),
    Stage(channels=112, repeats=3, stride=1, kernel_size=5, expand_ratio=6, se_ratio=0.25),
    Stage(channels=192, repeats=4, stride=2, kernel_size=5, expand_ratio=6, se_ratio=0.25),
    Stage(channels=320, repeats=1, stride=1, kernel_size=3, expand_ratio=6, se_ratio=0.25),
)

# The authors' code (tensorflow/tpu, efficientnet_builder.py). The paper's powers of 1.2, 1.1 and 1.15 are close,
# but do not give exactly these numbers, even rounded.
EFFICIENTNET_SIZES: Mapping[str, Size] = {
    "b0": Size(width=1.0, depth=1.0, resolution=224),
    "b1": Size(width=1.0, depth=1.1, resolution=240),
    "b2": Size(width=1.1, depth=1.2, resolution=260),
    "b3": Size(width=1.2, depth=1.4, resolution=300),
    "b4": Size(width=1.4, depth=1.8, resolution=380),
    "b5": Size(width=1.6, depth=2.2, resolution=456),
    "b6": Size(width=1.8, depth=2.6, resolution=528),
    "b7": Size(width=2.0, depth=3.1, resolution=600),
}

# The authors' code (tensorflow/tpu, efficientnet/lite): B0's table without squeeze-and-excitation.
EFFICIENTNET_LITE = tuple(stage._replace(se_ratio=0.0) for stage in EFFICIENTNET_B0)
EFFICIENTNET_LITE_SIZES: Mapping[str, Size] = {
    "lite0": Size(width=1.0, depth=1.0, resolution=224),
    "lite1": Size(width=1.0, depth=1.1, resolution=240),
    "lite2": Size(width=1.1, depth=1.2, resolution=260),
    "lite3": Size(width=1.2, depth=1.4, resolution=280),
    "lite4": Size(width=1.4, depth=1.8, resolution=300),
}

# The authors' code (tensorflow/tpu, efficientnet/edgetpu). The first stage is an exception: it expands to four
# times its output's channels, and never adds its input.
EFFICIENTNET_EDGETPU = (
    Stage(channels=24, repeats=1, stride=1, kernel_size=3, expand_ratio=4, op="fused_mbconv"),
    Stage(channels=32, repeats=2, stride=2, kernel_size=3, expand_ratio=8, op="fused_mbconv"),
    Stage(channels=48, repeats=4, stride=2, kernel_size=3, expand_ratio=8, op="fused_mbconv"),
    Stage(channels=96, repeats=5, stride=2, kernel_size=5, expand_ratio=8),
    Stage(channels=144, repeats=4, stride=1, kernel_size=5, expand_ratio=8),
    Stage(channels=192, repeats=2, stride=2, kernel_size=5, expand_ratio=8),
)
EFFICIENTNET_EDGETPU_SIZES: Mapping[str, Size] = {
    "s": Size(width=1.0, depth=1.0, resolution=224),
    "m": Size(width=1.0, depth=1.1, resolution=240),
    "l": Size(width=1.2, depth=1.4, resolution=300),
}


def efficientnet(*, width: float = 1.0, depth: float = 1.0, resolution: int = 224, classes: int = 1000) -> Architecture:
    """EfficientNet, by default B0; `EFFICIENTNET_SIZES` has the others.

    Squeeze-and-excitation squeezes to a quarter of the block's input channels, rounded down.
    """
    stem = Block("conv", make_divisible(32 * width), kernel_size=3, stride=2, activation="silu")
    stages = deepened(EFFICIENTNET_B0, depth)
    blocks = (
        stem,
        *mbconv_stages(stages, stem.out_channels, width=width, activation="silu", se_activation="silu"),
        Block("conv", make_divisible(1280 * width), activation="silu"),
        Block("pool"),
        Block("linear", classes),
    )
    return Architecture(resolution, classes, blocks)


def efficientnet_lite(
    *, width: float = 1.0, depth: float = 1.0, resolution: int = 224, classes: int = 1000
) -> Architecture:
    """EfficientNet-Lite, by default Lite0; `EFFICIENTNET_LITE_SIZES` has the others.

    It has ReLU6 and no squeeze-and-excitation. Stem and head are not scaled, nor are the repeats of the first and last
    stage.
    """
    first, *middle, last = EFFICIENTNET_LITE
    stages = (first, *deepened(middle, depth), last)
    blocks = (
        Block("conv", 32, kernel_size=3, stride=2, activation="relu6"),
        *mbconv_stages(stages, 32, width=width, activation="relu6"),
        Block("conv", 1280, activation="relu6"),
        Block("pool"),
        Block("linear", classes),
    )
    return Architecture(resolution, classes, blocks)


def efficientnet_edgetpu(
    *, width: float = 1.0, depth: float = 1.0, resolution: int = 224, classes: int = 1000
) -> Architecture:
    """EfficientNet-EdgeTPU, by default S; `EFFICIENTNET_EDGETPU_SIZES` has the others."""
    first, *others = deepened(EFFICIENTNET_EDGETPU, depth)
    channels = make_divisible(first.channels * width)
    # fused_mbconv would add the input, so these blocks are written as two convolutions.
    first_block = (
        Block("conv", make_divisible(channels * first.expand_ratio), kernel_size=3, activation="relu"),
        Block("conv", channels),
    )
    blocks = (
        Block("conv", make_divisible(32 * width), kernel_size=3, stride=2, activation="relu"),
        *first_block * first.repeats,
        *mbconv_stages(others, channels, width=width, activation="relu"),
        Block("conv", make_divisible(1280 * width), activation="relu"),
        Block("pool"),
        Block("linear", classes),
    )
    return Architecture(resolution, classes, blocks)
