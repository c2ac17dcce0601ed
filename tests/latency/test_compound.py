"""Does compound scaling by latency find what doubles it, and families that keep to their targets?"""

from __future__ import annotations

import math
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.errors import NasError, RunFailedError
from nas.latency.compound import fit_compound_scaling, rescaled, scaled_family, scaling_grid
from nas.networks.architecture import Architecture
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
    """The nearest candidate, then those that differ most: not only deep, wide or large ones."""
    grid = scaling_grid(BASE, by_macs)
    few = scaling_grid(BASE, by_macs, most=4)
    assert few[0] == grid[0]
    assert [candidate for candidate in grid if candidate in few] == few
    assert len(few) == 4
    assert max(c.scaling.alpha for c in few) >= 1.6
    assert max(c.scaling.beta for c in few) >= 1.3
    assert max(c.scaling.gamma for c in few) >= 1.3
    assert scaling_grid(BASE, by_macs, most=1000) == grid


def test_an_empty_grid_says_what_was_nearest() -> None:
    """With its ratio."""
    with pytest.raises(RunFailedError, match=r"nearest, alpha 1, beta 1, gamma 1\.4, takes 2\.\d+ times") as caught:
        scaling_grid(BASE, by_macs, ratio=3, alphas=[1], betas=[1], gammas=[1, 1.4])
    assert "no scaling of the grid takes 3 times the base's" in str(caught.value)
    with pytest.raises(NasError, match="at least one alpha"):
        scaling_grid(BASE, by_macs, alphas=[])
    with pytest.raises(NasError, match="at least 1 candidate, but got 0"):
        scaling_grid(BASE, by_macs, most=0)


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
    """And is asked for once, because measuring it again would say something else."""
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
    """A device that likes multiples of 32 pixels."""

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
            "with alpha 1, beta 1, gamma 1, no network takes 2 times .* slowest takes 1 times",
        ),
        (CompoundScaling(1.5, 1, 1), 0.01, "no network takes 0.01 times .* the fastest takes 0.5"),
    ],
)
def test_targets_out_of_reach_say_how_far_it_goes(scaling: CompoundScaling, multiple: float, said: str) -> None:
    """A scaling that changes nothing, and one that runs out of blocks."""
    with pytest.raises(RunFailedError, match=said):
        scaled_family(BASE, scaling, by_macs, [multiple])


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


def test_another_way_to_scale_is_followed() -> None:
    """Here one that keeps the last layer's width."""
    keep = partial(compound_scale, head="keep")
    member = scaled_family(BASE, EFFICIENTNET_SCALING, by_macs, [4], scale=keep)[4]
    assert units(member.architecture)[-1].in_channels == 1280
    assert all(units(c.architecture)[-1].in_channels == 1280 for c in scaling_grid(BASE, by_macs, scale=keep))
