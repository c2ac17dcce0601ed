"""Tests of compound scaling by latency, and of the families that it makes."""

from __future__ import annotations

import math
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.deploy.scaling.compound import fit_compound_scaling, rescaled, scaled_family, scaling_grid
from nas.errors import NasError, RunFailedError
from nas.networks.architecture import Architecture, Block
from nas.networks.operators import estimate_costs, units
from nas.networks.references.mobilenet_v2 import mobilenet_v2
from nas.networks.scaling import EFFICIENTNET_SCALING, CompoundScaling, compound_scale

BASE = mobilenet_v2(width=0.5, resolution=128)


def by_macs(network: Architecture) -> float:
    """A device that computes a million MACs in a millisecond."""
    return sum(unit.macs for unit in units(network)) / 1e6


def by_blocks(network: Architecture) -> float:
    """A device on which each block takes as long as any other, however large."""
    return float(len(network.blocks))


def test_the_grid_has_what_doubles_the_latency() -> None:
    """Nearest first, each network once, with its costs."""
    grid = scaling_grid(BASE, by_macs)
    assert len(grid) > 5
    distances = [abs(math.log(candidate.ratio / 2)) for candidate in grid]
    assert distances == sorted(distances)
    assert len({candidate.architecture for candidate in grid}) == len(grid)
    for candidate in grid:
        assert 1.8 <= candidate.ratio <= 2.2
        assert candidate.architecture == compound_scale(BASE, candidate.scaling, 1)
        assert candidate.latency_ms == by_macs(candidate.architecture) == candidate.ratio * by_macs(BASE)
        assert (candidate.params, candidate.macs) == (
            estimate_costs(candidate.architecture).params,
            estimate_costs(candidate.architecture).macs,
        )


def test_the_grid_is_by_latency_not_by_macs() -> None:
    """Where only blocks cost time, every candidate is about twice as deep, whatever its MACs."""
    grid = scaling_grid(BASE, by_blocks)
    assert all(candidate.scaling.alpha >= 1.8 for candidate in grid)
    assert max(candidate.macs for candidate in grid) > 3 * min(candidate.macs for candidate in grid)


def test_a_small_grid_is_a_spread_of_the_large_one() -> None:
    """The nearest candidate, then those that differ most, so that not all are deep, wide or large."""
    grid = scaling_grid(BASE, by_macs)
    few = scaling_grid(BASE, by_macs, most=4)
    assert few[0] == grid[0]
    assert [candidate for candidate in grid if candidate in few] == few
    assert len(few) == 4
    assert max(c.scaling.alpha for c in few) >= 1.6
    assert max(c.scaling.beta for c in few) >= 1.3
    assert max(c.scaling.gamma for c in few) >= 1.3
    assert scaling_grid(BASE, by_macs, most=1000) == grid


@pytest.mark.parametrize("dimension", ["alphas", "betas", "gammas"])
def test_a_spread_knows_each_dimension(dimension: str) -> None:
    """Where one dimension alone differs, the second candidate is the farthest in it, not the next nearest in ratio."""
    bases = (1.0, 1.1, 1.2, 1.3, 1.4, 1.5)
    one = {"alphas": [1.0], "betas": [1.0], "gammas": [1.0]} | {dimension: bases}
    first, *_, last = scaling_grid(BASE, by_macs, tolerance=1, **one)  # type: ignore[arg-type] # numbers all
    assert scaling_grid(BASE, by_macs, tolerance=1, most=2, **one) == [first, last]  # type: ignore[arg-type]


def test_an_empty_grid_says_what_was_nearest() -> None:
    """With its ratio."""
    with pytest.raises(RunFailedError, match=r"nearest, alpha 1, beta 1, gamma 1\.4, takes 2\.\d+ times") as caught:
        scaling_grid(BASE, by_macs, ratio=3, tolerance=0.001, alphas=[1], betas=[1], gammas=[1, 1.4])
    said = str(caught.value)
    assert "no scaling of the grid takes 3 times the base's" in said
    assert "give or take a share of 0.001" in said
    would_do = float(said.split("A tolerance of ")[1].split()[0])
    assert len(scaling_grid(BASE, by_macs, ratio=3, tolerance=would_do, alphas=[1], betas=[1], gammas=[1, 1.4])) == 1
    with pytest.raises(NasError, match="at least one alpha"):
        scaling_grid(BASE, by_macs, alphas=[])
    with pytest.raises(NasError, match="at least 1 candidate, but got 0"):
        scaling_grid(BASE, by_macs, most=0)
    for ratio in (0, -1, math.nan, math.inf):
        with pytest.raises(NasError, match="ratio must be a number above 0, but got"):
            scaling_grid(BASE, by_macs, ratio=ratio)
    for tolerance in (-1, math.nan, math.inf):
        with pytest.raises(NasError, match="tolerance must be a number of at least 0, but got"):
            scaling_grid(BASE, by_macs, tolerance=tolerance)


