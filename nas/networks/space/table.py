"""Draw and cost many members of a search space at once.

A `SpaceTable` holds a space in arrays: the nodes and edges of its automaton, where every network is one path, and the
costs of each edge's blocks at each resolution. A network is drawn by a walk that chooses each edge in proportion to the
number of networks that continue it. Its costs are sums along the walk. An `Architecture` is only made on request. All
costs are those of the deployed form (`nas.networks.deployed`): functions of a unit's cost get units without branches.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from nas.errors import NasError
from nas.networks.architecture import Architecture, Block
from nas.networks.deployed import deployed_unit
from nas.networks.operators import FLOAT_BYTES, INPUT_CHANNELS, Unit
from nas.networks.space.sizes import halved, row_units

if TYPE_CHECKING:
    from nas.networks.space.search_space import SearchSpace

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Number = TypeVar("Number", np.int64, np.float64)
UnitCost = Callable[[Unit], float]

# The number of steps into which a stratified draw divides the range of the cost.
_STEPS = 2000
# A stratum counts as empty after this many rounds of draws without a network in it.
_MOST_ROUNDS = 50
_LEAST_DRAWN = 256


class _Piece(NamedTuple):
    """The blocks on an edge (the stem, one block, or the head), and the shape of their input."""

    blocks: tuple[Block, ...]
    in_channels: int
    halvings: int


@dataclass(frozen=True, eq=False)
class Members:
    """Networks of a space that were drawn together; `edges` are those of each walk (steps, networks)."""

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
    def resolutions(self) -> Ints:
        """The resolution of each, in pixels."""
        resolutions: Ints = np.array(self.table.resolutions)[self.table.resolution_of[self.edges[0]]]
        return resolutions

    @property
    def params(self) -> Ints:
        """Parameters of each network in its deployed form."""
        return self.summed(self.table.costs.params)

    @property
    def macs(self) -> Ints:
        """MACs of each network in its deployed form, as `estimate_costs` counts them."""
        return self.summed(self.table.costs.macs)

    @property
    def peak_activation_bytes(self) -> Ints:
        """Peak activation memory of each network in its deployed form, as `estimate_costs` counts it."""
        peaks = self.table.costs.peak_elements
        largest = np.zeros(len(self), np.int64)
        for places in self._places():
            np.maximum(largest, peaks[places], out=largest)
        return FLOAT_BYTES * largest

    def total(self, unit_cost: UnitCost) -> Floats:
        """The sum of `unit_cost`, such as latency in milliseconds, over the units of each network."""
        return self.summed(self.table.unit_costs(unit_cost).ravel())

    def summed(self, costs: NDArray[Number]) -> NDArray[Number]:
        """The sum of `costs` (flattened: resolutions × pieces) over the pieces of each network."""
        sums = np.zeros(len(self), costs.dtype)
        for places in self._places():
            sums += costs[places]
        return sums

    def _places(self) -> Iterator[Ints]:
        """For each step, the index of each network's piece in flattened tables (resolutions × pieces)."""
        table = self.table
        offset = table.resolution_of[self.edges[0]] * len(table.pieces)
        for step in self.edges:
            yield offset + table.piece_of[step]


class _Costs(NamedTuple):
    """The costs of each piece at each resolution, flattened (resolutions × pieces)."""

    params: Ints
    macs: Ints
    peak_elements: Ints


