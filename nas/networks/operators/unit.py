"""`Unit`: a block with its input shape, the row of a latency table, and its key as text."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from functools import cached_property, lru_cache

from nas.errors import NasError
from nas.networks.architecture import OPERATORS, Architecture, Block
from nas.networks.operators.graph import INPUT, Primitive
from nas.networks.operators.trace import Trace, trace, traced_peak

INPUT_CHANNELS = 3

# The letters before each number in a unit's key, in their order there. Fields in _ALWAYS are written whenever the
# operator has them, the others only where they differ from their default.
_LETTERS = {
    "out_channels": "o",
    "hidden_channels": "h",
    "start_kernel_size": "b",
    "kernel_size": "k",
    "stride": "s",
    "groups": "g",
    "expand_groups": "eg",
    "branches": "n",
    "transformer_channels": "t",
    "transformer_depth": "l",
    "heads": "a",
    "se_channels": "se",
}
_ALWAYS = frozenset(_LETTERS) - {"groups", "expand_groups"}
_FIELDS = {letters: name for name, letters in _LETTERS.items()}
_DEFAULTS = {f.name: f.default for f in fields(Block)}
# The gate of MobileNetV3 is not written.
_USUAL_GATE = "hsigmoid"
_SHAPE = re.compile(r"(?P<op>[a-z]\w*?)_(?P<h>\d+)x(?P<w>\d+)_i(?P<i>\d+)(?:_(?P<rest>\w+))?")
_NUMBER = re.compile(r"([a-z]+)(\d+)")
# Many times the length of any key. Longer text is refused before int() meets numbers of thousands of digits.
_MOST_LETTERS = 500


@dataclass(frozen=True)
class Unit:
    """A block with the shape of its input. Raises NasError where they do not fit together."""

    block: Block
    in_channels: int
    height: int
    width: int
    trace: Trace = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if min(self.in_channels, self.height, self.width) < 1:
            raise NasError(
                "a unit's input must have at least 1 channel and 1 pixel, but has "
                f"{self.in_channels} channels of {self.height}x{self.width}"
            )
        if self.block.op == "linear" and (self.height, self.width) != (1, 1):
            raise NasError(f"a linear unit needs a pooled input (1x1), but gets {self.height}x{self.width}")
        object.__setattr__(self, "trace", trace(self.block, self.in_channels, self.height, self.width))

    @property
    def out_channels(self) -> int:
        """Channels of the output."""
        return self.trace.output.channels

    @property
    def out_height(self) -> int:
        """Height of the output: half of the input's, rounded up, for stride 2."""
        return self.trace.output.height

    @property
    def out_width(self) -> int:
        """Width of the output."""
        return self.trace.output.width

    @property
    def residual(self) -> bool:
        """Whether the input is added to the output."""
        return any(p.kind == "add" and INPUT in p.inputs for p in self.trace.primitives)

    @property
    def params(self) -> int:
        """Trainable parameters."""
        return self.trace.params

    @property
    def macs(self) -> int:
        """Multiply-accumulates of convolutions and linear layers for one image."""
        return self.trace.macs

    @property
    def peak_elements(self) -> int:
        """The largest number of elements alive at once for one image, input and output included."""
        return traced_peak(self.block, self.in_channels, self.height, self.width)

    @cached_property
    def key(self) -> str:
        """A readable name, such as `mbconv_112x112_i16_o24_h64_k3_s2_se0_relu`; `parse_unit` reads it back."""
        block = self.block
        used = OPERATORS[block.op]
        words = [block.op, f"{self.height}x{self.width}", f"i{self.in_channels}"]
        for name, letters in _LETTERS.items():
            value = getattr(block, name)
            written = name in _ALWAYS or value != _DEFAULTS[name]
            if written and (name in used or (name == "out_channels" and value)):
                words.append(f"{letters}{value}")
        if "activation" in used:
            words.append(block.activation)
        if block.se_gate not in ("", _USUAL_GATE):
            words.append(block.se_gate)
        if block.se_activation:
            words.append(f"squeeze{block.se_activation}")
        if block.norm:
            words.append(f"norm{block.norm}")
        if not block.bias:
            words.append("nobias")
        return "_".join(words)


def parse_unit(key: str) -> Unit:
    """The inverse of `Unit.key`. Raises NasError for text that is no unit's key."""
    if len(key) > _MOST_LETTERS:
        raise NasError(f"not a unit: {key[:40]!r} and so on, {len(key)} letters of {_MOST_LETTERS} at most")
    match = _SHAPE.fullmatch(key)
    if match is None:
        raise NasError(f"not a unit: {key!r}. A unit looks like mbconv_112x112_i16_o24_h64_k3_s2_se0_relu")
    settings: dict[str, int | str | bool] = {"op": match["op"]}
    bare = []
    for word in (match["rest"] or "").split("_"):
        number = _NUMBER.fullmatch(word)
        if number and number[1] in _FIELDS:
            settings[_FIELDS[number[1]]] = int(number[2])
        elif word.startswith("squeeze"):
            settings["se_activation"] = word.removeprefix("squeeze")
        elif word.startswith("norm"):
            settings["norm"] = word.removeprefix("norm")
        elif word == "nobias":
            settings["bias"] = False
        elif word:
            bare.append(word)
    if len(bare) > 2:
        raise NasError(f"not a unit: {key!r}. It has words that no unit has: {', '.join(bare[2:])}")
    settings |= dict(zip(("activation", "se_gate"), bare, strict=False))
    if settings.get("se_channels"):
        settings.setdefault("se_gate", _USUAL_GATE)
    unit = Unit(Block(**settings), int(match["i"]), int(match["h"]), int(match["w"]))  # type: ignore[arg-type]
    if unit.key != key:
        raise NasError(f"not a unit: {key!r}. It would be written {unit.key!r}")
    return unit


def units(architecture: Architecture) -> tuple[Unit, ...]:
    """The units of a network in the order in which they run."""
    rows = []
    channels, height, width = INPUT_CHANNELS, architecture.resolution, architecture.resolution
    for block in architecture.blocks:
        unit = _unit(block, channels, height, width)
        rows.append(unit)
        output = unit.trace.output
        channels, height, width = output.channels, output.height, output.width
    return tuple(rows)


@lru_cache(maxsize=1 << 16)
def _unit(block: Block, in_channels: int, height: int, width: int) -> Unit:
    """The unit, cached: the networks of a space share their units, and so their cached keys."""
    return Unit(block, in_channels, height, width)


def primitives(unit: Unit) -> tuple[Primitive, ...]:
    """The operations of a unit in the order in which they run."""
    return unit.trace.primitives


def operations_of(units: Iterable[Unit]) -> tuple[str, ...]:
    """The kinds of operations in units, each once; grouped convolutions count as a kind of their own."""
    rows = (primitive for unit in units for primitive in primitives(unit))
    return tuple(dict.fromkeys("grouped_conv" if p.kind == "conv" and p.groups > 1 else p.kind for p in rows))
