"""Compare two latency tables: on their common units, on random networks, and in their conditions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nas.errors import NasError
from nas.latency.table import LatencyTable
from nas.networks.space.search_space import SearchSpace
from nas.networks.space.table import SpaceTable

Array = NDArray[np.float64]


@dataclass(frozen=True)
class LatencyComparison:
    """Ratios second / first of `count` latencies that two tables both give, and their rank correlation.

    `low_ratio` and `high_ratio` are the 5th and 95th percentiles of the ratios. `spearman` is NaN where either table
    gives fewer than two different latencies.
    """

    count: int
    median_ratio: float
    low_ratio: float
    high_ratio: float
    spearman: float


@dataclass(frozen=True)
class UnitDifference:
    """A unit that two tables have in common, with its latency in each in milliseconds."""

    unit: str
    first_ms: float
    second_ms: float

    @property
    def ratio(self) -> float:
        """The second latency over the first."""
        return self.second_ms / self.first_ms


@dataclass(frozen=True)
class TableDifference:
    """The common units of two tables, and the number of units that each has alone.

    `largest` are the common units whose ratios are furthest from the median ratio.
    """

    common: LatencyComparison
    only_first: int
    only_second: int
    largest: tuple[UnitDifference, ...]


def compare_tables(first: LatencyTable, second: LatencyTable, *, largest: int = 10) -> TableDifference:
    """Compare two tables on their common units, naming the `largest` that are furthest from the median ratio.

    Raises NasError where there is no common unit.
    """
    keys = [key for key in first.rows if key in second.rows]
    if not keys:
        raise NasError(f"the latency tables {first.name} and {second.name} have no unit in common")
    differences = [UnitDifference(key, first.rows[key].latency_ms, second.rows[key].latency_ms) for key in keys]
    common = compare_latencies([d.first_ms for d in differences], [d.second_ms for d in differences])
    by_size = sorted(differences, key=lambda d: -abs(np.log(d.ratio / common.median_ratio)))
    return TableDifference(common, len(first.rows) - len(keys), len(second.rows) - len(keys), tuple(by_size[:largest]))


def compare_on_space(
    first: LatencyTable, second: LatencyTable, space: SearchSpace, count: int, seed: int
) -> LatencyComparison:
    """Compare two tables on `count` random networks of a space. Raises NasError for units that either table lacks."""
    for table in (first, second):
        table.require(space.units())
    members = SpaceTable(space).sample(count, np.random.default_rng(seed))
    return compare_latencies(first.estimate_members(members), second.estimate_members(members))


def compare_latencies(first_ms: Sequence[float] | Array, second_ms: Sequence[float] | Array) -> LatencyComparison:
    """Compare latencies of the same things by two tables, in the same order."""
    # Imported here: reading tables does not need it.
    from scipy.stats import spearmanr

    first, second = np.asarray(first_ms, float), np.asarray(second_ms, float)
    low, median, high = np.quantile(second / first, (0.05, 0.5, 0.95)).tolist()
    ordered = len(set(first)) > 1 and len(set(second)) > 1
    spearman = float(spearmanr(first, second).statistic) if ordered else float("nan")
    return LatencyComparison(len(first), median, low, high, spearman)


def differing_conditions(first: LatencyTable, second: LatencyTable) -> Mapping[str, tuple[str, str]]:
    """The conditions in which two tables differ, with the value of each."""
    names = ("device", "cores", "threads", "governor", "runtime", "runtime_version", "execution_provider", "precision")
    pairs = {name: (getattr(first.conditions, name), getattr(second.conditions, name)) for name in names}
    return {name: values for name, values in pairs.items() if values[0] != values[1]}
