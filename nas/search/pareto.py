"""Dominance, fronts, ranks, hypervolume and knees of points whose objectives are all minimised.

Points are rows of an (n, m) array of m objectives; negate an objective that is to be large. A point dominates another
when it is no worse in every objective and better in at least one. Where a function keeps one of several equal points,
it keeps the first.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Booleans = NDArray[np.bool_]


def no_worse(points: Array, others: Array) -> Booleans:
    """(n, k): whether each of (n, m) points is no worse than each of (k, m) others in every objective."""
    result = np.ones((len(points), len(others)), dtype=bool)
    for values, other_values in zip(points.T, others.T, strict=True):
        result &= values[:, None] <= other_values
    return result


def dominates(points: Array, others: Array) -> Booleans:
    """(n, k): whether each of (n, m) points dominates each of (k, m) others."""
    return no_worse(points, others) & ~no_worse(others, points).T


def front_of(points: ArrayLike) -> list[int]:
    """Indices, ascending, of the points that no other point dominates. Raises ValueError for NaN."""
    values = _checked(points)
    if not len(values):
        return []
    # In lexicographic order (stable, so that of equal points the first comes first) only an earlier point can dominate.
    rest = np.lexsort(values.T[::-1])
    columns = np.ascontiguousarray(values[rest].T)
    if len(columns) == 2:
        lower = columns[1, 1:] < np.minimum.accumulate(columns[1])[:-1]
        return sorted(rest[np.concatenate([[True], lower])].tolist())
    members = []
    while len(rest):
        members.append(int(rest[0]))
        better_somewhere = (columns < columns[:, :1]).any(axis=0)
        rest, columns = rest[better_somewhere], columns[:, better_somewhere]
    return sorted(members)


def ranks(points: ArrayLike) -> NDArray[np.int64]:
    """(n,): the non-domination rank of each point (Deb et al., 2002), 0 for the front.

    Rank r is the front of the points that are left when all lower ranks are removed. Raises ValueError for NaN.
    """
    values = _checked(points)
    result = np.zeros(len(values), dtype=np.int64)
    left, rank = np.arange(len(values)), 0
    while len(left):
        front = front_of(values[left])
        result[left[front]] = rank
        left, rank = np.delete(left, front), rank + 1
    return result


def lacks(points: Array, rivals: Array | None = None) -> Array:
    """(n,): how far the first objective of each of (n, m) points is behind that of its best rival.

    A point's rivals are those of `rivals` (k, m), by default all other points, that are no worse in every objective but
    the first. Negative where the point is ahead of them all; minus infinity where it has none.
    """
    others = points if rivals is None else rivals
    compared = no_worse(others[:, 1:], points[:, 1:])
    if rivals is None:
        np.fill_diagonal(compared, False)
    best = np.where(compared, others[:, :1], np.inf).min(axis=0, initial=np.inf)
    with np.errstate(invalid="ignore"):
        # Infinity minus infinity: neither has a place near the front.
        return np.asarray(points[:, 0] - best, dtype=np.float64)


def front_shares(drawn: Array, fixed: Array) -> Array:
    """(n,): in which share of the draws each of n points is dominated by no other.

    `drawn` (draws, n) holds one objective, which differs from draw to draw; `fixed` (n, m - 1) holds the others.
    """
    cheaper_or_equal, cheaper = no_worse(fixed, fixed), dominates(fixed, fixed)
    shares = np.empty(drawn.shape[1])
    for j in range(drawn.shape[1]):
        own = drawn[:, [j]]
        dominated = (drawn < own) & cheaper_or_equal[:, j] | (drawn == own) & cheaper[:, j]
        shares[j] = 1 - dominated.any(axis=1).mean()
    return shares


def hypervolume(points: ArrayLike, reference: Sequence[float]) -> float:
    """The volume that the points dominate within the box below `reference` (Zitzler and Thiele, 1998).

    Points that do not beat the reference in every objective add nothing. Exact for any number of objectives: each point
    adds its box minus what the points after it dominate of it (While et al., 2012). The cost grows steeply beyond five
    objectives.
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
    """How much the hypervolume of `points` grows when `point` joins: its box minus what they dominate of it."""
    sides = np.asarray(reference, dtype=np.float64) - np.asarray(point, dtype=np.float64)
    if not (sides > 0).all():
        return 0.0
    values = _checked(points)
    within = np.maximum(values, point) if len(values) else values
    return float(np.prod(sides)) - hypervolume(within, reference)


def knee_of(points: ArrayLike) -> int:
    """The index of the front's best compromise, with objectives scaled to 0..1 over the front.

    Of two objectives it is the knee: the point furthest beyond the line between the front's ends (Branke et al., 2004,
    after Das, 1999). Where no point lies beyond that line, it is the middle of the front. Of more objectives it is the
    point with the least Euclidean distance to the ideal point, which has the best of every objective (compromise
    programming: Zeleny, 1973). Raises ValueError for no points and for infinite ones.
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
