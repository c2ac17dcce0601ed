"""A search problem as the front sampler sees it: the space, and all that is known of its members before training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.study import StudyDirection

from nas.errors import NasError
from nas.search.sampling.front_sampler.grid import Floats, Grid, Rows

# From rows (n, parameters) to one figure (n,) or several (n, figures) for each.
OfRows = Callable[[Rows], Floats]


@dataclass(frozen=True)
class Problem:
    """A search space, and all that can be computed of its members without training them.

    Functions take many members at once, as rows of choices (grid.py); `on_params` makes such a function of one that
    takes dictionaries.

    known: all objectives (n, objectives), in the study's order and unit, with NaN for the learned one. May be None
        where the learned objective is the only one.
    learned: the number of the objective that needs training.
    violation: (n,) or (n, constraints); a member with a value above 0 is never proposed.
    features: what the learned objective may depend on besides the choices, (n, features), such as log MACs. By default
        the known objectives, as logarithms where they are positive.
    canonical: turns rows that stand for the same member into one of them, such as rows that differ in a block that is
        absent.
    start: members that are evaluated first, such as published networks.
    reference: the point that hypervolume is measured from, in the study's order and unit. By default it is derived
        from a broad sample and the first trials.
    """

    space: Mapping[str, BaseDistribution]
    known: OfRows | None = None
    learned: int = 0
    violation: OfRows | None = None
    features: OfRows | None = None
    canonical: Callable[[Rows], Rows] | None = None
    start: Sequence[Mapping[str, Any]] = ()
    reference: Sequence[float] | None = None

    @cached_property
    def grid(self) -> Grid:
        """The space's choices as numbers."""
        return Grid(self.space)

    @cached_property
    def start_rows(self) -> Rows:
        """`start` as rows."""
        rows = [self.grid.row(params) for params in self.start]
        return np.array(rows, dtype=np.int64).reshape(len(rows), len(self.space))

    def spelt(self, rows: Rows) -> Rows:
        """The canonical rows of the same members."""
        return rows if self.canonical is None else self.canonical(rows)

    def excess(self, rows: Rows) -> Floats:
        """(n,): by how much each row violates the constraints in sum; 0 where it meets them all."""
        if self.violation is None or not len(rows):
            return np.zeros(len(rows))
        violations = np.asarray(self.violation(rows), dtype=np.float64).reshape(len(rows), -1)
        excess: Floats = np.where(np.isnan(violations), np.inf, np.maximum(violations, 0.0)).sum(axis=1)
        return excess


@dataclass(frozen=True)
class Minimised:
    """A problem with the directions of a study: all objectives turned so that less is better, the learned one apart."""

    problem: Problem
    directions: tuple[StudyDirection, ...]

    def __post_init__(self) -> None:
        problem, count = self.problem, len(self.directions)
        if not 0 <= problem.learned < count:
            raise NasError(f"learned must be the number of an objective, 0 to {count - 1}, but is {problem.learned}")
        if problem.known is None and count > 1:
            raise NasError(f"a study of {count} objectives needs `known`: all of them but the learned one")
        if problem.reference is not None and len(problem.reference) != count:
            raise NasError(f"the reference must have {count} values, but has {len(problem.reference)}")

    @cached_property
    def signs(self) -> Floats:
        """1 for each objective that is minimised, -1 for others."""
        return np.array([-1.0 if d == StudyDirection.MAXIMIZE else 1.0 for d in self.directions])

    @property
    def sign(self) -> float:
        """The sign of the learned objective."""
        return float(self.signs[self.problem.learned])

    def known(self, rows: Rows) -> Floats:
        """The known objectives of rows: (n, objectives - 1)."""
        if len(self.directions) == 1 or self.problem.known is None:
            return np.zeros((len(rows), 0))
        values = np.asarray(self.problem.known(rows), dtype=np.float64)
        if values.shape != (len(rows), len(self.directions)):
            raise NasError(f"`known` must give ({len(rows)}, {len(self.directions)}) values, but gave {values.shape}")
        return self.split(values)[0]

    def split(self, values: Floats) -> tuple[Floats, Floats]:
        """The known objectives (n, objectives − 1) and the learned one (n,), minimised, of a study's values."""
        turned = values * self.signs
        return np.delete(turned, self.problem.learned, axis=1), turned[:, self.problem.learned]

    @cached_property
    def reference(self) -> tuple[Floats, float] | None:
        """The known and the learned part of the reference, minimised; None where the problem has no reference."""
        if self.problem.reference is None:
            return None
        known, learned = self.split(np.array([self.problem.reference], dtype=np.float64))
        return known[0], float(learned[0])


def on_params(
    space: Mapping[str, BaseDistribution], function: Callable[[Sequence[dict[str, Any]]], Any]
) -> Callable[[Rows], Floats]:
    """A function of rows made of one that takes a batch of dictionaries. It computes each row once and remembers it."""
    grid = Grid(space)
    answers: dict[bytes, Floats] = {}

    def of_rows(rows: Rows) -> Floats:
        keys = keys_of(rows)
        missing = {key: index for index, key in enumerate(keys) if key not in answers}
        if missing:
            batch = [grid.params(rows[index].tolist()) for index in missing.values()]
            answers.update(zip(missing, np.asarray(function(batch), dtype=np.float64), strict=True))
        return np.array([answers[key] for key in keys], dtype=np.float64)

    return of_rows


def keys_of(rows: Rows) -> list[bytes]:
    """A hashable value for each row."""
    # One byte a choice where that is enough: keys take half of the time of a suggestion.
    narrow = np.ascontiguousarray(rows, dtype=np.uint8 if rows.max(initial=0) < 256 else np.int64)
    whole, width = narrow.tobytes(), narrow.itemsize * rows.shape[1]
    return [whole[at : at + width] for at in range(0, len(whole), width)] if width else [b""] * len(rows)
