"""The EfficientNets are scaled as the authors scaled them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nas.networks.operators import units
from nas.networks.references.efficientnet import (
    EFFICIENTNET_EDGETPU_SIZES,
    EFFICIENTNET_SIZES,
    Size,
    efficientnet,
    efficientnet_edgetpu,
    efficientnet_lite,
)
from nas.networks.scaling import scale_depth, scale_width


@pytest.mark.parametrize("size", EFFICIENTNET_SIZES.values(), ids=EFFICIENTNET_SIZES)
def test_scaling_the_blocks_of_b0_gives_the_others(size: Size) -> None:
    """Two ways to one network: the scaled table's blocks, and the table's scaled blocks."""
    scaled = scale_width(scale_depth(efficientnet(), size.depth), size.width)
    assert replace(scaled, resolution=size.resolution) == efficientnet(**size._asdict())


@pytest.mark.parametrize("size", EFFICIENTNET_EDGETPU_SIZES.values(), ids=EFFICIENTNET_EDGETPU_SIZES)
def test_the_first_stage_of_edgetpu_never_adds_its_input(size: Size) -> None:
    """Not even M's and L's second block, into which as many channels go as come out; the next stage does add."""
    rows = units(efficientnet_edgetpu(**size._asdict()))
    first_stage = [unit for unit in rows[1:] if unit.height == size.resolution // 2 == unit.out_height]
    assert len(first_stage) == (2 if size.depth == 1 else 4)
    assert not any(unit.residual for unit in first_stage)
    assert rows[len(first_stage) + 2].residual


def test_lite_keeps_its_stem_its_head_and_the_depth_of_its_outer_stages() -> None:
    """What would be scaled in EfficientNet itself."""
    small, large = efficientnet_lite(), efficientnet_lite(width=2.0, depth=2.0)
    assert large.blocks[0] == small.blocks[0]
    assert large.blocks[-3:] == small.blocks[-3:]
    channels = [block.out_channels for block in large.blocks if block.op == "mbconv"]
    assert [channels.count(2 * c) for c in (16, 24, 40, 80, 112, 192, 320)] == [1, 4, 4, 6, 6, 8, 1]
