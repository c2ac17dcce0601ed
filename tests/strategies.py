"""Which values do the property tests draw?"""

from __future__ import annotations

import math
from typing import Any

from hypothesis import strategies as st

from nas.networks.architecture import ACTIVATIONS, GATES, Architecture, Block
from nas.networks.operators import Unit
from nas.networks.space import SearchSpace
from nas.networks.space_format import SpaceFormat

channels = st.integers(1, 40)
kernel_sizes = st.sampled_from([1, 3, 5, 7])
strides = st.sampled_from([1, 2])
activations = st.sampled_from(ACTIVATIONS)


@st.composite
def mbconvs(draw: st.DrawFn) -> Block:
    """Inverted residuals, with and without squeeze-and-excitation (of no more than the hidden channels)."""
    hidden = draw(channels)
    se_channels = draw(st.integers(0, hidden))
    return Block(
        "mbconv",
        draw(channels),
        draw(kernel_sizes),
        draw(strides),
        hidden,
        se_channels,
        draw(st.sampled_from(GATES)) if se_channels else "",
        draw(activations),
    )


@st.composite
def convs(draw: st.DrawFn, in_channels: int) -> Block:
    """Convolutions that `in_channels` can go into; some grouped, some depthwise."""
    groups = draw(st.sampled_from([1, in_channels, math.gcd(in_channels, 4)]))
    out_channels = groups * draw(st.integers(1, 3))
    return Block("conv", out_channels, draw(kernel_sizes), draw(strides), activation=draw(activations), groups=groups)


@st.composite
def architectures(draw: st.DrawFn, max_blocks: int = 4) -> Architecture:
    """Whole networks, small enough to run."""
    blocks = [draw(convs(3))]
    for _ in range(draw(st.integers(0, max_blocks))):
        if draw(st.booleans()):
            blocks.append(draw(mbconvs()))
        else:
            blocks.append(draw(convs(blocks[-1].out_channels)))
        # Residuals and blocks without expansion are the interesting cases, and rare among random widths.
        if blocks[-1].op == "mbconv" and draw(st.booleans()):
            same = blocks[-2].out_channels
            plain = Block("mbconv", same, blocks[-1].kernel_size, 1, same * draw(st.integers(1, 3)), activation="relu")
            blocks.append(Block("conv", same))
            blocks.append(plain)
    blocks.append(Block("pool"))
    if draw(st.booleans()):
        blocks.append(Block("linear", draw(channels), activation=draw(activations)))
    classes = draw(st.integers(1, 12))
    return Architecture(draw(st.integers(1, 40)), classes, (*blocks, Block("linear", classes)))


@st.composite
def units(draw: st.DrawFn) -> Unit:
    """Any block with an input that fits it."""
    in_channels, height, width = draw(channels), draw(st.integers(1, 300)), draw(st.integers(1, 300))
    op = draw(st.sampled_from(["conv", "mbconv", "pool", "linear"]))
    if op == "conv":
        return Unit(draw(convs(in_channels)), in_channels, height, width)
    if op == "mbconv":
        return Unit(draw(mbconvs()), in_channels, height, width)
    if op == "pool":
        return Unit(Block("pool"), in_channels, height, width)
    return Unit(Block("linear", draw(channels), activation=draw(activations)), in_channels, 1, 1)


def some(*values: Any) -> st.SearchStrategy[list[Any]]:
    """One or two of `values`, in any order."""
    return st.lists(st.sampled_from(values), min_size=1, max_size=2, unique=True)


# Widths, channels, expansions and shares among which several round to the same network.
stages = st.fixed_dictionaries(
    {
        "op": st.just("mbconv"),
        "out": some(8, 16, 17),
        "stride": strides,
        "depth": some(1, 2, 3),
        "kernel": some(3, 5),
        "expand": some(1, 1.01, 2),
        "se": some(0, 0.25, 0.26),
        "act": some("relu", "hswish"),
        "scale": st.booleans(),
        "per_block": some("kernel", "expand", "se", "act"),
    }
)


def count_spellings(space: SearchSpace) -> int:
    """How many ways there are to set a space's parameters."""
    return math.prod(len(parameter.choices) for parameter in space.parameters)


@st.composite
def tiny_spaces(draw: st.DrawFn, max_spellings: int = 1500) -> SearchSpace:
    """Spaces that can be listed, in which different parameters often give one network."""
    data = {
        "name": "tiny",
        "classes": 3,
        "resolution": draw(some(16, 32)),
        "width": draw(some(0.5, 1.0, 1.01)),
        "stem": {"op": "conv", "out": draw(st.sampled_from([8, 16])), "kernel": 3, "stride": 2, "act": "relu"},
        "stages": draw(st.lists(stages, min_size=1, max_size=2)),
        "head": [
            {"op": "conv", "out": 24, "act": "relu", "scale": draw(st.booleans())},
            {"op": "pool"},
            {"op": "linear", "out": "classes"},
        ],
    }
    space = SearchSpace(SpaceFormat.model_validate(data))
    while count_spellings(space) > max_spellings:
        # Fix one choice after the other until the space can be listed.
        _fix_largest(data)
        space = SearchSpace(SpaceFormat.model_validate(data))
    return space


def _fix_largest(data: dict[str, Any]) -> None:
    stage = max(data["stages"], key=lambda s: sum(isinstance(v, list) and len(v) > 1 for v in s.values()))
    for key in ("act", "se", "kernel", "out", "expand", "depth"):
        if len(stage[key]) > 1:
            stage[key] = stage[key][:1]
            return
    data["width"] = data["width"][:1]


def points(objectives: int, max_size: int = 12) -> st.SearchStrategy[list[tuple[float, ...]]]:
    """Points on a coarse grid, so that ties and duplicates are common."""
    coordinate = st.integers(0, 8).map(lambda i: i / 4)
    return st.lists(st.tuples(*[coordinate] * objectives), max_size=max_size)