class SpaceTable:
    """A space in arrays. Node 0 is the beginning; the last node is the end, with one empty edge to itself.

    Edge e goes from `node_of[e]` to `after[e]` and has the blocks `pieces[piece_of[e]]`; edges of node 0 also have the
    resolution `resolutions[resolution_of[e]]`. The edges of node n are `first_edge[n]` to `first_edge[n + 1]` - 1.
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
        # For walks of many networks in narrow types, which are gathered faster.
        self._first = self.first_edge[:-1].astype(np.int32)
        self._degree = np.diff(self.first_edge).astype(float)
        self._after = self.after.astype(np.int32)
        self._alias, self._keep_probability = _alias_tables(self.first_edge.tolist(), behind)

    @cached_property
    def steps(self) -> int:
        """The number of edges of the longest walk."""
        longest = [0] * (self.end + 1)
        for node in range(self.end - 1, -1, -1):
            edges = slice(self.first_edge[node], self.first_edge[node + 1])
            longest[node] = 1 + max(longest[after] for after in self.after[edges].tolist())
        return longest[0]

    def sample(self, count: int, rng: np.random.Generator) -> Members:
        """`count` members, each network of the space with the same probability (up to rounding in float64)."""
        node = np.zeros(count, np.int32)
        walk: list[NDArray[np.int32]] = []
        while not walk or (node != self.end).any():
            # One random number for both draws of the alias method: which edge, and whether to keep it.
            drawn = rng.random(count) * self._degree[node]
            nth = drawn.astype(np.int32)
            edge = self._first[node] + nth
            edge = np.where(drawn - nth < self._keep_probability[edge], edge, self._alias[edge])
            walk.append(edge)
            node = self._after[edge]
        return self.members(np.array(walk))

    def sample_stratified(
        self, count: int, strata: int, unit_cost: UnitCost, rng: np.random.Generator
    ) -> tuple[Members, Ints, Floats]:
        """Draw `count` members in each of `strata` intervals of equal width, which divide the whole range of a cost.

        Within a stratum every network has the same probability. Returns the members, the stratum of each, and the edges
        of the strata (`strata` + 1). A stratum stays empty if no network is found in it; one with fewer than `count`
        networks repeats some. Costs must not be negative. Raises NasError for a `count` or `strata` below 1.
        """
        if count < 1 or strata < 1:
            raise NasError(f"count and strata must be at least 1, but got {count} and {strata}")
        costs = self.unit_costs(unit_cost)
        paths = _CostedPaths(self, costs)
        edges = np.linspace(paths.least, paths.most, strata + 1)
        # Widened, so that rounding does not exclude the cheapest and the most expensive network.
        edges[0], edges[-1] = edges[0] * (1 - 1e-12), edges[-1] * (1 + 1e-12)
        walks_of_strata, strata_of = [], []
        for stratum in range(strata):
            walks = _accepted(paths, edges[stratum], edges[stratum + 1], count, rng, last=stratum == strata - 1)
            walks_of_strata.append(walks)
            strata_of.append(np.full(walks.shape[1], stratum))
        return self.members(np.concatenate(walks_of_strata, axis=1)), np.concatenate(strata_of), edges

    def members(self, walks: NDArray[np.int32]) -> Members:
        """The networks of walks (steps, networks)."""
        return Members(self, walks)

    @cached_property
    def costs(self) -> _Costs:
        """Parameters, MACs and peak of each piece at each resolution."""
        params, macs, peaks = (np.zeros(self._used.shape, np.int64) for _ in range(3))
        peak_of: dict[tuple[Any, ...], int] = {}
        for place, rows in self._units:
            params[place] = sum(unit.params for unit in rows)
            macs[place] = sum(unit.macs for unit in rows)
            for unit in rows:
                # Cached by what the peak depends on: units that differ in kernels or activations share it.
                shapes = _shapes(unit)
                if shapes not in peak_of:
                    peak_of[shapes] = unit.peak_elements
                peaks[place] = max(peaks[place], peak_of[shapes])
        return _Costs(params.ravel(), macs.ravel(), peaks.ravel())

    def unit_costs(self, unit_cost: UnitCost) -> Floats:
        """The sum of `unit_cost` over the units of each piece (resolutions, pieces); 0 where no network has it."""
        totals = np.zeros(self._used.shape)
        for place, rows in self._units:
            totals[place] = sum(unit_cost(unit) for unit in rows)
        return totals

    @cached_property
    def reachable(self) -> NDArray[np.bool_]:
        """Whether networks of each resolution pass through each node (resolutions, nodes)."""
        masks = [0] * (self.end + 1)  # resolutions as bits
        starts = len(self.resolution_of)
        for number, after in zip(self.resolution_of.tolist(), self.after.tolist(), strict=False):
            masks[after] |= 1 << number
        # Nodes are sorted: each comes before those that follow it.
        for node, after in zip(self.node_of[starts:].tolist(), self.after[starts:].tolist(), strict=True):
            masks[after] |= masks[node]
        masks[0] = (1 << len(self.resolutions)) - 1
        return np.array([[mask >> number & 1 for mask in masks] for number in range(len(self.resolutions))], bool)

    @cached_property
    def _used(self) -> NDArray[np.bool_]:
        """Whether networks of each resolution have each piece (resolutions, pieces)."""
        used = np.zeros((len(self.resolutions), len(self.pieces)), bool)
        starts = len(self.resolution_of)
        used[self.resolution_of, self.piece_of[:starts]] = True
        for number, nodes in enumerate(self.reachable):
            used[number, self.piece_of[starts:][nodes[self.node_of[starts:]]]] = True
        return used

    @cached_property
    def _units(self) -> list[tuple[tuple[int, int], tuple[Unit, ...]]]:
        """The deployed units of each piece, with the piece's place (resolution, piece) in the tables."""
        placed_units = []
        for number, index in np.argwhere(self._used).tolist():
            piece = self.pieces[index]
            if piece.blocks:
                side = halved(self.resolutions[number], piece.halvings)
                rows = row_units(piece.blocks, piece.in_channels, side)
                placed_units.append(((number, index), tuple(map(deployed_unit, rows))))
        return placed_units


