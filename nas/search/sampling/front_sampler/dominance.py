"""Which points do others beat, all objectives minimised?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]


def front_numbers(values: Floats) -> Numbers:
    """Numbers of the rows of `values` (n, objectives) that no other row beats, of equal ones the first."""
    left = np.lexsort(values.T[::-1])
    columns = np.ascontiguousarray(values[left].T)
    if len(columns) == 2 and len(left):
        # In the order of the first objective, those whose second one is less than all before.
        leads = columns[1, 1:] < np.minimum.accumulate(columns[1])[:-1]
        return np.sort(left[np.concatenate([[True], leads])])
    found = []
    while len(left):
        found.append(int(left[0]))
        stays = (columns < columns[:, :1]).any(axis=0)
        left, columns = left[stays], columns[:, stays]
    return np.array(sorted(found), dtype=np.int64)


def gaps(values: Floats, front: Floats) -> Floats:
    """How much better the last objective of each of `values` (n, objectives) would have to be for the front (n,).

    `front` (members, objectives) are points that no others beat.
    """
    covers = np.ones((len(values), len(front)), dtype=bool)
    for ours, theirs in zip(values.T[:-1], front.T[:-1], strict=True):
        covers &= theirs <= ours[:, None]
    with np.errstate(invalid="ignore"):
        # Infinite from infinite: neither has a place near the front.
        found: Floats = values[:, -1] - np.where(covers, front[:, -1], np.inf).min(axis=1, initial=np.inf)
    return found
