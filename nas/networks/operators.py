"""What runs when a network runs, and what does it cost?

A network is a row of `Unit`s (a block with its input shape: the key of a latency table, because runtimes fuse inside a
block), and a unit is a row of `Primitive`s (one convolution, pooling or product each). Parameters and
multiply-accumulates (MACs) count convolutions and linear layers, as the papers do; parameters also count batch
normalisation (2 a channel) and biases. Everything here is arithmetic on integers: no torch.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from nas.errors import NasError
from nas.networks.architecture import Architecture, Block

INPUT_CHANNELS = 3
FLOAT_BYTES = 4

PrimitiveKind = Literal["conv", "depthwise", "pool", "gate", "add"]


@dataclass(frozen=True)
class Primitive:
    """One operation. Heights and widths are of input and output; `kernel_size` is 1 for a linear layer.

    `normalised` says that batch normalisation follows (else a bias is added where there are weights).
    """

    kind: PrimitiveKind
    in_channels: int
    out_channels: int
    in_height: int
    in_width: int
    out_height: int
    out_width: int
    kernel_size: int = 1
    groups: int = 1
    normalised: bool = False
    activation: str = "none"

    @property
    def weights(self) -> int:
        """Weights of the convolution or linear layer, without bias and normalisation."""
        if self.kind not in ("conv", "depthwise"):
            return 0
        return self.out_channels * (self.in_channels // self.groups) * self.kernel_size**2

    @property
    def params(self) -> int:
        """Trainable parameters: weights, and a scale and a shift (normalised) or a bias for each output channel."""
        if not self.weights:
            return 0
        return self.weights + self.out_channels * (2 if self.normalised else 1)

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one image."""
        return self.weights * self.out_height * self.out_width

    @property
    def in_elements(self) -> int:
        """Numbers in the input of one image."""
        return self.in_channels * self.in_height * self.in_width

    @property
    def out_elements(self) -> int:
        """Numbers in the output of one image."""
        return self.out_channels * self.out_height * self.out_width