def _shapes(unit: Unit) -> tuple[Any, ...]:
    """Everything that the peak of a unit depends on: the kinds, inputs and output shapes of its operations."""
    rows = unit.trace.primitives
    return (
        unit.in_channels,
        unit.height,
        *((p.kind, p.inputs, p.out_channels, p.out_height, p.out_width) for p in rows),
    )


class _CostedPaths:
    """The number of walks from each node to the end, by their cost in whole steps.

    Costs are relative to the cheapest walk from the same node, so that the steps divide only the range of costs.
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
        # A range as small as rounding errors is not divided.
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
        """Draw walks (steps, count) with costs from `low` to `high`, and some slightly outside.

        All walks inside have the same probability. Where there are none, the result is empty (steps, 0).
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
        edge, place = np.divmod(drawn, len(window))
        number = table.resolution_of[edge]
        remaining = window[place] - self._quantised[number, edge]
        node = table.after[edge]
        walk = [edge]
        while len(walk) < table.steps:
            edge = self._next_edges(number, node, remaining, rng)
            remaining = remaining - self._quantised[number, edge]
            node = table.after[edge]
            walk.append(edge)
        return np.array(walk, np.int32)

    def cost(self, walks: NDArray[np.int32]) -> Floats:
        """The exact costs of walks."""
        return self.table.members(walks).summed(self.costs.ravel())

    def _next_edges(self, number: Ints, node: Ints, remaining: Ints, rng: np.random.Generator) -> Ints:
        """Draw an edge for each walk in proportion to the number of continuations that cost exactly `remaining`."""
        table = self.table
        next_edges = np.empty(len(node), np.int64)
        groups, group_of = np.unique(number * (table.end + 1) + node, return_inverse=True)
        for index, group in enumerate(groups.tolist()):
            chosen = np.flatnonzero(group_of == index)
            resolution, at = divmod(group, table.end + 1)
            edges = np.arange(table.first_edge[at], table.first_edge[at + 1])
            after_edge = remaining[chosen][None] - self._quantised[resolution, edges][:, None]
            total = np.cumsum(self._looked_up(resolution, table.after[edges], after_edge), axis=0)
            next_edges[chosen] = edges[_pick(total.T, rng.random(len(chosen)))]
        return next_edges

    def _looked_up(self, number: int, nodes: Ints, costs: Ints) -> Floats:
        """The number of walks from `nodes` (n) with `costs` (n or 1, m), as (n, m)."""
        costs = np.atleast_2d(costs)
        inside = (costs >= 0) & (costs < self._bins)
        rows = self._row_of[number][nodes]
        return np.where(inside, self._counts[number][rows[:, None], np.where(inside, costs, 0)], 0.0)

    @cached_property
    def _row_of(self) -> Ints:
        """The row of each node in the counts of each resolution, which have only the nodes that it reaches."""
        return np.cumsum(self.table.reachable, axis=1) - 1

    def _count(self, number: int) -> Floats:
        table, rows = self.table, self._row_of[number]
        counts = np.zeros((int(table.reachable[number].sum()), self._bins))
        counts[rows[table.end], 0] = 1
        for node in np.flatnonzero(table.reachable[number])[-2:0:-1].tolist():
            row = counts[rows[node]]
            for edge in range(table.first_edge[node], table.first_edge[node + 1]):
                cost = self._quantised[number, edge]
                # Walks beyond the last bin cost more than `draw` ever asks for.
                row[cost:] += counts[rows[table.after[edge]], : max(0, self._bins - cost)]
        return counts


