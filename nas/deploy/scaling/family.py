"""Make a family of a network for a device, and record what decided the scaling."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nas.deploy.scaling.compound import (
    ScaledNetwork,
    check_multiples,
    fit_compound_scaling,
    rescaled,
    scaled_family,
    scaling_grid,
)
from nas.errors import NasError, RunFailedError
from nas.files import write_files
from nas.latency.modelling.extend import with_modelled
from nas.latency.table import LatencyEstimate, LatencyTable
from nas.networks.architecture import Architecture
from nas.networks.deployed import deployed
from nas.networks.operators import estimate_costs, units
from nas.networks.scaling import EFFICIENTNET_SCALING, CompoundScaling

if TYPE_CHECKING:
    from nas.accuracy.evaluators.short_training import ShortTraining
    from nas.deploy.scaling.compound import Scale

# The score of a network that could not be trained: less than any other's.
FAILED = float("-inf")

# What the scaling was chosen by.
Reason = Literal["top-1", "given", "efficientnet"]


@dataclass(frozen=True)
class ScalingCandidate:
    """A scaling of the grid; `top1` in percent, FAILED where training failed."""

    network: ScaledNetwork
    top1: float


@dataclass(frozen=True)
class Family:
    """A network, the scaling that was chosen, why, and the family's members by multiple of the network's latency."""

    name: str
    table: LatencyTable
    base: Architecture
    candidates: tuple[ScalingCandidate, ...]
    scaling: CompoundScaling
    reason: Reason
    members: Mapping[float, ScaledNetwork]

    def estimate(self, architecture: Architecture) -> LatencyEstimate:
        """The latency by the table, with units that have no row modelled."""
        return estimate_extended(self.table, architecture)


def estimate_extended(table: LatencyTable, architecture: Architecture) -> LatencyEstimate:
    """The latency of a network as deployed, by a table; units without a row are modelled by its cost model.

    Raises NasError where the table has no cost model, or the cost model cannot estimate a unit.
    """
    as_deployed = deployed(architecture)
    return with_modelled(table, units(as_deployed)).estimate(as_deployed)


def build_family(
    name: str,
    base: Architecture,
    table: LatencyTable,
    multiples: Sequence[float],
    *,
    scale: Scale,
    scaling: CompoundScaling | None = None,
    evaluator: Callable[[int], ShortTraining] | None = None,
    epochs: int = 1,
    seed: int = 0,
    most: int = 6,
    tolerance: float = 0.1,
    on_training: Callable[[int, int, ScaledNetwork], None] = lambda *_: None,
) -> Family:
    """The family of `base` on the device of `table`.

    A `scaling` that is given is taken as it is. Else, with an `evaluator` (made for the grid's largest resolution), the
    grid holds scalings that double the latency (`most`, `tolerance`), and the one with the best top-1 after `epochs` is
    taken. Top-1 is that of proxies whose resolution is in proportion to the grid's largest: a candidate with a high
    gamma is trained on larger images. With neither, EfficientNet's proportions are rescaled to double the latency.
    Raises NasError for multiples that would give two members one name.
    """
    check_multiples(multiples)
    _check_names(name, multiples)

    def latency_ms(architecture: Architecture) -> float:
        return estimate_extended(table, architecture).latency_ms

    candidates: tuple[ScalingCandidate, ...] = ()
    reason: Reason
    if scaling is not None:
        reason = "given"
    elif evaluator is None:
        scaling, reason = rescaled(base, EFFICIENTNET_SCALING, latency_ms, scale=scale), "efficientnet"
    else:
        grid = scaling_grid(base, latency_ms, most=most, tolerance=tolerance, scale=scale)
        largest = max(network.architecture.resolution for network in grid)
        candidates, scaling = _choose(grid, evaluator(largest), epochs, seed, on_training)
        reason = "top-1"
    members = scaled_family(base, scaling, latency_ms, multiples, scale=scale)
    return Family(name, table, base, candidates, scaling, reason, members)


def family_json(family: Family) -> dict[str, Any]:
    """Plain data."""
    return {
        "network": family.name,
        "device": family.table.name,
        "base": _costs_json(family, family.base),
        "candidates": [
            {**_network_json(family, candidate.network), "top1": None if candidate.top1 == FAILED else candidate.top1}
            for candidate in family.candidates
        ],
        "scaling": _scaling_json(family.scaling),
        "scaling_by": family.reason,
        "family": [_member_json(family, multiple) for multiple in family.members],
    }


def save_family(family: Family, folder: Path) -> list[Path]:
    """Write each member as NAME_x2.json, which all commands that take a network read; returns the paths.

    Raises RunFailedError where they cannot be written.
    """
    texts = {
        f"{member_name(family.name, multiple)}.json": json.dumps(_member_json(family, multiple), indent=2) + "\n"
        for multiple in family.members
    }
    return write_files(folder, texts)


def member_name(name: str, multiple: float) -> str:
    """The name of a family's member, such as `mobilenet_v3_large_x2`."""
    return f"{name}_x{multiple:g}"


def _check_names(name: str, multiples: Sequence[float]) -> None:
    """Raise NasError where two multiples would give two members one name."""
    by_name: dict[str, float] = {}
    for multiple in multiples:
        other = by_name.setdefault(member_name(name, multiple), multiple)
        if other != multiple:
            raise NasError(f"multiples must differ in their first six digits, but got {other!r} and {multiple!r}")


def _choose(
    grid: Sequence[ScaledNetwork],
    evaluator: ShortTraining,
    epochs: int,
    seed: int,
    on_training: Callable[[int, int, ScaledNetwork], None],
) -> tuple[tuple[ScalingCandidate, ...], CompoundScaling]:
    """The grid with its scores, and the scaling with the best."""
    # Imported here: without training there is no need of torch.
    from nas.accuracy.training.failures import TrainingFailedError

    by_architecture = {network.architecture: network for network in grid}
    by_proxy: dict[Architecture, float] = {}

    def score(architecture: Architecture) -> float:
        proxy = evaluator.proxy_of(architecture)
        if proxy not in by_proxy:
            on_training(len(by_proxy) + 1, len(grid), by_architecture[architecture])
            try:
                by_proxy[proxy] = evaluator.evaluate(architecture, epochs, seed).score.top1
            except TrainingFailedError:
                by_proxy[proxy] = FAILED
        return by_proxy[proxy]

    fit = fit_compound_scaling(grid, score)
    candidates = tuple(ScalingCandidate(network, top1) for network, top1 in fit.scored)
    if all(candidate.top1 == FAILED for candidate in candidates):
        raise RunFailedError("no network of the grid could be trained: give other --data, or a --scaling")
    return candidates, fit.best.scaling


def _member_json(family: Family, multiple: float) -> dict[str, Any]:
    network = family.members[multiple]
    return {
        "name": member_name(family.name, multiple),
        "multiple": multiple,
        **_network_json(family, network),
        "architecture": network.architecture.to_json(),
    }


def _network_json(family: Family, network: ScaledNetwork) -> dict[str, Any]:
    return {
        "scaling": _scaling_json(network.scaling),
        "phi": network.phi,
        "ratio": network.ratio,
        **_costs_json(family, network.architecture),
    }


def _costs_json(family: Family, architecture: Architecture) -> dict[str, Any]:
    estimate, costs = family.estimate(architecture), estimate_costs(deployed(architecture))
    return {
        "fingerprint": architecture.fingerprint,
        "resolution": architecture.resolution,
        "latency_ms": estimate.latency_ms,
        "latency_by_source_ms": dict(estimate.by_source),
        "params": costs.params,
        "macs": costs.macs,
    }


def _scaling_json(scaling: CompoundScaling) -> dict[str, float]:
    return {"alpha": scaling.alpha, "beta": scaling.beta, "gamma": scaling.gamma}
