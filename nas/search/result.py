"""What came out of a search?

Plain immutable values that survive JSON: a `CostedNetwork` (what is known of one network), a `Trial` (one draw of the
search and what became of it), and a `SearchResult` (a whole run, as far as it has got).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from nas.accuracy.evaluate import Score
from nas.latency.table import LatencyEstimate, LatencyTable, Source
from nas.networks.architecture import Architecture
from nas.networks.deployed import deployed
from nas.networks.operators import Costs, estimate_costs
from nas.search.pareto import front_of, hypervolume, knee_of

# complete: trained and scored. infeasible: known to break a limit, never trained. duplicate: the same network as an
# earlier trial, never trained again. failed: training ended without a score.
Status = Literal["complete", "infeasible", "duplicate", "failed"]
STATUSES: tuple[Status, ...] = get_args(Status)


@dataclass(frozen=True)
class CostedNetwork:
    """A network that will be deployed, its costs there, and the score that its proxy earned (None: not trained).

    `architecture` may have branches; `latency` and `costs` are those of `nas.networks.deployed`.
    """

    name: str
    architecture: Architecture
    latency: LatencyEstimate
    costs: Costs
    score: Score | None = None

    @property
    def top1(self) -> float:
        """The score's top-1 in percent. Raises ValueError where there is no score."""
        if self.score is None:
            raise ValueError(f"{self.name} has no score")
        return self.score.top1

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "name": self.name,
            "fingerprint": self.architecture.fingerprint,
            "latency_ms": self.latency.latency_ms,
            "latency_by_source_ms": dict(self.latency.by_source),
            "params": self.costs.params,
            "macs": self.costs.macs,
            "peak_activation_bytes": self.costs.peak_activation_bytes,
            "score": self.score.to_json() if self.score else None,
            "architecture": self.architecture.to_json(),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> CostedNetwork:
        """The inverse of `to_json`."""
        return cls(
            name=data["name"],
            architecture=Architecture.from_json(data["architecture"]),
            latency=LatencyEstimate(data["latency_ms"], dict(data["latency_by_source_ms"])),
            costs=Costs(data["params"], data["macs"], data["peak_activation_bytes"]),
            score=Score.from_json(data["score"]) if data["score"] else None,
        )


@dataclass(frozen=True)
class Trial:
    """One draw. `reason` says why a trial that is not complete is not; `seconds` is what it took in all."""

    number: int
    status: Status
    network: CostedNetwork
    reason: str = ""
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "number": self.number,
            "status": self.status,
            "reason": self.reason,
            "seconds": self.seconds,
            "network": self.network.to_json(),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Trial:
        """The inverse of `to_json`."""
        network = CostedNetwork.from_json(data["network"])
        return cls(data["number"], data["status"], network, data["reason"], data["seconds"])


@dataclass(frozen=True)
class Setting:
    """What a run searched, on what, and how: the facts that stand above its results.

    `reference_point` is the corner that hypervolume is measured from: top-1 by chance, and the latency limit or the
    latency of the space's largest member. `trained` and `deployed` say in words which network earns top-1 and which
    one the latency is of.
    """

    space: str
    space_size: int
    device: str
    device_conditions: Mapping[str, Any]
    dataset: str
    trained: str
    deployed: str
    limits: Mapping[str, float]
    budgets_ms: tuple[float, ...]
    reference_point: tuple[float, float]
    experiment: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Setting:
        """The inverse of `to_json`."""
        chance, slowest = data["reference_point"]
        fixed = {"budgets_ms": tuple(data["budgets_ms"]), "reference_point": (chance, slowest)}
        return cls(**{**data, **fixed})


@dataclass(frozen=True)
class Pick:
    """A member of the front that stands out, and why ("knee", "best within 30 ms")."""

    reason: str
    slug: str
    trial: Trial


@dataclass(frozen=True)
class SearchResult:
    """A run: its setting, its trials in order, and the reference networks trained with the same recipe."""

    setting: Setting
    trials: tuple[Trial, ...]
    references: tuple[CostedNetwork, ...] = ()

    @cached_property
    def completed(self) -> tuple[Trial, ...]:
        """The trials that were trained and scored, in order."""
        return tuple(trial for trial in self.trials if trial.status == "complete")

    @cached_property
    def front(self) -> tuple[Trial, ...]:
        """The completed trials that no other beats in both top-1 and latency, fastest first."""
        indices = front_of(_points([trial.network for trial in self.completed]))
        return tuple(sorted((self.completed[i] for i in indices), key=lambda trial: trial.network.latency.latency_ms))

    @property
    def knee(self) -> Trial:
        """The member of the front beyond which more latency buys least. Raises ValueError without completed trials."""
        return self.completed[knee_of(_points([trial.network for trial in self.completed]))]

    def best_within(self, budget_ms: float) -> Trial | None:
        """The most accurate completed trial of at most `budget_ms`, or None."""
        affordable = [trial for trial in self.front if trial.network.latency.latency_ms <= budget_ms]
        return affordable[-1] if affordable else None

    def picks(self) -> tuple[Pick, ...]:
        """The knee, and the best within each budget that some trial meets."""
        if not self.completed:
            return ()
        picks = [Pick("knee of the front", "knee", self.knee)]
        for budget_ms in self.setting.budgets_ms:
            best = self.best_within(budget_ms)
            if best is not None:
                picks.append(Pick(f"best within {budget_ms:.10g} ms", f"within_{budget_ms:.10g}ms", best))
        return tuple(picks)

    def hypervolumes(self) -> list[float]:
        """After each trial, the part of the reference box (0 to 1) that the completed ones dominate."""
        chance, slowest = self.setting.reference_point
        box = (100 - chance) * slowest
        volumes: list[float] = []
        points: list[tuple[float, float]] = []
        volume = 0.0
        for trial in self.trials:
            if trial.status == "complete":
                point = (-trial.network.top1, trial.network.latency.latency_ms)
                if not any(top1 <= point[0] and latency <= point[1] for top1, latency in points):
                    points = [point, *points]
                    points = [points[i] for i in front_of(points)]
                    volume = hypervolume(points, (-chance, slowest)) / box
            volumes.append(volume)
        return volumes


def cost(name: str, architecture: Architecture, table: LatencyTable) -> CostedNetwork:
    """A network with the costs of its deployed form. Raises NasError where the table misses one of its units."""
    running = deployed(architecture)
    return CostedNetwork(name, architecture, table.estimate(running), estimate_costs(running))


def mean_share(trials: Sequence[Trial], source: Source) -> float:
    """The mean part, 0 to 1, of these trials' latency that rests on figures from `source`."""
    return float(np.mean([trial.network.latency.share(source) for trial in trials])) if trials else 0.0


def _points(networks: Sequence[CostedNetwork]) -> NDArray[np.float64]:
    """(n, 2): top-1 negated, and latency in milliseconds."""
    return np.array([(-network.top1, network.latency.latency_ms) for network in networks]).reshape(-1, 2)
