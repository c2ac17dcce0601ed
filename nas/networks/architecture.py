"""A network as an immutable value: `Architecture` and its rows, `Block`.

An `Architecture` is a resolution, a number of classes and a tuple of `Block`s in which everything is resolved: absolute
channel counts, no ratios, no multipliers. A field that an operator does not use must keep its default, so that equal
networks are equal values with one fingerprint.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

from nas.errors import NasError, unknown_name

ACTIVATIONS = ("relu", "relu6", "hswish", "hsigmoid", "silu", "sigmoid", "none")
GATES = ("hsigmoid", "sigmoid")
SQUEEZE_ACTIVATIONS = ("relu", "hswish", "silu")

# Choices of `norm`: "" is batch normalisation after every convolution. In an mbconv of EfficientViT only the last
# convolution is normalised ("last"), and the others have biases; a linear layer of its head has layer normalisation.
NORMS: Mapping[str, tuple[str, ...]] = {"mbconv": ("", "last"), "linear": ("", "layer")}

_SQUEEZE = frozenset({"se_channels", "se_gate", "se_activation"})

# Which fields of a Block each operator uses beyond `op` and `out_channels`.
OPERATORS: Mapping[str, frozenset[str]] = {
    "conv": frozenset({"kernel_size", "stride", "activation", "groups"}),
    "max_pool": frozenset({"kernel_size", "stride"}),
    "ds_conv": frozenset({"kernel_size", "stride", "activation"}) | _SQUEEZE,
    "mbconv": frozenset({"hidden_channels", "kernel_size", "stride", "activation", "norm"}) | _SQUEEZE,
    "fused_mbconv": frozenset({"hidden_channels", "kernel_size", "stride", "groups", "activation"}) | _SQUEEZE,
    "fbnet": frozenset({"hidden_channels", "kernel_size", "stride", "groups", "activation"}),
    "uib": frozenset({"hidden_channels", "start_kernel_size", "kernel_size", "stride", "activation"}),
    "shuffle_v1": frozenset({"hidden_channels", "kernel_size", "stride", "groups", "expand_groups", "activation"}),
    "shuffle_v2": frozenset({"hidden_channels", "kernel_size", "stride", "activation"}),
    "shuffle_xception": frozenset({"hidden_channels", "kernel_size", "stride", "activation"}),
    "mixconv": frozenset({"hidden_channels", "kernel_size", "stride", "groups", "expand_groups", "activation"})
    | _SQUEEZE,
    "ghost": frozenset({"hidden_channels", "kernel_size", "stride", "activation"}) | _SQUEEZE,
    "rep_ghost": frozenset({"hidden_channels", "kernel_size", "stride", "branches", "activation"}) | _SQUEEZE,
    "mobile_one": frozenset({"kernel_size", "stride", "groups", "branches", "activation"}) | _SQUEEZE,
    "mobile_vit": frozenset(
        {"hidden_channels", "kernel_size", "transformer_channels", "transformer_depth", "heads", "activation"}
    ),
    "lite_mla": frozenset({"kernel_size", "transformer_channels", "heads"}),
    "pool": frozenset(),
    "linear": frozenset({"activation", "bias", "norm"}),
}


@dataclass(frozen=True)
class Block:
    """One row of a network's table.

    `op` names the operator; `nas.networks.operators` has its paper, its operations and its costs, and
    `nas.networks.blocks` its torch module. `hidden_channels` are those of the expansion, `se_channels` those that
    squeeze-and-excitation squeezes to (0: none), `groups` those of the (last) convolution. `branches` are trained side
    by side (0: they are merged into one convolution, see `nas.networks.deployed`). `pool` is global average pooling;
    `pool` and `max_pool` keep the number of channels, and their `out_channels` are 0.
    """

    op: str
    out_channels: int = 0
    kernel_size: int = 1
    stride: int = 1
    hidden_channels: int = 0
    se_channels: int = 0
    se_gate: str = ""
    activation: str = "none"
    groups: int = 1
    se_activation: str = ""
    start_kernel_size: int = 0
    expand_groups: int = 1
    branches: int = 0
    transformer_channels: int = 0
    transformer_depth: int = 0
    heads: int = 0
    norm: str = ""
    bias: bool = True

    def __post_init__(self) -> None:
        problem = _block_problem(self)
        if problem:
            raise NasError(problem)

    def keeps_shape(self, in_channels: int) -> bool:
        """Whether the output has the shape of an input of `in_channels`, so that the two can be added."""
        return self.stride == 1 and self.out_channels == in_channels


@dataclass(frozen=True)
class Architecture:
    """A whole network for square RGB images of `resolution` pixels: hashable, and equal after a JSON round trip."""

    resolution: int
    classes: int
    blocks: tuple[Block, ...]

    def __post_init__(self) -> None:
        for name, value in (("resolution", self.resolution), ("classes", self.classes)):
            if type(value) is not int or value < 1:
                raise NasError(f"{name} must be a whole number, at least 1, but got {value!r}")
        # With a list the network could not be hashed.
        if not isinstance(self.blocks, tuple) or not all(isinstance(block, Block) for block in self.blocks):
            raise NasError(f"the blocks of an architecture must be a tuple of Blocks, but got {self.blocks!r}")
        problem = _row_problem(self.blocks, self.classes)
        if problem:
            raise NasError(problem)

    @cached_property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that depend on the network alone, the same in every process."""
        text = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def to_json(self) -> dict[str, Any]:
        """Plain data; fields of a block that have their default value are left out."""
        # `asdict` would copy each value, and a search calls this for every network.
        blocks = [
            {name: value for name, default in _BLOCK_DEFAULTS.items() if (value := getattr(block, name)) != default}
            for block in self.blocks
        ]
        return {"resolution": self.resolution, "classes": self.classes, "blocks": blocks}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Architecture:
        """The inverse of `to_json`. Raises NasError where the data is not an architecture."""
        whole = isinstance(data, Mapping) and data.keys() >= set(_KEYS)
        if not whole or not isinstance(data["blocks"], list):
            raise NasError("not an architecture: it must have the keys resolution, classes and blocks (a list)")
        for name in data:
            if name not in _KEYS:
                raise NasError(f"not an architecture: {unknown_name('key', name, _KEYS)}")
        blocks = tuple(_block_from_json(index, block) for index, block in enumerate(data["blocks"]))
        return cls(data["resolution"], data["classes"], blocks)


