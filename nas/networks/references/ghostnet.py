"""GhostNet and RepGhostNet."""

from __future__ import annotations

from typing import NamedTuple

from nas.networks.architecture import Architecture, Block
from nas.networks.operators.ghost import without_unused_kernel
from nas.networks.scaling import make_divisible


class GhostRow(NamedTuple):
    """A row ("G-bneck") of GhostNet's table 1."""

    kernel_size: int
    hidden_channels: int
    out_channels: int
    se: bool
    stride: int


# GhostNet, arXiv:1911.11907, table 1, with the kernels of the authors' code, which the table leaves out. Rows that keep
# stride and channels do not use their kernel.
GHOSTNET = (
    GhostRow(3, 16, 16, False, 1),
    GhostRow(3, 48, 24, False, 2),
    GhostRow(3, 72, 24, False, 1),
    GhostRow(5, 72, 40, True, 2),
    GhostRow(5, 120, 40, True, 1),
    GhostRow(3, 240, 80, False, 2),
    GhostRow(3, 200, 80, False, 1),
    GhostRow(3, 184, 80, False, 1),
    GhostRow(3, 184, 80, False, 1),
    GhostRow(3, 480, 112, True, 1),
    GhostRow(3, 672, 112, True, 1),
    GhostRow(5, 672, 160, True, 2),
    GhostRow(5, 960, 160, False, 1),
    GhostRow(5, 960, 160, True, 1),
    GhostRow(5, 960, 160, False, 1),
    GhostRow(5, 960, 160, True, 1),
)

# RepGhostNet, arXiv:2211.06088: its modules add instead of concatenating, so it has about half of the hidden channels.
REPGHOSTNET = (
    GhostRow(3, 8, 16, False, 1),
    GhostRow(3, 24, 24, False, 2),
    GhostRow(3, 36, 24, False, 1),
    GhostRow(5, 36, 40, True, 2),
    GhostRow(5, 60, 40, True, 1),
    GhostRow(3, 120, 80, False, 2),
    GhostRow(3, 100, 80, False, 1),
    GhostRow(3, 120, 80, False, 1),
    GhostRow(3, 120, 80, False, 1),
    GhostRow(3, 240, 112, True, 1),
    GhostRow(3, 336, 112, True, 1),
    GhostRow(5, 336, 160, True, 2),
    GhostRow(5, 480, 160, False, 1),
    GhostRow(5, 480, 160, True, 1),
    GhostRow(5, 480, 160, False, 1),
    GhostRow(5, 480, 160, True, 1),
)

LAST_CONV_CHANNELS = 960
LAST_FEATURES = 1280


def ghostnet(*, width: float = 1.0, resolution: int = 224, classes: int = 1000) -> Architecture:
    """GhostNet. The last linear layers have 1280 features at every width."""
    return _network("ghost", GHOSTNET, 0, width, resolution, classes)


def repghostnet(*, width: float = 1.0, resolution: int = 224, classes: int = 1000) -> Architecture:
    """RepGhostNet in its training form; `nas.networks.deployed` gives the deployed form."""
    return _network("rep_ghost", REPGHOSTNET, 1, width, resolution, classes)


def _network(
    op: str, rows: tuple[GhostRow, ...], branches: int, width: float, resolution: int, classes: int
) -> Architecture:
    blocks = [Block("conv", _rounded(16 * width), kernel_size=3, stride=2, activation="relu")]
    for row in rows:
        hidden_channels = _rounded(row.hidden_channels * width)
        block = Block(
            op,
            _rounded(row.out_channels * width),
            kernel_size=row.kernel_size,
            stride=row.stride,
            hidden_channels=hidden_channels,
            se_channels=_rounded(hidden_channels / 4) if row.se else 0,
            se_gate="hsigmoid" if row.se else "",
            activation="relu",
            branches=branches,
        )
        blocks.append(without_unused_kernel(block, blocks[-1].out_channels))
    blocks += [
        Block("conv", _rounded(LAST_CONV_CHANNELS * width), activation="relu"),
        Block("pool"),
        Block("linear", LAST_FEATURES, activation="relu"),
        Block("linear", classes),
    ]
    return Architecture(resolution, classes, tuple(blocks))


def _rounded(channels: float) -> int:
    return make_divisible(channels, 4)
