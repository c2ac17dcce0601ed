"""Which points does no other point beat, and how much do they cover?

Points are rows of an (n, m) array of m objectives, all to be minimised: negate what is to be large.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def front_of(points: ArrayLike) -> list[int]:
    """Indices, ascending, of the points that no other point dominates.

    A point dominates another when it is no worse in every objective and better in one. Of equal points the first
    stays. Raises ValueError for NaN.
    """
    values = _checked(points)
    if not len(values):
        return []
    kept: list[int] = []
    # Sorted (stably, so that of equal points the first comes first), a point is dominated only by one before it.
    for index in np.lexsort(values.T[::-1]).tolist():
        if not np.all(values[kept] <= values[index], axis=1).any():
            kept.append(index)
    return sorted(kept)


def hypervolume(points: ArrayLike, reference: Sequence[float]) -> float:
    """The volume that the points dominate within the box below `reference` (Zitzler and Thiele, 1998).

    Points that do not beat the reference in every objective add nothing. Exact for any number of objectives, by
    slicing along the last one; its cost grows steeply beyond four.
    """
    values = _checked(points)
    limit = np.asarray(reference, dtype=np.float64)
    if np.isnan(limit).any():
        raise ValueError("the reference must not hold NaN")
    if not len(values):
        return 0.0
    if values.shape[1] != len(limit):
        raise ValueError(f"points have {values.shape[1]} objectives, but the reference has {len(limit)}")
    inside = values[(values < limit).all(axis=1)]
    return _volume(inside, limit)


def knee_of(points: ArrayLike) -> int:
    """The index of the point that stands out furthest from the line between the front's two ends.

    For two objectives, each scaled to 0..1 over the front (Branke et al., 2004, after Das, 1999). The ends themselves
    only when nothing lies beyond the line between them: then the middle of the front. Raises ValueError for no points,
    for infinite ones, and for another number of objectives.
    """
    values = _checked(points)
    if not len(values):
        raise ValueError("there is no knee without points")
    if values.shape[1] != 2 or not np.isfinite(values).all():
        raise ValueError("a knee needs finite points of two objectives")
    front = front_of(values)
    ordered = sorted(front, key=lambda index: values[index, 0])
    corner, span = values[ordered].min(axis=0), np.ptp(values[ordered], axis=0)
    if len(ordered) < 3 or not span.all():
        return ordered[len(ordered) // 2]
    scaled = (values[ordered] - corner) / span
    # The ends are (0, 1) and (1, 0): the line between them is x + y = 1, and good points lie below it.
    beyond = 1 - scaled.sum(axis=1)
    best = int(np.argmax(beyond))
    return ordered[best] if beyond[best] > 1e-12 else ordered[len(ordered) // 2]


def _checked(points: ArrayLike) -> Array:
    values = np.asarray(points, dtype=np.float64)
    if values.size == 0:
        return values.reshape(0, values.shape[-1] if values.ndim == 2 else 0)
    if values.ndim != 2:
        raise ValueError(f"points must be an (n, m) array, but have shape {values.shape}")
    if np.isnan(values).any():
        raise ValueError("points must not hold NaN")
    return values


def _volume(points: Array, limit: Array) -> float:
    if not len(points):
        return 0.0
    if points.shape[1] == 1:
        return float(limit[0] - points.min())
    if points.shape[1] == 2:
        return _area(points, limit)
    total = 0.0
    levels = np.unique(points[:, -1])
    for low, high in zip(levels, [*levels[1:], limit[-1]], strict=True):
        slab = points[points[:, -1] <= low, :-1]
        total += float(high - low) * _volume(slab[front_of(slab)], limit[:-1])
    return total


def _area(points: Array, limit: Array) -> float:
    ordered = points[front_of(points)]
    ordered = ordered[np.argsort(ordered[:, 0])]
    ceilings = np.concatenate([[limit[1]], ordered[:-1, 1]])
    return float(((limit[0] - ordered[:, 0]) * (ceilings - ordered[:, 1])).sum())