_KEYS = ("resolution", "classes", "blocks")
_BLOCK_DEFAULTS = {field.name: field.default for field in fields(Block)}
_NUMBERS = tuple(name for name, default in _BLOCK_DEFAULTS.items() if type(default) is int)


def _block_from_json(index: int, data: Any) -> Block:
    """Block number `index` of an architecture. Raises NasError, naming the block, for invalid data."""
    place = f"not an architecture: blocks[{index}]"
    if not isinstance(data, Mapping) or not isinstance(data.get("op"), str):
        raise NasError(f"{place} must be a group of fields with an op, but is {data!r}")
    for name in data:
        if name not in _BLOCK_DEFAULTS:
            raise NasError(f"{place}: {unknown_name('field', name, _BLOCK_DEFAULTS)}")
    try:
        return Block(**data)
    except NasError as error:
        raise NasError(f"{place}: {error}") from error


def _row_problem(blocks: tuple[Block, ...], classes: int) -> str:
    """The problem with the order of a network's blocks, or an empty text."""
    if not blocks:
        return "an architecture needs at least one block"
    operators = [block.op for block in blocks]
    first_linear = operators.index("linear") if "linear" in operators else len(blocks)
    if blocks[-1].op != "linear" or blocks[-1].out_channels != classes:
        return f"the last block must be a linear with {classes} outputs (the classes), but is {blocks[-1]}"
    if "pool" not in operators[:first_linear]:
        return f"a pool must stand before the first linear block, but none stands before blocks[{first_linear}]"
    for index, operator in enumerate(operators):
        if index > first_linear and operator != "linear":
            return f"only linear blocks can follow a linear block, but blocks[{index}] is a {operator}"
    return ""


