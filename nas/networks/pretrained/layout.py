"""`Layout`: a library's names for the layers of our blocks.

For each unit of a network it has the library's names of the unit's layers with weights, in the order in which our
module registers them, which is that in which they run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from nas.errors import NasError
from nas.networks.operators import Unit

# The library's name of a layer, or the names of several layers whose tensors are concatenated to one of ours.
Leaf = str | tuple[str, ...]
Leaves = Sequence[Leaf]

TORCH_EPSILON = 1e-5


class Layout(NamedTuple):
    """The names of one family of networks of one library.

    `marks` are patterns that recognise the family: in its state dicts, and in no other family's, each pattern matches
    some name. `place` is the name of a block with {} for its numbers. These are read from the state dict, because
    libraries count in stages, which our networks do not record. `leaves` gives the names of each unit's layers, from
    all units and places; `epsilon` gives the epsilon of the batch normalisations.
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
        """The names of the blocks in a state dict with these names, in the order in which they run."""
        pattern = re.compile(re.escape(self.place).replace(r"\{\}", r"(\d+)") + r"\.")
        matches = filter(None, map(pattern.match, names))
        return [self.place.format(*numbers) for numbers in sorted({tuple(map(int, m.groups())) for m in matches})]


def usual_epsilon(_: Sequence[Unit]) -> float:
    """The epsilon of torch, for all networks of the family."""
    return TORCH_EPSILON


def parts(unit: Unit) -> list[str]:
    """The parts of an inverted residual in order: expand, depthwise, squeeze, project, without those that it lacks.

    A Fused-MBConv has spatial, squeeze and project, or spatial alone.
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
    """The first `count` units (by default as many as places), and those of the network's end.

    Raises NasError unless the end is at most one convolution, then pooling and linear layers.
    """
    count = len(places) if count is None else count
    body, end = units[:count], units[count:]
    operators = [unit.block.op for unit in end]
    if "pool" not in operators[:2] or (operators[0] not in ("conv", "pool")):
        raise misfit(places)
    return body, end


def misfit(places: Sequence[str]) -> NasError:
    """The error for a network with another number of blocks."""
    last = f", the last of them {places[-1]}" if places else ""
    return NasError(f"they have {len(places)} blocks{last}, and the network has another number")


def unknown_operator(unit: Unit, library: str) -> NasError:
    """The error for a block that no network of the library's family has."""
    return NasError(f"no network of {library} with such names has a block like {unit.key}")
