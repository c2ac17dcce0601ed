"""Predict a network's latency from short chains of its units, and compare that with sums over units alone.

A table of units knows nothing of the borders between them: layouts that change, operations that fuse across the border,
the contents of caches. With chains of k consecutive units,

    latency = Σ chains of k − Σ inner chains of k − 1,

so that every unit counts what it adds to the k − 1 units before it. A cheaper way adds to units alone the mean cost of
a border of that size. chains_command.py measures which way is best.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.errors import NasError
from nas.latency.measuring import runner
from nas.latency.measuring.agreement import (
    LEAST_MS,
    PROTOCOL,
    PROTOCOLS,
    LatencyAgreement,
    compare,
    fit_calibration,
    network_latencies,
)
from nas.latency.measuring.kit import KitModel, RunSettings, write_kit, write_runner
from nas.latency.measuring.measure import KIT, WATCHES
from nas.latency.measuring.plan import Network, Plan
from nas.latency.measuring.samples import Results
from nas.latency.table import Calibration
from nas.networks.operators import Unit

Array = NDArray[np.float64]
Chain = tuple[Unit, ...]

ALONE, BORDERS = "units alone", "units alone, and mean borders"
_ALL_BORDERS = "all"


@dataclass(frozen=True)
class WayResult:
    """How well one way of summing predicts the latency of held-out networks.

    `models` is the number of models that it needs timed. `sum_share` is the mean of sum / network before calibration.
    `noise` is the mean difference between two sums of a network, each from every other visit. `gain` is the error of
    units alone minus the error of this way, as a share of the latency, and `gain_error` its standard error over
    networks.
    """

    models: int
    sum_share: float
    calibration: Calibration
    agreement: LatencyAgreement
    noise: float
    gain: float
    gain_error: float

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self), "calibration": self.calibration.model_dump()}


@dataclass(frozen=True)
class Border:
    """The cost of a border between two units, t(AB) - t(A) - t(B), over distinct pairs.

    Its mean, its standard deviation (`spread`) and the part of that which is measurement noise (`noise`), in
    microseconds and as shares of t(A) + t(B).
    """

    pairs: int
    mean_us: float
    spread_us: float
    noise_us: float
    mean_share: float
    spread_share: float
    noise_share: float


@dataclass(frozen=True)
class ChainComparison:
    """The results by way of summing, the mean errors by timing protocol and way, and borders by size, `all` first.

    `fitted` is the number of networks that sums were calibrated on. `noise` is the mean difference between two
    measurements of a held-out network as a whole, each from every other visit. This noise and that of the sums exclude
    what all networks have in common, which the calibration takes up.
    """

    fitted: int
    noise: float
    outcomes: Mapping[str, WayResult]
    protocols: Mapping[str, Mapping[str, float]]
    borders: Mapping[str, Border]

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "fitted": self.fitted,
            "noise": self.noise,
            "outcomes": {name: outcome.to_json() for name, outcome in self.outcomes.items()},
            "protocols": {name: dict(errors) for name, errors in self.protocols.items()},
            "borders": {size: asdict(border) for size, border in self.borders.items()},
        }


def chains(units: Sequence[Unit], length: int) -> list[Chain]:
    """All runs of `length` consecutive units."""
    return [tuple(units[start : start + length]) for start in range(len(units) - length + 1)]


def chain_name(chain: Chain) -> str:
    """The name of a chain's model; that of a single unit is its key."""
    return " + ".join(unit.key for unit in chain)


def chain_sum(units: Sequence[Unit], length: int, latency_ms: Mapping[str, float]) -> float:
    """The latency of consecutive units as Σ chains of `length` − Σ inner chains of `length` − 1.

    A network that is no longer than a chain is that chain.
    """
    length = min(length, len(units))
    shared = chains(units[1:-1], length - 1) if length > 1 else []
    return _total(chains(units, length), latency_ms) - _total(shared, latency_ms)


def border_costs(networks: Sequence[Network], latency_ms: Mapping[str, float]) -> dict[Chain, float]:
    """For each pair of consecutive units, how many milliseconds longer it takes as one model than apart."""
    pairs = dict.fromkeys(pair for network in networks for pair in chains(network.units, 2))
    return {pair: latency_ms[chain_name(pair)] - _apart(pair, latency_ms) for pair in pairs}


