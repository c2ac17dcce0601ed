"""Trace a block: the operations of each operator for an input shape, cached."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import NamedTuple

from nas.networks.architecture import Block
from nas.networks.operators import basic, ghost, mixed, mobile, mobile_one, shuffle, vision_transformer
from nas.networks.operators.graph import Graph, Primitive, Tensor
from nas.networks.operators.memory import peak_elements

OPERATIONS: Mapping[str, Callable[[Graph, Tensor, Block], Tensor]] = {
    "conv": basic.conv,
    "max_pool": basic.max_pool,
    "ds_conv": mobile.ds_conv,
    "mbconv": mobile.mbconv,
    "fused_mbconv": mobile.fused_mbconv,
    "fbnet": mobile.fbnet,
    "uib": mobile.uib,
    "shuffle_v1": shuffle.shuffle_v1,
    "shuffle_v2": shuffle.shuffle_v2,
    "shuffle_xception": shuffle.shuffle_xception,
    "mixconv": mixed.mixconv,
    "ghost": ghost.ghost,
    "rep_ghost": ghost.rep_ghost,
    "mobile_one": mobile_one.mobile_one,
    "mobile_vit": vision_transformer.mobile_vit,
    "lite_mla": vision_transformer.lite_mla,
    "pool": basic.pool,
    "linear": basic.linear,
}


class Trace(NamedTuple):
    """A block's operations on an input of one shape, with their total parameters and MACs."""

    primitives: tuple[Primitive, ...]
    output: Tensor
    params: int
    macs: int


@lru_cache(maxsize=1 << 16)
def trace(block: Block, in_channels: int, height: int, width: int) -> Trace:
    """The operations of `block` on (in_channels, height, width). Raises NasError where the input does not fit it."""
    graph = Graph(in_channels, height, width)
    output = OPERATIONS[block.op](graph, graph.input, block)
    primitives = tuple(graph.primitives)
    return Trace(primitives, output, sum(p.params for p in primitives), sum(p.macs for p in primitives))


@lru_cache(maxsize=1 << 16)
def traced_peak(block: Block, in_channels: int, height: int, width: int) -> int:
    """The largest number of elements that `block` holds at once (see memory.py)."""
    return peak_elements(trace(block, in_channels, height, width).primitives, in_channels * height * width)
