"""Compare sums of unit latencies with measured networks: agreement, calibration, and protocols of timing a unit."""

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
# The latency of a unit in a sum, in milliseconds, from its samples and the latency of an empty run.
TimingProtocol = Callable[[Timing, float], float]

PROTOCOLS: Mapping[str, TimingProtocol] = {
    # The caches hold data of other models, so the unit's weights come from memory, as in a network larger than them.
    "first run": lambda timing, _: timing.latency_ms(0),
    "first run, less the call": lambda timing, call: timing.latency_ms(0) - call,
    # The unit has just run, so its weights and its input are in the caches.
    "last run": lambda timing, _: timing.latency_ms(-1),
    "last run, less the call": lambda timing, call: timing.latency_ms(-1) - call,
    "mean of first and last, less the call": lambda timing, call: (
        (timing.latency_ms(0) + timing.latency_ms(-1)) / 2 - call
    ),
    # As most tools do it.
    "median of last runs": lambda timing, _: timing.latency_ms(-1, 50),
}
PROTOCOL = "mean of first and last, less the call"

# The terms of a calibration besides the sum of a network's units: a column for each term.
CALIBRATIONS: Mapping[str, Callable[[Sequence[Network]], Array]] = {
    "scale": lambda networks: np.empty((len(networks), 0)),
    "scale and offset": lambda networks: np.ones((len(networks), 1)),
    "scale, offset, and so much a unit": lambda networks: _with_offset([len(n.units) for n in networks]),
    # The sizes of the tensors between units.
    "scale, offset, and so much an element at the borders": lambda networks: _with_offset(
        [sum(unit.out_channels * unit.out_height * unit.out_width for unit in n.units) for n in networks]
    ),
}
# Lower limit of a unit's latency: taking off the call could leave nothing.
LEAST_MS = 1e-6


@dataclass(frozen=True)
class LatencyAgreement:
    """How well predicted latencies of networks agree with measured ones; error = predicted / measured - 1.

    `bias` is the mean error, `mape` the mean absolute error, `worst` the largest absolute error. `within_5` and
    `within_10` are the shares of the networks, from 0 to 1, with an absolute error of at most 5 and 10 %. Rank
    correlations are NaN where fewer than two latencies differ.
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
        """The form that is written into a table's .yaml."""
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
    """Compare predicted with measured latencies of the same networks, both in milliseconds."""
    predicted_ms, measured_ms = np.asarray(predicted, float), np.asarray(measured, float)
    error = predicted_ms / measured_ms - 1
    ranked = len(predicted_ms) > 1 and len(set(predicted_ms)) > 1 and len(set(measured_ms)) > 1
    return LatencyAgreement(
        networks=len(predicted_ms),
        bias=float(error.mean()),
        mape=float(np.abs(error).mean()),
        worst=float(np.abs(error).max()),
        within_5=float((np.abs(error) <= 0.05).mean()),
        within_10=float((np.abs(error) <= 0.10).mean()),
        spearman=float(spearmanr(predicted_ms, measured_ms).statistic) if ranked else math.nan,
        kendall=float(kendalltau(predicted_ms, measured_ms).statistic) if ranked else math.nan,
    )


def unit_latencies(plan: Plan, results: Results, protocol: str = PROTOCOL) -> dict[str, float]:
    """The latency of each unit that was timed, in milliseconds, by its key."""
    call = results.overhead_ms if "less the call" in protocol else 0.0
    return {
        unit.key: max(LEAST_MS, PROTOCOLS[protocol](results.timings[unit.key], call))
        for unit in plan.units
        if unit.key in results.timings
    }


def unit_sums(networks: Sequence[Network], latency_ms: Mapping[str, float]) -> Array:
    """The sum of the latencies of each network's units, in milliseconds."""
    return np.array([sum(latency_ms[unit.key] for unit in n.units) for n in networks])


def network_latencies(networks: Sequence[Network], timings: Mapping[str, Timing]) -> Array:
    """The latency of each whole network, in milliseconds: that of the last run, as a network runs repeatedly."""
    return np.array([timings[network.name].latency_ms() for network in networks])


def timed_networks(plan: Plan, results: Results, latency_ms: Mapping[str, float], role: Role) -> list[Network]:
    """The networks of a role that were timed in both halves of the visits, and all of whose units were timed."""
    return [
        network
        for network in plan.networks
        if network.role == role
        and all(network.name in timings for timings in (results.timings, *results.halves))
        and all(unit.key in latency_ms for unit in network.units)
    ]


def fit_calibration(sums: Array, latency_ms: Array) -> Calibration:
    """Fit the calibration that turns sums of units into latencies of whole networks.

    Least squares of the relative error, with a scale alone or with a scale and an offset: the form with the lower
    leave-one-out error. Where the networks take nearly the same time, an offset may come with a scale below 0, by which
    larger networks would be faster. Such a form is left out.
    """
    forms = {"scale": np.stack([sums], 1), "scale and offset": np.stack([sums, np.ones_like(sums)], 1)}
    increasing = {name: columns for name, columns in forms.items() if _solve(columns, latency_ms)[0] > 0}
    errors = {name: _left_out_error(columns, latency_ms) for name, columns in increasing.items()}
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
    """Predict the latencies of `others`, in milliseconds, by the calibration called `name`, fitted to `fitting`."""

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
