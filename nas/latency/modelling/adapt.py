"""What is the table of a device of which only a few measurements are at hand?

A device is taken to be like the devices that are known, in relative terms: its units cost what they cost there on
average, times a factor, plus a mixture of the ways in which the known devices differ from that average. Where few are
known, it may also differ in what each amount of the cost model costs, and unit by unit. All of that is Gaussian, so
that the best estimate is one linear solve (a Gaussian process over units; Rasmussen and Williams, 2006, section 2.2),
except that measurements can be outliers: their errors are relative and follow Student's t (Tipping and Lawrence, 2005).
How large the errors and the departures are is not known either, so the estimate is the mean over several, weighted by
how well each explains the samples.

Rows of the table are `modelled`: nobody has timed these units. Its error is cross-validated: each sample is predicted
by what was fitted to the others.
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
# assumption: the spread of so many known devices says how devices differ; of fewer it does not, and the departures
# below are allowed for as well.
MANY_DEVICES = 8
# Standard deviations that are averaged over: of a measurement's error, as a share of the latency; of what an amount of
# the cost model costs beyond the known devices, as a share of a network; of what a unit costs beyond them.
NOISES = (0.005, 0.01, 0.02, 0.04, 0.08, 0.15)
AMOUNT_SHARES = (0.03, 0.1, 0.3, 1.0)
UNIT_SHARES = (0.05, 0.2)
# Few enough for an outlier not to matter much, and enough for the variance to exist.
DEGREES_OF_FREEDOM = 3
# What choosing samples reckons with: devices of little and of much noise, and amounts that cost a third more or less.
_DESIGN_NOISES = (0.01, 0.03, 0.1)
_DESIGN_AMOUNT_SHARE = 0.3
_MOST_EXCHANGES = 3
_ITERATIONS = 12
# No unit costs less than this share of what it costs on the known devices.
_LEAST_SHARE = 0.01


@dataclass(frozen=True)
class DeviceSample:
    """A measurement on the new device: of a whole network, the units of which have these keys, or of one unit alone."""

    name: str
    units: tuple[str, ...]
    latency_ms: float
    whole: bool = True


@dataclass(frozen=True, eq=False)
class KnownDevices:
    """What is known before anything is measured on the new device.

    `latencies` are those of the known devices (devices, costs), in milliseconds: one cost for each unit, and more where
    networks cost more than their units. `amounts` are what the costs consist of (costs, amounts), in any unit.
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
        """Whether their spread alone says how devices differ."""
        return len(self.latencies) >= MANY_DEVICES


def adapted_costs(known: KnownDevices, counts: Array, latency_ms: Array) -> Array:
    """What each cost is on a device on which some networks were measured, in milliseconds.

    `counts` (samples, costs) says how often each sample has each cost, `latency_ms` how long each took. The answer is
    above 0 wherever the known devices are.
    """
    prior = _Prior.of(known, counts.mean(axis=0))
    usual = counts @ prior.mean
    scale = float(np.exp(np.median(np.log(latency_ms / usual))))
    rest = latency_ms / scale - usual
    estimates, evidence = [], []
    for share, own in prior.departures:
        covariance = prior.covariance(counts, share, own)
        among_samples = counts @ covariance
        for noise in NOISES:
            weights, log_evidence = _solve_robustly(among_samples, noise * usual, rest)
            estimates.append(prior.mean + covariance @ weights)
            evidence.append(log_evidence)
    likely = np.exp(np.array(evidence) - max(evidence))
    mean = likely @ np.array(estimates) / likely.sum()
    least = _LEAST_SHARE * prior.mean
    costs: Array = scale * np.where(prior.mean > 0, np.maximum(mean, least), mean)
    return costs


def choose(known: KnownDevices, options: Array, targets: Array, count: int) -> list[int]:
    """Which `count` of `options` (options, costs) to measure, so that `targets` (targets, costs) are known best.

    By row number. The choice makes the variance of the targets' estimates small (A-optimal design): greedily at first,
    then by exchanging one at a time. It rests on the known devices alone.
    """
    if not 1 <= count <= len(options):
        raise NasError(f"the number of samples to choose must be from 1 to {len(options)}, but is {count}")
    prior = _Prior.of(known, targets.mean(axis=0))
    factors = prior.factors if known.are_many else np.hstack([prior.factors, _DESIGN_AMOUNT_SHARE * prior.amounts])
    usual = options @ prior.mean
    mine, theirs = options @ factors, targets @ factors
    wanted = theirs.T @ theirs
    chosen: list[int] = []
    for _ in range(count):
        chosen.append(_best_addition(mine, usual, wanted, chosen))
    for _ in range(_MOST_EXCHANGES):
        before = list(chosen)
        for index in range(count):
            others = chosen[:index] + chosen[index + 1 :]
            chosen[index] = _best_addition(mine, usual, wanted, others)
        if chosen == before:
            break
    return chosen


