"""ShuffleNetV1 and V2."""

from __future__ import annotations

import math
from collections.abc import Mapping

from nas.errors import NasError
from nas.networks.architecture import Architecture, Block

# Blocks of stages 2, 3 and 4, the first of each with stride 2 (arXiv:1707.01083, table 1; arXiv:1807.11164, table 5).
REPEATS = (4, 8, 4)
STEM_CHANNELS = 24

# ShuffleNetV1, arXiv:1707.01083, table 1: output channels of stage 2 by groups; they double with each stage.
SHUFFLENET_V1_CHANNELS: Mapping[int, int] = {1: 144, 2: 200, 3: 240, 4: 272, 8: 384}

# ShuffleNetV2, arXiv:1807.11164, table 5: by width, output channels of stages 2, 3 and 4 and of the last convolution.
SHUFFLENET_V2_CHANNELS: Mapping[float, tuple[int, int, int, int]] = {
    0.5: (48, 96, 192, 1024),
    1.0: (116, 232, 464, 1024),
    1.5: (176, 352, 704, 1024),
    2.0: (244, 488, 976, 2048),
}


def shufflenet_v1(groups: int = 3, *, width: float = 1.0, resolution: int = 224, classes: int = 1000) -> Architecture:
    """ShuffleNetV1 with 1, 2, 3, 4 or 8 groups; the paper has the widths 0.25, 0.5, 1, 1.5 and 2 (tables 2 and 5).

    Channels are rounded up to multiples of the groups. As in the authors' code, so are the stem's, which are scaled by
    the whole part of widths above 1: 24 channels at width 1.5, 48 at 2. Raises NasError for other groups.
    """
    if groups not in SHUFFLENET_V1_CHANNELS:
        choices = ", ".join(map(str, SHUFFLENET_V1_CHANNELS))
        raise NasError(f"groups of ShuffleNetV1 must be one of {choices}, but got {groups}")
    stem_channels = _round_up(STEM_CHANNELS * (math.floor(width) if width > 1 else width), groups)
    blocks = [*_stem(stem_channels)]
    for stage, repeats in enumerate(REPEATS):
        out_channels = _round_up(SHUFFLENET_V1_CHANNELS[groups] * 2**stage * width, groups)
        for repeat in range(repeats):
            first = stage == 0 and repeat == 0
            blocks.append(
                Block(
                    "shuffle_v1",
                    out_channels,
                    kernel_size=3,
                    stride=2 if repeat == 0 else 1,
                    hidden_channels=_round_up(out_channels / 4, groups),
                    groups=groups,
                    expand_groups=1 if first else groups,
                    activation="relu",
                )
            )
    return Architecture(resolution, classes, (*blocks, Block("pool"), Block("linear", classes)))


def shufflenet_v2(*, width: float = 1.0, resolution: int = 224, classes: int = 1000) -> Architecture:
    """ShuffleNetV2 of width 0.5, 1, 1.5 or 2. Raises NasError for others, because the paper gives no rule."""
    if width not in SHUFFLENET_V2_CHANNELS:
        choices = ", ".join(map(str, SHUFFLENET_V2_CHANNELS))
        raise NasError(f"width of ShuffleNetV2 must be one of {choices}, but got {width}")
    *stages, last_channels = SHUFFLENET_V2_CHANNELS[width]
    blocks = [*_stem(STEM_CHANNELS)]
    for out_channels, repeats in zip(stages, REPEATS, strict=True):
        for repeat in range(repeats):
            blocks.append(
                Block(
                    "shuffle_v2",
                    out_channels,
                    kernel_size=3,
                    stride=2 if repeat == 0 else 1,
                    hidden_channels=out_channels // 2,
                    activation="relu",
                )
            )
    blocks += [Block("conv", last_channels, activation="relu"), Block("pool"), Block("linear", classes)]
    return Architecture(resolution, classes, tuple(blocks))


def _stem(channels: int) -> tuple[Block, Block]:
    return (
        Block("conv", channels, kernel_size=3, stride=2, activation="relu"),
        Block("max_pool", kernel_size=3, stride=2),
    )


def _round_up(channels: float, multiple: int) -> int:
    return math.ceil(channels / multiple) * multiple
