"""How are a few terrible values kept from ruining a model of the good ones?

Values (to be minimised) up to a knee stay as they are; beyond it they are compressed, the further the more, as a
logarithm would: each following segment is twice as long and half as steep. The knee is as far above the median as the
best tenth lies below it, so that it moves with the search towards what matters. Being piecewise linear, the warp lets
expected improvements be integrated exactly in the original unit.
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
    """A monotone map: `x` are its knots' values, `z` what they become; below the first and above the last, straight."""

    x: Floats
    z: Floats

    def forward(self, values: Floats) -> Floats:
        """The model's values for original ones. Infinite ones count as the last knot."""
        values = np.minimum(values, self.x[-1])
        inside: Floats = np.interp(values, self.x, self.z)
        return np.where(values < self.x[0], self.z[0] + self.slopes[0] * (values - self.x[0]), inside)

    def backward(self, values: Floats) -> Floats:
        """The original values of the model's."""
        values = np.minimum(values, self.z[-1])
        inside: Floats = np.interp(values, self.z, self.x)
        return np.where(values < self.z[0], self.x[0] + (values - self.z[0]) / self.slopes[0], inside)

    @property
    def slopes(self) -> Floats:
        """Of each segment; the first goes on below the first knot."""
        found: Floats = np.diff(self.z) / np.diff(self.x)
        return found

    def expected_below(self, thresholds: Floats, mean: Floats, std: Floats) -> Floats:
        """E max(0, t - y) in the original unit, for thresholds (t,) in it and normal warped values (n,): (n, t).

        It is the integral of P(y < t), segment by segment: in each, that of the normal's distribution function by the
        segment's slope.
        """
        inner = self.x[1:-1][self.x[1:-1] < thresholds.max(initial=-np.inf)]
        points = np.concatenate([np.minimum(thresholds, self.x[-1]), inner])
        integral = expected_below(self.forward(points), mean[:, None], std[:, None])
        # Sum by parts: a change of slope at each knot below the threshold.
        segment = np.clip(np.searchsorted(self.x, points[: len(thresholds)], side="left") - 1, 0, len(self.slopes) - 1)
        changes = 1 / self.slopes[: len(inner)] - 1 / self.slopes[1 : len(inner) + 1]
        below = inner[:, None] < points[: len(thresholds)]
        found: Floats = integral[:, : len(thresholds)] / self.slopes[segment]
        found += integral[:, len(thresholds) :] @ (below * changes[:, None])
        return np.maximum(found, 0.0)


def fit_warp(values: Floats) -> Warp:
    """The warp of observed values, any number of which may be infinite; it also brings them to a usual scale."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return Warp(np.array([0.0, 1.0]), np.array([0.0, 1.0]))
    best, median, worst = np.quantile(finite, [0.1, 0.5, 1.0])
    spread = max(float(median - best), 1e-9 * max(1.0, abs(float(median))), float(worst - median) / 2.0**20)
    lengths = spread * 2.0 ** np.arange(_SEGMENTS)
    x = median + np.concatenate([[0.0, spread], spread + np.cumsum(lengths)])
    z = np.concatenate([[0.0, 1.0], 1.0 + np.arange(1, _SEGMENTS + 1)])
    # What failed to give a number counts as just beyond the worst that did.
    count = max(2, int(np.searchsorted(x, worst)) + 2)
    return Warp(x[:count], z[:count])
