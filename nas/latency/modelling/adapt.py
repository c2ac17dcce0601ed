"""Make the latency table of a new device from the tables of known devices and a few measurements.

Model: costs of the new device = factor · (mean of the known devices + a mixture of their differences from that mean).
With fewer than MANY_DEVICES known devices, the new device may also differ in the coefficients of the cost model, and
in each unit by itself. All of these terms are Gaussian, so the best estimate is one linear solve: a Gaussian process
over units (Rasmussen and Williams, 2006, section 2.2). Measurements can be outliers, so their errors are relative and
follow Student's t (Tipping and Lawrence, 2005). The sizes of the errors and of the differences are not known. The
estimate is therefore an average over several sizes, weighted by how well each explains the samples.

Rows of the table are `modelled`, because these units were not timed. The error is cross-validated: each sample is
predicted by a model fitted to the others.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma, gammaln

from nas.errors import NasError
from nas.latency.measuring.agreement import LatencyAgreement, compare
from nas.latency.modelling.cost_model import amounts
from nas.latency.table import Calibration, Citation, LatencyTable, Row, TableFormat
from nas.networks.operators import Unit, parse_unit

Array = NDArray[np.float64]

LEAST_SAMPLES = 5
# assumption: the spread of this many known devices shows how devices differ. With fewer, the departures below are added
# to it.
MANY_DEVICES = 8
# Standard deviations that are averaged over. NOISES: error of a measurement, as a share of the latency. AMOUNT_SHARES:
# difference from the known devices in the cost of one amount of the cost model, as a share of a network. UNIT_SHARES:
# difference from them in the cost of one unit, as a share of it.
NOISES = (0.005, 0.01, 0.02, 0.04, 0.08, 0.15)
AMOUNT_SHARES = (0.03, 0.1, 0.3, 1.0)
UNIT_SHARES = (0.05, 0.2)
# Of Student's t: low, so that an outlier weighs little, but above 2, so that the variance exists.
DEGREES_OF_FREEDOM = 3
# `choose` assumes these: measurements of little and of much noise, and amounts that cost about a third more or less.
_DESIGN_NOISES = (0.01, 0.03, 0.1)
_DESIGN_AMOUNT_SHARE = 0.3
_MOST_EXCHANGES = 3
_ITERATIONS = 12
# Lower limit of a unit's cost, as a share of its cost on the known devices.
_LEAST_SHARE = 0.01


@dataclass(frozen=True)
class DeviceSample:
    """A measurement on the new device. `units` are the keys of a whole network's units, or of one unit timed alone."""

    name: str
    units: tuple[str, ...]
    latency_ms: float
    whole: bool = True


@dataclass(frozen=True, eq=False)
class KnownDevices:
    """The costs of the known devices, in milliseconds.

    `latencies` (devices, costs) has one cost for each unit, and further ones for what networks cost beyond their units.
    `amounts` (costs, amounts) are the amounts of the cost model behind each cost, in any unit.
    """

    latencies: Array
    amounts: Array

    def __post_init__(self) -> None:
        if self.latencies.ndim != 2 or not len(self.latencies) or len(self.amounts) != self.latencies.shape[1]:
            raise ValueError(
                "latencies must be (devices, costs) and amounts (costs, amounts), but are "
                f"{self.latencies.shape} and {self.amounts.shape}"
            )

    @property
    def are_many(self) -> bool:
        """Whether their spread alone shows how devices differ."""
        return len(self.latencies) >= MANY_DEVICES


def adapted_costs(known_devices: KnownDevices, counts: Array, latency_ms: Array) -> Array:
    """Estimate the costs of a device from the latencies of some networks measured on it, in milliseconds.

    `counts` (samples, costs) says how often each sample has each cost; `latency_ms` is the latency of each sample. A
    cost that is above 0 on the known devices is above 0 in the estimate.
    """
    prior = _Prior.of(known_devices, counts.mean(axis=0))
    expected = counts @ prior.mean
    scale = float(np.exp(np.median(np.log(latency_ms / expected))))
    residual = latency_ms / scale - expected
    estimates, evidence = [], []
    for share, own in prior.departures:
        covariance = prior.covariance(counts, share, own)
        among_samples = counts @ covariance
        for noise in NOISES:
            weights, log_evidence = _solve_robustly(among_samples, noise * expected, residual)
            estimates.append(prior.mean + covariance @ weights)
            evidence.append(log_evidence)
    likelihood = np.exp(np.array(evidence) - max(evidence))
    mean = likelihood @ np.array(estimates) / likelihood.sum()
    least = _LEAST_SHARE * prior.mean
    costs: Array = scale * np.where(prior.mean > 0, np.maximum(mean, least), mean)
    return costs


