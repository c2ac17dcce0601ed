"""The costs of units and networks that do not depend on a device: parameters, MACs, bytes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import TypeVar

from nas.errors import NasError, unknown_name
from nas.networks.architecture import Architecture
from nas.networks.operators.graph import INPUT, Primitive
from nas.networks.operators.unit import Unit, primitives, units

FLOAT_BYTES = 4

# Bytes of one weight or activation.
PRECISIONS: Mapping[str, int] = {"float32": 4, "float16": 2, "int8": 1}


@dataclass(frozen=True)
class Costs:
    """Costs of a unit or a network that do not depend on a device.

    `macs` are those of convolutions and linear layers for one image. `peak_activation_bytes` is for one float32 image,
    block after block, with the best order of operations inside each. assumption: attention holds all of its scores, as
    without a fused kernel.
    """

    params: int
    macs: int
    peak_activation_bytes: int


@dataclass(frozen=True)
class DetailedCosts(Costs):
    """Costs with the counts from which the bytes of a model and of its activations follow, for one image.

    `product_macs` are the multiply-accumulates between two tensors (attention), which `macs` leave out as the papers
    do. `weights` are those of convolutions and linear layers, `channels` their output channels, and `biases` their
    biases with batch normalisation folded in. `norms` are the scales and shifts of normalisations that cannot be
    folded. `moved_elements` are the elements that all primitives read and write, each input and output once; a split
    moves nothing, nor do the normalisation and activation of a convolution.
    """

    product_macs: int
    weights: int
    biases: int
    channels: int
    norms: int
    moved_elements: int

    def model_bytes(self, precision: str = "float32") -> int:
        """Bytes of the stored weights, with batch normalisation folded.

        In float32 and float16 every number takes 4 and 2 bytes. In int8 a weight takes 1 byte and a bias 4 (int32:
        arXiv:1712.05877, section 2.4); each output channel of a convolution or linear layer takes 4 more (the float32
        scale of its weights, quantised per channel: arXiv:1806.08342); normalisations that cannot be folded stay
        float32. Not counted are the structure of a file, and the scale and zero point of each activation tensor.
        Raises NasError for a precision that is not in `PRECISIONS`.
        """
        size = _size(precision)
        if precision == "int8":
            return self.weights * size + FLOAT_BYTES * (self.biases + self.channels + self.norms)
        return size * (self.weights + self.biases + self.norms)

    def activation_bytes(self, precision: str = "float32") -> int:
        """Bytes of activations that are read and written for one image."""
        return self.moved_elements * _size(precision)

    def intensity(self, precision: str = "float32") -> float:
        """MACs (attention's included) for each byte of model and activations that is read or written.

        This is the horizontal axis of the roofline model (Williams, Waterman and Patterson, Communications of the ACM
        52(4), 2009, doi:10.1145/1498765.1498785): a device waits for its memory if its ratio of MACs a second to bytes
        a second is higher. assumption: every tensor goes through the main memory; nothing stays in a cache.
        """
        moved = self.model_bytes(precision) + self.activation_bytes(precision)
        return (self.macs + self.product_macs) / moved


AnyCosts = TypeVar("AnyCosts", bound=Costs)


def estimate_costs(architecture: Architecture) -> Costs:
    """Parameters, MACs and peak activation memory of a network."""
    return total_costs(map(_brief_costs, units(architecture)))


def unit_costs(unit: Unit) -> DetailedCosts:
    """The costs of one unit."""
    rows = primitives(unit)
    layers = [p for p in rows if p.weights]
    norms = [p for p in rows if p.kind == "norm"]
    folded = [p for p in norms if _folds(rows, p)]
    return DetailedCosts(
        **vars(_brief_costs(unit)),
        product_macs=sum(p.product_macs for p in rows),
        weights=sum(p.weights for p in layers),
        biases=sum(p.out_channels for p in [*layers, *folded] if p.normalised or p.biased),
        channels=sum(p.out_channels for p in layers),
        norms=sum(p.params for p in norms) - sum(p.params for p in folded),
        moved_elements=sum(_moved(rows, p) for p in rows),
    )


def total_costs(rows: Iterable[AnyCosts]) -> AnyCosts:
    """The costs of several units (at least one) that run one after the other."""
    costs = list(rows)
    totals = {field.name: sum(getattr(cost, field.name) for cost in costs) for field in fields(costs[0])}
    totals["peak_activation_bytes"] = max(cost.peak_activation_bytes for cost in costs)
    return replace(costs[0], **totals)


def _brief_costs(unit: Unit) -> Costs:
    return Costs(unit.params, unit.macs, FLOAT_BYTES * unit.peak_elements)


def _folds(rows: tuple[Primitive, ...], norm: Primitive) -> bool:
    """Whether a normalisation can be folded into the parallel convolutions that it follows (MixConv)."""
    source = norm.inputs[0]
    if source == INPUT or rows[source].kind != "concat":
        return False
    parts = [rows[i] for i in rows[source].inputs if i != INPUT]
    bare = all(p.weights and not p.normalised and not p.biased and p.activation == "none" for p in parts)
    return bare and len(parts) == len(rows[source].inputs)


def _moved(rows: tuple[Primitive, ...], primitive: Primitive) -> int:
    """Elements that a primitive reads and writes."""
    if primitive.kind == "split":
        return 0
    read = sum(rows[0].in_elements if i == INPUT else rows[i].out_elements for i in primitive.inputs)
    return read + primitive.out_elements


def _size(precision: str) -> int:
    if precision not in PRECISIONS:
        raise NasError(unknown_name("precision", precision, PRECISIONS))
    return PRECISIONS[precision]
