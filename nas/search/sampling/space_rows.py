"""Turn many rows of choices into the networks that they stand for, all at once.

A row holds, for each of a space's parameters in order, the number of its choice. `SpaceTable` costs networks by their
walks through the space's automaton. Here rows become such walks, block by block, for all rows at the same time.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution

from nas.networks.architecture import Block
from nas.networks.space.automaton import Decisions
from nas.networks.space.blocks import Choice
from nas.networks.space.search_space import SearchSpace
from nas.networks.space.table import Members, SpaceTable

Rows = NDArray[np.int64]


class SpaceRows:
    """The members of a space as rows. Blocks are looked up when they first occur, and remembered."""

    def __init__(self, table: SpaceTable) -> None:
        self.table = table
        self._space = table.space
        self._place = {parameter.name: place for place, parameter in enumerate(self._space.parameters)}
        self._slots = [
            _Slot(table, self._place, index, position)
            for index, stage in enumerate(self._space.format.stages)
            for position in range(max(stage.depth))
        ]
        # The edge of the head, by way of deciding the whole and node; -1 where it was not looked up yet.
        self._heads = np.full(len(self._space.automaton.wholes) * (table.end + 1), -1)
        # Of the rows that were walked last: their places by key, their walks and their canonical rows.
        no_rows = np.zeros((0, len(self._place)), np.int64)
        self._last: tuple[dict[bytes, int], NDArray[np.int32], Rows] = {}, np.zeros((0, 0), np.int32), no_rows

    @cached_property
    def distributions(self) -> Mapping[str, BaseDistribution]:
        """The space's parameters as Optuna has them."""
        return {p.name: CategoricalDistribution(p.choices) for p in self._space.parameters}

    def members(self, rows: Rows) -> Members:
        """The networks of rows (n, parameters)."""
        return self.table.members(self._walked(rows)[0])

    def canonical(self, rows: Rows) -> Rows:
        """The rows with every choice that makes no difference set to 0: those of absent blocks and unused settings.

        Rows that differ in a decision about a whole stage or network stay different, even where the networks are equal.
        """
        return self._walked(rows)[1]

    def _walked(self, rows: Rows) -> tuple[NDArray[np.int32], Rows]:
        """The walks (steps, n) of rows and their canonical rows; those of the last call are remembered."""
        # The sampler asks for several figures of the same rows, or of some of them, one after the other.
        places, walks, spelt = self._last
        keys = _keys(rows)
        if not places.keys() >= set(keys):
            walks, spelt = self._walk(rows)
            # A row and its own canonical spelling walk the same way.
            places = dict(zip([*keys, *_keys(spelt)], [*range(len(rows))] * 2, strict=True))
            self._last = places, walks, spelt
            return walks, spelt
        chosen = np.array([places[key] for key in keys], np.int64)
        return walks[:, chosen], spelt[chosen]

    def _walk(self, rows: Rows) -> tuple[NDArray[np.int32], Rows]:
        table, spelt = self.table, rows.copy()
        everyone = np.arange(len(rows))
        walks = np.full((table.steps, len(rows)), len(table.after) - 1, np.int32)
        whole, start = self._begun(rows)
        walks[0] = start
        node, length = table.after[start], np.ones(len(rows), np.int64)
        depths = [self._depths(index, whole, rows) for index in range(len(self._space.format.stages))]
        for slot in self._slots:
            stands = slot.position < depths[slot.index]
            present, absent = everyone[stands], everyone[~stands]
            edges, own = slot.follow(whole[present], node[present], rows[present])
            spelt[present[:, None], slot.own_places] = own
            spelt[absent[:, None], slot.unused_places] = 0
            walks[length[present], present] = edges
            node[present] = table.after[edges]
            length[present] += 1
        walks[length, everyone] = self._ended(whole, node)
        return walks, spelt

    def _begun(self, rows: Rows) -> tuple[Rows, Rows]:
        """For each row, the way of deciding the whole network, and the first edge."""
        whole, start = np.zeros(len(rows), np.int64), np.zeros(len(rows), np.int64)
        for number, (decisions, open_, edges) in enumerate(self._ways):
            chosen = np.ones(len(rows), bool)
            for place, choice in decisions:
                chosen &= rows[:, place] == choice
            whole[chosen] = number
            start[chosen] = edges[rows[chosen, self._place["resolution"]] if open_ else 0]
        return whole, start

    @cached_property
    def _ways(self) -> list[tuple[list[tuple[int, int]], bool, Rows]]:
        """For each way of deciding the whole: its choices by place, whether resolution is open, and its first edges."""
        automaton = self._space.automaton
        edges = {(begun.resolution, begun.stem): edge for edge, begun in enumerate(automaton.starts)}
        ways = []
        for way in automaton.wholes:
            named = [(name, value) for name, value in way.decisions if name in self._place]
            decisions = [(self._place[name], self._choices(name).index(value)) for name, value in named]
            first = [edges[resolution, automaton.stem(way)] for resolution in way.resolutions]
            open_ = "resolution" in self._place and len(first) > 1
            ways.append((decisions, open_, np.array(first)))
        return ways

    def _depths(self, index: int, whole: Rows, rows: Rows) -> Rows:
        """How many blocks stage number `index` of each row has."""
        place, depths = self._stage_depths[index]
        return depths[whole if place is None else rows[:, place]]

    @cached_property
    def _stage_depths(self) -> list[tuple[int | None, Rows]]:
        """For each stage: the place and the values of its depth; or None, and depths by way of deciding the whole."""
        automaton = self._space.automaton
        depths: list[tuple[int | None, Rows]] = []
        for index in range(len(self._space.format.stages)):
            name = f"stage{index + 1}.depth"
            if name in self._place:
                depths.append((self._place[name], np.array(self._choices(name), np.int64)))
            else:
                first = [automaton.first_state(number) for number in range(len(automaton.wholes))]
                depths.append((None, np.array([automaton.depths(state, index)[0] for state in first], np.int64)))
        return depths

    def _ended(self, whole: Rows, node: Rows) -> Rows:
        """The last edge of each row, which is its head."""
        keys = whole * (self.table.end + 1) + node
        for key in np.unique(keys[self._heads[keys] < 0]).tolist():
            number, at = divmod(key, self.table.end + 1)
            self._heads[key] = _edges(self.table, at)[self._space.automaton.head(self._space.automaton.wholes[number])]
        heads: Rows = self._heads[keys]
        return heads

    def _choices(self, name: str) -> tuple[Choice, ...]:
        return self._space.parameters[self._place[name]].choices


