"""What is a network, as a value?

An `Architecture` is a resolution, a number of classes and a tuple of `Block`s in which everything is resolved: absolute
channel counts, no ratios, no multipliers. A field that an operator has no use for must keep its default, so that two
spellings of one network are one value with one fingerprint.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any

from nas.errors import NasError, unknown_name

ACTIVATIONS = ("relu", "relu6", "hswish", "hsigmoid", "silu", "sigmoid", "none")
GATES = ("hsigmoid", "sigmoid")

# Which fields of a Block each operator uses beyond `op` and `out_channels`.
OPERATORS: Mapping[str, frozenset[str]] = {
    "conv": frozenset({"kernel_size", "stride", "activation", "groups"}),
    "mbconv": frozenset({"kernel_size", "stride", "hidden_channels", "se_channels", "se_gate", "activation"}),
    "pool": frozenset(),
    "linear": frozenset({"activation"}),
}


@dataclass(frozen=True)
class Block:
    """One row of a network's table.

    `conv` is convolution, batch normalisation, activation. `mbconv` is the inverted residual of MobileNetV2
    (arXiv:1801.04381, figure 4d), with the squeeze-and-excitation of MobileNetV3 (arXiv:1905.02244, figure 4) when
    `se_channels` > 0: its expansion is left out when `hidden_channels` equals the input's channels, its projection
    has no activation, and it adds its input when stride is 1 and the channels agree. `pool` is global average
    pooling; its `out_channels` is 0, meaning as many as come in. `linear` has a bias.
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

    def __post_init__(self) -> None:
        problem = _block_problem(self)
        if problem:
            raise NasError(problem)


@dataclass(frozen=True)
class Architecture:
    """A whole network for square RGB images of `resolution` pixels: hashable, and equal after a JSON round trip."""

    resolution: int
    classes: int
    blocks: tuple[Block, ...]

    def __post_init__(self) -> None:
        if self.resolution < 1 or self.classes < 1 or not self.blocks:
            raise NasError(
                "an architecture needs a resolution and classes of at least 1 and at least one block, "
                f"but got {self.resolution}, {self.classes} and {len(self.blocks)} blocks"
            )
        last = self.blocks[-1]
        if last.op != "linear" or last.out_channels != self.classes:
            raise NasError(f"the last block must be a linear with {self.classes} outputs (the classes), but is {last}")

    @cached_property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that depend on the network alone, the same in every process."""
        text = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def to_json(self) -> dict[str, Any]:
        """Plain data; fields of a block that stand at their default are left out."""
        blocks = [
            {name: value for name, value in asdict(block).items() if value != _BLOCK_DEFAULTS.get(name)}
            for block in self.blocks
        ]
        return {"resolution": self.resolution, "classes": self.classes, "blocks": blocks}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Architecture:
        """The inverse of `to_json`. Raises NasError where the data is not an architecture."""
        try:
            blocks = tuple(Block(**block) for block in data["blocks"])
            return cls(int(data["resolution"]), int(data["classes"]), blocks)
        except (KeyError, TypeError, ValueError) as error:
            raise NasError(f"not an architecture: {type(error).__name__}: {error}") from error


_BLOCK_DEFAULTS = {field.name: field.default for field in fields(Block)}


def _block_problem(block: Block) -> str:
    """What is wrong with a block, or an empty text."""
    if block.op not in OPERATORS:
        return unknown_name("operator", block.op, OPERATORS)
    if block.activation not in ACTIVATIONS:
        return unknown_name("activation", block.activation, ACTIVATIONS)
    used = OPERATORS[block.op]
    for name, default in _BLOCK_DEFAULTS.items():
        if name not in used and name not in ("op", "out_channels") and getattr(block, name) != default:
            return f"a {block.op} block has no {name}, but got {name} = {getattr(block, name)!r}"
    if block.kernel_size < 1 or block.kernel_size % 2 == 0:
        return f"kernel_size must be odd, but got {block.kernel_size}"
    if block.stride not in (1, 2):
        return f"stride must be 1 or 2, but got {block.stride}"
    if (block.out_channels < 1) != (block.op == "pool"):
        return f"out_channels must be at least 1 (0 for pool), but got {block.out_channels} for {block.op}"
    if block.op == "mbconv" and block.hidden_channels < 1:
        return f"hidden_channels of an mbconv must be at least 1, but got {block.hidden_channels}"
    if block.se_channels < 0 or block.groups < 1:
        return f"se_channels must be 0 or more and groups 1 or more, but got {block.se_channels} and {block.groups}"
    if (block.se_gate in GATES) != (block.se_channels > 0) or (block.se_channels == 0 and block.se_gate):
        return f"se_gate must be one of {', '.join(GATES)} exactly where se_channels > 0, but got {block.se_gate!r}"
    return ""
