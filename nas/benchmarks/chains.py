"""What do short chains of units tell of a network's latency that units alone cannot?

A table of units cannot know what happens where two of them meet: layouts that change, operations that fuse across the
border, what the caches hold. By chains of k a network takes what all of its chains take, less the chains of k - 1 that
two of them share: every unit counts what it adds to the k - 1 before it. A cheaper way between the two adds to units
alone what a border costs in the mean, by its size. chain_benchmark.py measures which is better.
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
class Outcome:
    """How well one way of summing tells the latency of networks that nothing was fitted to.

    `models` are timed for it; `sum_share` is the mean of sum / network before calibration; `noise` is how far apart two
    sums of a network are, each from every other visit. `gain` is how much smaller the error is than by units
    alone, as a share of the latency, `gain_error` its standard error over networks.
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
    """What it costs that two units run as one model: t(AB) - t(A) - t(B), over distinct pairs.

    Mean, standard deviation (`spread`) and the part of it that measuring again would change (`noise`), in microseconds
    and as shares of t(A) + t(B).
    """

    pairs: int
    mean_us: float
    spread_us: float
    noise_us: float
    mean_share: float
    spread_share: float
    noise_share: float


@dataclass(frozen=True)
class Comparison:
    """By way of summing, the outcomes; the mean errors by protocol and way; and borders by size, `all` first.

    `noise` is how far apart the held-out networks are, measured whole, in every other visit. This and the noise of sums
    are without what all networks have in common, which a calibration takes up.
    """

    fitted: int
    noise: float
    outcomes: Mapping[str, Outcome]
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
    """What a chain's model is called; a unit alone is called by its key."""
    return " + ".join(unit.key for unit in chain)


def chain_sum(units: Sequence[Unit], length: int, latency_ms: Mapping[str, float]) -> float:
    """The latency of units in a row by that of their chains: all of `length`, less what neighbours have in common.

    A network that is no longer than a chain is that chain.
    """
    length = min(length, len(units))
    shared = chains(units[1:-1], length - 1) if length > 1 else []
    return _total(chains(units, length), latency_ms) - _total(shared, latency_ms)


def border_costs(networks: Sequence[Network], latency_ms: Mapping[str, float]) -> dict[Chain, float]:
    """Milliseconds that each two consecutive units take more as one model than apart; below 0, less."""
    pairs = dict.fromkeys(pair for network in networks for pair in chains(network.units, 2))
    return {pair: latency_ms[chain_name(pair)] - _apart(pair, latency_ms) for pair in pairs}


def sums(
    fitting: Sequence[Network], networks: Sequence[Network], latency_ms: Mapping[str, float], longest: int
) -> dict[str, Array]:
    """By way of summing, the latencies of `networks` in milliseconds, before calibration.

    Mean borders are those of the networks to fit by, so that the others' own pairs are not known to it.
    """
    found = {ALONE: _sums(networks, 1, latency_ms)}
    known = border_costs(fitting, latency_ms)
    means = {size: float(np.mean(costs)) for size, costs in _by_size(known).items()}
    anywhere = float(np.mean(list(known.values())))
    found[BORDERS] = found[ALONE] + np.array(
        [sum(means.get(_size(pair), anywhere) for pair in chains(network.units, 2)) for network in networks]
    )
    return found | {f"chains of {length}": _sums(networks, length, latency_ms) for length in range(2, longest + 1)}


def compared(plan: Plan, results: Results, longest: int) -> Comparison:
    """What a run of a kit says. Raises NasError where a model of it could not be measured."""
    parts = (results, *(replace(results, timings=half) for half in results.halves))
    if any(name not in part.timings for part in parts for name in _wanted(plan, longest)):
        lost = "; ".join(f"{name}: {why}" for name, why in results.failed.items())
        raise NasError(f"every chain must be measured, but not all could be: {lost}")
    fitting, held_out = ([network for network in plan.networks if network.role == role] for role in ("fit", "held out"))
    whole, *halves = (network_latencies(held_out, part.timings) for part in parts)
    by_protocol = {protocol: _calibrated(fitting, held_out, results, longest, protocol) for protocol in PROTOCOLS}
    apart = [sums(fitting, held_out, _latencies(part), longest) for part in parts[1:]]
    alone = np.abs(by_protocol[PROTOCOL][ALONE].latency_ms / whole - 1)
    outcomes = {}
    for way, found in by_protocol[PROTOCOL].items():
        gains = alone - np.abs(found.latency_ms / whole - 1)
        outcomes[way] = Outcome(
            models=_models(plan, way, fitting),
            sum_share=found.sum_share,
            calibration=found.calibration,
            agreement=compare(found.latency_ms, whole),
            noise=_differ(*(half[way] for half in apart)),
            gain=float(gains.mean()),
            gain_error=float(gains.std(ddof=1) / math.sqrt(len(gains))),
        )
    protocols = {
        protocol: {way: compare(found.latency_ms, whole).mape for way, found in by_way.items()}
        for protocol, by_way in by_protocol.items()
    }
    costs = [(border_costs(plan.networks, latency_ms), latency_ms) for latency_ms in map(_latencies, parts)]
    return Comparison(len(fitting), _differ(*halves), outcomes, protocols, _borders(costs))


