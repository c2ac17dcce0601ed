"""What does a library call the layers of our blocks?

A `Layout` names, for each unit of a network, the library's counterparts of the unit's layers that have weights, in the
order in which our module registers them, which is that in which they run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from nas.errors import NasError
from nas.networks.operators import Unit

# The library's name of a layer; a tuple names several layers whose tensors are stacked to make one of ours.
Leaf = str | tuple[str, ...]
Leaves = Sequence[Leaf]

TORCH_EPSILON = 1e-5


class Layout(NamedTuple):
    """The names of one family of networks of one library.

    `marks` are patterns, each of which some name in a state dict of the family fits, and that no other family's names
    fit all of. `place` is the name of a block with {} for its numbers, which are read off the state dict: libraries
    count in stages, which our networks do not record. `leaves` gives the leaves of each unit, for the units and all
    places; `epsilon` that of the batch normalisations.
    """

    library: str
    family: str
    marks: tuple[str, ...]
    place: str
    leaves: Callable[[Sequence[Unit], Sequence[str]], Iterator[Leaves]]
    epsilon: Callable[[Sequence[Unit]], float]

    def recognises(self, names: Iterable[str]) -> bool:
        """Whether these are names of the family's tensors."""
        names = list(names)
        return all(any(re.match(mark, name) for name in names) for mark in self.marks)

    def places(self, names: Iterable[str]) -> list[str]:
        """The blocks in a state dict with these names, in the order in which they run."""
        pattern = re.compile(re.escape(self.place).replace(r"\{\}", r"(\d+)") + r"\.")
        matches = filter(None, map(pattern.match, names))
        return [self.place.format(*numbers) for numbers in sorted({tuple(map(int, m.groups())) for m in matches})]


def usual_epsilon(_: Sequence[Unit]) -> float:
    """That of torch."""
    return TORCH_EPSILON


def parts(unit: Unit) -> list[str]:
    """Which convolutions (and squeeze-and-excitation) an inverted residual has, in order.

    Of expand, depthwise (spatial in a Fused-MBConv, which may be that alone), squeeze and project.
    """
    block = unit.block
    squeeze = ["squeeze"] if block.se_channels else []
    expands = block.hidden_channels != unit.in_channels
    if block.op == "fused_mbconv":
        return ["spatial", *squeeze, "project"] if expands or squeeze else ["spatial"]
    expand = ["expand"] if block.op == "fbnet" or (block.op in ("mbconv", "mixconv") and expands) else []
    return [*expand, "depthwise", *squeeze, "project"]


def split(
    units: Sequence[Unit], places: Sequence[str], count: int | None = None
) -> tuple[Sequence[Unit], Sequence[Unit]]:
    """The `count` units of the places (by default one each), which come first, and those of the network's end.

    Raises NasError where the rest is no end: at most a convolution, then pooling and linear layers.
    """
    count = len(places) if count is None else count
    body, end = units[:count], units[count:]
    operators = [unit.block.op for unit in end]
    if "pool" not in operators[:2] or (operators[0] not in ("conv", "pool")):
        raise misfit(places)
    return body, end


def misfit(places: Sequence[str]) -> NasError:
    """That a network has another number of blocks."""
    last = f", the last of them {places[-1]}" if places else ""
    return NasError(f"they have {len(places)} blocks{last}, and the network has another number")


def unknown_operator(unit: Unit, library: str) -> NasError:
    """That a family has no such block."""
    return NasError(f"no network of {library} with such names has a block like {unit.key}")