def sums(
    fitting: Sequence[Network], networks: Sequence[Network], latency_ms: Mapping[str, float], longest: int
) -> dict[str, Array]:
    """By way of summing, the latencies of `networks` in milliseconds, before calibration.

    The mean costs of borders come from the `fitting` networks alone, so that held-out networks add nothing to them.
    """
    by_way = {ALONE: _sums(networks, 1, latency_ms)}
    costs = border_costs(fitting, latency_ms)
    means = {size: float(np.mean(costs)) for size, costs in _by_size(costs).items()}
    anywhere = float(np.mean(list(costs.values())))
    by_way[BORDERS] = by_way[ALONE] + np.array(
        [sum(means.get(_size(pair), anywhere) for pair in chains(network.units, 2)) for network in networks]
    )
    return by_way | {f"chains of {length}": _sums(networks, length, latency_ms) for length in range(2, longest + 1)}


def compared(plan: Plan, results: Results, longest: int) -> ChainComparison:
    """Compare all ways on the results of a kit. Raises NasError where one of its models could not be measured."""
    parts = (results, *(replace(results, timings=half) for half in results.halves))
    if any(name not in part.timings for part in parts for name in _models_to_time(plan, longest)):
        failures = "; ".join(f"{name}: {why}" for name, why in results.failed.items())
        raise NasError(f"every chain must be measured, but not all could be: {failures}")
    fitting, held_out = ([network for network in plan.networks if network.role == role] for role in ("fit", "held out"))
    whole, *halves = (network_latencies(held_out, part.timings) for part in parts)
    by_protocol = {protocol: _calibrated(fitting, held_out, results, longest, protocol) for protocol in PROTOCOLS}
    apart = [sums(fitting, held_out, _latencies(part), longest) for part in parts[1:]]
    alone = np.abs(by_protocol[PROTOCOL][ALONE].latency_ms / whole - 1)
    outcomes = {}
    for way, predicted in by_protocol[PROTOCOL].items():
        gains = alone - np.abs(predicted.latency_ms / whole - 1)
        outcomes[way] = WayResult(
            models=_models(plan, way, fitting),
            sum_share=predicted.sum_share,
            calibration=predicted.calibration,
            agreement=compare(predicted.latency_ms, whole),
            noise=_differ(*(half[way] for half in apart)),
            gain=float(gains.mean()),
            gain_error=float(gains.std(ddof=1) / math.sqrt(len(gains))),
        )
    protocols = {
        protocol: {way: compare(predicted.latency_ms, whole).mape for way, predicted in by_way.items()}
        for protocol, by_way in by_protocol.items()
    }
    costs = [(border_costs(plan.networks, latency_ms), latency_ms) for latency_ms in map(_latencies, parts)]
    return ChainComparison(len(fitting), _differ(*halves), outcomes, protocols, _borders(costs))


def prepare_chains(
    plan: Plan, longest: int, settings: RunSettings, folder: Path, say: Callable[[int, int], None] = lambda *_: None
) -> str:
    """Write the kit of a comparison into `folder`, unless it is there already; returns the kit's identity.

    Raises NasError where the folder holds another kit, and names what differs.
    """
    from nas.latency.measuring.onnx_models import unit_model

    chains_by_name = _models_to_time(plan, longest)
    prepared_kit = _prepared([*WATCHES, *chains_by_name], settings, folder)
    if prepared_kit is not None:
        return prepared_kit
    folder.mkdir(parents=True, exist_ok=True)

    def models() -> Iterator[KitModel]:
        for name, unit in WATCHES.items():
            yield unit_model(name, (unit,))
        for number, (name, chain) in enumerate(chains_by_name.items(), start=1):
            yield unit_model(name, chain, settings.precision)
            say(number, len(chains_by_name))

    return write_kit(models(), settings, folder / KIT)


def _prepared(names: Sequence[str], settings: RunSettings, folder: Path) -> str | None:
    """The identity of the kit in `folder`; None where there is no complete kit. Raises NasError for another kit."""
    try:
        manifest = runner.load_manifest(folder / KIT)
    except runner.KitError:
        return None
    unlike = runner.differences(manifest["settings"], json.loads(json.dumps(asdict(settings))), "settings")
    if not unlike and [model["name"] for model in manifest["models"]] != list(names):
        unlike = "other networks or chains"
    if unlike:
        raise NasError(f"{folder} holds another measurement: {unlike}. Delete it, or give another --work.")
    write_runner(folder / KIT)
    return str(manifest["kit"])