def prepare_chains(
    plan: Plan, longest: int, settings: RunSettings, folder: Path, say: Callable[[int, int], None] = lambda *_: None
) -> str:
    """Write the kit of a comparison into `folder`, unless it is there; returns the kit's identity.

    Raises NasError where the folder holds another one, naming what differs.
    """
    from nas.latency.measuring.onnx_models import unit_model

    wanted = _wanted(plan, longest)
    there = _prepared([*WATCHES, *wanted], settings, folder)
    if there is not None:
        return there
    folder.mkdir(parents=True, exist_ok=True)

    def models() -> Iterator[KitModel]:
        for name, unit in WATCHES.items():
            yield unit_model(name, (unit,))
        for number, (name, chain) in enumerate(wanted.items(), start=1):
            yield unit_model(name, chain, settings.precision)
            say(number, len(wanted))

    return write_kit(models(), settings, folder / KIT)


def _prepared(names: Sequence[str], settings: RunSettings, folder: Path) -> str | None:
    """The identity of the kit that is there, which must be the one that is wanted; None where there is no whole one."""
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
    found = {}
    for way, fitted in ours.items():
        calibration = fit_calibration(fitted, whole)
        calibrated = calibration.offset_ms + calibration.scale * theirs[way]
        found[way] = _Calibrated(float((fitted / whole).mean()), calibration, calibrated)
    return found


def _differ(first: Array, second: Array) -> float:
    """How far apart two measurements of the same networks are in the mean, but for a factor common to all."""
    ratio = first / second
    return float(np.abs(ratio / ratio.mean() - 1).mean())


def _latencies(results: Results, protocol: str = PROTOCOL) -> dict[str, float]:
    """Milliseconds by model, as a table has them of units."""
    call = results.overhead_ms
    return {name: max(LEAST_MS, PROTOCOLS[protocol](timing, call)) for name, timing in results.timings.items()}


def _borders(costs: Sequence[tuple[dict[Chain, float], dict[str, float]]]) -> dict[str, Border]:
    """By size of what passes from one unit to the other; from the borders of a run and of its two halves."""
    whole = costs[0][0]
    grouped: dict[str, list[Chain]] = {_ALL_BORDERS: list(whole)}
    for pair in whole:
        grouped.setdefault(_size(pair), []).append(pair)
    found = {}
    for size, pairs in grouped.items():
        us = np.array([[1000 * borders[pair] for pair in pairs] for borders, _ in costs])
        apart = np.array([1000 * _apart(pair, costs[0][1]) for pair in pairs])
        found[size] = Border(len(pairs), *_spread(us), *_spread(us / apart))
    return found


def _spread(values: Array) -> tuple[float, float, float]:
    """Mean and deviation of the first row, and the deviation that is noise, by the two halves in the others.

    The mean of two halves that differ by d is unsure by d / 2.
    """
    return float(values[0].mean()), float(values[0].std()), float(np.sqrt(np.mean((values[1] - values[2]) ** 2)) / 2)


def _by_size(borders: Mapping[Chain, float]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for pair, cost in borders.items():
        found.setdefault(_size(pair), []).append(cost)
    return found


def _size(pair: Chain) -> str:
    return f"{pair[0].out_height}x{pair[0].out_width}"


def _apart(pair: Chain, latency_ms: Mapping[str, float]) -> float:
    return sum(latency_ms[unit.key] for unit in pair)


def _sums(networks: Sequence[Network], length: int, latency_ms: Mapping[str, float]) -> Array:
    return np.array([chain_sum(network.units, length, latency_ms) for network in networks])


def _total(found: Sequence[Chain], latency_ms: Mapping[str, float]) -> float:
    return sum(latency_ms[chain_name(chain)] for chain in found)


def _models(plan: Plan, way: str, fitting: Sequence[Network]) -> int:
    """How many units and chains of the plan's networks are timed for a way of summing."""
    if way == BORDERS:
        return len(_distinct(plan.networks, 1)) + len(_distinct(fitting, 2))
    length = 1 if way == ALONE else int(way.split()[-1])
    return sum(len(_distinct(plan.networks, n)) for n in range(max(1, length - 1), length + 1))


def _distinct(networks: Sequence[Network], length: int) -> dict[Chain, None]:
    return dict.fromkeys(chain for network in networks for chain in chains(network.units, length))


def _wanted(plan: Plan, longest: int) -> dict[str, Chain]:
    """Every network and chain that is timed, by the name of its model."""
    found = {network.name: network.units for network in plan.networks}
    for length in range(1, longest + 1):
        found |= {chain_name(chain): chain for chain in _distinct(plan.networks, length)}
    return found
