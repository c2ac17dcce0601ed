"""Which candidates go on training, and which are stopped on the way?

Asynchronous successive halving (Li et al., arXiv:1810.05934, in the form that stops rather than pauses): training is
interrupted at rungs, at 1/9, 1/3 and all of the budget where eta is 3, and at each the best third of those that ever
reached it go on. With several objectives "best" is near the front: constrained non-domination rank (Deb et al., 2002,
section VI), as in MO-ASHA (Schmucker et al., arXiv:2106.12639). One objective is earned by training and known in part;
the others are known exactly, so that of two in one rank the one that lacks less accuracy goes first.

A third of few is too few for a front, and what is stopped does not come back: so those that none dominates go on too,
while they are not more than half. On the digits (3 seeds of 60 candidates, 150 orders of each) that took 30 % of the
epochs, as the best third rounded up did (31 %), and the worst order kept 99.1 instead of 91.6 % of the hypervolume.

A decision depends on what stood at the rung before, and on nothing else: one worker decides the same each time.
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

    `halving` compares at rungs `eta` times apart, the first at `min_epochs` or later (by default a share 1/eta² of the
    budget), and lets one of `eta` go on. `hyperband` (Li et al., arXiv:1603.06560) hedges against a first rung that is
    too early: its candidates are dealt to `brackets` that begin to compare at the first, second, … rung, by default as
    many as there are rungs, of which the last compares nothing; each bracket costs about as many epochs.
    """

    method: StoppingMethod = "none"
    eta: Annotated[Whole, Field(ge=2, le=100)] = 3
    min_epochs: Annotated[Whole, Field(ge=1)] | None = None
    brackets: Annotated[Whole, Field(ge=1)] | None = None


@dataclass(frozen=True)
class Standing:
    """What is known of a candidate at a rung.

    `objectives` are all to be minimised: the first is earned by training (top-1 negated, at that rung), the others are
    exact. `violation` is by how much it breaks its limits, 0 where it meets them.
    """

    objectives: tuple[float, ...]
    violation: float = 0.0


@dataclass(frozen=True)
class Decision:
    """Where a candidate stands at a rung: its `place`, from 1, of `reached`, the best `places` of which go on."""

    place: int
    reached: int
    places: int

    @property
    def goes_on(self) -> bool:
        """Whether it is trained on."""
        return self.place <= self.places

    def __str__(self) -> str:
        return f"place {self.place} of {self.reached} that reached this rung, of which {self.places} go on"


def rungs(settings: StoppingSettings, budget: int) -> tuple[int, ...]:
    """The epochs at which a training of `budget` epochs is looked at; the last is `budget`.

    Raises NasError where training is to be stopped and there is no rung before the end.
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
    """The rungs of each bracket, the one that compares first in front. Raises NasError as `rungs` does."""
    levels = rungs(settings, budget)
    count = 1 if settings.method != "hyperband" else settings.brackets or len(levels)
    if count > len(levels):
        raise NasError(
            f"stopping.brackets must be at most the number of rungs, {len(levels)} (at epochs "
            f"{', '.join(map(str, levels))}), but is {count}"
        )
    return tuple(levels[start:] for start in range(count))


def bracket_of(number: int, shapes: Sequence[Sequence[int]], eta: int) -> int:
    """The bracket that trial `number` is dealt to: each is to cost the same, so early rungs take more candidates."""
    shares = np.array([1 / expected_epochs(shape, eta) for shape in shapes])
    place = (number + 0.5) * _GOLDEN % 1
    return int(np.searchsorted(np.cumsum(shares / shares.sum())[:-1], place, side="right"))


def expected_epochs(levels: Sequence[int], eta: int) -> float:
    """What a candidate costs on average, in epochs, where one of `eta` goes on at each of the rungs `levels`."""
    steps = np.diff([0, *levels])
    return float((steps / float(eta) ** np.arange(len(steps))).sum())


def decide(candidate: Standing, others: Sequence[Standing], eta: int) -> Decision:
    """Whether `candidate`, at a rung that `others` have reached before it, is trained on.

    The best 1/eta are, rounded down, and those that none dominates, up to half (or `eta`, where that is more).
    """
    standings = [*others, candidate]
    order = best_first(standings)
    count = len(standings)
    places = max(count // eta, min(_front_size(standings), max(eta, math.ceil(count / 2))))
    return Decision(order.index(len(others)) + 1, count, places)


def best_first(standings: Sequence[Standing]) -> list[int]:
    """Indices from the best to the worst: by violation, then non-domination rank, then lack of accuracy.

    Of equals the earlier goes first. Raises ValueError for NaN and for unequal numbers of objectives.
    """
    points = np.array([standing.objectives for standing in standings], dtype=np.float64)
    violations = np.array([standing.violation for standing in standings])
    if np.isnan(points).any() or np.isnan(violations).any():
        raise ValueError("standings must not hold NaN")
    return [int(i) for i in np.lexsort((lacks(points), ranks(points), violations))]


def _front_size(standings: Sequence[Standing]) -> int:
    """How many none dominates, among those that break their limits least."""
    least = min(standing.violation for standing in standings)
    return len(front_of([standing.objectives for standing in standings if standing.violation == least]))
