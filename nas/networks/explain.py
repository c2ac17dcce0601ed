"""The savings of depthwise separable convolutions, and the shares of MACs and weights by kind of operation.

All numbers are exact counts over a network's operations. A standard k×k convolution from M to N channels has k²MN
weights, a depthwise k×k and a pointwise (1×1) convolution have k²M + MN: a share of 1/N + 1/k² (MobileNetV1,
arXiv:1704.04861, section 3.1). For 3×3 that is 8 to 9 times less. Each weight is one MAC for each output pixel, so
MACs shrink by the same factor. As in the paper, biases and normalisation are not counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from nas.errors import NasError
from nas.networks.architecture import Architecture, Block
from nas.networks.operators import Primitive, Unit, primitives, units
from nas.networks.operators.costs import DetailedCosts, total_costs, unit_costs
from nas.networks.operators.graph import INPUT

# Operations that may stand between a depthwise convolution and its pointwise one; the comparison ignores them.
_BETWEEN = frozenset({"activation", "concat", "gate", "norm", "shuffle"})


@dataclass(frozen=True)
class Separable:
    """A depthwise convolution with the pointwise one that reads it, and the standard convolution that they replace.

    `number` counts the network's units from 1; the unit is the pointwise convolution's. There are several
    `kernel_sizes` where different channels have different kernels (MixConv).
    """

    number: int
    unit: str
    kernel_sizes: tuple[int, ...]
    in_channels: int
    out_channels: int
    height: int
    width: int
    macs: int
    weights: int
    standard_macs: int
    standard_weights: int

    @property
    def ratio(self) -> float:
        """How many times more weights, and MACs, the standard convolution has."""
        return self.standard_weights / self.weights


@dataclass(frozen=True)
class Share:
    """The MACs and weights of one kind of operation in a network."""

    kind: str
    macs: int
    weights: int


def compare_convolutions(
    kernel_size: int, in_channels: int, out_channels: int, size: int
) -> Mapping[str, DetailedCosts]:
    """The costs of a standard convolution, of a separable one, and of its two parts, at `size`×`size` output pixels.

    Parameters do not include biases and normalisation. Raises NasError for an even kernel and for numbers below 1.
    """
    for name, value in (("in_channels", in_channels), ("out_channels", out_channels), ("size", size)):
        if value < 1:
            raise NasError(f"{name} must be at least 1, but got {value}")

    def cost(kernel: int, channels: int, groups: int) -> DetailedCosts:
        unit = Unit(Block("conv", channels, kernel, groups=groups), in_channels, size, size)
        costs = unit_costs(unit)
        return replace(costs, params=costs.weights, biases=0)

    depthwise = cost(kernel_size, in_channels, in_channels)
    pointwise = cost(1, out_channels, 1)
    return {
        "standard": cost(kernel_size, out_channels, 1),
        "depthwise": depthwise,
        "pointwise": pointwise,
        "depthwise separable": total_costs([depthwise, pointwise]),
    }


def find_separables(architecture: Architecture) -> tuple[Separable, ...]:
    """Every pointwise convolution that reads only depthwise ones (k > 1), in the order in which they run.

    Squeeze-and-excitation, shuffles, activations and normalisations may stand between the two. The two may be in
    different blocks.
    """
    steps = list(_steps(architecture))
    separables = []
    for step in steps:
        pointwise = step.primitive
        if pointwise.kind != "conv" or pointwise.kernel_size != 1 or step.kind != _kind(pointwise):
            continue
        sources = [steps[i].primitive for i in _sources(steps, step.inputs[0])]
        if all(source.kind == "depthwise" and source.kernel_size > 1 for source in sources) and sources:
            separables.append(_separable(step, sources))
    return tuple(separables)


def find_shares(architecture: Architecture) -> tuple[Share, ...]:
    """MACs and weights by kind of operation, as in MobileNetV1's table 2, the largest share of MACs first.

    The kinds: 1×1 convolutions (of pixels or tokens), depthwise convolutions, all other convolutions, the two layers of
    squeeze-and-excitation, linear layers, and attention's products of two tensors.
    """
    macs: Counter[str] = Counter()
    weights: Counter[str] = Counter()
    for step in _steps(architecture):
        if step.kind:
            macs[step.kind] += step.primitive.macs + step.primitive.product_macs
            weights[step.kind] += step.primitive.weights
    return tuple(Share(kind, count, weights[kind]) for kind, count in macs.most_common())


def count_activations(architecture: Architecture) -> Mapping[str, int]:
    """The number of elements that each activation function is applied to for one image, the most used first."""
    counts: Counter[str] = Counter()
    for step in _steps(architecture):
        if step.primitive.activation != "none":
            counts[step.primitive.activation] += step.primitive.out_elements
    return dict(counts.most_common())


class _Step(NamedTuple):
    """An operation of a network. `inputs` are numbers of steps; `kind` is the kind of its `Share`, or empty."""

    number: int
    unit: Unit
    primitive: Primitive
    inputs: tuple[int, ...]
    kind: str


def _steps(architecture: Architecture) -> Iterator[_Step]:
    """All operations of a network, in the order in which they run."""
    start, before = 0, INPUT
    for number, unit in enumerate(units(architecture), start=1):
        rows = primitives(unit)
        squeezing = _squeezing(rows)
        for index, primitive in enumerate(rows):
            inputs = tuple(before if i == INPUT else start + i for i in primitive.inputs)
            kind = "squeeze-and-excitation" if index in squeezing else _kind(primitive)
            if unit.block.op == "linear" and primitive.weights:
                kind = "linear"
            yield _Step(number, unit, primitive, inputs, kind)
        start += len(rows)
        before = start - 1


def _kind(primitive: Primitive) -> str:
    if primitive.kind == "product":
        return "attention"
    if primitive.kind == "depthwise":
        return "depthwise convolution"
    if primitive.kind == "conv":
        return "1x1 convolution" if primitive.kernel_size == 1 else "other convolution"
    return ""


def _squeezing(rows: Sequence[Primitive]) -> set[int]:
    """The convolutions of squeeze-and-excitation: those between a pooling and the gate that it feeds."""
    squeezing: set[int] = set()
    for row in rows:
        if row.kind == "gate":
            convolutions = []
            i = row.inputs[1]
            while i != INPUT and rows[i].kind == "conv":
                convolutions.append(i)
                i = rows[i].inputs[0]
            if i != INPUT and rows[i].kind == "pool":
                squeezing.update(convolutions)
    return squeezing


def _sources(steps: Sequence[_Step], i: int) -> Iterator[int]:
    """The steps that make the values of step `i`: `i` itself, or the sources of its inputs if it is in `_BETWEEN`."""
    if i == INPUT:
        return
    primitive = steps[i].primitive
    if primitive.kind not in _BETWEEN:
        yield i
        return
    inputs = steps[i].inputs if primitive.kind == "concat" else steps[i].inputs[:1]
    for j in inputs:
        yield from _sources(steps, j)


def _separable(step: _Step, depthwise: Sequence[Primitive]) -> Separable:
    pointwise = step.primitive
    pixels = pointwise.out_height * pointwise.out_width
    weights = pointwise.weights + sum(p.weights for p in depthwise)
    # Each depthwise kernel counts once for each output channel that reads it: all of them, or those of one group.
    readers = pointwise.out_channels // pointwise.groups
    standard_weights = readers * sum(p.weights for p in depthwise)
    return Separable(
        step.number,
        step.unit.key,
        tuple(dict.fromkeys(p.kernel_size for p in depthwise)),
        pointwise.in_channels,
        pointwise.out_channels,
        pointwise.out_height,
        pointwise.out_width,
        weights * pixels,
        weights,
        standard_weights * pixels,
        standard_weights,
    )
