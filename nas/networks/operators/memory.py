"""How much memory do the tensors of a unit need at once, in a good order of execution?"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from nas.networks.operators.graph import INPUT, Primitive

_IN_PLACE = ("norm", "activation", "gate", "add")


def peak_elements(primitives: Sequence[Primitive], in_elements: int) -> int:
    """The most numbers alive at once, over the order of execution in which that is least.

    A tensor lives from its primitive to its last reader. Normalisations, activations, gates and additions overwrite an
    input that nobody else waits for; a split is a view of what it splits; everything else writes a tensor of its own.
    The input lives until its last reader, too.
    """
    storage = _storages(primitives)
    size = {INPUT: in_elements} | {i: p.out_elements for i, p in enumerate(primitives) if storage[i] == i}
    needs = [sum(1 << i for i in p.inputs if i != INPUT) for p in primitives]
    # The output of the unit, read by whatever comes next.
    last = len(primitives) - 1

    def alive(done: int) -> frozenset[int]:
        """Storages that somebody who has not run yet will read."""
        pending = {storage[i] for j, p in enumerate(primitives) if not done >> j & 1 for i in p.inputs}
        made = {INPUT} | {storage[j] for j in range(len(primitives)) if done >> j & 1}
        return frozenset((pending | {storage[last]}) & made)

    @cache
    def least_from(done: int) -> int:
        if done == (1 << len(primitives)) - 1:
            return 0
        best = None
        for j, need in enumerate(needs):
            if done >> j & 1 or need & ~done:
                continue
            during = sum(size[s] for s in alive(done) | {storage[j]})
            peak = max(during, least_from(done | 1 << j))
            best = peak if best is None else min(best, peak)
        assert best is not None
        return best

    return least_from(0)


def _storages(primitives: Sequence[Primitive]) -> dict[int, int]:
    """For each tensor the one whose memory it lies in."""
    before = _ancestors(primitives)
    readers: dict[int, list[int]] = {i: [] for i in range(INPUT, len(primitives))}
    for j, primitive in enumerate(primitives):
        for i in primitive.inputs:
            readers[i].append(j)
    elements = {i: p.out_elements for i, p in enumerate(primitives)} | {INPUT: primitives[0].in_elements}
    storage = {INPUT: INPUT}
    for j, primitive in enumerate(primitives):
        storage[j] = j
        if primitive.kind == "split":
            storage[j] = storage[primitive.inputs[0]]
        elif primitive.kind in _IN_PLACE:
            for i in primitive.inputs:
                # All other readers of the input have run, in whatever order.
                if elements[i] == primitive.out_elements and all(r == j or before[j] >> r & 1 for r in readers[i]):
                    storage[j] = storage[i]
                    break
    return storage


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