@dataclass(frozen=True)
class Unit:
    """A block with the shape of its input: what a latency table has one row for."""

    block: Block
    in_channels: int
    height: int
    width: int

    def __post_init__(self) -> None:
        if min(self.in_channels, self.height, self.width) < 1:
            raise NasError(
                "a unit's input must have at least 1 channel and 1 pixel, but has "
                f"{self.in_channels} channels of {self.height}x{self.width}"
            )
        if self.block.op == "linear" and (self.height, self.width) != (1, 1):
            raise NasError(f"a linear unit needs a pooled input (1x1), but gets {self.height}x{self.width}")
        if self.in_channels % self.block.groups:
            raise NasError(
                f"groups must divide the input's channels, but got {self.block.groups} and {self.in_channels}"
            )

    @property
    def out_channels(self) -> int:
        """Channels of the output."""
        return self.block.out_channels or self.in_channels

    @property
    def out_height(self) -> int:
        """Height of the output: half of the input's, rounded up, for stride 2."""
        return 1 if self.block.op == "pool" else -(-self.height // self.block.stride)

    @property
    def out_width(self) -> int:
        """Width of the output."""
        return 1 if self.block.op == "pool" else -(-self.width // self.block.stride)

    @property
    def residual(self) -> bool:
        """Whether the input is added to the output."""
        block = self.block
        return block.op == "mbconv" and block.stride == 1 and block.out_channels == self.in_channels

    @property
    def key(self) -> str:
        """One readable word, such as `mbconv_112x112_i16_o24_h64_k3_s2_se0_relu`; `parse_unit` reads it back."""
        block = self.block
        words = [block.op, f"{self.height}x{self.width}", f"i{self.in_channels}"]
        if block.op == "conv":
            words += [f"o{block.out_channels}", f"k{block.kernel_size}", f"s{block.stride}"]
            words += [f"g{block.groups}"] if block.groups > 1 else []
        elif block.op == "mbconv":
            words += [f"o{block.out_channels}", f"h{block.hidden_channels}", f"k{block.kernel_size}"]
            words += [f"s{block.stride}", f"se{block.se_channels}"]
        elif block.op == "linear":
            words += [f"o{block.out_channels}"]
        if block.op != "pool":
            words += [block.activation]
        # The gate of MobileNetV3 goes without saying.
        if block.se_gate not in ("", "hsigmoid"):
            words += [block.se_gate]
        return "_".join(words)

    @property
    def params(self) -> int:
        """Trainable parameters."""
        return sum(primitive.params for primitive in primitives(self))

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one image."""
        return sum(primitive.macs for primitive in primitives(self))


@dataclass(frozen=True)
class Costs:
    """What a network costs on any device. `peak_activation_bytes` is for one float32 image, run block after block."""

    params: int
    macs: int
    peak_activation_bytes: int


_KEY = re.compile(
    r"(?P<op>[a-z]+)_(?P<h>\d+)x(?P<w>\d+)_i(?P<i>\d+)(?:_o(?P<o>\d+))?(?:_h(?P<hidden>\d+))?(?:_k(?P<k>\d+))?"
    r"(?:_s(?P<s>\d+))?(?:_g(?P<g>\d+))?(?:_se(?P<se>\d+))?(?:_(?P<act>[a-z0-9]+))?(?:_(?P<gate>[a-z]+))?"
)


def parse_unit(key: str) -> Unit:
    """The unit that `key` names. Raises NasError for a word that no unit has as its key."""
    match = _KEY.fullmatch(key)
    if match is None:
        raise NasError(f"not a unit: {key!r}. A unit looks like mbconv_112x112_i16_o24_h64_k3_s2_se0_relu")
    part = match.groupdict()
    se_channels = int(part["se"] or 0)
    block = Block(
        op=part["op"],
        out_channels=int(part["o"] or 0),
        kernel_size=int(part["k"] or 1),
        stride=int(part["s"] or 1),
        hidden_channels=int(part["hidden"] or 0),
        se_channels=se_channels,
        se_gate=part["gate"] or ("hsigmoid" if se_channels else ""),
        activation=part["act"] or "none",
        groups=int(part["g"] or 1),
    )
    unit = Unit(block, int(part["i"]), int(part["h"]), int(part["w"]))
    if unit.key != key:
        raise NasError(f"not a unit: {key!r}. It would be written {unit.key!r}")
    return unit


def units(architecture: Architecture) -> tuple[Unit, ...]:
    """The units of a network in the order in which they run."""
    rows = []
    channels, height, width = INPUT_CHANNELS, architecture.resolution, architecture.resolution
    for block in architecture.blocks:
        unit = Unit(block, channels, height, width)
        rows.append(unit)
        channels, height, width = unit.out_channels, unit.out_height, unit.out_width
    return tuple(rows)


def primitives(unit: Unit) -> tuple[Primitive, ...]:
    """The operations of a unit in the order in which they run."""
    return tuple(_PRIMITIVES[unit.block.op](unit))


def estimate_costs(architecture: Architecture) -> Costs:
    """Parameters, MACs and peak activation memory of a network."""
    rows = units(architecture)
    return Costs(
        params=sum(unit.params for unit in rows),
        macs=sum(unit.macs for unit in rows),
        peak_activation_bytes=FLOAT_BYTES * max(_peak_elements(unit) for unit in rows),
    )


def _peak_elements(unit: Unit) -> int:
    """The most numbers alive at once in a unit: each operation's input and output, and what waits to be added."""
    peak = 0
    waiting = unit.in_channels * unit.height * unit.width if unit.residual else 0
    for index, primitive in enumerate(primitives(unit)):
        # The first operation reads the very tensor that waits.
        alive = primitive.in_elements if index else max(primitive.in_elements, waiting)
        kept = waiting if index and primitive.kind != "add" else 0
        # An addition or a gate works in place; squeeze-and-excitation's small vectors do not count.
        made = 0 if primitive.kind in ("add", "gate") else primitive.out_elements
        if primitive.kind == "add":
            made = waiting
        peak = max(peak, alive + kept + made)
    return peak


def _conv(unit: Unit) -> Iterator[Primitive]:
    block = unit.block
    yield Primitive(
        "depthwise" if block.groups == unit.in_channels == block.out_channels > 1 else "conv",
        unit.in_channels,
        block.out_channels,
        unit.height,
        unit.width,
        unit.out_height,
        unit.out_width,
        block.kernel_size,
        block.groups,
        normalised=True,
        activation=block.activation,
    )


def _mbconv(unit: Unit) -> Iterator[Primitive]:
    block = unit.block
    hidden, height, width = block.hidden_channels, unit.out_height, unit.out_width
    if hidden != unit.in_channels:
        yield Primitive(
            "conv",
            unit.in_channels,
            hidden,
            unit.height,
            unit.width,
            unit.height,
            unit.width,
            normalised=True,
            activation=block.activation,
        )
    yield Primitive(
        "depthwise",
        hidden,
        hidden,
        unit.height,
        unit.width,
        height,
        width,
        block.kernel_size,
        groups=hidden,
        normalised=True,
        activation=block.activation,
    )
    if block.se_channels:
        yield Primitive("pool", hidden, hidden, height, width, 1, 1)
        yield Primitive("conv", hidden, block.se_channels, 1, 1, 1, 1, activation="relu")
        yield Primitive("conv", block.se_channels, hidden, 1, 1, 1, 1, activation=block.se_gate)
        yield Primitive("gate", hidden, hidden, height, width, height, width)
    yield Primitive("conv", hidden, block.out_channels, height, width, height, width, normalised=True)
    if unit.residual:
        yield Primitive("add", block.out_channels, block.out_channels, height, width, height, width)


def _pool(unit: Unit) -> Iterator[Primitive]:
    yield Primitive("pool", unit.in_channels, unit.in_channels, unit.height, unit.width, 1, 1)


def _linear(unit: Unit) -> Iterator[Primitive]:
    yield Primitive("conv", unit.in_channels, unit.block.out_channels, 1, 1, 1, 1, activation=unit.block.activation)


_PRIMITIVES = {"conv": _conv, "mbconv": _mbconv, "pool": _pool, "linear": _linear}
