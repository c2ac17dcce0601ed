"""The values that property tests draw."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

from hypothesis import strategies as st

from nas.networks.architecture import ACTIVATIONS, GATES, Architecture, Block
from nas.networks.operators import Unit
from nas.networks.operators.ghost import without_unused_kernel
from nas.networks.operators.graph import Graph
from nas.networks.space.format import SpaceFormat
from nas.networks.space.search_space import SearchSpace

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
    op = draw(st.sampled_from(["conv", "mbconv", "pool", "linear", "branched", "attention"]))
    if op == "conv":
        return Unit(draw(convs(in_channels)), in_channels, height, width)
    if op == "mbconv":
        return Unit(draw(mbconvs()), in_channels, height, width)
    if op == "branched":
        return draw(branched_units())
    if op == "attention":
        return Unit(draw(st.one_of(mobile_vits(), lite_mlas())), in_channels, height, width)
    if op == "pool":
        return Unit(Block("pool"), in_channels, height, width)
    return Unit(Block("linear", draw(channels), activation=draw(activations)), in_channels, 1, 1)


def some(*values: Any) -> st.SearchStrategy[list[Any]]:
    """One or two of `values`, in any order."""
    return st.lists(st.sampled_from(values), min_size=1, max_size=2, unique=True)


# Widths, channels, expansions and shares among which several round to the same network.
_PLAIN_STAGE = {
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
# Operators that are chosen, some of which have no use for the expansion, in stages that can be left out.
_OPEN_STAGE = _PLAIN_STAGE | {
    "op": st.sampled_from(["shuffle_v2", "fused_mbconv", "ds_conv"]).map(lambda op: ["mbconv", op]),
    "out": some(8, 16, 18),
    "stride": st.just(1),
    "depth": some(0, 1, 2),
    "per_block": some("op", "kernel", "expand"),
}
# Settings that are chosen together; the first two are one network for most inputs.
_VARIANTS = {
    "plain": {"kernel": 3, "expand": 1},
    "near": {"kernel": 3, "expand": 1.01},
    "wide": {"kernel": 5, "expand": 2, "se": 0.25},
    "shuffle": {"op": "shuffle_v2", "kernel": 3},
}
_VARIED_STAGE = {key: value for key, value in _PLAIN_STAGE.items() if key not in ("kernel", "expand", "se")} | {
    "out": some(8, 16, 18),
    "variants": st.lists(st.sampled_from(list(_VARIANTS)), min_size=1, max_size=3, unique=True).map(
        lambda labels: {label: _VARIANTS[label] for label in labels}
    ),
    "per_block": some("variant", "act"),
}
# Branches, which make different networks to train and the same ones to deploy; kernels that not every block has.
_BRANCHED_STAGE = _PLAIN_STAGE | {
    "op": some("rep_ghost", "mobile_one").map(lambda ops: list(dict.fromkeys(["rep_ghost", *ops]))),
    "branches": some(0, 1),
    "per_block": some("op", "kernel", "branches"),
}
stages = st.one_of(*map(st.fixed_dictionaries, (_PLAIN_STAGE, _OPEN_STAGE, _VARIED_STAGE, _BRANCHED_STAGE)))
# Decisions about the whole network: their keys, and rows of which two can be one network.
tied_decisions = st.sampled_from(
    [
        None,
        {"keys": ["resolution", "stage1.depth"], "rows": {"s": [16, 1], "m": [32, 1], "l": [32, 2]}},
        {"keys": ["width", "stage1.out"], "rows": {"s": [0.5, 16], "m": [1.0, 8], "l": [1.0, 16]}},
        {"keys": ["stage1.out", "stage1.act"], "rows": {"s": [8, "relu"], "l": [16, "hswish"]}},
    ]
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
            {"op": "conv", "out": 24, "act": "relu", "scale": draw(st.sampled_from([True, False, "up"]))},
            {"op": "pool"},
            {"op": "linear", "out": "classes"},
        ],
    }
    tied = draw(tied_decisions)
    if tied:
        data["tied"] = [{"name": "size", **tied}]
        for key in tied["keys"]:
            (data["stages"][0] if "." in key else data).pop(key.removeprefix("stage1."))
    space = SearchSpace(SpaceFormat.model_validate(data))
    while count_spellings(space) > max_spellings:
        # Fix one choice after the other until the space can be listed.
        _fix_largest(data)
        space = SearchSpace(SpaceFormat.model_validate(data))
    return space


def _fix_largest(data: dict[str, Any]) -> None:
    stage = max(data["stages"], key=lambda s: sum(isinstance(v, list | dict) and len(v) > 1 for v in s.values()))
    for key in ("act", "se", "branches", "kernel", "out", "expand", "depth", "op", "variants"):
        choices = stage.get(key, ())
        if isinstance(choices, list | dict) and len(choices) > 1:
            stage[key] = choices[:1] if isinstance(choices, list) else dict([next(iter(choices.items()))])
            return
    for key in ("width", "resolution"):
        data[key] = data[key][:1]


def points(objectives: int, max_size: int = 12) -> st.SearchStrategy[list[tuple[float, ...]]]:
    """Points on a coarse grid, so that ties and duplicates are common."""
    coordinate = st.integers(0, 8).map(lambda i: i / 4)
    return st.lists(st.tuples(*[coordinate] * objectives), max_size=max_size)


@st.composite
def mobile_vits(draw: st.DrawFn) -> Block:
    """MobileViT blocks of one to three heads and transformer layers."""
    heads = draw(st.integers(1, 3))
    return Block(
        "mobile_vit",
        draw(channels),
        draw(st.sampled_from([1, 3])),
        hidden_channels=draw(st.integers(1, 12)),
        transformer_channels=heads * draw(st.integers(1, 5)),
        transformer_depth=draw(st.integers(1, 3)),
        heads=heads,
        activation=draw(st.sampled_from(["relu", "silu", "none"])),
    )


@st.composite
def lite_mlas(draw: st.DrawFn) -> Block:
    """Multi-scale linear attention of one to three heads."""
    heads = draw(st.integers(1, 3))
    width = heads * draw(st.integers(1, 5))
    return Block("lite_mla", draw(channels), draw(kernel_sizes), transformer_channels=width, heads=heads)


@st.composite
def graphs(draw: st.DrawFn, most: int = 6) -> Graph:
    """Small graphs of operations with branches, views and tensors that nobody reads, on images of one size."""
    graph = Graph(draw(st.integers(1, 9)), 2, 1)
    tensors = [graph.input]
    while len(graph.primitives) < most:
        kind = draw(st.sampled_from(["conv", "conv", "activation", "split", "concat", "add", "end"]))
        x = draw(st.sampled_from(tensors))
        if kind == "end" and graph.primitives:
            break
        if kind == "activation":
            tensors.append(graph.activation(x, "relu"))
        elif kind == "split" and x.channels > 1 and len(graph.primitives) < most - 1:
            first = draw(st.integers(1, x.channels - 1))
            tensors += graph.split(x, [first, x.channels - first])
        elif kind == "concat":
            tensors.append(graph.concat(x, draw(st.sampled_from(tensors))))
        elif kind == "add":
            tensors.append(graph.add(x, draw(st.sampled_from([t for t in tensors if t.channels == x.channels]))))
        else:
            tensors.append(graph.conv(x, draw(st.integers(1, 9))))
    return graph


image_sides = st.integers(1, 300)


@st.composite
def branched_units(draw: st.DrawFn, op: str = "", sides: st.SearchStrategy[int] = image_sides, most: int = 12) -> Unit:
    """Blocks of the ShuffleNets, GhostNets, MobileOne and MixNet (or of one `op`), with an input that fits each."""
    in_channels, block = draw(_BRANCHED[op or draw(st.sampled_from(list(_BRANCHED)))](most))
    return Unit(block, in_channels, draw(sides), draw(sides))


@st.composite
def _shuffles_v1(draw: st.DrawFn, most: int) -> tuple[int, Block]:
    groups, expand_groups = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    in_channels = expand_groups * draw(st.integers(1, most // 3))
    out_channels, stride = in_channels, 1
    if draw(st.booleans()) or in_channels % groups:
        # What is appended must be of `groups` groups, and so must the whole.
        in_channels *= groups
        out_channels, stride = in_channels + groups * draw(st.integers(1, 4)), draw(strides)
    hidden = math.lcm(groups, expand_groups) * draw(st.integers(1, 2))
    block = Block(
        "shuffle_v1",
        out_channels,
        draw(kernel_sizes),
        stride,
        hidden,
        activation=draw(activations),
        groups=groups,
        expand_groups=expand_groups,
    )
    return in_channels, block


@st.composite
def _shuffles_v2(draw: st.DrawFn, most: int, op: str = "shuffle_v2") -> tuple[int, Block]:
    out_channels = 2 * draw(st.integers(1, most // 2))
    in_channels = draw(st.one_of(st.just(out_channels), st.integers(1, most)))
    hidden = draw(st.integers(1, most))
    return in_channels, Block(op, out_channels, draw(kernel_sizes), draw(strides), hidden, activation=draw(activations))


@st.composite
def _ghosts(draw: st.DrawFn, most: int, op: str = "ghost") -> tuple[int, Block]:
    out_channels, hidden = 2 * draw(st.integers(1, most // 2)), 2 * draw(st.integers(1, most // 2))
    in_channels = draw(st.one_of(st.just(out_channels), st.integers(1, most)))
    others = draw(_squeezes(most))
    if op == "rep_ghost":
        others["branches"] = draw(st.integers(0, 1))
    block = Block(op, out_channels, draw(kernel_sizes), draw(strides), hidden, activation=draw(activations), **others)
    return in_channels, without_unused_kernel(block, in_channels)


@st.composite
def _mobile_ones(draw: st.DrawFn, most: int) -> tuple[int, Block]:
    groups = draw(st.integers(1, 3))
    out_channels = groups * draw(st.integers(1, most // 3))
    in_channels = draw(st.one_of(st.just(out_channels), st.integers(1, most // 3).map(lambda n: n * groups)))
    block = Block(
        "mobile_one",
        out_channels,
        draw(kernel_sizes),
        draw(strides),
        activation=draw(activations),
        groups=draw(st.sampled_from([groups, math.gcd(in_channels, out_channels)])),
        branches=draw(st.integers(0, 4)),
        **draw(_squeezes(most)),
    )
    return in_channels, block


@st.composite
def _mixconvs(draw: st.DrawFn, most: int) -> tuple[int, Block]:
    groups, expand_groups = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    kernel_size = draw(st.sampled_from([1, 3, 5, 7, 9]))
    in_channels = expand_groups * draw(st.integers(1, most // 2))
    hidden = draw(st.integers(2, most // 2).map(lambda n: n * math.lcm(groups, expand_groups)))
    if draw(st.booleans()) and in_channels % groups == 0 and in_channels > 3:
        hidden, expand_groups = in_channels, 1
    out_channels = draw(st.sampled_from([in_channels, groups * draw(st.integers(1, most // 2))]))
    block = Block(
        "mixconv",
        out_channels if out_channels % groups == 0 else groups * out_channels,
        min(kernel_size, 2 * hidden + 1),
        draw(strides),
        hidden,
        activation=draw(activations),
        groups=groups,
        expand_groups=1 if hidden == in_channels else expand_groups,
        **draw(_squeezes(most)),
    )
    return in_channels, block


@st.composite
def _squeezes(draw: st.DrawFn, most: int) -> dict[str, Any]:
    """The fields of a squeeze-and-excitation, or none."""
    se_channels = draw(st.one_of(st.just(0), st.integers(1, most)))
    if not se_channels:
        return {}
    gate, activation = draw(st.sampled_from(GATES)), draw(st.sampled_from(["", "hswish", "silu"]))
    return {"se_channels": se_channels, "se_gate": gate, "se_activation": activation}


_BRANCHED = {
    "shuffle_v1": _shuffles_v1,
    "shuffle_v2": _shuffles_v2,
    "shuffle_xception": partial(_shuffles_v2, op="shuffle_xception"),
    "ghost": _ghosts,
    "rep_ghost": partial(_ghosts, op="rep_ghost"),
    "mobile_one": _mobile_ones,
    "mixconv": _mixconvs,
}