@pytest.mark.parametrize("latency", [0.0, -1.0, math.nan, math.inf])
def test_what_is_no_latency_is_refused(latency: float) -> None:
    """By the grid and by a family."""
    with pytest.raises(NasError, match="must be a number above 0"):
        scaling_grid(BASE, lambda _: latency)
    with pytest.raises(NasError, match="must be a number above 0"):
        scaled_family(BASE, EFFICIENTNET_SCALING, lambda _: latency)


def test_the_best_score_wins() -> None:
    """Each candidate is scored once, in order; of equals the fastest."""
    grid = scaling_grid(BASE, by_macs)
    asked: list[Architecture] = []

    def score(network: Architecture) -> float:
        asked.append(network)
        return float(network.resolution)

    fit = fit_compound_scaling(grid, score)
    assert asked == [candidate.architecture for candidate in grid]
    assert fit.scored == tuple((candidate, candidate.architecture.resolution) for candidate in grid)
    assert fit.best.architecture.resolution == max(network.resolution for network in asked)
    fastest = min(grid, key=lambda candidate: candidate.latency_ms)
    assert fit_compound_scaling(grid, lambda _: 50.0).best == fastest
    with pytest.raises(NasError, match=r"the score of alpha .* must be a number, but is nan"):
        fit_compound_scaling(grid, lambda _: math.nan)
    with pytest.raises(NasError, match="at least one candidate"):
        fit_compound_scaling([], score)


@settings(max_examples=20)
@given(st.floats(0.2, 10), st.floats(1.02, 1.5), st.floats(1.02, 1.4), st.floats(1.02, 1.4))
def test_a_family_keeps_to_its_target_and_comes_near(multiple: float, a: float, b: float, c: float) -> None:
    """No member takes more than asked for, and a little more phi is too much."""
    scaling = CompoundScaling(a, b, c)
    member = scaled_family(BASE, scaling, by_macs, [multiple])[multiple]
    assert member.ratio <= multiple
    assert member.latency_ms == by_macs(member.architecture)
    assert member.architecture == compound_scale(BASE, scaling, member.phi)
    # The end of its stair: find the next network up, which must be too slow.
    phi, following = member.phi, member.architecture
    while following == member.architecture:
        phi += math.log(2) / math.log(max(a, b, c)) / 512
        following = compound_scale(BASE, scaling, phi)
    assert by_macs(following) / by_macs(BASE) > multiple


def test_the_base_is_its_own_family_at_one() -> None:
    """And is asked for once, because measuring it again would give another latency."""
    asked: list[Architecture] = []

    def measured(network: Architecture) -> float:
        asked.append(network)
        return by_macs(network) * (1 + 0.001 * len(asked))

    family = scaled_family(BASE, EFFICIENTNET_SCALING, measured, [0.5, 1, 2])
    assert list(family) == [0.5, 1, 2]
    assert (family[1].architecture, family[1].phi, family[1].ratio) == (BASE, 0, 1)
    assert asked.count(BASE) == 1
    assert len(set(asked)) == len(asked)
    assert family[0.5].phi < 0 < family[2].phi


def test_plateaus_are_told_by_the_ratio_that_is_attained() -> None:
    """Depth alone makes few networks: the member is the last one below."""
    family = scaled_family(BASE, CompoundScaling(1.5, 1, 1), by_blocks, [1.3, 1.6, 1.9])
    counts = [len(member.architecture.blocks) for member in family.values()]
    assert all(member.ratio == len(member.architecture.blocks) / len(BASE.blocks) for member in family.values())
    possible = {len(compound_scale(BASE, CompoundScaling(1.5, 1, 1), phi / 100).blocks) for phi in range(300)}
    for multiple, count in zip(family, counts, strict=True):
        assert count == max(n for n in possible if n <= multiple * len(BASE.blocks))


