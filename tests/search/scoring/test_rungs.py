"""Candidates near the front go on, as many as eta says, and every decision is repeatable."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from nas.errors import NasError
from nas.search.scoring.rungs import (
    Decision,
    Standing,
    StoppingSettings,
    best_first,
    bracket_of,
    brackets,
    decide,
    expected_epochs,
    rungs,
)

HALVING = StoppingSettings(method="halving")
HYPERBAND = StoppingSettings(method="hyperband")


@pytest.mark.parametrize(
    ("settings", "budget", "expected"),
    [
        ({}, 9, (1, 3, 9)),
        ({}, 27, (3, 9, 27)),
        ({}, 10, (1, 3, 10)),
        ({}, 3, (1, 3)),
        ({"min_epochs": 1}, 27, (1, 3, 9, 27)),
        ({"min_epochs": 4}, 27, (9, 27)),
        ({"eta": 2}, 8, (2, 4, 8)),
        ({"eta": 2, "min_epochs": 1}, 3, (1, 2, 3)),
        ({"method": "none"}, 9, (9,)),
    ],
)
def test_rungs_are_eta_times_apart(settings: dict[str, object], budget: int, expected: tuple[int, ...]) -> None:
    """Counted down from the budget, rounded to whole epochs, none twice."""
    assert rungs(StoppingSettings.model_validate({"method": "halving", **settings}), budget) == expected


@given(
    st.integers(1, 400), st.integers(2, 10), st.integers(1, 20) | st.none(), st.sampled_from(["halving", "hyperband"])
)
def test_rungs_rise_from_the_least_to_the_budget(budget: int, eta: int, least: int | None, method: str) -> None:
    """Whatever the settings, or there is none before the end and that is an error."""
    settings = StoppingSettings.model_validate({"method": method, "eta": eta, "min_epochs": least})
    try:
        levels = rungs(settings, budget)
    except NasError as error:
        assert "must have a rung before the end" in str(error)  # noqa: PT017 - one of two promised outcomes
        assert budget / eta < (least or 1) + 0.5
        return
    assert list(levels) == sorted(set(levels))
    assert levels[-1] == budget
    assert 1 <= (least or 1) <= levels[0] < budget


def test_too_few_epochs_to_stop_in() -> None:
    """Said before anything is trained, with what to change."""
    with pytest.raises(NasError, match=r"with 1 epochs, eta 3 and min_epochs 1 there is none\. Raise training\.epochs"):
        rungs(HALVING, 1)
    with pytest.raises(NasError, match=r"stopping\.brackets must be at most the number of rungs, 3 .*1, 3, 9.*is 4"):
        brackets(HYPERBAND.model_copy(update={"brackets": 4}), 9)


@pytest.mark.parametrize("wrong", [{"method": "asha"}, {"eta": 1}, {"min_epochs": 0}, {"brackets": 0}, {"eta": 2.5}])
def test_settings_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    """Each says what it may be."""
    with pytest.raises(ValidationError):
        StoppingSettings.model_validate(wrong)


def test_hyperband_begins_later_in_each_bracket() -> None:
    """The last trains everything to the end; `brackets` keeps the first ones."""
    assert brackets(HYPERBAND, 9) == ((1, 3, 9), (3, 9), (9,))
    assert brackets(HYPERBAND.model_copy(update={"brackets": 2}), 9) == ((1, 3, 9), (3, 9))
    assert brackets(HALVING, 9) == ((1, 3, 9),)


def test_brackets_cost_the_same() -> None:
    """Trials are dealt so that each bracket takes as many epochs, early on too; by trial number alone."""
    shapes = brackets(HYPERBAND, 27)
    for count in (60, 1000):
        dealt = Counter(bracket_of(number, shapes, 3) for number in range(count))
        costs = [dealt[bracket] * expected_epochs(shape, 3) for bracket, shape in enumerate(shapes)]
        assert max(costs) / min(costs) < (1.5 if count == 60 else 1.05)
    assert {bracket_of(number, brackets(HALVING, 9), 3) for number in range(20)} == {0}


def test_expected_epochs_is_the_sum_over_rungs() -> None:
    """1 for all, 2 more for a third, 6 more for a ninth."""
    assert expected_epochs((1, 3, 9), 3) == pytest.approx(1 + 2 / 3 + 6 / 9)
    assert expected_epochs((9,), 3) == 9


def test_feasible_before_front_before_lack() -> None:
    """The order of constrained non-domination; within a rank, who lacks less."""
    standings = [
        Standing((-99.0, 5.0), violation=2.0),
        Standing((-99.0, 5.0), violation=1.0),
        Standing((-70.0, 30.0)),
        Standing((-79.0, 30.0)),
        Standing((-80.0, 10.0)),
        Standing((-60.0, 20.0)),
    ]
    assert best_first(standings) == [4, 3, 5, 2, 1, 0]


def test_two_ranks_are_not_mixed() -> None:
    """A candidate that several fronts beat goes behind one that lacks more but is beaten by one front alone."""
    chain = [Standing((-50.0, 10.0)), Standing((-49.9, 11.0)), Standing((-49.8, 12.0)), Standing((-30.0, 10.5))]
    assert best_first(chain) == [0, 1, 3, 2]


def test_nan_is_refused() -> None:
    """A candidate without a score has no standing."""
    with pytest.raises(ValueError, match="NaN"):
        best_first([Standing((math.nan, 1.0))])


def test_the_first_goes_on_and_then_one_of_eta() -> None:
    """Each worse than all before it: none goes on; each better: all do."""
    others: list[Standing] = []
    decisions = []
    for number in range(9):
        candidate = Standing((float(number), 1.0))
        decisions.append(decide(candidate, others, 3).goes_on)
        others.append(candidate)
    assert decisions == [True] + [False] * 8
    improving = [Standing((-float(number), 1.0)) for number in range(9)]
    assert all(decide(candidate, improving[:i], 3).goes_on for i, candidate in enumerate(improving))


def test_a_decision_says_why() -> None:
    """In words for trials.csv and the report."""
    others = [Standing((-float(number), 1.0)) for number in range(6)]
    assert str(decide(Standing((-2.5, 1.0)), others, 3)) == "place 4 of 7 that reached this rung, of which 2 go on"


def test_an_equal_goes_behind() -> None:
    """So that a space full of equals does not all go on."""
    equals = [Standing((-50.0, 1.0))] * 3
    assert not decide(equals[0], equals[:2], 3).goes_on


@given(st.permutations(range(12)), st.integers(2, 4))
def test_the_best_goes_on_whenever_it_comes(order: list[int], eta: int) -> None:
    """Whatever the order; and the last to come goes on exactly where it is among the best share of all."""
    others: list[Standing] = []
    went_on = []
    for value in order:
        candidate = Standing((float(value), 1.0))
        if decide(candidate, others, eta).goes_on:
            went_on.append(value)
        others.append(candidate)
    assert 0 in went_on
    assert (order[-1] in went_on) == (order[-1] < 12 // eta)


def test_what_none_dominates_goes_on() -> None:
    """Ever more accurate and ever slower: each goes on, however little it adds."""
    front = [Standing((-50.0 - i, float(i))) for i in range(3)]
    assert all(decide(member, front[:i], 3).goes_on for i, member in enumerate(front))


def test_a_front_of_nearly_everything_is_halved() -> None:
    """Nine that none dominates, as with many objectives: the one that adds least accuracy is stopped."""
    front = [Standing((-50.0 - 10 * i, float(i))) for i in range(8)]
    barely = Standing((-50.1, 0.5))
    assert decide(barely, front, 3) == Decision(place=9, reached=9, places=5)
    clearly = Standing((-140.0, 8.0))
    assert decide(clearly, front, 3).goes_on


def test_the_best_share_goes_on_though_dominated() -> None:
    """Partial scores are noisy: of nine in a row the first three go on."""
    row = [Standing((-50.0 + i, float(i))) for i in range(9)]
    decisions = [decide(one, [other for other in row if other is not one], 3) for one in row]
    assert [decision.goes_on for decision in decisions] == [True] * 3 + [False] * 6


def test_who_breaks_a_limit_comes_after_all_that_do_not() -> None:
    """However accurate; among those that break one, who breaks it less."""
    feasible = [Standing((-50.0 + i, 1.0)) for i in range(3)]
    assert not decide(Standing((-99.0, 0.5), violation=1.0), feasible, 3).goes_on
    broken = [Standing((-99.0, 0.5), violation=2.0)] * 3
    assert decide(Standing((-10.0, 9.0), violation=1.0), broken, 3).goes_on