def _accepted(
    paths: _CostedPaths, low: float, high: float, count: int, rng: np.random.Generator, *, last: bool
) -> NDArray[np.int32]:
    """`count` walks with costs from `low` to below `high` (the last stratum includes `high`), or none."""
    hits_of_rounds: list[NDArray[np.int32]] = []
    missing = count
    for round_number in itertools.count():
        drawn = paths.draw(low, high, max(_LEAST_DRAWN, 2 * missing), rng)
        cost = paths.cost(drawn)
        hits = drawn[:, (cost >= low) & ((cost <= high) if last else (cost < high))]
        hits_of_rounds.append(hits[:, :missing])
        missing -= hits_of_rounds[-1].shape[1]
        hopeless = missing == count and round_number == _MOST_ROUNDS
        if not missing or hopeless or not drawn.shape[1]:
            break
    return np.concatenate(hits_of_rounds, axis=1)


def _pick(cumulative: Floats, uniform: Floats) -> Ints:
    """Inverse sampling: the index at which `cumulative` (n or 1, choices) exceeds each of `uniform` times the total."""
    index: Ints
    if len(cumulative) == 1:
        index = np.searchsorted(cumulative[0], uniform * cumulative[0, -1], side="right")
    else:
        index = (cumulative <= (uniform * cumulative[:, -1])[:, None]).sum(1)
    return index


def _alias_tables(first_edge: Sequence[int], weights: Sequence[int]) -> tuple[NDArray[np.int32], Floats]:
    """Walker's tables of each node's edges: draw an edge uniformly, keep it with its probability or take its alias.

    Walker, "An efficient method for generating discrete random variables with general distributions", ACM Transactions
    on Mathematical Software 3(3), 1977, doi:10.1145/355744.355749.
    """
    alias, keep_probability = np.arange(len(weights), dtype=np.int32), np.ones(len(weights))
    for first, end in itertools.pairwise(first_edge):
        total = sum(weights[first:end])
        # Counts of any size: Python divides whole numbers exactly before it rounds.
        scaled = {edge: weights[edge] * (end - first) / total for edge in range(first, end)}
        small = [edge for edge, share in scaled.items() if share < 1]
        large = [edge for edge, share in scaled.items() if share >= 1]
        while small and large:
            edge, donor = small.pop(), large[-1]
            keep_probability[edge], alias[edge] = scaled[edge], donor
            scaled[donor] -= 1 - scaled[edge]
            if scaled[donor] < 1:
                small.append(large.pop())
    return alias, keep_probability