def adapt_table(
    sources: Sequence[LatencyTable], samples: Sequence[DeviceSample], name: str, conditions: Mapping[str, str]
) -> LatencyTable:
    """The table called `name` of the device of `samples`, with a modelled row for each unit that all sources have.

    `conditions` are the texts of its .yaml (device, soc, threads and so on); those left out are "not stated". Raises
    NasError for fewer than LEAST_SAMPLES samples, for two of the same thing, and for units that a source lacks.
    """
    devices = _Devices.of(sources)
    counts, latency_ms = devices.read(samples)
    costs = adapted_costs(devices.known, counts, latency_ms)
    left_out = leave_one_out(devices.known, counts, latency_ms)
    agreement = compare(left_out, latency_ms)
    rows = {key: Row(_short(costs[i] / devices.scale), source="modelled") for i, key in enumerate(devices.keys)}
    return LatencyTable(name, _conditions(name, sources, samples, devices, costs[-1], agreement, conditions), rows)


def choose_samples(
    sources: Sequence[LatencyTable], options: Sequence[Sequence[Unit]], networks: Sequence[Sequence[Unit]], count: int
) -> list[int]:
    """Which `count` of `options` to measure on a new device so as to know `networks` best; both are lists of units.

    By position, the most telling first. Options of one unit are units timed alone; others are whole networks. Raises
    NasError for fewer than LEAST_SAMPLES, of which no table could be made, and for units that a source lacks.
    """
    if count < LEAST_SAMPLES:
        raise NasError(f"at least {LEAST_SAMPLES} samples must be chosen, better 10 to 50, but got {count}")
    devices = _Devices.of(sources)
    every = dict.fromkeys(unit for units in (*options, *networks) for unit in units)
    for source in sources:
        source.require(every)
    key = {unit: unit.key for unit in every}
    rows = [devices.counts([key[unit] for unit in units], len(units) > 1) for units in options]
    wanted = [devices.counts([key[unit] for unit in units], whole=True) for units in networks]
    return choose(devices.known, np.array(rows), np.array(wanted), count)


def leave_one_out(known: KnownDevices, counts: Array, latency_ms: Array) -> Array:
    """The latency of each sample by what was fitted to the others, in milliseconds."""
    kept = [np.delete(np.arange(len(counts)), index) for index in range(len(counts))]
    return np.array(
        [counts[i] @ adapted_costs(known, counts[rest], latency_ms[rest]) for i, rest in enumerate(kept)], float
    )


@dataclass(frozen=True, eq=False)
class _Prior:
    """What a device costs before it is measured, in shares of a typical network.

    `factors` (costs, factors) are the directions in which it may differ with a standard deviation of 1: all costs
    together, and each known device's difference from the mean. Amounts are scaled to 1 for the typical network.
    """

    mean: Array
    factors: Array
    amounts: Array
    departures: tuple[tuple[float, float], ...]

    @classmethod
    def of(cls, known: KnownDevices, typical: Array) -> _Prior:
        shares = known.latencies / (known.latencies @ typical)[:, None]
        mean = shares.mean(axis=0)
        differences = (shares - mean) / np.sqrt(len(shares))
        total = typical @ known.amounts
        scaled = known.amounts[:, total > 0] / total[total > 0]
        departures = ((0.0, 0.0),) if known.are_many else tuple(itertools.product(AMOUNT_SHARES, UNIT_SHARES))
        return cls(mean, np.vstack([mean, differences]).T, scaled, departures)

    def covariance(self, counts: Array, share: float, own: float) -> Array:
        """Of the costs with the samples (costs, samples)."""
        covariance = self.factors @ (counts @ self.factors).T
        if share:
            covariance = covariance + share**2 * self.amounts @ (counts @ self.amounts).T
        if own:
            covariance = covariance + (own * self.mean[:, None]) ** 2 * counts.T
        return covariance


def _solve_robustly(covariance: Array, noise: Array, rest: Array) -> tuple[Array, float]:
    """The samples' weights in the estimate, and a lower bound of the evidence (variational; Student's t errors).

    A t distributed error is a Gaussian one of unknown precision, the mean of which is `trust`.
    """
    freedom = DEGREES_OF_FREEDOM
    trust = np.ones(len(rest))
    for _ in range(_ITERATIONS):
        inverse = np.linalg.inv(covariance + np.diag(noise**2 / trust))
        expected = covariance @ inverse @ rest
        variance = np.diag(covariance) - np.einsum("ij,jk,ki->i", covariance, inverse, covariance)
        trust = (freedom + 1) / (freedom + ((rest - expected) ** 2 + variance) / noise**2)
    total = covariance + np.diag(noise**2 / trust)
    lower = np.linalg.cholesky(total)
    whitened = np.linalg.solve(lower, rest)
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
    return np.asarray(np.linalg.solve(total, rest), np.float64), float(evidence)


