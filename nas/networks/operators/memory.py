"""How much memory do the tensors of a unit need at once, in a good order of execution?"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappop, heappush

from nas.networks.operators.graph import INPUT, Primitive

_IN_PLACE = ("norm", "activation", "gate", "add")

# How many sets of finished operations are looked at before the order of the calls is taken as it is. Published blocks
# need some dozens; 25 branches side by side could need 2²⁵.
MOST_STATES = 2000


def peak_elements(primitives: Sequence[Primitive], in_elements: int) -> int:
    """The most numbers alive at once, over the order of execution in which that is least.

    A tensor lives from its primitive to its last reader, the input too. Normalisations, activations, gates and
    additions overwrite an input that all its other readers have read by then, whatever the order; a split is a view of
    what it splits; everything else writes a tensor of its own. Workspaces of kernels are not counted. For a graph of
    very many orders (see `MOST_STATES`) it is the peak of the calls' own order, which is at least the least.
    """
    schedule = _Schedule(primitives, in_elements)
    everything = (1 << len(primitives)) - 1
    # Dijkstra's algorithm over the sets of operations that have run (as bits), where a path is as long as its highest
    # step. Among equals the set nearest to the end comes first: a chain is walked through once.
    heap = [(schedule.least, 0, 0)]
    finished: set[int] = set()
    while heap:
        peak, _, done = heappop(heap)
        if done == everything:
            return peak
        if done in finished:
            continue
        if len(finished) == MOST_STATES:
            return schedule.peak_as_called()
        finished.add(done)
        for j in schedule.choices(done):
            after = done | 1 << j
            heappush(heap, (max(peak, schedule.held_during(done, j)), -after.bit_count(), after))
    raise AssertionError("no order runs every primitive after those that it reads")


class _Schedule:
    """What is held when which operations have run. Sets of operations are the bits of whole numbers."""

    def __init__(self, primitives: Sequence[Primitive], in_elements: int) -> None:
        self._storage = _storages(primitives)
        self._needs = [sum(1 << i for i in set(p.inputs) if i != INPUT) for p in primitives]
        readers = dict.fromkeys(self._storage.values(), 0)
        for j, primitive in enumerate(primitives):
            for i in primitive.inputs:
                readers[self._storage[i]] |= 1 << j
        # The output of the unit is read by whatever comes next.
        readers[self._storage[len(primitives) - 1]] |= 1 << len(primitives)
        sizes = {s: in_elements if s == INPUT else primitives[s].out_elements for s in readers}
        self._tensors = [(0 if s == INPUT else 1 << s, readers[s], sizes[s]) for s in readers]
        self._sizes = [sizes[j] if self._storage[j] == j else 0 for j in range(len(primitives))]
        # Every primitive holds what it reads and what it makes: no order is better than that.
        self.least = max(
            self._sizes[j] + sum(sizes[s] for s in {self._storage[i] for i in primitive.inputs})
            for j, primitive in enumerate(primitives)
        )

    def choices(self, done: int) -> list[int]:
        """Operations to consider next: all that can run, or just one that needs no memory of its own.

        Such a one never does harm: what it reads and makes is held meanwhile anyway.
        """
        ready = [j for j, need in enumerate(self._needs) if not done >> j & 1 and not need & ~done]
        return next(([j] for j in ready if not self._sizes[j]), ready)

    def held_during(self, done: int, j: int) -> int:
        """Numbers held while primitive `j` runs after those in `done`."""
        held = sum(size for maker, readers, size in self._tensors if maker & ~done == 0 and readers & ~done)
        return held + self._sizes[j]

    def peak_as_called(self) -> int:
        """The most numbers held when all run in the order of the calls."""
        return max(self.held_during((1 << j) - 1, j) for j in range(len(self._needs)))


def _storages(primitives: Sequence[Primitive]) -> dict[int, int]:
    """For each tensor the one whose memory it lies in."""
    before = _ancestors(primitives)
    readers: dict[int, set[int]] = {i: set() for i in range(INPUT, len(primitives))}
    elements = {INPUT: primitives[0].in_elements}
    for j, primitive in enumerate(primitives):
        elements[j] = primitive.out_elements
        for i in primitive.inputs:
            readers[i].add(j)
    # Where each tensor lies: whose memory, and which of its channels.
    places = {INPUT: (INPUT, range(primitives[0].in_channels))}
    split_off: dict[int, int] = {}

    def read_elsewhere(i: int, j: int) -> bool:
        """Whether anybody may still read what tensor `i` covers when primitive `j` overwrites it."""
        storage, channels = places[i]
        return any(
            r != j and not before[j] >> r & 1
            for t, (other, part) in places.items()
            if other == storage and part.start < channels.stop and channels.start < part.stop
            for r in readers[t]
        )

    for j, primitive in enumerate(primitives):
        places[j] = (j, range(primitive.out_channels))
        if primitive.kind == "split":
            # The parts of one call follow each other.
            source = primitive.inputs[0]
            start = split_off.get(source, 0) % primitive.in_channels
            split_off[source] = start + primitive.out_channels
            storage, channels = places[source]
            places[j] = (storage, channels[start : start + primitive.out_channels])
        elif primitive.kind in _IN_PLACE:
            for i in primitive.inputs:
                if elements[i] == primitive.out_elements and not read_elsewhere(i, j):
                    places[j] = places[i]
                    break
    return {j: storage for j, (storage, _) in places.items()}


def _ancestors(primitives: Sequence[Primitive]) -> list[int]:
    """For each primitive, the set (bits) of those that must run before it."""
    before: list[int] = []
    for primitive in primitives:
        mask = 0
        for i in primitive.inputs:
            if i != INPUT:
                mask |= before[i] | 1 << i
        before.append(mask)
    return before
