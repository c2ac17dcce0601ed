"""A warp that compresses bad values, so that a few terrible ones do not ruin a model of the good ones.

Values are minimised. Up to a knee they stay in proportion; beyond it they are compressed as a logarithm would do it:
each segment is twice as long as the one before and half as steep. The knee is `median + (median − q10)`, so that it
follows the search towards better values. The warp is piecewise linear, so that expected improvements can be integrated
exactly in the original unit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nas.search.sampling.front_sampler.acquisition import expected_below

Floats = NDArray[np.float64]

_SEGMENTS = 24


@dataclass(frozen=True)
class Warp:
    """A monotone map from the original values `x` of its knots to warped values `z`.

    It is straight between the knots and below the first one, and constant beyond the last.
    """

    x: Floats
    z: Floats

    def forward(self, values: Floats) -> Floats:
        """Warped values of original ones. Values beyond the last knot, infinite ones too, count as the last knot."""
        values = np.minimum(values, self.x[-1])
        inside: Floats = np.interp(values, self.x, self.z)
        return np.where(values < self.x[0], self.z[0] + self.slopes[0] * (values - self.x[0]), inside)

    def backward(self, values: Floats) -> Floats:
        """Original values of warped ones."""
        values = np.minimum(values, self.z[-1])
        inside: Floats = np.interp(values, self.z, self.x)
        return np.where(values < self.z[0], self.x[0] + (values - self.z[0]) / self.slopes[0], inside)

    @property
    def slopes(self) -> Floats:
        """The slope of each segment; the first one continues below the first knot."""
        slopes: Floats = np.diff(self.z) / np.diff(self.x)
        return slopes

    def expected_below(self, thresholds: Floats, mean: Floats, std: Floats) -> Floats:
        """(n, t): E max(0, threshold − y) for thresholds (t,), where the warped y is normal with `mean`, `std` (n,).

        Thresholds and results have the original unit. The expectation is the integral of P(y < threshold): in each
        segment, the integral of the normal distribution function divided by the segment's slope.
        """
        inner = self.x[1:-1][self.x[1:-1] < thresholds.max(initial=-np.inf)]
        points = np.concatenate([np.minimum(thresholds, self.x[-1]), inner])
        integral = expected_below(self.forward(points), mean[:, None], std[:, None])
        # Summation by parts: each knot below the threshold changes the slope.
        segment = np.clip(np.searchsorted(self.x, points[: len(thresholds)], side="left") - 1, 0, len(self.slopes) - 1)
        changes = 1 / self.slopes[: len(inner)] - 1 / self.slopes[1 : len(inner) + 1]
        below = inner[:, None] < points[: len(thresholds)]
        expected: Floats = integral[:, : len(thresholds)] / self.slopes[segment]
        expected += integral[:, len(thresholds) :] @ (below * changes[:, None])
        return np.maximum(expected, 0.0)


def fit_warp(values: Floats) -> Warp:
    """The warp for observed values, which also scales them to about 1. Any number of them may be infinite."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return Warp(np.array([0.0, 1.0]), np.array([0.0, 1.0]))
    best, median, worst = np.quantile(finite, [0.1, 0.5, 1.0])
    spread = max(float(median - best), 1e-9 * max(1.0, abs(float(median))), float(worst - median) / 2.0**20)
    lengths = spread * 2.0 ** np.arange(_SEGMENTS)
    x = median + np.concatenate([[0.0, spread], spread + np.cumsum(lengths)])
    z = np.concatenate([[0.0, 1.0], 1.0 + np.arange(1, _SEGMENTS + 1)])
    # Infinite values count as just beyond the worst finite one.
    count = max(2, int(np.searchsorted(x, worst)) + 2)
    return Warp(x[:count], z[:count])
