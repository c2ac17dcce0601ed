"""Measure how well a device's latencies are predicted from ten measurements on it and the tables of other devices.

    python -m nas.benchmarks.adapting --published DIR

HELP measured 5,000 networks of FBNet's space on 23 devices. Each device is held out in turn. A few networks are chosen
without looking at it, and `nas.latency.modelling.adapt` is given their latencies on it. It predicts all other networks,
once from the tables of the other 22 devices and once from the table of one of them. For comparison there are predictors
that need no measurement (MACs, the source table as it is) and an upper bound: a table of the held-out device itself,
fitted to 4,000 of its networks and judged by the other 1,000.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from nas import console
from nas.errors import NasError
from nas.latency.measuring.agreement import LatencyAgreement, compare
from nas.latency.modelling.adapt import LEAST_SAMPLES, KnownDevices, adapted_costs, choose
from nas.latency.modelling.cost_model import amounts
from nas.latency.published.help_fbnet import DEVICES, ROUNDED_PHONES, read_help_fbnet
from nas.networks.architecture import Architecture
from nas.networks.operators import Unit, units

Array = NDArray[np.float64]

# The compared methods, in the columns' order.
METHODS = {
    "adapted": "adapted from the tables of all other devices",
    "strangers": "adapted from the tables of the devices that are other hardware, not the same at another batch size",
    "one_best": "adapted from the table of one other device, the one that turns out best",
    "one_median": "adapted from the table of one other device, the median of the 22",
    "macs": "MACs, no measurement",
    "source_picked": "the table of one other device as it is, the one that the samples agree with best",
    "source_best": "the table of one other device as it is, the one that turns out best",
    "source_median": "the table of one other device as it is, the median of the 22",
    "own_table": "a table fitted to 4,000 networks of the device itself",
}
_OWN_TABLE_SHARE = 0.8
# assumption: the last part of a column's name, in which HELP's columns of one GPU differ, is the batch size.
_BATCH_SIZES = ("1", "32", "64")


@dataclass(frozen=True, eq=False)
class MeasuredNetworks:
    """Networks as counts of their units (networks, units), their MACs, and latencies (devices, networks) in ms."""

    devices: tuple[str, ...]
    counts: Array
    amounts: Array
    macs: Array
    latencies_ms: Array

    @classmethod
    def of(cls, devices: Sequence[str], networks: Sequence[Architecture], latencies_ms: Array) -> MeasuredNetworks:
        """Count the units of networks given as architectures."""
        units_of_each = [units(network) for network in networks]
        number: dict[Unit, int] = {}
        for unit in (unit for row in units_of_each for unit in row):
            number.setdefault(unit, len(number))
        counts = np.zeros((len(networks), len(number)))
        for row, network_units in zip(counts, units_of_each, strict=True):
            np.add.at(row, [number[unit] for unit in network_units], 1.0)
        macs = counts @ np.array([float(unit.macs) for unit in number])
        return cls(tuple(devices), counts, np.array([amounts([unit]) for unit in number]), macs, latencies_ms)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m nas.benchmarks.adapting",
        description="Hold out each of HELP's 23 measured devices in turn, adapt to a few of its measurements, and rank "
        "the networks that were not among them.",
        epilog="example:\n  python -m nas.benchmarks.adapting --published ~/published --samples 10",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--published", metavar="DIR", type=Path, required=True, help="folder that holds the published files"
    )
    parser.add_argument(
        "--samples", metavar="N", type=int, default=10, help="number of networks measured on each device (default: 10)"
    )
    parser.add_argument(
        "--seeds",
        metavar="N",
        type=int,
        default=5,
        help="number of choices of these networks, each from another half of all (default: 5)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args(argv)
    return console.run(lambda: _run(arguments))


@dataclass(frozen=True, eq=False)
class Trials:
    """Predictions of held-out devices from `samples` measurements on each; figures are means over `seeds` choices.

    Each choice is made among another random half of the networks, so that no figure rests on one lucky choice. All
    networks that were not sampled are predicted. Raises NasError for numbers of samples and seeds out of range.
    """

    problem: MeasuredNetworks
    samples: int
    seeds: int

    def __post_init__(self) -> None:
        half = len(self.problem.counts) // 2
        if not LEAST_SAMPLES <= self.samples <= half or self.seeds < 1:
            raise NasError(
                f"--samples must be from {LEAST_SAMPLES} to {half} and --seeds at least 1, "
                f"but are {self.samples} and {self.seeds}"
            )

    @cached_property
    def tables(self) -> Array:
        """Each device's own table, fitted to all of its networks (devices, units)."""
        return np.array([fitted_table(self.problem.counts, latency_ms) for latency_ms in self.problem.latencies_ms])

    def others(self, index: int) -> tuple[int, ...]:
        """The numbers of all devices but one."""
        return tuple(other for other in range(len(self.tables)) if other != index)

    def strangers(self, index: int) -> tuple[int, ...]:
        """The numbers of the other devices that are different hardware."""
        own = _hardware(self.problem.devices[index])
        return tuple(other for other in self.others(index) if _hardware(self.problem.devices[other]) != own)

    @cached_property
    def _chosen(self) -> dict[tuple[int, ...], list[list[int]]]:
        return {}

    def chosen(self, sources: tuple[int, ...]) -> list[list[int]]:
        """For each seed, the networks to measure when the tables of the devices `sources` are given."""
        if sources not in self._chosen:
            self._chosen[sources] = self._choose(sources)
        return self._chosen[sources]

    def _choose(self, sources: tuple[int, ...]) -> list[list[int]]:
        counts = self.problem.counts
        devices = KnownDevices(self.tables[list(sources)], self.problem.amounts)
        halves = [
            np.random.default_rng(seed).permutation(len(counts))[: len(counts) // 2] for seed in range(self.seeds)
        ]
        return [half[choose(devices, counts[half], counts, self.samples)].tolist() for half in halves]

    def adapted(self, index: int, sources: tuple[int, ...]) -> LatencyAgreement:
        """The agreement of predictions for device `index` from a few measurements and the tables of `sources`."""
        counts, latency_ms = self.problem.counts, self.problem.latencies_ms[index]
        devices = KnownDevices(self.tables[list(sources)], self.problem.amounts)
        agreements = []
        for rows in self.chosen(sources):
            costs = adapted_costs(devices, counts[rows], latency_ms[rows])
            rest = np.delete(np.arange(len(counts)), rows)
            agreements.append(compare(counts[rest] @ costs, latency_ms[rest]))
        return mean_agreement(agreements)

    def held_out(self, index: int) -> dict[str, LatencyAgreement]:
        """For each of METHODS, the agreement of predictions with the measurements on device number `index`.

        Tables as they are and MACs are scaled to the mean latency, so that only their rank correlations mean anything.
        """
        problem, latency_ms, others = self.problem, self.problem.latencies_ms[index], self.others(index)
        one = [self.adapted(index, (other,)) for other in others]
        as_is = [_scaled(problem.counts @ self.tables[other], latency_ms) for other in others]
        picked = [
            _nearest(problem.counts[rows] @ self.tables[list(others)].T, latency_ms[rows])
            for rows in self.chosen(others)
        ]
        return {
            "adapted": self.adapted(index, others),
            "strangers": self.adapted(index, self.strangers(index)),
            "one_best": max(one, key=lambda a: a.spearman),
            "one_median": _median(one),
            "macs": _scaled(problem.macs, latency_ms),
            "source_picked": mean_agreement([as_is[number] for number in picked]),
            "source_best": max(as_is, key=lambda a: a.spearman),
            "source_median": _median(as_is),
            "own_table": _own_table(problem.counts, latency_ms),
        }


def fitted_table(counts: Array, latency_ms: Array) -> Array:
    """The latencies of units, at least 0, whose sums have the least squared relative error."""
    return np.asarray(nnls(counts / latency_ms[:, None], np.ones(len(counts)))[0])


def mean_agreement(agreements: Sequence[LatencyAgreement]) -> LatencyAgreement:
    """The mean of each figure; `networks` is that of the first."""
    names = ("bias", "mape", "worst", "within_5", "within_10", "spearman", "kendall")
    means = {name: float(np.mean([getattr(one, name) for one in agreements])) for name in names}
    return LatencyAgreement(networks=agreements[0].networks, **means)


def _nearest(sums: Array, latency_ms: Array) -> int:
    """The number of the table whose sums (samples, tables) are most nearly proportional to the measured latencies."""
    return int(np.argmin(np.log(sums / latency_ms[:, None]).std(axis=0)))


def _hardware(device: str) -> str:
    """A column's name without its batch size."""
    name, _, batch = device.rpartition("_")
    return name if batch in _BATCH_SIZES else device


def _scaled(predicted: Array, latency_ms: Array) -> LatencyAgreement:
    return compare(predicted * (latency_ms.mean() / predicted.mean()), latency_ms)


def _median(agreements: Sequence[LatencyAgreement]) -> LatencyAgreement:
    """The agreement with the median rank correlation; the lower of two middle ones."""
    return sorted(agreements, key=lambda a: a.spearman)[(len(agreements) - 1) // 2]


def _own_table(counts: Array, latency_ms: Array) -> LatencyAgreement:
    order = np.random.default_rng(0).permutation(len(counts))
    fitting, judging = np.split(order, [int(_OWN_TABLE_SHARE * len(counts))])
    return compare(counts[judging] @ fitted_table(counts[fitting], latency_ms[fitting]), latency_ms[judging])


def _run(arguments: argparse.Namespace) -> int:
    networks, latencies_ms = read_help_fbnet(arguments.published)
    trials = Trials(MeasuredNetworks.of(DEVICES, networks, latencies_ms), arguments.samples, arguments.seeds)
    by_device = {device: trials.held_out(index) for index, device in enumerate(DEVICES)}
    if arguments.json:
        print(json.dumps({d: {m: a.to_json() for m, a in by.items()} for d, by in by_device.items()}, indent=2))
    else:
        _print(by_device, arguments.samples, arguments.seeds)
    return 0


def _print(by_device: dict[str, dict[str, LatencyAgreement]], samples: int, seeds: int) -> None:
    print(
        f"{samples} networks measured on each device, {seeds} choices of them; Spearman on the networks not measured:\n"
    )
    phones = [by for device, by in by_device.items() if device in ROUNDED_PHONES]
    rest = [by for device, by in by_device.items() if device not in ROUNDED_PHONES]
    groups = {
        f"mean of all {len(by_device)}": [*rest, *phones],
        f"mean of {len(rest)} others": rest,
        f"mean of {len(phones)} phones": phones,
    }
    rows = list(by_device.items())
    rows += [(n, {m: mean_agreement([by[m] for by in group]) for m in METHODS}) for n, group in groups.items() if group]
    columns = ("device", *(method.replace("_", " ") for method in METHODS), "Kendall", "MAPE")
    cells = [
        (name, *(f"{by[m].spearman:.3f}" for m in METHODS), f"{by['adapted'].kendall:.3f}", f"{by['adapted'].mape:.1%}")
        for name, by in rows
    ]
    console.print_table(columns, cells, numbers=columns[1:])
    print()
    for method, words in METHODS.items():
        print(f"{method.replace('_', ' ') + ':':<15}{words}")
    print(f"Kendall and MAPE are of 'adapted'. Rounded to 1 ms, and noisy: {', '.join(ROUNDED_PHONES)}.")


if __name__ == "__main__":
    sys.exit(main())
