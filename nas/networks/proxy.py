"""Which small network is trained in the place of the one that will be deployed?

A candidate is judged by training it on small images with few classes. Its channels, kernels and blocks stay; its
resolution shrinks in proportion, so that a candidate for smaller images also sees less, and its early strides become 1,
as is usual for CIFAR-sized images, so that the last feature maps keep some of the image. Latency is never taken of the
proxy: it belongs to the network that will be deployed.

Every weight of the proxy but the classifier's has the shape that it has in the deployed network. So a stride stays
where the block would be another one without it: GhostNet's lose their depthwise convolution, ShuffleNetV2's and
MobileOne's of equal channels become blocks of two halves and of one more branch.
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

    `resolution` is that of candidates with the space's largest resolution, in pixels; `max_stride` is the most that
    the network may shrink the image by before the final pooling, as far as its blocks allow. The defaults make a
    search take minutes: the last stage then sees single pixels, on which kernel sizes make no difference. 32 and 8
    leave it 4×4.
    """

    resolution: int = Field(strict=True, default=16, ge=8, le=1024)
    max_stride: int = Field(strict=True, default=16, ge=1, le=64)


def proxy_architecture(
    architecture: Architecture, settings: ProxySettings, *, largest_resolution: int, classes: int
) -> Architecture:
    """The network that is trained for `architecture`, with `classes` outputs.

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
