"""MobileViT: XXS, XS and S."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from nas.networks.architecture import Architecture, Block


class MobileViTStage(NamedTuple):
    """`repeats` inverted residuals of `channels`, the first with `stride`, then a MobileViT block (depth 0: none)."""

    channels: int
    repeats: int
    stride: int
    transformer_channels: int = 0
    transformer_depth: int = 0


# MobileViT, arXiv:2110.02178, table 4 (appendix A): a 3×3 convolution of 16 channels, these stages, a 1×1 convolution
# of four times the last channels. Inverted residuals expand by 4 (XXS: 2), MLPs by 2. Attention has 4 heads.
MOBILEVIT_XXS = (
    MobileViTStage(channels=16, repeats=1, stride=1),
    MobileViTStage(channels=24, repeats=3, stride=2),
    MobileViTStage(channels=48, repeats=1, stride=2, transformer_channels=64, transformer_depth=2),
    MobileViTStage(channels=64, repeats=1, stride=2, transformer_channels=80, transformer_depth=4),
    MobileViTStage(channels=80, repeats=1, stride=2, transformer_channels=96, transformer_depth=3),
)
MOBILEVIT_XS = (
    MobileViTStage(channels=32, repeats=1, stride=1),
    MobileViTStage(channels=48, repeats=3, stride=2),
    MobileViTStage(channels=64, repeats=1, stride=2, transformer_channels=96, transformer_depth=2),
    MobileViTStage(channels=80, repeats=1, stride=2, transformer_channels=120, transformer_depth=4),
    MobileViTStage(channels=96, repeats=1, stride=2, transformer_channels=144, transformer_depth=3),
)
MOBILEVIT_S = (
    MobileViTStage(channels=32, repeats=1, stride=1),
    MobileViTStage(channels=64, repeats=3, stride=2),
    MobileViTStage(channels=96, repeats=1, stride=2, transformer_channels=144, transformer_depth=2),
    MobileViTStage(channels=128, repeats=1, stride=2, transformer_channels=192, transformer_depth=4),
    MobileViTStage(channels=160, repeats=1, stride=2, transformer_channels=240, transformer_depth=3),
)


def mobilevit_xxs(*, resolution: int = 256, classes: int = 1000) -> Architecture:
    """MobileViT-XXS."""
    return _mobilevit(MOBILEVIT_XXS, 2, resolution, classes)


def mobilevit_xs(*, resolution: int = 256, classes: int = 1000) -> Architecture:
    """MobileViT-XS."""
    return _mobilevit(MOBILEVIT_XS, 4, resolution, classes)


def mobilevit_s(*, resolution: int = 256, classes: int = 1000) -> Architecture:
    """MobileViT-S."""
    return _mobilevit(MOBILEVIT_S, 4, resolution, classes)


def _mobilevit(stages: tuple[MobileViTStage, ...], expand_ratio: int, resolution: int, classes: int) -> Architecture:
    blocks = (
        Block("conv", 16, kernel_size=3, stride=2, activation="silu"),
        *_stage_blocks(stages, 16, expand_ratio),
        Block("conv", 4 * stages[-1].channels, activation="silu"),
        Block("pool"),
        Block("linear", classes),
    )
    return Architecture(resolution, classes, blocks)


def _stage_blocks(stages: tuple[MobileViTStage, ...], channels: int, expand_ratio: int) -> Iterator[Block]:
    for stage in stages:
        for repeat in range(stage.repeats):
            yield Block(
                "mbconv",
                stage.channels,
                kernel_size=3,
                stride=stage.stride if repeat == 0 else 1,
                hidden_channels=expand_ratio * channels,
                activation="silu",
            )
            channels = stage.channels
        if stage.transformer_depth:
            yield Block(
                "mobile_vit",
                channels,
                kernel_size=3,
                hidden_channels=2 * stage.transformer_channels,
                transformer_channels=stage.transformer_channels,
                transformer_depth=stage.transformer_depth,
                heads=4,
                activation="silu",
            )