def test_where_latency_falls_on_the_way_up_no_member_is_too_slow() -> None:
    """A device that is faster at multiples of 32 pixels."""

    def picky(network: Architecture) -> float:
        return by_macs(network) * (1 if network.resolution % 32 == 0 else 1.5)

    family = scaled_family(BASE, CompoundScaling(1, 1, 1.2), picky, [1.2, 2, 4])
    assert all(member.ratio <= multiple for multiple, member in family.items())
    assert family[2].ratio <= family[4].ratio


@pytest.mark.parametrize(
    ("scaling", "multiple", "said"),
    [
        (
            CompoundScaling(1, 1, 1),
            2,
            "with alpha 1, beta 1, gamma 1, nothing takes more than 1 times .* but 2 times are asked for",
        ),
        (CompoundScaling(1.5, 1, 1), 0.01, r"nothing takes less than 0\.5\d* times .* but 0\.01 times are asked for"),
    ],
)
def test_targets_out_of_reach_say_how_far_it_goes(scaling: CompoundScaling, multiple: float, said: str) -> None:
    """A scaling that changes nothing, and one that runs out of blocks."""
    with pytest.raises(RunFailedError, match=said):
        scaled_family(BASE, scaling, by_macs, [multiple])


def test_the_slowest_network_is_enough_where_it_takes_what_is_asked_for() -> None:
    """No network need take longer: not by a scaling that changes nothing, nor on a device of constant latency."""
    still = CompoundScaling(1, 1, 1)
    assert scaled_family(BASE, still, by_macs, [1])[1].architecture == BASE
    assert scaled_family(BASE, EFFICIENTNET_SCALING, lambda _: 5.0, [1])[1].architecture == BASE
    # At most three times as long, however much larger.
    family = scaled_family(BASE, CompoundScaling(1, 1, 1.2), lambda n: min(3 * by_macs(BASE), by_macs(n)), [3])
    assert family[3].ratio == 3


@pytest.mark.parametrize("multiple", [0, -1, math.nan, math.inf])
def test_a_multiple_is_above_zero(multiple: float) -> None:
    """And finite."""
    with pytest.raises(NasError, match="must be a number above 0"):
        scaled_family(BASE, EFFICIENTNET_SCALING, by_macs, [multiple])


def test_rescaled_keeps_proportions() -> None:
    """The exponents of EfficientNet, so that phi = 1 doubles the latency here."""
    scaling = rescaled(BASE, EFFICIENTNET_SCALING, by_macs)
    powers = {
        math.log(ours) / math.log(theirs)
        for ours, theirs in zip(scaling.factors(1), EFFICIENTNET_SCALING.factors(1), strict=True)
    }
    assert max(powers) == pytest.approx(min(powers))
    assert 1.7 < by_macs(compound_scale(BASE, scaling, 1)) / by_macs(BASE) <= 2
    with pytest.raises(NasError, match=r"more than the base's latency, but got 0\.5 times"):
        rescaled(BASE, EFFICIENTNET_SCALING, by_macs, ratio=0.5)


def test_a_first_step_that_is_too_large_cannot_be_rescaled() -> None:
    """A second block in the only stage takes four times as long, so that no phi doubles the latency."""
    blocks = (Block("conv", 8, 3), Block("ds_conv", 64, 3, 2, activation="relu"), Block("pool"), Block("linear", 2))
    base = Architecture(32, 2, blocks)
    with pytest.raises(RunFailedError, match=r"phi = 1 cannot take 2 times .* smallest step up takes 4\.\d+ times"):
        rescaled(base, EFFICIENTNET_SCALING, by_macs)
    # What the message advises.
    assert [round(m.ratio) for m in scaled_family(base, EFFICIENTNET_SCALING, by_macs, [2, 5]).values()] == [1, 4]


def test_another_way_to_scale_is_followed() -> None:
    """Here one that keeps the last layer's width."""
    keep = partial(compound_scale, head="keep")
    member = scaled_family(BASE, EFFICIENTNET_SCALING, by_macs, [4], scale=keep)[4]
    assert units(member.architecture)[-1].in_channels == 1280
    assert all(units(c.architecture)[-1].in_channels == 1280 for c in scaling_grid(BASE, by_macs, scale=keep))
