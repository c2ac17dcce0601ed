"""How far is a table's sum from the real network, and which way of timing units makes the sum right?"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau, spearmanr

from nas.latency.measuring.plan import Network, Plan, Role
from nas.latency.measuring.samples import Results, Timing
from nas.latency.table import Calibration

Array = NDArray[np.float64]
# What a unit, timed alone, counts in a sum: milliseconds, from its samples and what an empty run takes.
Protocol = Callable[[Timing, float], float]

PROTOCOLS: Mapping[str, Protocol] = {
    # The caches hold what other models left: the unit's weights come from memory, as in a network that is too large.
    "first run": lambda timing, _: timing.latency_ms(0),
    "first run, less the call": lambda timing, call: timing.latency_ms(0) - call,
    # The unit has just run: its weights and its input are at hand.
    "last run": lambda timing, _: timing.latency_ms(-1),
    "last run, less the call": lambda timing, call: timing.latency_ms(-1) - call,
    "mean of first and last, less the call": lambda timing, call: (
        (timing.latency_ms(0) + timing.latency_ms(-1)) / 2 - call
    ),
    # As most tools do it.
    "median of last runs": lambda timing, _: timing.latency_ms(-1, 50),
}
PROTOCOL = "mean of first and last, less the call"

# What a network's latency is made of besides the sum of its units, a column each.
CALIBRATIONS: Mapping[str, Callable[[Sequence[Network]], Array]] = {
    "scale": lambda networks: np.empty((len(networks), 0)),
    "scale and offset": lambda networks: np.ones((len(networks), 1)),
    "scale, offset, and so much a unit": lambda networks: _with_offset([len(n.units) for n in networks]),
    # What passes from one unit to the next.
    "scale, offset, and so much an element at the borders": lambda networks: _with_offset(
        [sum(unit.out_channels * unit.out_height * unit.out_width for unit in n.units) for n in networks]
    ),
}
# A figure of nothing would not be a latency.
LEAST_MS = 1e-6


@dataclass(frozen=True)
class LatencyAgreement:
    """Predictions beside measurements of the same networks: shares of the measured latency, from 0 to 1.

    `bias` is the mean of predicted / measured - 1, `mape` its mean magnitude, `worst` its largest magnitude;
    `within_5` and `within_10` are shares of the networks. Rank correlations are NaN for fewer than two networks.
    """

    networks: int
    bias: float
    mape: float
    worst: float
    within_5: float
    within_10: float
    spearman: float
    kendall: float

    def to_json(self) -> dict[str, float | int | str]:
        """As it is written into a table's .yaml."""
        return {
            "networks": self.networks,
            "bias": f"{self.bias:+.2%}",
            "mean_absolute": f"{self.mape:.2%}",
            "worst": f"{self.worst:.2%}",
            "within_5_percent": f"{self.within_5:.0%}",
            "within_10_percent": f"{self.within_10:.0%}",
            "spearman": _rounded(self.spearman),
            "kendall": _rounded(self.kendall),
        }


def compare(predicted: Sequence[float] | Array, measured: Sequence[float] | Array) -> LatencyAgreement:
    """How well predictions agree with measurements, both in milliseconds."""
    ours, theirs = np.asarray(predicted, float), np.asarray(measured, float)
    error = ours / theirs - 1
    ranked = len(ours) > 1 and len(set(ours)) > 1 and len(set(theirs)) > 1
    return LatencyAgreement(
        networks=len(ours),
        bias=float(error.mean()),
        mape=float(np.abs(error).mean()),
        worst=float(np.abs(error).max()),
        within_5=float((np.abs(error) <= 0.05).mean()),
        within_10=float((np.abs(error) <= 0.10).mean()),
        spearman=float(spearmanr(ours, theirs).statistic) if ranked else math.nan,
        kendall=float(kendalltau(ours, theirs).statistic) if ranked else math.nan,
    )


def unit_latencies(plan: Plan, results: Results, protocol: str = PROTOCOL) -> dict[str, float]:
    """Milliseconds by unit key, for the units that were timed."""
    call = results.overhead_ms if "less the call" in protocol else 0.0
    return {
        unit.key: max(LEAST_MS, PROTOCOLS[protocol](results.timings[unit.key], call))
        for unit in plan.units
        if unit.key in results.timings
    }


def unit_sums(networks: Sequence[Network], latency_ms: Mapping[str, float]) -> Array:
    """The sum over each network's units."""
    return np.array([sum(latency_ms[unit.key] for unit in n.units) for n in networks])


def network_latencies(networks: Sequence[Network], timings: Mapping[str, Timing]) -> Array:
    """The latency of each network as a whole: the last run, which is how a network runs that runs again and again."""
    return np.array([timings[network.name].latency_ms() for network in networks])


def timed_networks(plan: Plan, results: Results, latency_ms: Mapping[str, float], role: Role) -> list[Network]:
    """The networks of a role that were timed, in both halves, and whose units were."""
    return [
        network
        for network in plan.networks
        if network.role == role
        and all(network.name in timings for timings in (results.timings, *results.halves))
        and all(unit.key in latency_ms for unit in network.units)
    ]


def fit_calibration(sums: Array, latency_ms: Array) -> Calibration:
    """The scale, and the offset where it pays, that make sums agree best with whole networks.

    Least squares of the relative error; of the two forms the one with the lower error on networks left out one by one.
    With an offset, networks that take nearly the same may give a scale below 0, by which less would cost more: then
    there is none.
    """
    forms = {"scale": np.stack([sums], 1), "scale and offset": np.stack([sums, np.ones_like(sums)], 1)}
    sensible = {name: columns for name, columns in forms.items() if _solve(columns, latency_ms)[0] > 0}
    errors = {name: _left_out_error(columns, latency_ms) for name, columns in sensible.items()}
    best = min(errors, key=lambda name: errors[name])
    scale, offset = (*_solve(forms[best], latency_ms), 0.0)[:2]
    return Calibration(
        scale=round(float(scale), 6),
        offset_ms=round(float(offset), 6),
        held_out_error=f"{errors[best]:.2%} on {len(sums)} networks left out one by one",
    )


def calibrated_otherwise(
    name: str, fitting: Sequence[Network], others: Sequence[Network], results: Results, latency_ms: Mapping[str, float]
) -> Array:
    """Latencies of `others` in milliseconds by the calibration called `name`, fitted to `fitting`."""

    def columns(networks: Sequence[Network]) -> Array:
        return np.column_stack([unit_sums(networks, latency_ms), CALIBRATIONS[name](networks)])

    return np.asarray(columns(others) @ _solve(columns(fitting), network_latencies(fitting, results.timings)), float)


def _with_offset(amounts: Sequence[int]) -> Array:
    return np.column_stack([np.ones(len(amounts)), np.array(amounts, float)])


def _left_out_error(columns: Array, latency_ms: Array) -> float:
    errors = []
    for index in range(len(columns)):
        rest = np.arange(len(columns)) != index
        predicted = columns[index] @ _solve(columns[rest], latency_ms[rest])
        errors.append(abs(predicted / latency_ms[index] - 1))
    return float(np.mean(errors))


def _solve(columns: Array, latency_ms: Array) -> Array:
    weighted = columns / latency_ms[:, None]
    return np.asarray(np.linalg.lstsq(weighted, np.ones(len(latency_ms)), rcond=None)[0], float)


def _rounded(value: float) -> float | str:
    return round(value, 4) if math.isfinite(value) else "too few networks"