def _best_addition(options: Array, usual: Array, wanted: Array, chosen: Sequence[int]) -> int:
    """The option that, measured besides those chosen, lessens the variance most, on average over the noises."""
    gain = np.zeros(len(options))
    for noise in _DESIGN_NOISES:
        seen = options[chosen] / (noise * usual[chosen])[:, None]
        posterior = np.linalg.inv(np.eye(options.shape[1]) + seen.T @ seen)
        projected = options @ posterior
        variance = (projected * options).sum(axis=1) + (noise * usual) ** 2
        gain += ((projected @ wanted) * projected).sum(axis=1) / variance / np.trace(posterior @ wanted)
    gain[chosen] = -1.0
    return int(np.argmax(gain))


@dataclass(frozen=True, eq=False)
class _Devices:
    """Source tables as matrices: their common units, and last what a network costs beyond its units."""

    sources: tuple[LatencyTable, ...]
    keys: tuple[str, ...]
    known: KnownDevices
    # What a unit inside a network takes, over what it takes alone: the calibration of the sources.
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
        known = KnownDevices(np.array(latencies), np.vstack([by_unit, np.zeros(by_unit.shape[1])]))
        scale = float(np.exp(np.mean(np.log([calibration.scale for calibration in calibrations]))))
        return cls(tuple(sources), keys, known, scale)

    @cached_property
    def column(self) -> dict[str, int]:
        """Where each unit's cost stands."""
        return {key: index for index, key in enumerate(self.keys)}

    def counts(self, keys: Sequence[str], whole: bool) -> Array:
        """How often a sample has each cost; a unit timed alone is put on the scale of units inside networks."""
        row = np.zeros(len(self.keys) + 1)
        np.add.at(row, [self.column[key] for key in keys], 1.0 if whole else 1 / self.scale)
        row[-1] = float(whole)
        return row

    def read(self, samples: Sequence[DeviceSample]) -> tuple[Array, Array]:
        """Counts and latencies. Raises NasError for samples that a table cannot be made of."""
        if len(samples) < LEAST_SAMPLES:
            raise NasError(
                f"adapting needs at least {LEAST_SAMPLES} samples, better 10 to 50, but there "
                f"{'is' if len(samples) == 1 else 'are'} {len(samples)}. --choose says which to measure"
            )
        seen: dict[tuple[object, ...], str] = {}
        for sample in samples:
            if not (np.isfinite(sample.latency_ms) and sample.latency_ms > 0):
                raise NasError(f"a latency must be a number above 0, but is {sample.latency_ms:g} for {sample.name}")
            if not sample.units:
                raise NasError(f"the sample {sample.name} has no units")
            same = seen.setdefault((sample.whole, *sorted(sample.units)), sample.name)
            if same is not sample.name:
                raise NasError(f"{sample.name} has the same units as {same}: give each once, the median of its runs")
            for source in self.sources:
                source.require(parse_unit(key) for key in sample.units)
            # What the first source has and another lacks was refused above, so every unit is among the keys.
        counts = np.array([self.counts(sample.units, sample.whole) for sample in samples])
        return counts, np.array([sample.latency_ms for sample in samples])


def _conditions(
    name: str,
    sources: Sequence[LatencyTable],
    samples: Sequence[DeviceSample],
    devices: _Devices,
    offset_ms: float,
    agreement: LatencyAgreement,
    given: Mapping[str, str],
) -> TableFormat:
    whole = sum(sample.whole for sample in samples)
    kinds = [f"{whole} whole networks"] * (whole > 0) + [f"{len(samples) - whole} units"] * (whole < len(samples))
    what = f"{' and '.join(kinds)} measured on the device"
    tables = ", ".join(source.name for source in sources)
    stated: dict[str, Any] = dict.fromkeys(
        ("soc", "cores", "threads", "runtime", "runtime_version", "execution_provider", "precision", "date"),
        "not stated",
    )
    stated |= {"device": name, **given}
    stated["protocol"] = f"not measured unit by unit: adapted from {tables} to {what}" + (
        f", which were timed so: {given['protocol']}" if "protocol" in given else ""
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
    """Ten digits: more than a fit can know, and few enough to be the same on every machine."""
    return float(f"{value:.10g}")
