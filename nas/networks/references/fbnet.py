"""FBNet-C and FBNetV3-B, -D and -G."""

from __future__ import annotations

from functools import partial

from nas.networks.architecture import Architecture, Block
from nas.networks.references.stages import Stage, mbconv_stages
from nas.networks.scaling import make_divisible

# FBNet-C, arXiv:1812.03443, figure 4 (without the skipped layers), as in timm: 385 million MACs, where the paper's
# table 3 says 375 million. Blocks with an expansion of 1 have a 1×1 expansion too.
FBNET_C = (
    Stage(channels=16, repeats=1, stride=1, kernel_size=3, expand_ratio=1, op="fbnet"),
    Stage(channels=24, repeats=1, stride=2, kernel_size=3, expand_ratio=6, op="fbnet"),
    Stage(channels=24, repeats=2, stride=1, kernel_size=3, expand_ratio=1, op="fbnet"),
    Stage(channels=32, repeats=1, stride=2, kernel_size=5, expand_ratio=6, op="fbnet"),
    Stage(channels=32, repeats=1, stride=1, kernel_size=5, expand_ratio=3, op="fbnet"),
    Stage(channels=32, repeats=1, stride=1, kernel_size=5, expand_ratio=6, op="fbnet"),
    Stage(channels=32, repeats=1, stride=1, kernel_size=3, expand_ratio=6, op="fbnet"),
    Stage(channels=64, repeats=1, stride=2, kernel_size=5, expand_ratio=6, op="fbnet"),
    Stage(channels=64, repeats=1, stride=1, kernel_size=5, expand_ratio=3, op="fbnet"),
    Stage(channels=64, repeats=2, stride=1, kernel_size=5, expand_ratio=6, op="fbnet"),
    Stage(channels=112, repeats=3, stride=1, kernel_size=5, expand_ratio=6, op="fbnet"),
    Stage(channels=112, repeats=1, stride=1, kernel_size=5, expand_ratio=3, op="fbnet"),
    Stage(channels=184, repeats=4, stride=2, kernel_size=5, expand_ratio=6, op="fbnet"),
    Stage(channels=352, repeats=1, stride=1, kernel_size=3, expand_ratio=6, op="fbnet"),
)

# FBNetV3-B, -D and -G, arXiv:2006.02049; the tables are those of the authors' code (facebookresearch/mobile-vision).
FBNET_V3_B = (
    Stage(channels=16, repeats=2, stride=1, kernel_size=3, expand_ratio=1),
    Stage(channels=24, repeats=1, stride=2, kernel_size=5, expand_ratio=4),
    Stage(channels=24, repeats=3, stride=1, kernel_size=5, expand_ratio=2),
    Stage(channels=40, repeats=1, stride=2, kernel_size=5, expand_ratio=5, se_ratio=0.25),
    Stage(channels=40, repeats=4, stride=1, kernel_size=5, expand_ratio=3, se_ratio=0.25),
    Stage(channels=72, repeats=1, stride=2, kernel_size=5, expand_ratio=5),
    Stage(channels=72, repeats=4, stride=1, kernel_size=3, expand_ratio=3),
    Stage(channels=120, repeats=1, stride=1, kernel_size=3, expand_ratio=5, se_ratio=0.25),
    Stage(channels=120, repeats=5, stride=1, kernel_size=5, expand_ratio=3, se_ratio=0.25),
    Stage(channels=184, repeats=1, stride=2, kernel_size=3, expand_ratio=6, se_ratio=0.25),
    Stage(channels=184, repeats=5, stride=1, kernel_size=5, expand_ratio=4, se_ratio=0.25),
    Stage(channels=224, repeats=1, stride=1, kernel_size=5, expand_ratio=6, se_ratio=0.25),
)
FBNET_V3_D = (
    Stage(channels=16, repeats=2, stride=1, kernel_size=3, expand_ratio=1),
    Stage(channels=24, repeats=1, stride=2, kernel_size=3, expand_ratio=5),
    Stage(channels=24, repeats=5, stride=1, kernel_size=3, expand_ratio=2),
    Stage(channels=40, repeats=1, stride=2, kernel_size=5, expand_ratio=4, se_ratio=0.25),
    Stage(channels=40, repeats=4, stride=1, kernel_size=3, expand_ratio=3, se_ratio=0.25),
    Stage(channels=72, repeats=1, stride=2, kernel_size=3, expand_ratio=5),
    Stage(channels=72, repeats=4, stride=1, kernel_size=3, expand_ratio=3),
    Stage(channels=128, repeats=1, stride=1, kernel_size=3, expand_ratio=5, se_ratio=0.25),
    Stage(channels=128, repeats=6, stride=1, kernel_size=5, expand_ratio=3, se_ratio=0.25),
    Stage(channels=208, repeats=1, stride=2, kernel_size=3, expand_ratio=6, se_ratio=0.25),
    Stage(channels=208, repeats=5, stride=1, kernel_size=5, expand_ratio=5, se_ratio=0.25),
    Stage(channels=240, repeats=1, stride=1, kernel_size=5, expand_ratio=6, se_ratio=0.25),
)
FBNET_V3_G = (
    Stage(channels=24, repeats=3, stride=1, kernel_size=3, expand_ratio=1),
    Stage(channels=40, repeats=1, stride=2, kernel_size=5, expand_ratio=4),
    Stage(channels=40, repeats=4, stride=1, kernel_size=5, expand_ratio=2),
    Stage(channels=56, repeats=1, stride=2, kernel_size=5, expand_ratio=4, se_ratio=0.25),
    Stage(channels=56, repeats=4, stride=1, kernel_size=5, expand_ratio=3, se_ratio=0.25),
    Stage(channels=104, repeats=1, stride=2, kernel_size=5, expand_ratio=5),
    Stage(channels=104, repeats=4, stride=1, kernel_size=3, expand_ratio=3),
    Stage(channels=160, repeats=1, stride=1, kernel_size=3, expand_ratio=5, se_ratio=0.25),
    Stage(channels=160, repeats=8, stride=1, kernel_size=5, expand_ratio=3, se_ratio=0.25),
    Stage(channels=264, repeats=1, stride=2, kernel_size=3, expand_ratio=6, se_ratio=0.25),
    Stage(channels=264, repeats=6, stride=1, kernel_size=5, expand_ratio=5, se_ratio=0.25),
    Stage(channels=288, repeats=2, stride=1, kernel_size=5, expand_ratio=6, se_ratio=0.25),
)