def _block_problem(block: Block) -> str:
    """The problem with a block's fields, or an empty text."""
    if block.op not in OPERATORS:
        return unknown_name("operator", block.op, OPERATORS)
    if block.activation not in ACTIVATIONS:
        return unknown_name("activation", block.activation, ACTIVATIONS)
    for name in _NUMBERS:
        if type(getattr(block, name)) is not int:
            return f"{name} must be a whole number, but got {getattr(block, name)!r}"
    used = OPERATORS[block.op]
    for name, default in _BLOCK_DEFAULTS.items():
        if name not in used and name not in ("op", "out_channels") and getattr(block, name) != default:
            return f"a {block.op} block has no {name}, but got {name} = {getattr(block, name)!r}"
    if type(block.bias) is not bool:
        return f"bias must be true or false, but got {block.bias!r}"
    return _kernel_problem(block) or _channels_problem(block) or _squeeze_problem(block)


def _kernel_problem(block: Block) -> str:
    may_be_absent = block.op == "uib"  # kernel size 0: this depthwise convolution is left out
    for name in ("kernel_size", "start_kernel_size"):
        size = getattr(block, name)
        if not (size == 0 and (may_be_absent or name == "start_kernel_size")) and (size < 1 or size % 2 == 0):
            return f"{name} must be odd and at least 1, but got {size}"
    if block.stride not in (1, 2):
        return f"stride must be 1 or 2, but got {block.stride}"
    if may_be_absent and block.stride == 2 and not (block.kernel_size or block.start_kernel_size):
        return (
            "a uib block of stride 2 needs a depthwise convolution, but has neither kernel_size nor start_kernel_size"
        )
    return ""


def _channels_problem(block: Block) -> str:
    if (block.out_channels < 1) != (block.op in ("pool", "max_pool")):
        return f"out_channels must be at least 1 (0 for pool and max_pool), but got {block.out_channels} for {block.op}"
    used = OPERATORS[block.op]
    for name in ("hidden_channels", "transformer_channels", "transformer_depth", "heads"):
        if name in used and getattr(block, name) < 1:
            return f"{name} of a {block.op} must be at least 1, but got {getattr(block, name)}"
    if block.se_channels < 0 or block.groups < 1 or block.expand_groups < 1:
        return (
            "se_channels must be 0 or more, groups and expand_groups 1 or more, "
            f"but got {block.se_channels}, {block.groups} and {block.expand_groups}"
        )
    if block.branches < 0:
        return f"branches must be 0 or more, but got {block.branches}"
    if block.out_channels % block.groups:
        return f"groups must divide out_channels, but got {block.groups} and {block.out_channels}"
    if block.heads and block.transformer_channels % block.heads:
        return f"heads must divide transformer_channels, but got {block.heads} and {block.transformer_channels}"
    if block.norm not in NORMS.get(block.op, ("",)):
        return f"norm of a {block.op} must be one of {', '.join(map(repr, NORMS[block.op]))}, but got {block.norm!r}"
    return ""


def _squeeze_problem(block: Block) -> str:
    if block.se_channels == 0:
        for name in ("se_gate", "se_activation"):
            if getattr(block, name):
                return f"{name} must be left out where se_channels is 0, but got {getattr(block, name)!r}"
        return ""
    if block.se_gate not in GATES:
        return f"se_gate must be one of {', '.join(GATES)} where se_channels is above 0, but got {block.se_gate!r}"
    if block.se_activation not in ("", *SQUEEZE_ACTIVATIONS[1:]):
        return (
            f"se_activation must be left out (relu) or one of {', '.join(SQUEEZE_ACTIVATIONS[1:])}, "
            f"but got {block.se_activation!r}"
        )
    return ""
