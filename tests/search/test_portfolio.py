"""Picks answer the questions as their definitions say."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.accuracy.evaluate import Score
from nas.latency.table import LatencyEstimate
from nas.networks.architecture import Architecture, Block
from nas.networks.operators import Costs
from nas.search.portfolio import best_on_worst_device, joint_budgets, picks_of
from nas.search.result import CostedNetwork, SearchResult, Setting, Trial

TWO_DEVICES = ("top1", "latency_ms", "latency_ms@b")
NETWORK = Architecture(16, 4, (Block("conv", 8, kernel_size=3, stride=2), Block("pool"), Block("linear", 4)))
numbers = st.integers(1, 20).map(float)
draws = st.lists(st.tuples(numbers, numbers, numbers), min_size=1, max_size=12)


def result(*points: tuple[float, ...], objectives: tuple[str, ...] = TWO_DEVICES, **setting: object) -> SearchResult:
    """A search whose trials have these top-1, latencies here and latencies on b."""
    return SearchResult(
        replace(
            Setting("s", 1, "a", {}, "d", "", "", {}, {}, (10.0,) * len(objectives), {}, objectives),
            **setting,  # type: ignore[arg-type]
        ),
        tuple(trial(number, *point) for number, point in enumerate(points)),
    )


def trial(number: int, top1: float, here: float, there: float) -> Trial:
    score = Score(top1, 1, 0, 0.0, "d", 16, 1, 1)
    latencies = [LatencyEstimate(value, {"modelled": value}) for value in (here, there)]
    costs = Costs(1000, 10_000, 100_000)
    return Trial(number, "complete", CostedNetwork("n", NETWORK, latencies[0], costs, score, {"b": latencies[1]}))


def test_one_network_serves_both_devices() -> None:
    """Fast here and slow there, the other way round, and one that is nearly as fast as either on both."""
    found = result((40, 1, 9), (40, 9, 1), (39, 3, 3), (60, 20, 20), (10, 0.9, 0.9))
    assert best_on_worst_device(found).number == 2


def test_on_one_device_the_best_on_the_worst_is_the_knee() -> None:
    found = result((10, 1, 1), (80, 4, 4), (85, 20, 20), objectives=TWO_DEVICES)
    assert best_on_worst_device(found) == found.knee == found.completed[1]


def test_budgets_are_met_on_their_own_device_and_jointly() -> None:
    found = result((50, 5, 30), (60, 30, 5), (40, 8, 8), budgets={"latency_ms": (10.0,), "latency_ms@b": (10.0,)})
    by_slug = {pick.slug: pick for pick in picks_of(found)}
    assert by_slug["within_10ms"].trial.number == 0
    assert by_slug["within_10ms_on_b"].trial.number == 1
    assert by_slug["within_all_1"].trial.number == 2
    assert by_slug["within_all_1"].reason == "best within 10 ms and within 10 ms on b"
    assert "worst_device" in by_slug


@given(draws, numbers, numbers)
def test_picks_are_members_of_the_front_that_keep_their_budgets(
    points: list[tuple[float, float, float]], here: float, there: float
) -> None:
    """Nothing affordable is more accurate, and whatever the ties, nothing beats a pick (its weights are kept)."""
    found = result(*points, budgets={"latency_ms": (here,), "latency_ms@b": (there,)})
    front = {member.number for member in found.front}
    picks = {pick.slug: pick.trial for pick in picks_of(found)}
    assert {pick.number for pick in picks.values()} <= front
    within = [point for point in points if point[1] <= here and point[2] <= there]
    assert ("within_all_1" in picks) == bool(within)
    if within:
        best = picks["within_all_1"].network
        assert best.top1 == max(point[0] for point in within)
        assert best.latency.latency_ms <= here
        assert best.values["latency_ms@b"] <= there


def test_a_frame_rate_is_a_budget_from_below() -> None:
    found = result((90, 100, 1), (50, 10, 1), (40, 5, 1), objectives=("top1", "fps"), budgets={"fps": (50.0,)})
    pick = picks_of(found)[-1]
    assert (pick.reason, pick.slug, pick.trial.number) == ("best at 50 fps", "at_50fps", 1)


@pytest.mark.parametrize(
    ("budgets", "joint"),
    [
        ({}, []),
        ({"latency_ms": (1.0, 2.0)}, []),
        ({"latency_ms": (1.0, 2.0), "params": (5.0,)}, []),
        ({"latency_ms": (1.0,), "params": (5.0,)}, [{"latency_ms": 1.0, "params": 5.0}]),
        ({"a": (1.0, 2.0), "b": (3.0, 4.0)}, [{"a": 1.0, "b": 3.0}, {"a": 2.0, "b": 4.0}]),
    ],
)
def test_budgets_belong_together_where_there_are_equally_many(
    budgets: dict[str, tuple[float, ...]], joint: list[dict[str, float]]
) -> None:
    assert joint_budgets(budgets) == joint


def test_nothing_trained_has_no_picks() -> None:
    assert picks_of(result()) == ()