def fbnet_c(*, resolution: int = 224, classes: int = 1000) -> Architecture:
    """FBNet-C, found for a Samsung Galaxy S8."""
    blocks = (
        Block("conv", 16, kernel_size=3, stride=2, activation="relu"),
        *mbconv_stages(FBNET_C, 16, activation="relu"),
        Block("conv", 1984, activation="relu"),
        Block("pool"),
        Block("linear", classes),
    )
    return Architecture(resolution, classes, blocks)


def fbnet_v3_b(*, resolution: int = 224, classes: int = 1000) -> Architecture:
    """FBNetV3-B as in timm, at 224 pixels; FBNetV3-A is the same network.

    The authors' code has images of 248 pixels, and less padding in two convolutions of stride 2, so that later maps are
    smaller.
    """
    return _fbnet_v3(FBNET_V3_B, 16, resolution, classes)


def fbnet_v3_d(*, resolution: int = 224, classes: int = 1000) -> Architecture:
    """FBNetV3-D as in timm, at 224 pixels; the authors' code has images of 248."""
    return _fbnet_v3(FBNET_V3_D, 24, resolution, classes)


def fbnet_v3_g(*, resolution: int = 240, classes: int = 1000) -> Architecture:
    """FBNetV3-G as in timm, at 240 pixels; the authors' code has images of 320."""
    return _fbnet_v3(FBNET_V3_G, 32, resolution, classes)


def _fbnet_v3(stages: tuple[Stage, ...], stem_channels: int, resolution: int, classes: int) -> Architecture:
    """Squeeze-and-excitation squeezes to a quarter of the block's input, rounded to a multiple of 8 of at least 95 %.

    Its activation is h-swish, as timm and its weights have it.
    """
    inverted_residuals = mbconv_stages(
        stages,
        stem_channels,
        activation="hswish",
        se_gate="hsigmoid",
        se_activation="hswish",
        round_squeeze=partial(make_divisible, least=0.95),
    )
    blocks = (
        Block("conv", stem_channels, kernel_size=3, stride=2, activation="hswish"),
        *inverted_residuals,
        Block("conv", 6 * stages[-1].channels, activation="hswish"),
        Block("pool"),
        Block("linear", 1984, activation="hswish", bias=False),
        Block("linear", classes),
    )
    return Architecture(resolution, classes, blocks)