def choose(known_devices: KnownDevices, options: Array, targets: Array, count: int) -> list[int]:
    """Choose the `count` rows of `options` (options, costs) whose measurement predicts `targets` (targets, costs) best.

    Returns row numbers. The choice minimises the variance of the targets' estimates (A-optimal design), first greedily,
    then by exchanging one option at a time. It depends on the known devices alone.
    """
    if not 1 <= count <= len(options):
        raise NasError(f"the number of samples to choose must be from 1 to {len(options)}, but is {count}")
    prior = _Prior.of(known_devices, targets.mean(axis=0))
    factors = prior.factors
    if not known_devices.are_many:
        factors = np.hstack([factors, _DESIGN_AMOUNT_SHARE * prior.amounts])
    expected = options @ prior.mean
    option_factors, target_factors = options @ factors, targets @ factors
    target_covariance = target_factors.T @ target_factors
    chosen: list[int] = []
    for _ in range(count):
        chosen.append(_best_addition(option_factors, expected, target_covariance, chosen))
    for _ in range(_MOST_EXCHANGES):
        before = list(chosen)
        for index in range(count):
            others = chosen[:index] + chosen[index + 1 :]
            chosen[index] = _best_addition(option_factors, expected, target_covariance, others)
        if chosen == before:
            break
    return chosen


def adapt_table(
    sources: Sequence[LatencyTable], samples: Sequence[DeviceSample], name: str, conditions: Mapping[str, str]
) -> LatencyTable:
    """Make the table called `name` of the device that `samples` were measured on.

    It has a modelled row for each unit that all sources have. `conditions` are the texts of its .yaml (device, soc,
    threads and so on); those left out become "not stated". Raises NasError for fewer than LEAST_SAMPLES samples, for
    two samples of the same units, and for units that a source lacks.
    """
    devices = _Devices.of(sources)
    counts, latency_ms = devices.read(samples)
    costs = adapted_costs(devices.known_devices, counts, latency_ms)
    left_out = leave_one_out(devices.known_devices, counts, latency_ms)
    agreement = compare(left_out, latency_ms)
    rows = {key: Row(_short(costs[i] / devices.scale), source="modelled") for i, key in enumerate(devices.keys)}
    return LatencyTable(name, _conditions(name, sources, samples, devices, costs[-1], agreement, conditions), rows)


def choose_samples(
    sources: Sequence[LatencyTable], options: Sequence[Sequence[Unit]], networks: Sequence[Sequence[Unit]], count: int
) -> list[int]:
    """Choose the `count` of `options` whose measurement on a new device predicts the latencies of `networks` best.

    Options and networks are lists of units; an option of one unit is that unit timed alone. Returns positions in
    `options`, the most informative first. Raises NasError for fewer than LEAST_SAMPLES, from which no table could be
    made, and for units that a source lacks.
    """
    if count < LEAST_SAMPLES:
        raise NasError(f"at least {LEAST_SAMPLES} samples must be chosen, better 10 to 50, but got {count}")
    devices = _Devices.of(sources)
    distinct_units = dict.fromkeys(unit for units in (*options, *networks) for unit in units)
    for source in sources:
        source.require(distinct_units)
    key = {unit: unit.key for unit in distinct_units}
    option_counts = [devices.counts([key[unit] for unit in units], len(units) > 1) for units in options]
    network_counts = [devices.counts([key[unit] for unit in units], whole=True) for units in networks]
    return choose(devices.known_devices, np.array(option_counts), np.array(network_counts), count)


def leave_one_out(known_devices: KnownDevices, counts: Array, latency_ms: Array) -> Array:
    """Predict the latency of each sample from the other samples, in milliseconds."""
    predicted_ms = []
    for index in range(len(counts)):
        others = np.delete(np.arange(len(counts)), index)
        predicted_ms.append(counts[index] @ adapted_costs(known_devices, counts[others], latency_ms[others]))
    return np.array(predicted_ms, float)


