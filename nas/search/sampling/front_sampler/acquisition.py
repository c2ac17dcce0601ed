"""How much hypervolume may be expected of a candidate, when all its objectives but one are known?

Objectives are minimised. With k the known objectives of a candidate and y the learned one, the hypervolume that it
adds to a front is the integral, over all points z of the known objectives' space that are no better than k, of
max(0, t(z) - y): t(z) is the best learned value of the front members whose known objectives are no worse than z, or
the reference's where there are none. t is constant in boxes, so that for a normal y the expected improvement is a
finite sum, exact for any number of objectives (with all objectives uncertain it is not so cheap: Yang et al.,
"Efficient computation of expected hypervolume improvement using box decomposition algorithms", J. Global Optimization
75, 2019, doi:10.1007/s10898-019-00798-7).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

Floats = NDArray[np.float64]

# Beyond so many boxes (a large front of four objectives or more) a front is thinned out.
_MOST_BOXES = 4000
_ROOT_TWO_PI = np.sqrt(2 * np.pi)


@dataclass(frozen=True)
class Boxes:
    """The known objectives' space in boxes (boxes, known), each with the number of its threshold in `levels`.

    `lower` is unbounded where the boxes begin; `levels` are the learned values to beat, the reference last.
    """

    lower: Floats
    upper: Floats
    level: NDArray[np.int64]
    levels: Floats

    def areas(self, known: Floats) -> Floats:
        """For each candidate (n, known), how much of each level it would cover: (n, levels)."""
        found = np.ones((len(known), len(self.lower)))
        for lower, upper, k in zip(self.lower.T, self.upper.T, known.T, strict=True):
            found *= np.maximum(upper - np.maximum(lower, k[:, None]), 0.0)
        # Boxes are in the order of their levels.
        starts = np.flatnonzero(np.diff(self.level, prepend=-1))
        summed = np.zeros((len(known), len(self.levels)))
        summed[:, self.level[starts]] = np.add.reduceat(found, starts, axis=1)
        return summed


def decompose(front_known: Floats, front_learned: Floats, reference_known: Floats, reference: float) -> Boxes:
    """The boxes of a front (members, known) and (members,) below a reference. Dominated members do no harm."""
    inside = (front_known < reference_known).all(axis=1) & (front_learned < reference)
    known, learned = front_known[inside], front_learned[inside]
    order = np.argsort(learned, kind="stable")
    known, learned = known[order], learned[order]
    found = _decomposed(known, reference_known)
    while len(found[2]) > _MOST_BOXES:
        # Every other member is left out: the rest is still a front, and says a little less.
        known, learned = known[::2], learned[::2]
        found = _decomposed(known, reference_known)
    lower, upper, level = found
    return Boxes(lower, upper, level, np.append(learned, reference))


def expected_improvement(boxes: Boxes, known: Floats, integral: Callable[[Floats], Floats]) -> Floats:
    """The expected hypervolume improvement of candidates whose known objectives are (n, known).

    `integral` gives, for thresholds (levels,) of the learned objective, the expected amount by which each candidate
    beats them: (n, levels); `expected_below` for a normal distribution.
    """
    found: Floats = (boxes.areas(known) * integral(boxes.levels)).sum(axis=1)
    return found


def expected_below(threshold: Floats, mean: Floats, std: Floats) -> Floats:
    """E max(0, threshold - y) for y normal, all shapes broadcast: the integral of its distribution function."""
    z = (threshold - mean) / std
    found: Floats = std * (z * ndtr(z) + np.exp(-0.5 * z * z) / _ROOT_TWO_PI)
    return np.maximum(found, 0.0)


def covered(known: Floats, learned: Floats, reference_known: Floats, reference: float) -> float:
    """The hypervolume of a front (members, known) and (members,): what it takes a slice of the learned objective each
    time that `nas.search.pareto.hypervolume` computes takes a box here, which is faster for large fronts.
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
    """The hypervolume that points of known objectives (n, known) and learned ones (n,) would add."""
    return expected_improvement(boxes, known, lambda levels: np.maximum(levels - learned[:, None], 0.0))


def _decomposed(known: Floats, reference: Floats) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Boxes in the order of the levels, for members in the order of their learned values, best first."""
    dimensions = len(reference)
    lower, upper = np.full((1, dimensions), -np.inf), reference[None].copy()
    lowers, uppers, levels = [], [], []
    for number, corner in enumerate(known):
        # What lies beyond this member's corner, in no better member's: it is this one that is to be beaten there.
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
    """The rest, and the boxes without what lies beyond `corner`: cut off along one dimension after the other."""
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
