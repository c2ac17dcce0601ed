"""Picks answer the questions as their definitions say."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.accuracy.score import Score
from nas.latency.table import LatencyEstimate
from nas.networks.architecture import Architecture, Block
from nas.networks.operators import Costs
from nas.search.costing import CostedNetwork
from nas.search.results.comparison import better_line, beyond_line, unmet_lines
from nas.search.results.portfolio import best_on_worst_device, joint_budgets, picks_of, references_beyond, unmet_budgets
from nas.search.results.result import SearchResult, Setting
from nas.search.trial import Trial

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


def with_references(found: SearchResult, *points: tuple[float, float, float]) -> SearchResult:
    """References ref0, ref1, … with these top-1 and latencies."""
    made = [replace(trial(0, *point).network, name=f"ref{number}") for number, point in enumerate(points)]
    return replace(found, references=tuple(made))


def test_a_reference_that_dominates_a_pick_is_named() -> None:
    """In every objective at once; one that is slower on the other device does not."""
    found = result((10, 1, 1), (80, 4, 4), (85, 20, 20))
    (knee, _) = picks_of(with_references(found, (81, 3, 4), (90, 4, 5)))
    assert knee.trial.number == 1
    assert knee.better == ("ref0",)
    assert better_line(with_references(found, (81, 3, 4)), knee) == (
        "the reference ref0 is better: 81.0 % at 3.0 ms, 4.0 ms on b"
    )


def test_a_reference_that_is_more_accurate_within_the_budget_is_named() -> None:
    """Though it is slower than the pick: that is what the pick was asked for. An equal one is no better."""
    found = result((40, 5, 5), (60, 30, 30), budgets={"latency_ms": (10.0,)})
    better = {
        pick.slug: pick.better for pick in picks_of(with_references(found, (50, 9, 99), (99, 11, 11), (40, 5, 5)))
    }
    assert better["within_10ms"] == ("ref0",)


def test_a_reference_beyond_a_limit_or_of_other_images_is_no_rival() -> None:
    found = result((40, 5, 5), budgets={"latency_ms": (10.0,)}, limits={"latency_ms@b": 4.0})
    beyond = with_references(found, (90, 3, 4.5))
    other = with_references(found, (90, 3, 3))
    (network,) = other.references
    assert network.score is not None
    other = replace(other, references=(replace(network, score=replace(network.score, val_images=7)),))
    for compared in (beyond, other):
        assert references_beyond(compared) == ()
        assert all(not pick.better for pick in picks_of(compared))
    assert [n.name for n in references_beyond(with_references(found, (90, 3, 3)))] == ["ref0"]


@given(draws, draws)
def test_references_lie_beyond_where_they_would_join_the_front(
    points: list[tuple[float, float, float]], others: list[tuple[float, float, float]]
) -> None:
    """By definition: as a further trial, the last, it would be a member, and none equal to it was there."""
    found = with_references(result(*points), *others)
    for number, point in enumerate(others):
        joins = len(points) in {member.number for member in result(*points, point).front}
        assert (f"ref{number}" in {n.name for n in references_beyond(found)}) == joins
    assert bool(beyond_line(found)) == bool(references_beyond(found))


def test_a_budget_that_nothing_meets_is_said_with_the_nearest() -> None:
    """And the references that meet it; budgets that are met one by one may not be together."""
    budgets = {"latency_ms": (0.5, 6.0), "latency_ms@b": (9.0, 2.0)}
    found = result((50, 5, 30), (60, 30, 1), budgets=budgets)
    assert unmet_budgets(found) == ({"latency_ms": 0.5}, {"latency_ms": 6.0, "latency_ms@b": 2.0})
    assert unmet_lines(with_references(found, (20, 0.25, 9))) == (
        "nothing within 0.5 ms; the fastest is n at 5.0 ms; of the references: ref0 (20.0 % at 0.25 ms, 9.0 ms on b)",
        "nothing within 6 ms and within 2 ms on b",
    )
    assert unmet_budgets(result(budgets=budgets)) == ()


def test_a_frame_rate_that_nothing_reaches_is_said_too() -> None:
    found = result((90, 100, 1), objectives=("top1", "fps", "params"), budgets={"fps": (50.0,), "params": (5.0,)})
    assert unmet_lines(found) == (
        "nothing at 50 fps; the fastest is n at 10.0 fps",
        "nothing within 5 params; the nearest is n at 0.001 M",
    )
