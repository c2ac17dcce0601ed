"""EfficientNetV2: S, M, L and B0 to B3."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from nas.networks.architecture import Architecture, Block
from nas.networks.references.efficientnet import Size
from nas.networks.references.stages import Stage, deepened, mbconv_stages
from nas.networks.scaling import make_divisible

# EfficientNetV2-S, arXiv:2104.00298, table 4.
EFFICIENTNET_V2_S = (
    Stage(channels=24, repeats=2, stride=1, kernel_size=3, expand_ratio=1, op="fused_mbconv"),
    Stage(channels=48, repeats=4, stride=2, kernel_size=3, expand_ratio=4, op="fused_mbconv"),
    Stage(channels=64, repeats=4, stride=2, kernel_size=3, expand_ratio=4, op="fused_mbconv"),
    Stage(channels=128, repeats=6, stride=2, kernel_size=3, expand_ratio=4, se_ratio=0.25),
    Stage(channels=160, repeats=9, stride=1, kernel_size=3, expand_ratio=6, se_ratio=0.25),
    Stage(channels=256, repeats=15, stride=2, kernel_size=3, expand_ratio=6, se_ratio=0.25),
)

# EfficientNetV2-M, -L and B0: the authors' code (google/automl, efficientnetv2/effnetv2_configs.py).
EFFICIENTNET_V2_M = (
    Stage(channels=24, repeats=3, stride=1, kernel_size=3, expand_ratio=1, op="fused_mbconv"),
    Stage(channels=48, repeats=5, stride=2, kernel_size=3, expand_ratio=4, op="fused_mbconv"),
    Stage(channels=80, repeats=5, stride=2, kernel_size=3, expand_ratio=4, op="fused_mbconv"),
    Stage(channels=160, repeats=7, stride=2, kernel_size=3, expand_ratio=4, se_ratio=0.25),
    Stage(channels=176, repeats=14, stride=1, kernel_size=3, expand_ratio=6, se_ratio=0.25),
    Stage(channels=304, repeats=18, stride=2, kernel_size=3, expand_ratio=6, se_ratio=0.25),
    Stage(channels=512, repeats=5, stride=1, kernel_size=3, expand_ratio=6, se_ratio=0.25),
)
EFFICIENTNET_V2_L = (
    Stage(channels=32, repeats=4, stride=1, kernel_size=3, expand_ratio=1, op="fused_mbconv"),
    Stage(channels=64, repeats=7, stride=2, kernel_size=3, expand_ratio=4, op="fused_mbconv"),
    Stage(channels=96, repeats=7, stride=2, kernel_size=3, expand_ratio=4, op="fused_mbconv"),
    Stage(channels=192, repeats=10, stride=2, kernel_size=3, expand_ratio=4, se_ratio=0.25),
    Stage(channels=224, repeats=19, stride=1, kernel_size=3, expand_ratio=6, se_ratio=0.25),
    Stage(channels=384, repeats=25, stride=2, kernel_size=3, expand_ratio=6, se_ratio=0.25),
    Stage(channels=640, repeats=7, stride=1, kernel_size=3, expand_ratio=6, se_ratio=0.25),
)
EFFICIENTNET_V2_B0 = (
    Stage(channels=16, repeats=1, stride=1, kernel_size=3, expand_ratio=1, op="fused_mbconv"),
    Stage(channels=32, repeats=2, stride=2, kernel_size=3, expand_ratio=4, op="fused_mbconv"),
    Stage(channels=48, repeats=2, stride=2, kernel_size=3, expand_ratio=4, op="fused_mbconv"),
    Stage(channels=96, repeats=3, stride=2, kernel_size=3, expand_ratio=4, se_ratio=0.25),
    Stage(channels=112, repeats=5, stride=1, kernel_size=3, expand_ratio=6, se_ratio=0.25),
    Stage(channels=192, repeats=8, stride=2, kernel_size=3, expand_ratio=6, se_ratio=0.25),
)
EFFICIENTNET_V2_SIZES: Mapping[str, Size] = {
    "b0": Size(width=1.0, depth=1.0, resolution=224),
    "b1": Size(width=1.0, depth=1.1, resolution=240),
    "b2": Size(width=1.1, depth=1.2, resolution=260),
    "b3": Size(width=1.2, depth=1.4, resolution=300),
}


def efficientnet_v2(
    stages: tuple[Stage, ...] = EFFICIENTNET_V2_S, *, resolution: int = 384, classes: int = 1000
) -> Architecture:
    """EfficientNetV2-S, -M or -L, by its table. The stem has as many channels as the first stage."""
    blocks = (
        Block("conv", stages[0].channels, kernel_size=3, stride=2, activation="silu"),
        *mbconv_stages(stages, stages[0].channels, activation="silu", se_activation="silu"),
        Block("conv", 1280, activation="silu"),
        Block("pool"),
        Block("linear", classes),
    )
    return Architecture(resolution, classes, blocks)


def efficientnet_v2_base(
    *, width: float = 1.0, depth: float = 1.0, resolution: int = 224, classes: int = 1000
) -> Architecture:
    """EfficientNetV2, scaled like the first generation, by default B0; `EFFICIENTNET_V2_SIZES` has the others.

    Channels are rounded to the nearest multiple of 8, even where that is less than 90 %.
    """
    nearest = partial(make_divisible, least=0.0)
    stem = Block("conv", nearest(32 * width), kernel_size=3, stride=2, activation="silu")
    stages = mbconv_stages(
        deepened(EFFICIENTNET_V2_B0, depth),
        stem.out_channels,
        width=width,
        activation="silu",
        se_activation="silu",
        round_channels=nearest,
    )
    blocks = (
        stem,
        *stages,
        Block("conv", nearest(1280 * width), activation="silu"),
        Block("pool"),
        Block("linear", classes),
    )
    return Architecture(resolution, classes, blocks)
