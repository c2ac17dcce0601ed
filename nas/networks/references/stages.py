"""Turn a paper's table of stages into blocks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from nas.networks.architecture import Block
from nas.networks.scaling import make_divisible

# Before rounding up: 11.000000000000002 repeats are 11.
_ROUNDING = 1e-9


class Stage(NamedTuple):
    """A row of a paper's table: `repeats` inverted residuals of `channels`, the first with `stride`.

    `se_ratio` is the share of the block's input channels that squeeze-and-excitation squeezes to (0: none). `op` is
    mbconv or another operator with the same columns: fused_mbconv, fbnet.
    """

    channels: int
    repeats: int
    stride: int
    kernel_size: int
    expand_ratio: float
    se_ratio: float = 0.0
    op: str = "mbconv"


def deepened(stages: Sequence[Stage], depth: float) -> tuple[Stage, ...]:
    """`stages` with `depth` times as many repeats each, rounded up (EfficientNet's rule)."""
    return tuple(stage._replace(repeats=math.ceil(stage.repeats * depth - _ROUNDING)) for stage in stages)


def mbconv_stages(
    stages: Sequence[Stage],
    in_channels: int,
    *,
    width: float = 1.0,
    activation: str,
    se_gate: str = "sigmoid",
    se_activation: str = "",
    round_channels: Callable[[float], int] = make_divisible,
    round_squeeze: Callable[[float], int] = math.floor,
) -> Iterator[Block]:
    """The inverted residuals of `stages`, with channels scaled by `width` and rounded (default: to multiples of 8)."""
    channels = in_channels
    for stage in stages:
        out_channels = round_channels(stage.channels * width)
        for repeat in range(stage.repeats):
            se_channels = max(1, round_squeeze(channels * stage.se_ratio)) if stage.se_ratio else 0
            yield Block(
                stage.op,
                out_channels,
                kernel_size=stage.kernel_size,
                stride=stage.stride if repeat == 0 else 1,
                hidden_channels=make_divisible(channels * stage.expand_ratio),
                se_channels=se_channels,
                se_gate=se_gate if se_channels else "",
                activation=activation,
                se_activation=se_activation if se_channels else "",
            )
            channels = out_channels
