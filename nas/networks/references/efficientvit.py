"""EfficientViT (of MIT): B0 to B3."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from nas.networks.architecture import Architecture, Block

EXPAND_RATIO = 4


class EfficientViTVariant(NamedTuple):
    """`widths` and `depths` of the stem and the four stages, channels of a head, and widths of the last two layers."""

    widths: tuple[int, int, int, int, int]
    depths: tuple[int, int, int, int, int]
    head_channels: int
    last_channels: int
    last_features: int


# EfficientViT, arXiv:2205.14756, B0 to B3: the paper gives costs; widths and depths are from the authors' code
# (github.com/mit-han-lab/efficientvit, models/efficientvit/backbone.py and cls.py).
EFFICIENTVIT_B0 = EfficientViTVariant((8, 16, 32, 64, 128), (1, 2, 2, 2, 2), 16, 1024, 1280)
EFFICIENTVIT_B1 = EfficientViTVariant((16, 32, 64, 128, 256), (1, 2, 3, 3, 4), 16, 1536, 1600)
EFFICIENTVIT_B2 = EfficientViTVariant((24, 48, 96, 192, 384), (1, 3, 4, 4, 6), 32, 2304, 2560)
EFFICIENTVIT_B3 = EfficientViTVariant((32, 64, 128, 256, 512), (1, 4, 6, 6, 9), 32, 2304, 2560)


def efficientvit_b0(*, resolution: int = 224, classes: int = 1000) -> Architecture:
    """EfficientViT-B0."""
    return _efficientvit(EFFICIENTVIT_B0, resolution, classes)


def efficientvit_b1(*, resolution: int = 224, classes: int = 1000) -> Architecture:
    """EfficientViT-B1."""
    return _efficientvit(EFFICIENTVIT_B1, resolution, classes)


def efficientvit_b2(*, resolution: int = 224, classes: int = 1000) -> Architecture:
    """EfficientViT-B2."""
    return _efficientvit(EFFICIENTVIT_B2, resolution, classes)


def efficientvit_b3(*, resolution: int = 224, classes: int = 1000) -> Architecture:
    """EfficientViT-B3."""
    return _efficientvit(EFFICIENTVIT_B3, resolution, classes)


def _efficientvit(variant: EfficientViTVariant, resolution: int, classes: int) -> Architecture:
    """The stem, two stages of inverted residuals, two stages with attention (figure 5), and two linear layers."""
    stem = variant.widths[0]
    blocks = [
        Block("conv", stem, kernel_size=3, stride=2, activation="hswish"),
        *[_inverted_residual(stem, stem) for _ in range(variant.depths[0])],
    ]
    for stage in range(1, 5):
        before, width, depth = variant.widths[stage - 1], variant.widths[stage], variant.depths[stage]
        if stage <= 2:
            blocks.append(_inverted_residual(width, EXPAND_RATIO * before, stride=2))
            blocks += [_inverted_residual(width, EXPAND_RATIO * width) for _ in range(depth - 1)]
        else:
            blocks.append(_inverted_residual(width, EXPAND_RATIO * before, stride=2, norm="last"))
            for _ in range(depth):
                blocks += _attention_blocks(width, variant.head_channels)
    blocks += [
        Block("conv", variant.last_channels, activation="hswish"),
        Block("pool"),
        Block("linear", variant.last_features, activation="hswish", bias=False, norm="layer"),
        Block("linear", classes),
    ]
    return Architecture(resolution, classes, tuple(blocks))


def _attention_blocks(width: int, head_channels: int) -> Iterator[Block]:
    """Attention over the whole image, then an inverted residual for local features (figure 2)."""
    yield Block("lite_mla", width, kernel_size=5, transformer_channels=width, heads=width // head_channels)
    yield _inverted_residual(width, EXPAND_RATIO * width, norm="last")


def _inverted_residual(width: int, hidden_channels: int, stride: int = 1, norm: str = "") -> Block:
    return Block(
        "mbconv",
        width,
        kernel_size=3,
        stride=stride,
        hidden_channels=hidden_channels,
        activation="hswish",
        norm=norm,
    )
