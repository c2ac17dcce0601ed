"""The deployed form of a network that is trained with branches: each sum of branches is one convolution.

MobileOne (arXiv:2206.04040, section 3.2) and RepGhostNet (arXiv:2211.06088, section 3) are trained with parallel
branches that are linear in evaluation mode, so that their sum is one convolution. A device runs the deployed form:
latency and the costs of a search are its. `nas.networks.reparameterise` merges the branches of a torch network and
its weights.
"""

from __future__ import annotations

from dataclasses import replace

from nas.networks.architecture import Architecture, Block
from nas.networks.operators import Unit


def deployed(architecture: Architecture) -> Architecture:
    """`architecture` with each block's branches merged into one convolution; unchanged where no block has branches."""
    if not has_branches(architecture):
        return architecture
    return replace(architecture, blocks=tuple(_deployed_block(block) for block in architecture.blocks))


def deployed_unit(unit: Unit) -> Unit:
    """`unit` with its branches merged into one convolution; unchanged where it has none."""
    return replace(unit, block=_deployed_block(unit.block)) if unit.block.branches else unit


def has_branches(architecture: Architecture) -> bool:
    """Whether a network is in its training form, which differs from its deployed form."""
    return any(block.branches for block in architecture.blocks)


def _deployed_block(block: Block) -> Block:
    return replace(block, branches=0) if block.branches else block