@dataclass(frozen=True, eq=False)
class _Prior:
    """The costs expected of a device before it is measured, as shares of a typical network.

    `factors` (costs, factors) are the directions in which the costs may differ, each with a standard deviation of 1:
    all costs together, and each known device's difference from the mean. `amounts` are scaled so that the typical
    network has 1 of each. `departures` are the pairs of AMOUNT_SHARES and UNIT_SHARES to average over.
    """

    mean: Array
    factors: Array
    amounts: Array
    departures: tuple[tuple[float, float], ...]

    @classmethod
    def of(cls, known_devices: KnownDevices, typical: Array) -> _Prior:
        shares = known_devices.latencies / (known_devices.latencies @ typical)[:, None]
        mean = shares.mean(axis=0)
        differences = (shares - mean) / np.sqrt(len(shares))
        total = typical @ known_devices.amounts
        scaled = known_devices.amounts[:, total > 0] / total[total > 0]
        departures = ((0.0, 0.0),) if known_devices.are_many else tuple(itertools.product(AMOUNT_SHARES, UNIT_SHARES))
        return cls(mean, np.vstack([mean, differences]).T, scaled, departures)

    def covariance(self, counts: Array, share: float, own: float) -> Array:
        """The covariance of the costs with the samples (costs, samples)."""
        covariance = self.factors @ (counts @ self.factors).T
        if share:
            covariance = covariance + share**2 * self.amounts @ (counts @ self.amounts).T
        if own:
            covariance = covariance + (own * self.mean[:, None]) ** 2 * counts.T
        return covariance


def _solve_robustly(covariance: Array, noise: Array, residual: Array) -> tuple[Array, float]:
    """The samples' weights in the estimate, and a lower bound of the log evidence (variational; Student's t errors).

    A t distributed error is a Gaussian error of unknown precision; `trust` is the mean of that precision, relative to
    `noise`.
    """
    freedom = DEGREES_OF_FREEDOM
    trust = np.ones(len(residual))
    for _ in range(_ITERATIONS):
        inverse = np.linalg.inv(covariance + np.diag(noise**2 / trust))
        expected = covariance @ inverse @ residual
        variance = np.diag(covariance) - np.einsum("ij,jk,ki->i", covariance, inverse, covariance)
        trust = (freedom + 1) / (freedom + ((residual - expected) ** 2 + variance) / noise**2)
    total = covariance + np.diag(noise**2 / trust)
    lower = np.linalg.cholesky(total)
    whitened = np.linalg.solve(lower, residual)
    shape, rate = (freedom + 1) / 2, (freedom + 1) / 2 / trust
    log_trust = digamma(shape) - np.log(rate)
    divergence = (
        (shape - freedom / 2) * digamma(shape)
        - gammaln(shape)
        + gammaln(freedom / 2)
        + freedom / 2 * (np.log(rate) - np.log(freedom / 2))
        + shape * (freedom / 2 - rate) / rate
    )
    gaussian = -0.5 * whitened @ whitened - np.log(np.diag(lower)).sum()
    evidence = gaussian + 0.5 * (log_trust - np.log(trust)).sum() - divergence.sum()
    return np.asarray(np.linalg.solve(total, residual), np.float64), float(evidence)


def _best_addition(options: Array, expected: Array, target_covariance: Array, chosen: Sequence[int]) -> int:
    """The option whose measurement, added to those chosen, reduces the targets' variance most, averaged over noises."""
    gain = np.zeros(len(options))
    for noise in _DESIGN_NOISES:
        measured = options[chosen] / (noise * expected[chosen])[:, None]
        posterior = np.linalg.inv(np.eye(options.shape[1]) + measured.T @ measured)
        projected = options @ posterior
        variance = (projected * options).sum(axis=1) + (noise * expected) ** 2
        reduction = ((projected @ target_covariance) * projected).sum(axis=1) / variance
        gain += reduction / np.trace(posterior @ target_covariance)
    gain[chosen] = -1.0
    return int(np.argmax(gain))


