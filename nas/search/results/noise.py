"""Error bars of a front's members, and the probability that each is on the front, from trainings with other seeds.

A network's accuracy is the mean over seeds of its top-1 on the validation images. Its repeated scores are assumed to
be normal about it; members with few scores share one variance. The posterior of each accuracy is then known (Gelman et
al., Bayesian Data Analysis, section 3.2, with the prior 1/variance), and draws from it tell how often a member is on
the front.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nas.search.pareto import front_shares

Array = NDArray[np.float64]

# Members with fewer scores than this take the standard deviation of all members together.
FEW = 6
# Draws from the posterior.
DRAWS = 4000

# The probability that the error bar holds the accuracy.
INTERVAL = 0.95


@dataclass(frozen=True)
class Repeated:
    """A network's top-1 in percent with each seed, and its other objectives, minimised."""

    top1: tuple[float, ...]
    others: tuple[float, ...]


@dataclass(frozen=True)
class Certainty:
    """What repeated trainings tell about one network.

    `mean` is that of its top-1 in percent over `scores` trainings. `std` is the standard deviation of one training;
    where the network has few scores it is that of all members together (`pooled`). The accuracy, which is the mean over
    all seeds, lies between `low` and `high` with a probability of 95 %. `on_front` is the probability that no other
    network dominates this one.
    """

    mean: float
    std: float
    pooled: bool
    low: float
    high: float
    on_front: float
    scores: int


def certainties(members: Sequence[Repeated], rest: Sequence[Repeated] = (), *, seed: int = 0) -> list[Certainty]:
    """The certainty of each member of a front, beside the `rest`: other networks that may dominate them.

    The scores of members must come from new seeds only. The score that put a member on the front is the best of many,
    so that it is too high on average and would shift the error bar. assumption: trainings of the rest are as noisy as
    those of the members.

    Raises ValueError where no network has two scores, so that the noise is unknown, and where a network has none.
    """
    networks = [*members, *rest]
    if any(not network.top1 for network in networks):
        raise ValueError("every network must have a score")
    deviations = _Deviations.of([np.array(network.top1) for network in networks])
    means = np.array([np.mean(network.top1) for network in networks])
    draws = means + deviations.mean_errors(np.random.default_rng(seed))
    others = np.array([network.others for network in networks]).reshape(len(networks), -1)
    on_front = front_shares(-draws, others)
    tail = (1 - INTERVAL) / 2
    bounds = np.quantile(draws, [tail, 1 - tail], axis=0)
    return [
        Certainty(
            mean=float(means[i]),
            std=float(deviations.std[i]),
            pooled=bool(deviations.pooled[i]),
            low=float(bounds[0, i]),
            high=float(bounds[1, i]),
            on_front=float(on_front[i]),
            scores=len(networks[i].top1),
        )
        for i in range(len(members))
    ]


@dataclass(frozen=True)
class _Deviations:
    """For each of n networks the standard deviation of one training, and its degrees of freedom (`freedom`)."""

    std: Array
    freedom: Array
    pooled: NDArray[np.bool_]
    counts: Array

    @staticmethod
    def of(scores: Sequence[Array]) -> _Deviations:
        counts = np.array([len(values) for values in scores], dtype=np.float64)
        squares = np.array([((values - values.mean()) ** 2).sum() for values in scores])
        freedom = float((counts - 1).sum())
        if freedom < 1:
            raise ValueError("some network must have at least two scores, or their noise is not known")
        together = math.sqrt(squares.sum() / freedom)
        pooled = counts < FEW
        own = np.sqrt(squares / np.maximum(counts - 1, 1))
        return _Deviations(np.where(pooled, together, own), np.where(pooled, freedom, counts - 1), pooled, counts)

    def mean_errors(self, rng: np.random.Generator) -> Array:
        """(DRAWS, n): draws from the posterior of each network's accuracy, minus its mean score.

        Networks that share a variance share its draws, so that their errors are large together.
        """
        own = rng.chisquare(self.freedom, size=(DRAWS, len(self.std)))
        shared = own[:, int(np.argmax(self.pooled))][:, None] if self.pooled.any() else own
        variance = self.std**2 * self.freedom / np.where(self.pooled, shared, own)
        return np.sqrt(variance / self.counts) * rng.standard_normal((DRAWS, len(self.std)))
