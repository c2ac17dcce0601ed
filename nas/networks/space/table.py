"""How are many members of a search space drawn and costed at once?

A `SpaceTable` is a space in arrays: the nodes and edges of its automaton, where every network is one path, and for
each edge what its blocks cost at each resolution. Drawing a network is a walk by the numbers of networks that lie
behind each edge; its costs are sums along the walk. Networks are made only for those that are looked at. All costs are
those of the deployed form (`nas.networks.deployed`): a function of a unit's cost is given units without branches.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from nas.errors import NasError
from nas.networks.architecture import Architecture, Block
from nas.networks.deployed import deployed_unit
from nas.networks.operators import FLOAT_BYTES, INPUT_CHANNELS, Unit
from nas.networks.space.search_space import SearchSpace, halved, row_units

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Number = TypeVar("Number", np.int64, np.float64)
UnitCost = Callable[[Unit], float]

# Into how many steps a stratified draw divides the range of the cost.
_STEPS = 2000
# A stratum whose paths were drawn this many times without a hit counts as empty.
_MOST_ROUNDS = 50
_LEAST_DRAWN = 256


class _Piece(NamedTuple):
    """Blocks that stand together on an edge: the stem, one block, or the head; with the input that they get."""

    blocks: tuple[Block, ...]
    in_channels: int
    halvings: int


@dataclass(frozen=True, eq=False)
class Members:
    """Networks of a space that were drawn together: an edge for each step of each (steps, networks)."""

    table: SpaceTable
    edges: NDArray[np.int32]

    def __len__(self) -> int:
        return int(self.edges.shape[1])

    def __getitem__(self, index: int) -> Architecture:
        """Network number `index`."""
        table, walk = self.table, self.edges[:, index].tolist()
        blocks = [block for edge in walk for block in table.pieces[table.piece_of[edge]].blocks]
        resolution = table.resolutions[table.resolution_of[walk[0]]]
        return Architecture(resolution, table.space.format.classes, tuple(blocks))

    def __iter__(self) -> Iterator[Architecture]:
        return (self[index] for index in range(len(self)))

    @property
    def params(self) -> Ints:
        """Parameters of each, as it is deployed."""
        return self.summed(self.table.costs.params)

    @property
    def macs(self) -> Ints:
        """MACs of each, as `estimate_costs` counts them of its deployed form."""
        return self.summed(self.table.costs.macs)

    @property
    def peak_activation_bytes(self) -> Ints:
        """Peak activation memory of each, as `estimate_costs` counts it of its deployed form."""
        peaks = self.table.costs.peak_elements
        found = np.zeros(len(self), np.int64)
        for places in self._places():
            np.maximum(found, peaks[places], out=found)
        return FLOAT_BYTES * found

    def total(self, unit_cost: UnitCost) -> Floats:
        """The sum of `unit_cost` over the units of each, such as latency in milliseconds."""
        return self.summed(self.table.unit_costs(unit_cost).ravel())

    def summed(self, costs: NDArray[Number]) -> NDArray[Number]:
        """The sum of `costs`, which stand flattened by resolution and piece, over the pieces of each network."""
        found = np.zeros(len(self), costs.dtype)
        for places in self._places():
            found += costs[places]
        return found

    def _places(self) -> Iterator[Ints]:
        """For each step, where the costs of its piece stand in the flattened tables (resolution, piece)."""
        table = self.table
        offset = table.resolution_of[self.edges[0]] * len(table.pieces)
        for step in self.edges:
            yield offset + table.piece_of[step]


class _Costs(NamedTuple):
    """What each piece costs at each resolution, flattened: (resolutions × pieces)."""

    params: Ints
    macs: Ints
    peak_elements: Ints


class SpaceTable:
    """A space in arrays. Node 0 is the beginning, the last one the end, which has one empty edge to itself.

    `node_of` and `after` are the nodes at the two ends of each edge, `first_edge` the edges of each node (with one more
    entry at the end), `piece_of` the blocks on an edge and `resolution_of` the resolution's number for edges of node 0.
    """

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        automaton = space.automaton
        self.resolutions = tuple(dict.fromkeys(start.resolution for start in automaton.starts))
        numbers = {node: number for number, node in enumerate(automaton.nodes, start=1)}
        end = len(numbers) + 1
        pieces: dict[_Piece, int] = {}
        piece_of: list[int] = []
        after: list[int] = []
        first_edge = [0]
        behind: list[int] = []
        resolution_of: list[int] = []

        def add(piece: _Piece, target: int, count: int) -> None:
            piece_of.append(pieces.setdefault(piece, len(pieces)))
            after.append(target)
            behind.append(count)

        for start in automaton.starts:
            add(_Piece(start.stem, INPUT_CHANNELS, 0), numbers[start.node], automaton.counts[start.node])
            resolution_of.append(self.resolutions.index(start.resolution))
        for node in automaton.nodes:
            first_edge.append(len(after))
            state = next(iter(node))
            halvings = automaton.halvings(state)
            for block, follower in automaton.followers(node).items():
                piece = _Piece((block,), state.in_channels, halvings)
                add(piece, numbers[follower], automaton.counts[follower])
            for head in automaton.ends(node):
                add(_Piece(head, state.in_channels, halvings), end, 1)
        first_edge.append(len(after))
        add(_Piece((), 1, 0), end, 1)
        first_edge.append(len(after))

        self.pieces = tuple(pieces)
        self.end = end
        self.piece_of = np.array(piece_of)
        self.after = np.array(after)
        self.first_edge = np.array(first_edge)
        self.node_of = np.repeat(np.arange(end + 1), np.diff(self.first_edge))
        self.resolution_of = np.array(resolution_of)
        # For walks of many networks: smaller numbers are gathered faster.
        self._first = self.first_edge[:-1].astype(np.int32)
        self._degree = np.diff(self.first_edge).astype(float)
        self._after = self.after.astype(np.int32)
        self._alias, self._kept = _alias_tables(self.first_edge.tolist(), behind)

    @cached_property
    def steps(self) -> int:
        """Edges of the longest walk."""
        longest = [0] * (self.end + 1)
        for node in range(self.end - 1, -1, -1):
            edges = slice(self.first_edge[node], self.first_edge[node + 1])
            longest[node] = 1 + max(longest[after] for after in self.after[edges].tolist())
        return longest[0]

    def sample(self, count: int, rng: np.random.Generator) -> Members:
        """`count` members, each network of the space with the same probability (to within float64's rounding)."""
        node = np.zeros(count, np.int32)
        walk: list[NDArray[np.int32]] = []
        while not walk or (node != self.end).any():
            # One number for both draws of the alias method: which edge, and whether it is kept.
            drawn = rng.random(count) * self._degree[node]
            nth = drawn.astype(np.int32)
            edge = self._first[node] + nth
            edge = np.where(drawn - nth < self._kept[edge], edge, self._alias[edge])
            walk.append(edge)
            node = self._after[edge]
        return self.members(np.array(walk))

    def sample_stratified(
        self, count: int, strata: int, unit_cost: UnitCost, rng: np.random.Generator
    ) -> tuple[Members, Ints, Floats]:
        """Members spread evenly over the whole range of a cost: `count` in each of `strata` intervals of equal width.

        Within a stratum every network has the same probability. Returns the members, the number of each one's stratum
        and the strata's edges (`strata` + 1 of them). A stratum in which no network was found stays empty, and one with
        fewer than `count` networks has some of them more than once. Costs must not be negative. Raises NasError for a
        `count` or `strata` below 1.
        """
        if count < 1 or strata < 1:
            raise NasError(f"count and strata must be at least 1, but got {count} and {strata}")
        costs = self.unit_costs(unit_cost)
        paths = _CostedPaths(self, costs)
        edges = np.linspace(paths.least, paths.most, strata + 1)
        # The ends themselves belong to the outermost strata, whatever order their costs are added in.
        edges[0], edges[-1] = edges[0] * (1 - 1e-12), edges[-1] * (1 + 1e-12)
        found, owners = [], []
        for stratum in range(strata):
            walks = _accepted(paths, edges[stratum], edges[stratum + 1], count, rng, last=stratum == strata - 1)
            found.append(walks)
            owners.append(np.full(walks.shape[1], stratum))
        return self.members(np.concatenate(found, axis=1)), np.concatenate(owners), edges

    def members(self, walks: NDArray[np.int32]) -> Members:
        """The networks of walks (steps, networks)."""
        return Members(self, walks)

    @cached_property
    def costs(self) -> _Costs:
        """Parameters, MACs and peak of each piece at each resolution."""
        params, macs, peaks = (np.zeros(self._used.shape, np.int64) for _ in range(3))
        known: dict[tuple[Any, ...], int] = {}
        for place, rows in self._units:
            params[place] = sum(unit.params for unit in rows)
            macs[place] = sum(unit.macs for unit in rows)
            for unit in rows:
                # Units of one peak by far outnumber peaks: kernels and activations make no difference to it.
                shapes = _shapes(unit)
                if shapes not in known:
                    known[shapes] = unit.peak_elements
                peaks[place] = max(peaks[place], known[shapes])
        return _Costs(params.ravel(), macs.ravel(), peaks.ravel())

    def unit_costs(self, unit_cost: UnitCost) -> Floats:
        """The sum of `unit_cost` over each piece: (resolutions, pieces). 0 for those that no network has."""
        found = np.zeros(self._used.shape)
        for place, rows in self._units:
            found[place] = sum(unit_cost(unit) for unit in rows)
        return found

    @cached_property
    def reachable(self) -> NDArray[np.bool_]:
        """Which nodes networks of each resolution pass through: (resolutions, nodes)."""
        found = [0] * (self.end + 1)  # resolutions as bits
        starts = len(self.resolution_of)
        for number, after in zip(self.resolution_of.tolist(), self.after.tolist(), strict=False):
            found[after] |= 1 << number
        # Every node stands before those that follow it.
        for node, after in zip(self.node_of[starts:].tolist(), self.after[starts:].tolist(), strict=True):
            found[after] |= found[node]
        found[0] = (1 << len(self.resolutions)) - 1
        return np.array([[mask >> number & 1 for mask in found] for number in range(len(self.resolutions))], bool)

    @cached_property
    def _used(self) -> NDArray[np.bool_]:
        """Which pieces networks of each resolution have: (resolutions, pieces)."""
        found = np.zeros((len(self.resolutions), len(self.pieces)), bool)
        starts = len(self.resolution_of)
        found[self.resolution_of, self.piece_of[:starts]] = True
        for number, nodes in enumerate(self.reachable):
            found[number, self.piece_of[starts:][nodes[self.node_of[starts:]]]] = True
        return found

    @cached_property
    def _units(self) -> list[tuple[tuple[int, int], tuple[Unit, ...]]]:
        """The units of each piece at each resolution as a device runs them, by where its costs stand."""
        found = []
        for number, index in np.argwhere(self._used).tolist():
            piece = self.pieces[index]
            if piece.blocks:
                side = halved(self.resolutions[number], piece.halvings)
                rows = row_units(piece.blocks, piece.in_channels, side)
                found.append(((number, index), tuple(map(deployed_unit, rows))))
        return found


def _shapes(unit: Unit) -> tuple[Any, ...]:
    """All that the peak of a unit depends on: its operations' kinds and inputs, and the sizes of what they make."""
    rows = unit.trace.primitives
    return (
        unit.in_channels,
        unit.height,
        *((p.kind, p.inputs, p.out_channels, p.out_height, p.out_width) for p in rows),
    )


class _CostedPaths:
    """How many walks there are from each node to the end, by what they cost in whole steps.

    Costs are taken relative to the cheapest walk from the same node, so that the steps divide the range alone.
    """

    def __init__(self, table: SpaceTable, costs: Floats) -> None:
        self.table = table
        self.costs = costs
        shape = (len(table.resolutions), table.end + 1)
        cheapest, dearest = np.zeros(shape), np.zeros(shape)
        first = table.first_edge
        for node in range(table.end - 1, 0, -1):
            edges = slice(first[node], first[node + 1])
            of_edges, after = costs[:, table.piece_of[edges]], table.after[edges]
            cheapest[:, node] = (of_edges + cheapest[:, after]).min(1)
            dearest[:, node] = (of_edges + dearest[:, after]).max(1)
        starts = slice(0, first[1])
        begun = costs[table.resolution_of, table.piece_of[starts]]
        self.least = float((begun + cheapest[table.resolution_of, table.after[starts]]).min())
        self.most = float((begun + dearest[table.resolution_of, table.after[starts]]).max())
        span = self.most - self.least
        # A range that is but the rounding of sums has no steps.
        self.quantum = span / _STEPS if span > 1e-9 * abs(self.most) else abs(self.most) or 1.0
        # A walk's cost in steps is off by at most half a step for each of its edges.
        self.margin = table.steps // 2 + 1
        self._bins = _STEPS + 2 * self.margin + 1
        beyond = costs[:, table.piece_of] + cheapest[:, table.after]
        self._quantised = np.rint((beyond - cheapest[:, table.node_of]) / self.quantum).astype(np.int64)
        begun += cheapest[table.resolution_of, table.after[starts]]
        self._quantised[table.resolution_of, np.arange(first[1])] = np.rint((begun - self.least) / self.quantum)
        self._counts = [self._count(number) for number in range(len(table.resolutions))]

    def draw(self, low: float, high: float, count: int, rng: np.random.Generator) -> NDArray[np.int32]:
        """Walks (steps, count) that cost at least `low` and at most `high`, or slightly less or more.

        All within have the same probability. There are none (steps, 0) where there is no such walk.
        """
        table = self.table
        lower = max(0, int((low - self.least) / self.quantum) - self.margin)
        window = np.arange(lower, int((high - self.least) / self.quantum) + self.margin + 1)
        weights = np.array(
            [
                self._looked_up(number, table.after[edge : edge + 1], window - self._quantised[number, edge])[0]
                for edge, number in enumerate(table.resolution_of.tolist())
            ]
        )
        total = np.cumsum(weights.ravel())
        if total[-1] == 0:
            return np.zeros((table.steps, 0), np.int32)
        drawn = _pick(total[None], rng.random(count))
        edge, left = np.divmod(drawn, len(window))
        number = table.resolution_of[edge]
        left = window[left] - self._quantised[number, edge]
        node = table.after[edge]
        walk = [edge]
        while len(walk) < table.steps:
            edge = self._next_edges(number, node, left, rng)
            left = left - self._quantised[number, edge]
            node = table.after[edge]
            walk.append(edge)
        return np.array(walk, np.int32)

    def cost(self, walks: NDArray[np.int32]) -> Floats:
        """What walks cost, exactly."""
        return self.table.members(walks).summed(self.costs.ravel())

    def _next_edges(self, number: Ints, node: Ints, left: Ints, rng: np.random.Generator) -> Ints:
        """An edge for each walk, by the numbers of walks behind it that cost what is left."""
        table = self.table
        found = np.empty(len(node), np.int64)
        groups, group_of = np.unique(number * (table.end + 1) + node, return_inverse=True)
        for index, group in enumerate(groups.tolist()):
            chosen = np.flatnonzero(group_of == index)
            resolution, at = divmod(group, table.end + 1)
            edges = np.arange(table.first_edge[at], table.first_edge[at + 1])
            after_edge = left[chosen][None] - self._quantised[resolution, edges][:, None]
            total = np.cumsum(self._looked_up(resolution, table.after[edges], after_edge), axis=0)
            found[chosen] = edges[_pick(total.T, rng.random(len(chosen)))]
        return found

    def _looked_up(self, number: int, nodes: Ints, costs: Ints) -> Floats:
        """Numbers of walks from `nodes` (n) that cost `costs` (n or 1, m): (n, m)."""
        costs = np.atleast_2d(costs)
        inside = (costs >= 0) & (costs < self._bins)
        rows = self._row_of[number][nodes]
        return np.where(inside, self._counts[number][rows[:, None], np.where(inside, costs, 0)], 0.0)

    @cached_property
    def _row_of(self) -> Ints:
        """Where the counts of each node stand, among those of the nodes that each resolution reaches."""
        return np.cumsum(self.table.reachable, axis=1) - 1

    def _count(self, number: int) -> Floats:
        table, rows = self.table, self._row_of[number]
        found = np.zeros((int(table.reachable[number].sum()), self._bins))
        found[rows[table.end], 0] = 1
        for node in np.flatnonzero(table.reachable[number])[-2:0:-1].tolist():
            row = found[rows[node]]
            for edge in range(table.first_edge[node], table.first_edge[node + 1]):
                cost = self._quantised[number, edge]
                # What is left out costs more than any walk that is asked for.
                row[cost:] += found[rows[table.after[edge]], : max(0, self._bins - cost)]
        return found


def _accepted(
    paths: _CostedPaths, low: float, high: float, count: int, rng: np.random.Generator, *, last: bool
) -> NDArray[np.int32]:
    """`count` walks that cost from `low` to below `high` (to `high` for the last stratum), or none."""
    found: list[NDArray[np.int32]] = []
    missing = count
    for round_number in itertools.count():
        drawn = paths.draw(low, high, max(_LEAST_DRAWN, 2 * missing), rng)
        cost = paths.cost(drawn)
        hits = drawn[:, (cost >= low) & ((cost <= high) if last else (cost < high))]
        found.append(hits[:, :missing])
        missing -= found[-1].shape[1]
        hopeless = missing == count and round_number == _MOST_ROUNDS
        if not missing or hopeless or not drawn.shape[1]:
            break
    return np.concatenate(found, axis=1)


def _pick(cumulative: Floats, uniform: Floats) -> Ints:
    """For each number in [0, 1) the index that its share of the total falls on; `cumulative` is (n or 1, choices)."""
    if len(cumulative) == 1:
        found: Ints = np.searchsorted(cumulative[0], uniform * cumulative[0, -1], side="right")
        return found
    found = (cumulative <= (uniform * cumulative[:, -1])[:, None]).sum(1)
    return found


def _alias_tables(first_edge: Sequence[int], weights: Sequence[int]) -> tuple[NDArray[np.int32], Floats]:
    """Walker's tables for the edges of each node: draw an edge evenly, keep it by `kept`, else take its alias.

    Walker, "An efficient method for generating discrete random variables with general distributions", ACM Transactions
    on Mathematical Software 3(3), 1977, doi:10.1145/355744.355749.
    """
    alias, kept = np.arange(len(weights), dtype=np.int32), np.ones(len(weights))
    for first, end in itertools.pairwise(first_edge):
        total = sum(weights[first:end])
        # Whole numbers of any size, divided exactly before they are rounded.
        scaled = {edge: weights[edge] * (end - first) / total for edge in range(first, end)}
        small = [edge for edge, share in scaled.items() if share < 1]
        large = [edge for edge, share in scaled.items() if share >= 1]
        while small and large:
            edge, donor = small.pop(), large[-1]
            kept[edge], alias[edge] = scaled[edge], donor
            scaled[donor] -= 1 - scaled[edge]
            if scaled[donor] < 1:
                small.append(large.pop())
    return alias, kept
