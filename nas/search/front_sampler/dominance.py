"""Which points do others beat, all objectives minimised?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]


def front_numbers(values: Floats) -> Numbers:
    """Numbers of the rows of `values` (n, objectives) that no other row beats, of equal ones the first."""
    left = np.lexsort(values.T[::-1])
    found = []
    while len(left):
        found.append(int(left[0]))
        left = left[(values[left] < values[left[0]]).any(axis=1)]
    return np.array(sorted(found), dtype=np.int64)


def gaps(values: Floats) -> Floats:
    """How much better each point's last objective would have to be for the front."""
    front = values[front_numbers(values)]
    covers = (front[None, :, :-1] <= values[:, None, :-1]).all(axis=2)
    with np.errstate(invalid="ignore"):
        # Infinite from infinite: neither has a place near the front.
        found: Floats = values[:, -1] - np.where(covers, front[None, :, -1], np.inf).min(axis=1)
    return found
