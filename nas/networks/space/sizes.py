"""Sizes of maps, and the units of blocks that follow each other."""

from __future__ import annotations

from collections.abc import Iterator

from nas.networks.architecture import Block
from nas.networks.operators import Unit


def row_units(blocks: tuple[Block, ...], in_channels: int, side: int) -> Iterator[Unit]:
    """The units of consecutive blocks."""
    for block in blocks:
        unit = Unit(block, in_channels, side, side)
        yield unit
        in_channels, side = unit.out_channels, unit.out_height


def halved(side: int, times: int) -> int:
    """`side` halved `times` times, rounding up, as strides do: 7, 4, 2, 1."""
    return -((-side) >> times)
