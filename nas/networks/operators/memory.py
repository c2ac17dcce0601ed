"""The peak memory of a unit's tensors under the best order of its operations."""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappop, heappush

from nas.networks.operators.graph import INPUT, Primitive

_IN_PLACE = ("norm", "activation", "gate", "add")

# The search for the best order visits at most so many sets of finished operations, then takes the order of the calls.
# Published blocks need some dozens; 25 parallel branches could need 2²⁵.
MOST_STATES = 2000


def peak_elements(primitives: Sequence[Primitive], in_elements: int) -> int:
    """The largest number of elements alive at once, for the order of operations in which it is smallest.

    A tensor, the input too, lives from its primitive to its last reader. Normalisations, activations, gates and
    additions overwrite an input if all its other readers have run before them in every order. A split is a view of its
    input; all other operations write a new tensor. Workspaces of kernels are not counted. Where there are too many
    orders to search (see `MOST_STATES`), it is the peak of the order of the calls, an upper bound.
    """
    schedule = _Schedule(primitives, in_elements)
    everything = (1 << len(primitives)) - 1
    # Dijkstra's algorithm over the sets of finished operations (as bits); the length of a path is its largest step.
    # Among equal lengths the set with most operations comes first, so that a chain is visited once.
    heap = [(schedule.lower_bound, 0, 0)]
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
    """The elements that are alive after any set of operations has run. A set is a whole number, a bit each."""

    def __init__(self, primitives: Sequence[Primitive], in_elements: int) -> None:
        self._storage = _storages(primitives)
        self._needs = [sum(1 << i for i in set(p.inputs) if i != INPUT) for p in primitives]
        readers = dict.fromkeys(self._storage.values(), 0)
        for j, primitive in enumerate(primitives):
            for i in primitive.inputs:
                readers[self._storage[i]] |= 1 << j
        # The next unit reads the output.
        readers[self._storage[len(primitives) - 1]] |= 1 << len(primitives)
        sizes = {s: in_elements if s == INPUT else primitives[s].out_elements for s in readers}
        self._tensors = [(0 if s == INPUT else 1 << s, readers[s], sizes[s]) for s in readers]
        self._sizes = [sizes[j] if self._storage[j] == j else 0 for j in range(len(primitives))]
        # Every primitive holds its inputs and its output, in any order.
        self.lower_bound = max(
            self._sizes[j] + sum(sizes[s] for s in {self._storage[i] for i in primitive.inputs})
            for j, primitive in enumerate(primitives)
        )

    def choices(self, done: int) -> list[int]:
        """Operations to consider next: all that can run, or just one that needs no new memory.

        Running such an operation first never raises the peak, because its inputs are alive until it runs.
        """
        ready = [j for j, need in enumerate(self._needs) if not done >> j & 1 and not need & ~done]
        return next(([j] for j in ready if not self._sizes[j]), ready)

    def held_during(self, done: int, j: int) -> int:
        """Elements that are alive while primitive `j` runs after those in `done`."""
        held = sum(size for maker, readers, size in self._tensors if maker & ~done == 0 and readers & ~done)
        return held + self._sizes[j]

    def peak_as_called(self) -> int:
        """The peak when all operations run in the order of the calls."""
        return max(self.held_during((1 << j) - 1, j) for j in range(len(self._needs)))


def _storages(primitives: Sequence[Primitive]) -> dict[int, int]:
    """For each tensor the one whose memory it uses, which may be itself."""
    before = _ancestors(primitives)
    readers: dict[int, set[int]] = {i: set() for i in range(INPUT, len(primitives))}
    elements = {INPUT: primitives[0].in_elements}
    for j, primitive in enumerate(primitives):
        elements[j] = primitive.out_elements
        for i in primitive.inputs:
            readers[i].add(j)
    # For each tensor the one whose memory it uses, and which of its channels.
    places = {INPUT: (INPUT, range(primitives[0].in_channels))}
    split_off: dict[int, int] = {}

    def read_elsewhere(i: int, j: int) -> bool:
        """Whether, when primitive `j` overwrites tensor `i`, another primitive may still have to read that memory."""
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
            # `Graph.split` appends the parts of one tensor in order.
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
    """For each primitive the set, as bits, of those that must run before it."""
    before: list[int] = []
    for primitive in primitives:
        mask = 0
        for i in primitive.inputs:
            if i != INPUT:
                mask |= before[i] | 1 << i
        before.append(mask)
    return before
