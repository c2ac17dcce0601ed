"""A network with what it costs on the devices of a search, and the score it has earned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

from nas.accuracy.score import TOP1, Score
from nas.latency.energy import energy_mj, frames_per_second
from nas.latency.table import LatencyEstimate, LatencyTable
from nas.networks.architecture import Architecture
from nas.networks.deployed import deployed
from nas.networks.operators import Costs, estimate_costs, units
from nas.search.quantities import LEARNED, loss_of, on_device, quantity_of


@dataclass(frozen=True)
class CostedNetwork:
    """A network that will be deployed, its costs there, and the score that its proxy earned (None: not trained).

    `architecture` may have branches; everything that it costs is that of `nas.networks.deployed`. `latency` is that on
    the main device, `elsewhere` that on others, by the names of their tables; `energy_mj` is the energy by the names
    that objectives have (`energy_mj@note10_lut`), for the tables that give a power.
    """

    name: str
    architecture: Architecture
    latency: LatencyEstimate
    costs: Costs
    score: Score | None = None
    elsewhere: Mapping[str, LatencyEstimate] = field(default_factory=dict)
    energy_mj: Mapping[str, float] = field(default_factory=dict)

    @cached_property
    def values(self) -> Mapping[str, float]:
        """What is known before training, by name (nas/search/quantities.py)."""
        found = {
            "params": self.costs.params,
            "macs": self.costs.macs,
            "peak_activation_bytes": self.costs.peak_activation_bytes,
            **self.energy_mj,
        }
        for device, estimate in {"": self.latency, **self.elsewhere}.items():
            found[on_device("latency_ms", device)] = estimate.latency_ms
            found[on_device("fps", device)] = frames_per_second(estimate.latency_ms)
        return found

    def value(self, name: str) -> float:
        """What it has of the objective `name`. Raises ValueError for a metric that it has no score of."""
        if name not in LEARNED:
            return self.values[name]
        if self.score is None or self.score.metric != name:
            raise ValueError(f"{self.name} has no score of the metric {name}")
        return self.score.value

    def losses(self, objectives: Sequence[str]) -> tuple[float, ...]:
        """Its values as points to minimise, each at best 0 (`quantities.loss_of`)."""
        return tuple(loss_of(name, self.value(name)) for name in objectives)

    def latency_on(self, device: str) -> LatencyEstimate:
        """The latency by the table called `device`; the main one's name is not known here."""
        return self.elsewhere.get(device, self.latency)

    @property
    def learned(self) -> float:
        """The score's value, in the unit of its metric. Raises ValueError where there is no score."""
        if self.score is None:
            raise ValueError(f"{self.name} has no score")
        return self.score.value

    @property
    def top1(self) -> float:
        """The score's top-1 in percent. Raises ValueError where there is none, or the score is of another metric."""
        return self.value(TOP1)

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
            "elsewhere": {device: asdict(estimate) for device, estimate in self.elsewhere.items()},
            "energy_mj": dict(self.energy_mj),
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
            elsewhere={device: LatencyEstimate(**estimate) for device, estimate in data["elsewhere"].items()},
            energy_mj=dict(data["energy_mj"]),
        )


@dataclass(frozen=True, eq=False)
class Costing:
    """What networks cost on the devices of a search, and which of them break its limits.

    `tables` are those of the devices, the main one first. `limits` are by the names of quantities
    (nas/search/quantities.py): what a network must not exceed, or of fps must reach.
    """

    tables: tuple[LatencyTable, ...]
    limits: Mapping[str, float] = field(default_factory=dict)

    def cost(self, name: str, architecture: Architecture) -> CostedNetwork:
        """The network with the costs of its deployed form. Raises NasError where a table misses one of its units."""
        return cost(name, architecture, *self.tables)

    def uncovered_by(self, architecture: Architecture) -> str:
        """The name of the first table that misses a unit of the network; empty where none does."""
        deployed_units = units(deployed(architecture))
        return next((table.name for table in self.tables if table.missing(deployed_units)), "")

    def violations(self, network: CostedNetwork) -> dict[str, float]:
        """By limit, the relative excess: 0.1 is a tenth beyond; at most 0 is met."""
        return {
            name: loss_of(name, network.values[name]) / loss_of(name, limit) - 1 for name, limit in self.limits.items()
        }

    def broken(self, network: CostedNetwork) -> str:
        """The limits that a network breaks, in words; empty when it meets all."""
        return "; ".join(
            f"{name} {network.values[name]:.6g} is "
            f"{'below' if quantity_of(name).larger_is_better else 'above'} {limit:.6g}"
            for name, limit in self.limits.items()
            if loss_of(name, network.values[name]) > loss_of(name, limit)
        )

    def excess(self, network: CostedNetwork) -> float:
        """How far a network is beyond its limits: the sum of the relative excesses."""
        return sum(max(0.0, violation) for violation in self.violations(network).values())


def cost(name: str, architecture: Architecture, table: LatencyTable, *others: LatencyTable) -> CostedNetwork:
    """A network with the costs of its deployed form, on a main device and others.

    Raises NasError where a table misses one of its units.
    """
    running = deployed(architecture)
    latency = table.estimate(running)
    elsewhere = {other.name: other.estimate(running) for other in others}
    powers = {"": table.conditions.power, **{other.name: other.conditions.power for other in others}}
    energy = {
        on_device("energy_mj", device): energy_mj(power.watts, elsewhere.get(device, latency).latency_ms)
        for device, power in powers.items()
        if power
    }
    return CostedNetwork(name, architecture, latency, estimate_costs(running), elsewhere=elsewhere, energy_mj=energy)
