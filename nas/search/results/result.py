"""SearchResult and Setting: a whole run as plain values, its front, knee, certainties and hypervolumes.

They survive JSON, as do the values that they are made of: `CostedNetwork` (costing.py) and `Trial` (trial.py).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nas.accuracy.score import TOP1, Score
from nas.latency.table import Source
from nas.search.costing import CostedNetwork
from nas.search.pareto import added_volume, front_of, knee_of
from nas.search.quantities import DEFAULT_OBJECTIVES, LEARNED, learned_of, loss_of
from nas.search.results.noise import Certainty, Repeated, certainties
from nas.search.trial import Trial

Ending = Literal["trials", "minutes", "exhausted", "failing", "interrupted"]


@dataclass(frozen=True)
class Setting:
    """What a run searched, on what, and how: the facts that stand above its results.

    `device_conditions` are those of the main table, `devices` those of the others by name. `further` names what is
    shown of each network besides the latency on the main device, parameters, MACs and memory. `reference_point` is the
    corner that hypervolume is measured from, in the objectives' order and units: top-1 by chance, and for the others
    the limit or what the space's largest member has. `trained` and `deployed` say in words which network earns top-1
    and which one the costs are of.
    """

    space: str
    space_size: int
    device: str
    device_conditions: Mapping[str, Any]
    dataset: str
    trained: str
    deployed: str
    limits: Mapping[str, float]
    budgets: Mapping[str, tuple[float, ...]]
    reference_point: tuple[float, ...]
    experiment: Mapping[str, Any]
    objectives: tuple[str, ...] = DEFAULT_OBJECTIVES
    devices: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    further: tuple[str, ...] = ()

    @property
    def learned(self) -> str:
        """The objective that is learned: the metric of the scores."""
        return learned_of(self.objectives)

    @property
    def known_objectives(self) -> tuple[str, ...]:
        """The objectives that are known before training."""
        return tuple(name for name in self.objectives if name not in LEARNED)

    @property
    def tables(self) -> Mapping[str, Mapping[str, Any]]:
        """The conditions of every latency table by its name, the main one first."""
        return {self.device: self.device_conditions, **self.devices}

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Setting:
        """The inverse of `to_json`."""
        lists = {name: tuple(data[name]) for name in ("reference_point", "objectives", "further")}
        budgets = {name: tuple(values) for name, values in data["budgets"].items()}
        return cls(**{**data, **lists, "budgets": budgets})


@dataclass(frozen=True)
class SearchResult:
    """A run: its setting, its trials in order, and the reference networks trained with the same recipe.

    `repeats` holds the scores of networks that were trained again with other seeds, by their fingerprints.
    """

    setting: Setting
    trials: tuple[Trial, ...]
    references: tuple[CostedNetwork, ...] = ()
    repeats: Mapping[str, tuple[Score, ...]] = field(default_factory=dict)

    @cached_property
    def completed(self) -> tuple[Trial, ...]:
        """The trials that were trained and scored, in order."""
        return tuple(trial for trial in self.trials if trial.status == "complete")

    @cached_property
    def front(self) -> tuple[Trial, ...]:
        """The completed trials that no other beats in every objective, fastest on the main device first."""
        found = front_among(self.completed, self.setting.objectives)
        return tuple(sorted(found, key=lambda trial: trial.network.latency.latency_ms))

    @cached_property
    def stopped(self) -> tuple[Trial, ...]:
        """The trials whose training was stopped on the way, in order; their scores are partial."""
        return tuple(trial for trial in self.trials if trial.status == "stopped")

    @property
    def epochs_trained(self) -> tuple[int, int]:
        """The epochs of all scores, and what they would be had no training been stopped. References do not count."""
        scores = [trial.network.score for trial in (*self.completed, *self.stopped) if trial.network.score]
        return sum(score.epochs for score in scores), sum(score.budget or score.epochs for score in scores)

    @cached_property
    def certainties(self) -> Mapping[int, Certainty]:
        """What repeated trainings say of members of the front, by trial number; empty where there are too few."""
        members = [trial for trial in self.front if self._repeated(trial)]
        if not any(len(self._repeated(trial)) > 1 for trial in members):
            return {}
        chosen = {trial.number for trial in members}
        rest = [trial for trial in self.completed if trial.number not in chosen]
        found = certainties(
            [self._as_repeated(trial, self._repeated(trial)) for trial in members],
            [self._as_repeated(trial, self._repeated(trial) or (trial.network.learned,)) for trial in rest],
        )
        return {trial.number: certainty for trial, certainty in zip(members, found, strict=True)}

    def _repeated(self, trial: Trial) -> tuple[float, ...]:
        return tuple(score.value for score in self.repeats.get(trial.network.architecture.fingerprint, ()))

    def _as_repeated(self, trial: Trial, top1: tuple[float, ...]) -> Repeated:
        return Repeated(top1, trial.network.losses(self.setting.known_objectives))

    @cached_property
    def knee(self) -> Trial:
        """The member of the front that is the best compromise (`pareto.knee_of`).

        Raises ValueError without completed trials.
        """
        return self.completed[knee_of(self._losses(self.completed))]

    def best_within(self, name: str, budget: float) -> Trial | None:
        """The most accurate completed trial with no more of the objective `name` (fps: no less), or None.

        Of equally accurate ones that with less of it.
        """
        return self.best_within_all({name: budget})

    def best_within_all(self, budgets: Mapping[str, float]) -> Trial | None:
        """The most accurate completed trial that meets a budget of each of some objectives, or None."""
        order = (self.setting.learned, *budgets, *self.setting.objectives)
        affordable = [
            trial
            for trial in self.completed
            if all(loss_of(name, trial.network.value(name)) <= loss_of(name, most) for name, most in budgets.items())
        ]
        return min(affordable, key=lambda trial: trial.network.losses(order), default=None)

    def hypervolumes(self) -> list[float]:
        """After each trial, the part of the reference box (0 to 1) that the completed ones dominate.

        The box ends at top-1 of 100 % and at nothing of each other objective (fps: none at 0 ms a frame). Another score
        than top-1 has no best value: there the box ends at the best one that was seen.
        """
        corner = self._in_box(tuple(map(loss_of, self.setting.objectives, self.setting.reference_point)))
        if not all(side > 0 for side in corner):
            return [0.0] * len(self.trials)
        volumes: list[float] = []
        points: list[tuple[float, ...]] = []
        volume = 0.0
        for trial in self.trials:
            if trial.status == "complete":
                point = self._in_box(trial.network.losses(self.setting.objectives))
                if not any(all(a <= b for a, b in zip(known, point, strict=True)) for known in points):
                    volume += added_volume(point, points, corner) / math.prod(corner)
                    points = [point, *points]
                    points = [points[i] for i in front_of(points)]
            volumes.append(volume)
        return volumes

    def _in_box(self, losses: tuple[float, ...]) -> tuple[float, ...]:
        """Losses, measured from the end of the reference box."""
        if self.setting.learned == TOP1:
            return losses
        best = min((loss_of(self.setting.learned, trial.network.learned) for trial in self.completed), default=0.0)
        place = self.setting.objectives.index(self.setting.learned)
        return tuple(loss - best if index == place else loss for index, loss in enumerate(losses))

    def _losses(self, trials: Sequence[Trial]) -> NDArray[np.float64]:
        """(n, objectives), to be minimised."""
        return np.array([trial.network.losses(self.setting.objectives) for trial in trials])


def front_among(trials: Sequence[Trial], objectives: Sequence[str]) -> tuple[Trial, ...]:
    """The completed trials that no other of them beats in every objective; of equal ones the first."""
    return tuple(trials[index] for index in front_of([trial.network.losses(objectives) for trial in trials]))


def mean_share(trials: Sequence[Trial], source: Source, device: str = "") -> float:
    """The mean part, 0 to 1, of these trials' latency on a device that rests on figures from `source`."""
    return float(np.mean([trial.network.latency_on(device).share(source) for trial in trials])) if trials else 0.0


@dataclass(frozen=True)
class Outcome:
    """A search's result, and why it ended."""

    result: SearchResult
    ending: Ending
