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

    Points that do not beat the reference in every objective add nothing. Exact for any number of objectives: each point
    adds its box without what the points after it dominate of it (While et al., 2012). Its cost grows steeply beyond
    five objectives.
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


def added_volume(point: Sequence[float], points: ArrayLike, reference: Sequence[float]) -> float:
    """By how much the hypervolume of `points` grows with another point: its box without what they dominate of it."""
    sides = np.asarray(reference, dtype=np.float64) - np.asarray(point, dtype=np.float64)
    if not (sides > 0).all():
        return 0.0
    values = _checked(points)
    within = np.maximum(values, point) if len(values) else values
    return float(np.prod(sides)) - hypervolume(within, reference)


def knee_of(points: ArrayLike) -> int:
    """The index of the front's best compromise; objectives are scaled to 0..1 over the front.

    For two objectives the knee: the point that stands out furthest from the line between the front's two ends (Branke
    et al., 2004, after Das, 1999); the ends themselves only when nothing lies beyond that line: then the middle of the
    front. For more, the point nearest to the ideal one, which has the best of every objective (compromise programming:
    Zeleny, 1973; Euclidean distance). Raises ValueError for no points and for infinite ones.
    """
    values = _checked(points)
    if not len(values):
        raise ValueError("there is no knee without points")
    if not np.isfinite(values).all():
        raise ValueError("a knee needs finite points")
    front = front_of(values)
    if values.shape[1] != 2:
        return front[int(np.argmin(np.square(_scaled(values, front)[front]).sum(axis=1)))]
    ordered = sorted(front, key=lambda index: values[index, 0])
    beyond = standings(values)[ordered]
    best = int(np.argmax(beyond))
    return ordered[best] if len(front) > 2 and beyond[best] > 1e-12 else ordered[len(ordered) // 2]


def standings(points: ArrayLike) -> Array:
    """(n,): how far each point of two objectives lies beyond the line between the ends of their front.

    With objectives scaled to 0..1 over the front: 0 on the line, 1 for a point with the best of both, negative behind
    the line. All 0 where the front is a single point. Raises ValueError for another number of objectives.
    """
    values = _checked(points)
    if values.shape[1] != 2:
        raise ValueError(f"a standing needs points of two objectives, but they have {values.shape[1]}")
    front = front_of(values)
    if len(front) < 2:
        return np.zeros(len(values))
    # The ends are (0, 1) and (1, 0): the line between them is x + y = 1, and good points lie below it.
    return np.asarray(1 - _scaled(values, front).sum(axis=1), dtype=np.float64)


def _scaled(values: Array, front: Sequence[int]) -> Array:
    """All points, with each objective scaled so that it is 0 to 1 over the front (0 where it is the same there)."""
    corner, span = values[front].min(axis=0), np.ptp(values[front], axis=0)
    return np.asarray((values - corner) / np.where(span > 0, span, np.inf), dtype=np.float64)


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
    # From the worst in the last objective to the best: within the box of one point, those after it are equal there.
    ordered = points[np.argsort(-points[:, -1], kind="stable")]
    total = 0.0
    for index, point in enumerate(ordered):
        within = np.maximum(ordered[index + 1 :, :-1], point[:-1])
        face = np.prod(limit[:-1] - point[:-1]) - _volume(within[front_of(within)], limit[:-1])
        total += float(limit[-1] - point[-1]) * float(face)
    return total


def _area(points: Array, limit: Array) -> float:
    ordered = points[front_of(points)]
    ordered = ordered[np.argsort(ordered[:, 0])]
    ceilings = np.concatenate([[limit[1]], ordered[:-1, 1]])
    return float(((limit[0] - ordered[:, 0]) * (ceilings - ordered[:, 1])).sum())
