"""Networks that are drawn and costed together equal those drawn and costed one by one."""

from __future__ import annotations

import itertools
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.errors import NasError
from nas.networks.architecture import Architecture
from nas.networks.deployed import deployed
from nas.networks.operators import Unit, estimate_costs, units
from nas.networks.space.search_space import SearchSpace, load_space
from nas.networks.space.table import Members, SpaceTable
from tests.strategies import tiny_spaces

SPACES = sorted(path.stem for path in (Path(__file__).parents[3] / "search_spaces").glob("*.yaml"))


@cache
def table_of(name: str) -> SpaceTable:
    """A shipped space in arrays."""
    return SpaceTable(load_space(name))


def seconds(unit: Unit) -> float:
    """A cost that follows neither parameters nor MACs."""
    return 0.1 + unit.macs**0.7 + 10 * unit.block.kernel_size


def seconds_of(architecture: Architecture) -> float:
    return sum(seconds(unit) for unit in units(deployed(architecture)))


def everything(space: SearchSpace) -> list[Architecture]:
    """All members."""
    names = [parameter.name for parameter in space.parameters]
    every = itertools.product(*(parameter.choices for parameter in space.parameters))
    return list(dict.fromkeys(space.decode(dict(zip(names, values, strict=True))) for values in every))


def check_costs(members: Members, indices: range) -> None:
    """The costs of some members are those of the networks that they become on a device."""
    params, macs, peaks, totals = members.params, members.macs, members.peak_activation_bytes, members.total(seconds)
    assert len(params) == len(macs) == len(peaks) == len(totals) == len(members)
    for index in indices:
        architecture = members[index]
        costs = estimate_costs(deployed(architecture))
        assert (params[index], macs[index], peaks[index]) == (costs.params, costs.macs, costs.peak_activation_bytes)
        assert totals[index] == pytest.approx(seconds_of(architecture), rel=1e-12)


@pytest.mark.parametrize("name", SPACES)
def test_many_networks_of_shipped_spaces_cost_what_each_costs(name: str) -> None:
    """They are members, and those that are looked at are the ones that were costed."""
    members = table_of(name).sample(200, np.random.default_rng(0))
    check_costs(members, range(8))
    assert all(table_of(name).space.contains(members[index]) for index in range(8))


@settings(max_examples=30)
@given(tiny_spaces(), st.integers(0, 2**32))
def test_many_networks_of_any_space_cost_what_each_costs(space: SearchSpace, seed: int) -> None:
    """Tied decisions, variants, operators and stages that are left out included."""
    members = SpaceTable(space).sample(10, np.random.default_rng(seed))
    check_costs(members, range(10))
    assert set(members) <= set(everything(space))


@settings(max_examples=8, derandomize=True)
@given(tiny_spaces(max_spellings=300))
def test_draws_are_uniform_over_networks(space: SearchSpace) -> None:
    """Chi-squared within five standard deviations (the square root of twice its degrees of freedom) of its mean."""
    count = 50 * space.size
    seen = Counter(SpaceTable(space).sample(count, np.random.default_rng(0)))
    assert len(seen) == space.size
    chi_squared = sum((seen[member] - 50) ** 2 / 50 for member in seen)
    freedom = space.size - 1
    assert chi_squared <= freedom + 5 * (2 * freedom) ** 0.5 + 10


def test_equal_seeds_give_equal_draws() -> None:
    """Randomness is an argument."""
    one, same, other = (table_of("mbv3").sample(5, np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert list(one) == list(same) != list(other)
    assert len(table_of("mbv3").sample(0, np.random.default_rng(0))) == 0


@pytest.mark.parametrize("name", ["mbv3", "efficientnet", "fbnet", "ofa_mbv3", "shufflenetv1"])
def test_strata_are_filled_evenly_from_end_to_end(name: str) -> None:
    """Uniform draws miss both ends; these have as many networks there as in the middle, each in its stratum."""
    table, rng = table_of(name), np.random.default_rng(1)
    members, strata, edges = table.sample_stratified(12, 8, seconds, rng)
    assert np.bincount(strata).tolist() == [12] * 8
    costs = members.total(seconds)
    assert (edges[strata] <= costs).all()
    assert (costs <= edges[strata + 1]).all()
    assert seconds_of(members[17]) == pytest.approx(costs[17])
    uniform = table.sample(2000, rng).total(seconds)
    assert edges[0] <= uniform.min()
    assert uniform.max() <= edges[-1]
    assert np.ptp(edges) > np.ptp(uniform)


@settings(max_examples=15, derandomize=True)
@given(tiny_spaces(max_spellings=200), st.integers(1, 4))
def test_strata_of_small_spaces_hold_what_lies_in_them(space: SearchSpace, count: int) -> None:
    """The ends are the exact least and most; a stratum is empty only where no network costs that."""
    costs = {member: seconds_of(member) for member in everything(space)}
    members, strata, edges = SpaceTable(space).sample_stratified(20, count, seconds, np.random.default_rng(0))
    assert edges[0] == pytest.approx(min(costs.values()))
    assert edges[-1] == pytest.approx(max(costs.values()))
    for stratum in range(count):
        low, high = edges[stratum], edges[stratum + 1]
        # Sums in another order may fall on the other side of an edge.
        inside = {m for m, cost in costs.items() if low * (1 + 1e-9) < cost < high * (1 - 1e-9)}
        drawn = {members[index] for index in np.flatnonzero(strata == stratum).tolist()}
        assert len(np.flatnonzero(strata == stratum)) in (0, 20)
        assert drawn or not inside
        assert all(low * (1 - 1e-9) <= costs[member] <= high * (1 + 1e-9) for member in drawn)


def test_draws_within_a_stratum_are_uniform() -> None:
    """MobileNetV1 with one block a stage has 32 networks; a hundred draws for each of those below the middle."""
    space = load_space("mbv1")
    table = SpaceTable(
        SearchSpace(
            space.format.model_copy(
                update={
                    "resolution": (128,),
                    "width": (0.25,),
                    "stages": tuple(stage.model_copy(update={"depth": (1,)}) for stage in space.format.stages),
                }
            )
        )
    )
    assert table.space.size == 2**5
    _, _, edges = table.sample_stratified(1, 2, seconds, np.random.default_rng(0))
    lower = [member for member in everything(table.space) if seconds_of(member) < edges[1]]
    members, strata, _ = table.sample_stratified(100 * len(lower), 2, seconds, np.random.default_rng(0))
    seen = Counter(members[index] for index in np.flatnonzero(strata == 0).tolist())
    assert set(seen) == set(lower)
    freedom = len(lower) - 1
    chi_squared = sum((count - 100) ** 2 / 100 for count in seen.values())
    assert chi_squared <= freedom + 5 * (2 * freedom) ** 0.5


def test_a_cost_that_is_the_same_for_all_has_one_stratum() -> None:
    """Drawn from nevertheless, and uniformly (the sums differ in their rounding)."""
    table = table_of("shufflenetv2")
    members, strata, edges = table.sample_stratified(10, 1, lambda _: 0.1, np.random.default_rng(0))
    assert len(set(members)) == 10
    assert np.ptp(edges) < 1e-9
    assert set(strata.tolist()) == {0}


@pytest.mark.parametrize(("count", "strata"), [(0, 3), (3, 0)])
def test_a_draw_of_nothing_is_refused(count: int, strata: int) -> None:
    """Both numbers are named."""
    with pytest.raises(NasError, match=f"count and strata must be at least 1, but got {count} and {strata}"):
        table_of("mbv3").sample_stratified(count, strata, seconds, np.random.default_rng(0))
