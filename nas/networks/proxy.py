"""The proxy of a network: the same blocks for smaller images, trained instead of it during a search.

A search trains candidates on small images with few classes. Channels, kernels and blocks stay. The resolution shrinks
in proportion to the candidate's own. Early strides become 1, as is usual for CIFAR-sized images, so that the last
feature maps keep more than one pixel. Latency is always that of the network itself, never of the proxy.

All weights of the proxy but the classifier's have the shapes that they have in the network. So a stride stays where
removing it would change the weights: GhostNet's block would lose a depthwise convolution; with as many channels out as
in, ShuffleNetV2's would split its input, and MobileOne's would get one more branch.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

from pydantic import Field

from nas.config import Settings
from nas.networks.architecture import Architecture, Block
from nas.networks.operators import Unit, primitives, units
from nas.networks.operators.ghost import without_unused_kernel

RESOLUTION_STEP = 2


class ProxySettings(Settings):
    """How candidates are shrunk for short training.

    `resolution` is that of candidates with the space's largest resolution, in pixels. `max_stride` is the largest
    product of strides before the final pooling, as far as the blocks allow. With the defaults a search takes minutes,
    but the last stage sees single pixels, on which kernel sizes make no difference; with 32 and 8 it sees 4×4.
    """

    resolution: int = Field(strict=True, default=16, ge=8, le=1024)
    max_stride: int = Field(strict=True, default=16, ge=1, le=64)


def proxy_architecture(
    architecture: Architecture, settings: ProxySettings, *, largest_resolution: int, classes: int
) -> Architecture:
    """The network that is trained instead of `architecture`, with `classes` outputs.

    At a proxy resolution of 32 for a largest resolution of 224, a candidate at 192 is trained at 28 (27.4, rounded to
    an even number).
    """
    share = architecture.resolution / largest_resolution
    resolution = RESOLUTION_STEP * max(1, round(settings.resolution * share / RESOLUTION_STEP))
    return Architecture(resolution, classes, _with_classes(_with_stride(architecture, settings.max_stride), classes))


def _with_stride(architecture: Architecture, max_stride: int) -> tuple[Block, ...]:
    """The blocks with the earliest strides set to 1 until their product is at most `max_stride`."""
    adapted = list(architecture.blocks)
    for index, unit in enumerate(units(architecture)):
        if prod(block.stride for block in adapted) <= max_stride:
            break
        block = without_unused_kernel(replace(unit.block, stride=1), unit.in_channels)
        without = replace(unit, block=block)
        if _weight_shapes(without) == _weight_shapes(unit):
            adapted[index] = block
    return tuple(adapted)


def _weight_shapes(unit: Unit) -> list[tuple[int, ...]]:
    return [
        (p.in_channels, p.out_channels, p.kernel_size, p.groups, p.normalised, p.biased)
        for p in primitives(unit)
        if p.params
    ]


def _with_classes(blocks: tuple[Block, ...], classes: int) -> tuple[Block, ...]:
    return (*blocks[:-1], replace(blocks[-1], out_channels=classes))
