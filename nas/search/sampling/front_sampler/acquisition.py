"""The exact expected hypervolume improvement of candidates whose objectives are all known but one.

Objectives are minimised. A candidate has known objectives k and a learned objective y. It adds to a front's hypervolume

    ∫ max(0, t(z) − y) dz    over all points z of the known objectives' space that are no better than k,

where t(z) is the best learned value of the front members whose known objectives are no worse than z, or the reference's
where there is no such member. t is constant in boxes, so that for a normal y the expectation is a finite sum, exact for
any number of objectives. With all objectives uncertain it costs more: Yang et al., "Efficient computation of expected
hypervolume improvement using box decomposition algorithms", J. Global Optimization 75, 2019,
doi:10.1007/s10898-019-00798-7.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

Floats = NDArray[np.float64]

# A front of more boxes than this (a large one of four objectives or more) is thinned out.
_MOST_BOXES = 4000
_ROOT_TWO_PI = np.sqrt(2 * np.pi)


@dataclass(frozen=True)
class Boxes:
    """Boxes of the known objectives' space, in each of which the learned value to beat is constant.

    `lower` and `upper` (boxes, known) are their corners; `lower` is minus infinity at the edge of the space. `levels`
    are the learned values to beat, the reference last, and `level` (boxes,) the number of each box's in `levels`.
    """

    lower: Floats
    upper: Floats
    level: NDArray[np.int64]
    levels: Floats

    def areas(self, known: Floats) -> Floats:
        """(n, levels): how much of each level's boxes each candidate (n, known) would cover."""
        areas = np.ones((len(known), len(self.lower)))
        for lower, upper, k in zip(self.lower.T, self.upper.T, known.T, strict=True):
            areas *= np.maximum(upper - np.maximum(lower, k[:, None]), 0.0)
        # Boxes are in the order of their levels.
        starts = np.flatnonzero(np.diff(self.level, prepend=-1))
        summed = np.zeros((len(known), len(self.levels)))
        summed[:, self.level[starts]] = np.add.reduceat(areas, starts, axis=1)
        return summed


def decompose(front_known: Floats, front_learned: Floats, reference_known: Floats, reference: float) -> Boxes:
    """The boxes of a front, (members, known) and (members,), below a reference. Dominated members change nothing."""
    inside = (front_known < reference_known).all(axis=1) & (front_learned < reference)
    known, learned = front_known[inside], front_learned[inside]
    order = np.argsort(learned, kind="stable")
    known, learned = known[order], learned[order]
    lower, upper, level = _decomposed(known, reference_known)
    while len(level) > _MOST_BOXES:
        # Every other member is left out: the rest is still a front, of slightly less hypervolume.
        known, learned = known[::2], learned[::2]
        lower, upper, level = _decomposed(known, reference_known)
    return Boxes(lower, upper, level, np.append(learned, reference))


def expected_improvement(boxes: Boxes, known: Floats, integral: Callable[[Floats], Floats]) -> Floats:
    """(n,): the expected hypervolume improvement of candidates whose known objectives are (n, known).

    `integral` takes thresholds (levels,) of the learned objective and gives the expected amount by which each candidate
    beats each of them, (n, levels). For a normal distribution it is `expected_below`.
    """
    expected: Floats = (boxes.areas(known) * integral(boxes.levels)).sum(axis=1)
    return expected


def expected_below(threshold: Floats, mean: Floats, std: Floats) -> Floats:
    """E max(0, threshold − y) for a normal y: the integral of its distribution function. All shapes broadcast."""
    z = (threshold - mean) / std
    expected: Floats = std * (z * ndtr(z) + np.exp(-0.5 * z * z) / _ROOT_TWO_PI)
    return np.maximum(expected, 0.0)


def covered(known: Floats, learned: Floats, reference_known: Floats, reference: float) -> float:
    """The hypervolume of a front, (members, known) and (members,), as the sum over its boxes.

    It equals `nas.search.pareto.hypervolume` but for rounding; experiments/EVIDENCE.md has the times of both.
    """
    inside = (known < reference_known).all(axis=1) & (learned < reference)
    order = np.argsort(learned[inside], kind="stable")
    known, learned = known[inside][order], learned[inside][order]
    if not len(known):
        return 0.0
    lower, upper, level = _decomposed(known, reference_known)
    held = level < len(learned)
    sizes = np.maximum(upper[held] - np.maximum(lower[held], known.min(axis=0)), 0.0).prod(axis=1)
    return float((sizes * (reference - learned[level[held]])).sum())


def improvement(boxes: Boxes, known: Floats, learned: Floats) -> Floats:
    """(n,): the hypervolume that each of n points with known objectives (n, known) and learned ones (n,) would add."""
    return expected_improvement(boxes, known, lambda levels: np.maximum(levels - learned[:, None], 0.0))


def _decomposed(known: Floats, reference: Floats) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Lower corners, upper corners and levels of boxes, by level, for members in the order of their learned values."""
    dimensions = len(reference)
    lower, upper = np.full((1, dimensions), -np.inf), reference[None].copy()
    lowers, uppers, levels = [], [], []
    for number, corner in enumerate(known):
        # Beyond this member's corner, where no earlier (better) member was, this one is to be beaten.
        begin = np.maximum(lower, corner)
        hit = (begin < upper).all(axis=1)
        if not hit.any():
            continue
        lowers.append(begin[hit])
        uppers.append(upper[hit])
        levels.append(np.full(int(hit.sum()), number))
        lower, upper = _without(lower[hit], upper[hit], corner, lower[~hit], upper[~hit])
    lowers.append(lower)
    uppers.append(upper)
    levels.append(np.full(len(lower), len(known)))
    return np.concatenate(lowers), np.concatenate(uppers), np.concatenate(levels)


def _without(
    lower: Floats, upper: Floats, corner: Floats, rest_lower: Floats, rest_upper: Floats
) -> tuple[Floats, Floats]:
    """The rest, and the boxes without their part beyond `corner`, cut along one dimension after the other."""
    lowers, uppers = [rest_lower], [rest_upper]
    for dimension, at in enumerate(corner):
        split = lower[:, dimension] < at
        below = upper[split].copy()
        below[:, dimension] = at
        lowers.append(lower[split])
        uppers.append(below)
        lower = lower.copy()
        lower[:, dimension] = np.maximum(lower[:, dimension], at)
    return np.concatenate(lowers), np.concatenate(uppers)
