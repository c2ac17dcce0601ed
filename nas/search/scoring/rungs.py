"""Early stopping: decide at each rung whether a candidate's training goes on.

Asynchronous successive halving (Li et al., arXiv:1810.05934, in the form that stops rather than pauses): training is
interrupted at rungs, with eta 3 at 1/9, 1/3 and all of the budget. At each rung the best third of all candidates that
have reached it go on. With several objectives the order is that of constrained non-domination (Deb et al., 2002,
section VI), as in MO-ASHA (Schmucker et al., arXiv:2106.12639). The first objective is earned by training and known in
part; the others are known exactly. So within a rank the candidate that lacks less accuracy goes first.

A third of a few candidates is too small a front, and a stopped candidate does not come back. So candidates that none
dominates go on as well, up to half of all. On the digits (3 seeds of 60 candidates, 150 orders of each) this took 30 %
of the epochs, and the worst order kept 99.1 % of the hypervolume. The best third alone, rounded up, took 31 % and kept
91.6 %.

A decision depends only on the candidates that reached the rung before, so that a single worker repeats it exactly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, get_args

import numpy as np
from pydantic import Field

from nas.config import Settings
from nas.errors import NasError
from nas.search.pareto import front_of, lacks, ranks

StoppingMethod = Literal["none", "halving", "hyperband"]
METHODS: tuple[StoppingMethod, ...] = get_args(StoppingMethod)

Whole = Annotated[int, Field(strict=True)]

# The golden ratio's fraction: its multiples, modulo 1, fill every interval in proportion to its length.
_GOLDEN = (math.sqrt(5) - 1) / 2


class StoppingSettings(Settings):
    """How training is stopped early.

    `halving` compares candidates at rungs `eta` times apart and lets one of `eta` go on. The first rung is at
    `min_epochs` or later, by default at 1/eta² of the budget. `hyperband` (Li et al., arXiv:1603.06560) hedges against
    a first rung that is too early: it deals candidates to `brackets`, which begin to compare at the first, second, …
    rung and cost about as many epochs each. By default there are as many brackets as rungs; the last one stops nothing.
    """

    method: StoppingMethod = "none"
    eta: Annotated[Whole, Field(ge=2, le=100)] = 3
    min_epochs: Annotated[Whole, Field(ge=1)] | None = None
    brackets: Annotated[Whole, Field(ge=1)] | None = None


@dataclass(frozen=True)
class Standing:
    """A candidate's objectives at a rung.

    `objectives` are all to be minimised: the first is earned by training (top-1 negated, at that rung), the others are
    exact. `violation` is how far the candidate is beyond its limits, 0 where it meets them.
    """

    objectives: tuple[float, ...]
    violation: float = 0.0


@dataclass(frozen=True)
class Decision:
    """A candidate's `place` at a rung, from 1, among the `reached` candidates, of which the best `places` go on."""

    place: int
    reached: int
    places: int

    @property
    def goes_on(self) -> bool:
        """Whether the candidate's training goes on."""
        return self.place <= self.places

    def __str__(self) -> str:
        return f"place {self.place} of {self.reached} that reached this rung, of which {self.places} go on"


def rungs(settings: StoppingSettings, budget: int) -> tuple[int, ...]:
    """The epochs at which a training of `budget` epochs is compared; the last is `budget`.

    Raises NasError where training may be stopped but there is no rung before the end.
    """
    if settings.method == "none":
        return (budget,)
    least = settings.min_epochs or max(1, round(budget / settings.eta**2))
    levels = [budget]
    while (epochs := round(budget / settings.eta ** len(levels))) >= least and epochs < levels[-1]:
        levels.append(epochs)
    if len(levels) == 1:
        raise NasError(
            f"stopping {settings.method} must have a rung before the end, but with {budget} epochs, eta {settings.eta} "
            f"and min_epochs {least} there is none. Raise training.epochs, lower stopping.eta or stopping.min_epochs, "
            "or take stopping none."
        )
    return tuple(reversed(levels))


def brackets(settings: StoppingSettings, budget: int) -> tuple[tuple[int, ...], ...]:
    """The rungs of each bracket; the bracket that compares earliest comes first. Raises NasError as `rungs` does."""
    levels = rungs(settings, budget)
    count = 1 if settings.method != "hyperband" else settings.brackets or len(levels)
    if count > len(levels):
        raise NasError(
            f"stopping.brackets must be at most the number of rungs, {len(levels)} (at epochs "
            f"{', '.join(map(str, levels))}), but is {count}"
        )
    return tuple(levels[start:] for start in range(count))


def bracket_of(number: int, shapes: Sequence[Sequence[int]], eta: int) -> int:
    """The bracket of trial `number`. Brackets that stop early get more trials, so that all cost the same."""
    shares = np.array([1 / expected_epochs(shape, eta) for shape in shapes])
    place = (number + 0.5) * _GOLDEN % 1
    return int(np.searchsorted(np.cumsum(shares / shares.sum())[:-1], place, side="right"))


def expected_epochs(levels: Sequence[int], eta: int) -> float:
    """The epochs that a candidate takes on average when one of `eta` goes on at each of the rungs `levels`."""
    steps = np.diff([0, *levels])
    return float((steps / float(eta) ** np.arange(len(steps))).sum())


def decide(candidate: Standing, others: Sequence[Standing], eta: int) -> Decision:
    """Whether the training of `candidate` goes on at a rung that `others` reached before it.

    It goes on for the best 1/eta, rounded down, and for those that none dominates, up to half of all (or `eta`, where
    that is more).
    """
    standings = [*others, candidate]
    order = best_first(standings)
    count = len(standings)
    places = max(count // eta, min(_front_size(standings), max(eta, math.ceil(count / 2))))
    return Decision(order.index(len(others)) + 1, count, places)


def best_first(standings: Sequence[Standing]) -> list[int]:
    """Indices from the best to the worst: by violation, then non-domination rank, then lack of accuracy.

    Of equal candidates the earlier one comes first. Raises ValueError for NaN and for unequal numbers of objectives.
    """
    points = np.array([standing.objectives for standing in standings], dtype=np.float64)
    violations = np.array([standing.violation for standing in standings])
    if np.isnan(points).any() or np.isnan(violations).any():
        raise ValueError("standings must not hold NaN")
    return [int(i) for i in np.lexsort((lacks(points), ranks(points), violations))]


def _front_size(standings: Sequence[Standing]) -> int:
    """How many candidates none dominates, among those that break their limits least."""
    least = min(standing.violation for standing in standings)
    return len(front_of([standing.objectives for standing in standings if standing.violation == least]))