@dataclass(frozen=True, eq=False)
class _Calibrated:
    sum_share: float
    calibration: Calibration
    latency_ms: Array


def _calibrated(
    fitting: Sequence[Network],
    held_out: Sequence[Network],
    results: Results,
    longest: int,
    protocol: str,
) -> dict[str, _Calibrated]:
    latency_ms = _latencies(results, protocol)
    whole = network_latencies(fitting, results.timings)
    ours, theirs = (sums(fitting, networks, latency_ms, longest) for networks in (fitting, held_out))
    by_way = {}
    for way, fitted in ours.items():
        calibration = fit_calibration(fitted, whole)
        calibrated = calibration.offset_ms + calibration.scale * theirs[way]
        by_way[way] = _Calibrated(float((fitted / whole).mean()), calibration, calibrated)
    return by_way


def _differ(first: Array, second: Array) -> float:
    """The mean relative difference of two measurements of the same networks, apart from a factor common to all."""
    ratio = first / second
    return float(np.abs(ratio / ratio.mean() - 1).mean())


def _latencies(results: Results, protocol: str = PROTOCOL) -> dict[str, float]:
    """Milliseconds by model, as a table gives them for units."""
    call = results.overhead_ms
    return {name: max(LEAST_MS, PROTOCOLS[protocol](timing, call)) for name, timing in results.timings.items()}


def _borders(costs: Sequence[tuple[dict[Chain, float], dict[str, float]]]) -> dict[str, Border]:
    """The borders by size of the tensor between the units, from the costs in a run and in its two halves."""
    whole = costs[0][0]
    grouped: dict[str, list[Chain]] = {_ALL_BORDERS: list(whole)}
    for pair in whole:
        grouped.setdefault(_size(pair), []).append(pair)
    by_size = {}
    for size, pairs in grouped.items():
        us = np.array([[1000 * borders[pair] for pair in pairs] for borders, _ in costs])
        apart = np.array([1000 * _apart(pair, costs[0][1]) for pair in pairs])
        by_size[size] = Border(len(pairs), *_spread(us), *_spread(us / apart))
    return by_size


def _spread(values: Array) -> tuple[float, float, float]:
    """Mean and standard deviation of the first row, and the noise's, from the two halves in the other rows.

    The mean of two halves that differ by d has an error of about d / 2.
    """
    return float(values[0].mean()), float(values[0].std()), float(np.sqrt(np.mean((values[1] - values[2]) ** 2)) / 2)


def _by_size(borders: Mapping[Chain, float]) -> dict[str, list[float]]:
    by_size: dict[str, list[float]] = {}
    for pair, cost in borders.items():
        by_size.setdefault(_size(pair), []).append(cost)
    return by_size


def _size(pair: Chain) -> str:
    return f"{pair[0].out_height}x{pair[0].out_width}"


def _apart(pair: Chain, latency_ms: Mapping[str, float]) -> float:
    return sum(latency_ms[unit.key] for unit in pair)


def _sums(networks: Sequence[Network], length: int, latency_ms: Mapping[str, float]) -> Array:
    return np.array([chain_sum(network.units, length, latency_ms) for network in networks])


def _total(summed_chains: Sequence[Chain], latency_ms: Mapping[str, float]) -> float:
    return sum(latency_ms[chain_name(chain)] for chain in summed_chains)


def _models(plan: Plan, way: str, fitting: Sequence[Network]) -> int:
    """The number of units and chains that have to be timed for a way of summing."""
    if way == BORDERS:
        return len(_distinct(plan.networks, 1)) + len(_distinct(fitting, 2))
    length = 1 if way == ALONE else int(way.split()[-1])
    return sum(len(_distinct(plan.networks, n)) for n in range(max(1, length - 1), length + 1))


def _distinct(networks: Sequence[Network], length: int) -> dict[Chain, None]:
    return dict.fromkeys(chain for network in networks for chain in chains(network.units, length))


def _models_to_time(plan: Plan, longest: int) -> dict[str, Chain]:
    """Every network and chain to be timed, by the name of its model."""
    models = {network.name: network.units for network in plan.networks}
    for length in range(1, longest + 1):
        models |= {chain_name(chain): chain for chain in _distinct(plan.networks, length)}
    return models
