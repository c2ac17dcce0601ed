"""How far can a front be trusted, when training again with another seed gives other scores?

A network's accuracy is taken to be the mean over seeds of its top-1 on the validation images. Its repeated scores are
normal about it, with a variance that all members share where a member has few of its own. Then the posterior of each
accuracy is known (Gelman et al., Bayesian Data Analysis, section 3.2, with the prior 1/variance), and drawing from it
says how often a member is on the front.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nas.search.pareto import front_shares

Array = NDArray[np.float64]

# Members with fewer scores take the standard deviation of all members together.
FEW = 6
DRAWS = 4000

# The share of a normal distribution within its error bar.
INTERVAL = 0.95


@dataclass(frozen=True)
class Repeated:
    """A network of the front: its top-1 in percent with each seed, and its other objectives, to be minimised."""

    top1: tuple[float, ...]
    others: tuple[float, ...]


@dataclass(frozen=True)
class Certainty:
    """What repeated scores say of one network.

    `mean` and `std` are of its top-1 in percent, `std` of one training (pooled over the members where it has few
    scores: `pooled`). `low` and `high` hold its accuracy, the mean over all seeds, with 95 % probability. `on_front`
    is the probability that no other network is as good in everything and better in something.
    """

    mean: float
    std: float
    pooled: bool
    low: float
    high: float
    on_front: float
    scores: int


def certainties(members: Sequence[Repeated], rest: Sequence[Repeated] = (), *, seed: int = 0) -> list[Certainty]:
    """What is known of each member, among the members and the `rest`: networks that may beat them, scored once or more.

    The scores of members must be those of new seeds alone. The one that put a member on the front is the best of many,
    and so too high on average; with it the error bar would be shifted. Assumption: the noise of the rest is that of
    the members.

    Raises ValueError where no network has two scores, so that the noise is not known, or one has none.
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
    """Standard deviations of one training: (n,) each; `freedom` are their degrees of freedom."""

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
        """Draws from the posterior of each network's accuracy less its mean score, (DRAWS, n).

        Those who share a variance share its draw: their errors are large together.
        """
        own = rng.chisquare(self.freedom, size=(DRAWS, len(self.std)))
        shared = own[:, int(np.argmax(self.pooled))][:, None] if self.pooled.any() else own
        variance = self.std**2 * self.freedom / np.where(self.pooled, shared, own)
        return np.sqrt(variance / self.counts) * rng.standard_normal((DRAWS, len(self.std)))