class _Slot:
    """The place of one possible block: number `position` of stage number `index`."""

    def __init__(self, table: SpaceTable, place: Mapping[str, int], index: int, position: int) -> None:
        self.index, self.position = index, position
        self._table, self._space = table, table.space
        automaton, prefix = self._space.automaton, f"stage{index + 1}"
        self._keys = (automaton.shared_keys(index), automaton.block_keys(index))
        names = (
            [f"{prefix}.{key}" for key in self._keys[0]],
            [f"{prefix}.block{position + 1}.{key}" for key in self._keys[1]],
        )
        self._places = tuple([place[name] for name in group] for group in names)
        self._choices = tuple([self._space.parameters[p].choices for p in group] for group in self._places)
        self._sizes = tuple([len(choices) for choices in group] for group in self._choices)
        sizes = self._sizes[1]
        self._own = np.array(list(itertools.product(*map(range, sizes))), np.int64).reshape(
            math.prod(sizes), len(sizes)
        )
        # The number of the state, by way of deciding the whole and node: the first axis of the arrays below.
        self._state = np.full(len(automaton.wholes) * (table.end + 1), -1)
        # The edge, by state, shared choices and own choices; and the first own choices that lead to the same edge.
        self._edge = np.zeros((0, math.prod(self._sizes[0]), len(self._own)), np.int64)
        self._first = self._edge.copy()
        self.own_places = np.array(self._places[1], np.int64)
        # A stage without its first block is absent, and so are the decisions about the whole stage.
        self.unused_places = np.array(self._places[1] + (self._places[0] if position == 0 else []), np.int64)

    def follow(self, whole: Rows, node: Rows, rows: Rows) -> tuple[Rows, Rows]:
        """The edges of rows that have this block, and the first own choices (n, own) that lead to them."""
        keys = whole * (self._table.end + 1) + node
        state = self._state[keys]
        if (state < 0).any():
            for key in np.unique(keys[state < 0]).tolist():
                self._add(key)
            state = self._state[keys]
        shared, own = (_code(rows[:, p], sizes) for p, sizes in zip(self._places, self._sizes, strict=True))
        edges = self._edge[state, shared, own]
        if (edges < 0).any():
            missing = np.unique(np.stack([keys, shared])[:, edges < 0], axis=1).T.tolist()
            for key, code in missing:
                self._fill(key, code)
            edges = self._edge[state, shared, own]
        return edges, self._own[self._first[state, shared, own]]

    def _add(self, key: int) -> None:
        self._state[key] = len(self._edge)
        empty = np.full((1, *self._edge.shape[1:]), -1, np.int64)
        self._edge, self._first = (np.concatenate([array, empty]) for array in (self._edge, self._first))

    def _fill(self, key: int, code: int) -> None:
        """Look up the edges of all own choices, for one state and one code of shared choices."""
        state = self._state[key]
        whole, node = divmod(key, self._table.end + 1)
        automaton = self._space.automaton
        in_channels = next(iter(automaton.nodes[node - 1])).in_channels
        edges = _edges(self._table, node)
        digits = np.unravel_index(code, self._sizes[0]) if self._sizes[0] else ()
        shared = _named(self._keys[0], self._choices[0], [int(digit) for digit in digits])
        first: dict[int, int] = {}
        for number, own in enumerate(self._own.tolist()):
            settings = shared + _named(self._keys[1], self._choices[1], own)
            block = automaton.block(whole, self.index, in_channels, self.position, settings)
            edge = edges[(block,)]
            self._edge[state, code, number] = edge
            self._first[state, code, number] = first.setdefault(edge, number)


def _keys(rows: Rows) -> list[bytes]:
    """A hashable value for each row."""
    narrow = np.ascontiguousarray(rows, dtype=np.int16)
    whole, width = narrow.tobytes(), 2 * rows.shape[1]
    return [whole[at : at + width] for at in range(0, len(whole), width)]


def _edges(table: SpaceTable, node: int) -> dict[tuple[Block, ...], int]:
    """The edges of a node by the blocks on them."""
    edges = range(int(table.first_edge[node]), int(table.first_edge[node + 1]))
    return {table.pieces[table.piece_of[edge]].blocks: edge for edge in edges}


def _code(digits: Rows, sizes: list[int]) -> Rows:
    """One number for each row of digits, whose bases are `sizes`."""
    code = np.zeros(len(digits), np.int64)
    for column, size in zip(digits.T, sizes, strict=True):
        code = code * size + column
    return code


def _named(keys: tuple[str, ...], choices: list[tuple[Choice, ...]], digits: list[int]) -> Decisions:
    return tuple((key, values[digit]) for key, values, digit in zip(keys, choices, digits, strict=True))


def rows_of(space: SearchSpace) -> SpaceRows:
    """The rows of a space."""
    return SpaceRows(SpaceTable(space))
