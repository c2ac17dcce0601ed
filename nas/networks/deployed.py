"""What of a network that is trained with branches runs on a device?

MobileOne (arXiv:2206.04040, section 3.2) and RepGhostNet (arXiv:2211.06088, section 3) are trained with branches side
by side that are linear in evaluation mode, so that their sum is one convolution. What a device is asked to do is that
of the deployed form: latency, and the costs of a search. `nas.networks.reparameterise` does the same to a torch
network with its weights.
"""

from __future__ import annotations

from dataclasses import replace

from nas.networks.architecture import Architecture, Block
from nas.networks.operators import Unit


def deployed(architecture: Architecture) -> Architecture:
    """`architecture` with each block's branches become one convolution; itself where no block has branches."""
    if not has_branches(architecture):
        return architecture
    return replace(architecture, blocks=tuple(_deployed_block(block) for block in architecture.blocks))


def deployed_unit(unit: Unit) -> Unit:
    """`unit` with its branches become one convolution; itself where it has none."""
    return replace(unit, block=_deployed_block(unit.block)) if unit.block.branches else unit


def has_branches(architecture: Architecture) -> bool:
    """Whether a network is written as it is trained, which is not how it is deployed."""
    return any(block.branches for block in architecture.blocks)


def _deployed_block(block: Block) -> Block:
    return replace(block, branches=0) if block.branches else block