@dataclass(frozen=True, eq=False)
class _Devices:
    """Source tables as matrices: a column for each common unit, and a last one for a network's cost beyond its units.

    `scale` is the latency of a unit inside a network over its latency alone, by the calibrations of the sources.
    """

    sources: tuple[LatencyTable, ...]
    keys: tuple[str, ...]
    known_devices: KnownDevices
    scale: float

    @classmethod
    def of(cls, sources: Sequence[LatencyTable]) -> _Devices:
        if not sources:
            raise NasError("adapting needs at least one source table")
        keys = tuple(key for key in sources[0].rows if all(key in source.rows for source in sources))
        if not keys:
            raise NasError(f"the tables {', '.join(source.name for source in sources)} have no unit in common")
        calibrations = [source.conditions.calibration for source in sources]
        latencies = [
            [*(calibration.scale * source.rows[key].latency_ms for key in keys), calibration.offset_ms]
            for source, calibration in zip(sources, calibrations, strict=True)
        ]
        by_unit = np.array([amounts([parse_unit(key)]) for key in keys])
        known_devices = KnownDevices(np.array(latencies), np.vstack([by_unit, np.zeros(by_unit.shape[1])]))
        scale = float(np.exp(np.mean(np.log([calibration.scale for calibration in calibrations]))))
        return cls(tuple(sources), keys, known_devices, scale)

    @cached_property
    def column(self) -> dict[str, int]:
        """The column of each unit's cost."""
        return {key: index for index, key in enumerate(self.keys)}

    def counts(self, keys: Sequence[str], whole: bool) -> Array:
        """How often a sample has each cost; a unit timed alone is divided by `scale`."""
        row = np.zeros(len(self.keys) + 1)
        np.add.at(row, [self.column[key] for key in keys], 1.0 if whole else 1 / self.scale)
        row[-1] = float(whole)
        return row

    def read(self, samples: Sequence[DeviceSample]) -> tuple[Array, Array]:
        """The counts and latencies of samples. Raises NasError for samples that no table can be made from."""
        if len(samples) < LEAST_SAMPLES:
            raise NasError(
                f"adapting needs at least {LEAST_SAMPLES} samples, better 10 to 50, but there "
                f"{'is' if len(samples) == 1 else 'are'} {len(samples)}. Use --choose to see which to measure"
            )
        seen: dict[tuple[object, ...], str] = {}
        for sample in samples:
            if not (np.isfinite(sample.latency_ms) and sample.latency_ms > 0):
                raise NasError(f"a latency must be a number above 0, but is {sample.latency_ms:g} for {sample.name}")
            if not sample.units:
                raise NasError(f"the sample {sample.name} has no units")
            first = seen.setdefault((sample.whole, *sorted(sample.units)), sample.name)
            if first is not sample.name:
                raise NasError(
                    f"{sample.name} has the same units as {first}: give one sample of them, the median of its runs"
                )
            for source in self.sources:
                # All units are then in every source, and so among the keys.
                source.require(parse_unit(key) for key in sample.units)
        counts = np.array([self.counts(sample.units, sample.whole) for sample in samples])
        return counts, np.array([sample.latency_ms for sample in samples])


def _conditions(
    name: str,
    sources: Sequence[LatencyTable],
    samples: Sequence[DeviceSample],
    devices: _Devices,
    offset_ms: float,
    agreement: LatencyAgreement,
    stated_conditions: Mapping[str, str],
) -> TableFormat:
    whole = sum(sample.whole for sample in samples)
    kinds = [f"{whole} whole networks"] * (whole > 0) + [f"{len(samples) - whole} units"] * (whole < len(samples))
    what = f"{' and '.join(kinds)} measured on the device"
    tables = ", ".join(source.name for source in sources)
    stated: dict[str, Any] = dict.fromkeys(
        ("soc", "cores", "threads", "runtime", "runtime_version", "execution_provider", "precision", "date"),
        "not stated",
    )
    stated |= {"device": name, **stated_conditions}
    stated["protocol"] = f"not measured unit by unit: adapted from {tables} to {what}" + (
        f", which were timed so: {stated_conditions['protocol']}" if "protocol" in stated_conditions else ""
    )
    cited = dict.fromkeys(
        citation for source in sources for citations in source.conditions.sources.values() for citation in citations
    )
    own = Citation(title=what, url="", licence="of whoever measured", use=f"adapting {tables} to the device")
    error = f"{agreement.mape:.1%} mean absolute, {agreement.worst:.1%} at worst, each sample by the others"
    validation = {
        "verdict": "not validated: no network was measured that nothing was fitted to; cross-validated on the samples",
        "protocol": f"each of the {len(samples)} samples predicted by what was fitted to the others",
        "left out one by one": agreement.to_json(),
    }
    return TableFormat(
        **stated,
        calibration=Calibration(scale=_short(devices.scale), offset_ms=_short(offset_ms), held_out_error=error),
        validation=validation,
        sources={"modelled": (own, *cited)},
    )


def _short(value: float) -> float:
    """`value` with ten significant digits: more than a fit is accurate to, and the same on every machine."""
    return float(f"{value:.10g}")
