"""Read a study's trials as arrays: what was tried, what it told, and what is still running."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import takewhile
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from nas.errors import NasError
from nas.search.pareto import front_of, lacks
from nas.search.sampling.front_sampler.grid import Floats, Rows
from nas.search.sampling.front_sampler.problem import Minimised
from nas.search.trial import PARTIAL

# System attribute of a trial that this sampler proposed: its row, so that other processes see it before its parameters
# are stored.
PROPOSED = "front:proposed"


@dataclass(frozen=True)
class History:
    """Trials in the order of their numbers, with all objectives minimised.

    `rows` (n, parameters) are their choices and `known` (n, objectives − 1) the objectives that need no training.
    `learned` (n,) is the trained objective, NaN where a trial told nothing, and `budget` (n,) the share of the whole
    budget that it was trained on. `running` (n,) marks trials without a result yet.
    """

    number: NDArray[np.int64]
    rows: Rows
    known: Floats
    learned: Floats
    budget: Floats
    running: NDArray[np.bool_]

    def take(self, numbers: NDArray[np.int64]) -> History:
        """The trials at these places."""
        return History(**{part.name: getattr(self, part.name)[numbers] for part in fields(self)})

    @cached_property
    def complete(self) -> NDArray[np.bool_]:
        """Which trials have a learned objective of the whole budget; the front is made of these."""
        return ~np.isnan(self.learned) & (self.budget >= 1)

    @cached_property
    def informative(self) -> NDArray[np.bool_]:
        """Which trials have a learned objective, of whatever budget."""
        return ~np.isnan(self.learned)

    @cached_property
    def gaps(self) -> Floats:
        """(n,): how far each trial's learned objective is behind the front (`pareto.lacks`); NaN without one."""
        values = np.column_stack([self.learned, self.known])
        finished = values[self.complete]
        gaps = np.full(len(values), np.nan)
        gaps[self.informative] = lacks(values[self.informative], finished[front_of(finished)])
        return gaps


class Reader:
    """Reads a study's trials. It keeps those that have finished, which saves time and changes no result."""

    def __init__(self, view: Minimised) -> None:
        self._view = view
        self._lock = threading.Lock()
        self._finished: History | None = None
        self._ids: set[int] = set()
        # This many trials, from the first on, have all finished and been read; they are skipped from now on.
        self._read_count = 0

    def read(self, study: Study, but: int) -> History:
        """All trials of this space but number `but`."""
        with self._lock:
            trials = study._storage.get_all_trials(study._study_id, deepcopy=False)[self._read_count :]
            new = [t for t in trials if t.state.is_finished() and t._trial_id not in self._ids]
            self._ids.update(t._trial_id for t in new)
            self._read_count += sum(1 for _ in takewhile(lambda trial: trial.state.is_finished(), trials))
            finished = self._read(new) if self._finished is None else _joined(self._finished, self._read(new))
            self._finished = finished
        under_way = [t for t in trials if t.state == TrialState.RUNNING and t.number != but]
        return _joined(finished, self._read(under_way))

    def _read(self, trials: Sequence[FrozenTrial]) -> History:
        pairs = [(trial, row) for trial in trials if (row := self._row(trial)) is not None]
        read = [trial for trial, _ in pairs]
        width = len(self._view.signs)
        rows = np.array([row for _, row in pairs], dtype=np.int64).reshape(len(read), len(self._view.problem.space))
        told = np.array([_values(t, width) for t in read], dtype=np.float64).reshape(len(read), width)
        partial = [_partial(trial) for trial in read]
        known, learned = self._view.split(told)
        unknown = np.isnan(known).any(axis=1)
        if unknown.any():
            known[unknown] = self._view.known(rows[unknown])
        for index, part in enumerate(partial):
            if part is not None:
                learned[index] = self._view.sign * part[0]
        return History(
            number=np.array([t.number for t in read], dtype=np.int64),
            rows=self._view.problem.spelt(rows) if len(rows) else rows,
            known=known,
            learned=learned,
            budget=np.array([1.0 if part is None else part[1] for part in partial]),
            running=np.array([t.state == TrialState.RUNNING for t in read], dtype=bool),
        )

    def _row(self, trial: FrozenTrial) -> list[int] | None:
        """The trial's row; None for a trial of another space, or one whose parameters are not decided yet."""
        grid = self._view.problem.grid
        try:
            if grid.contains(trial.params, trial.distributions):
                return grid.row(trial.params)
        except (NasError, KeyError, ValueError, TypeError):
            return None
        proposed = trial.system_attrs.get(PROPOSED)
        # Stored parameters take precedence: the proposal counts only until they are stored.
        if trial.state == TrialState.RUNNING and isinstance(proposed, list) and len(proposed) == len(grid.sizes):
            return [int(number) for number in proposed]
        return None


def _values(trial: FrozenTrial, width: int) -> Sequence[float]:
    """A complete trial's values; NaN for each objective of other trials."""
    values: Any = trial.values if trial.state == TrialState.COMPLETE else None
    return values if values is not None and len(values) == width else [math.nan] * width


def _partial(trial: FrozenTrial) -> tuple[float, float] | None:
    """The learned value and the budget's share of a trial that ended early; None for other trials."""
    attribute = trial.user_attrs.get(PARTIAL)
    if not isinstance(attribute, dict) or trial.state not in (TrialState.PRUNED, TrialState.COMPLETE):
        return None
    value, budget = attribute.get("value"), attribute.get("budget")
    if not isinstance(value, int | float) or not isinstance(budget, int | float) or math.isnan(value):
        return None
    return (float(value), float(budget)) if 0 < budget <= 1 else None


def _joined(first: History, second: History) -> History:
    if not len(second.number):
        return first
    names = [part.name for part in fields(History)]
    joined = History(**{name: np.concatenate([getattr(first, name), getattr(second, name)]) for name in names})
    order = np.argsort(joined.number, kind="stable")
    return joined.take(order) if (np.diff(order) < 0).any() else joined
