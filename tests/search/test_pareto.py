"""Fronts, ranks, volumes and knees are what their definitions say."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.search import pareto
from nas.search.pareto import added_volume, front_of, front_shares, hypervolume, knee_of, lacks, ranks, standings
from tests.strategies import points

any_points = st.integers(1, 4).flatmap(points)
some_points = st.integers(1, 3).flatmap(points).filter(bool)


def dominates(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    """By definition: no worse anywhere, better somewhere."""
    pairs = list(zip(one, other, strict=True))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


@given(any_points)
def test_the_front_is_what_nothing_dominates(values: list[tuple[float, ...]]) -> None:
    """Against the definition; of equal points the first stays."""
    expected = [
        index
        for index, point in enumerate(values)
        if not any(dominates(other, point) for other in values) and point not in values[:index]
    ]
    assert front_of(values) == expected


@given(any_points)
def test_infinite_objectives_are_ordered_like_others(values: list[tuple[float, ...]]) -> None:
    """Replacing the largest coordinate by infinity changes no front."""
    infinite = [tuple(math.inf if x == 2 else x for x in point) for point in values]
    assert front_of(infinite) == front_of(values)


@given(st.integers(1, 4).flatmap(lambda m: st.tuples(points(m), points(m))).filter(all))
def test_dominance_of_arrays_is_dominance_of_pairs(
    sets: tuple[list[tuple[float, ...]], list[tuple[float, ...]]],
) -> None:
    """Against the definition, for every pair; and no worse is equal or dominating."""
    ours, theirs = (np.array(values) for values in sets)
    expected = [[dominates(one, other) for other in sets[1]] for one in sets[0]]
    assert pareto.dominates(ours, theirs).tolist() == expected
    equal = (ours[:, None] == theirs).all(axis=2)
    assert pareto.no_worse(ours, theirs).tolist() == (np.array(expected) | equal).tolist()


@given(any_points, st.randoms(use_true_random=False))
def test_the_order_of_objectives_changes_no_front(values: list[tuple[float, ...]], random: Any) -> None:
    """Which of equal points stays depends on the order of the points alone."""
    order = list(range(len(values[0]) if values else 0))
    random.shuffle(order)
    assert front_of([tuple(point[i] for i in order) for point in values]) == front_of(values)


@given(some_points)
def test_ranks_are_fronts_peeled_off(values: list[tuple[float, ...]]) -> None:
    """A point's rank is one above the highest of those that dominate it, or that equal it and come earlier."""
    result = ranks(values).tolist()

    def beats(one: int, other: int) -> bool:
        return dominates(values[one], values[other]) or (values[one] == values[other] and one < other)

    for index, rank in enumerate(result):
        beaten_by = {result[other] for other in range(len(values)) if beats(other, index)}
        assert rank == max(beaten_by, default=-1) + 1


@given(some_points)
def test_who_is_ahead_of_all_that_cost_no_more_is_on_the_front(values: list[tuple[float, ...]]) -> None:
    """A negative lack is a lead that no dominated point has."""
    array = np.array(values)
    leads = lacks(array) < 0  # equal ones lead nobody
    assert all(rank == 0 for rank, lead in zip(ranks(array), leads, strict=True) if lead)


@given(some_points)
def test_lacks_are_differences_to_the_best_that_costs_no_more(values: list[tuple[float, ...]]) -> None:
    """Against the definition; rivals beside the front add nothing."""
    array = np.array(values)

    def lack(index: int, rivals: list[int]) -> float:
        cheaper = [r for r in rivals if all(a <= b for a, b in zip(values[r][1:], values[index][1:], strict=True))]
        return values[index][0] - min((values[r][0] for r in cheaper), default=math.inf)

    everyone = list(range(len(values)))
    assert lacks(array).tolist() == [lack(i, [r for r in everyone if r != i]) for i in everyone]
    assert lacks(array, array).tolist() == [lack(i, everyone) for i in everyone]
    assert lacks(array, array[front_of(array)]).tolist() == lacks(array, array).tolist()


def test_lack_is_measured_against_those_that_cost_no_more() -> None:
    """In points of accuracy; the cheapest lacks nothing."""
    table = np.array([(-80.0, 10.0), (-90.0, 20.0), (-85.0, 30.0), (-90.0, 20.0)])
    assert lacks(table).tolist() == [-math.inf, 0.0, 5.0, 0.0]


def test_what_is_missing_to_the_front() -> None:
    """The points of a front lack nothing; others what the best that costs no more has over them."""
    front = np.array([[5.0, 1.0], [3.0, 2.0]])
    missing = lacks(np.array([[5.0, 1.0], [6.0, 1.5], [3.5, 9.0], [1.0, 0.5]]), front)
    assert missing.tolist() == [0.0, 1.0, 0.5, -math.inf]
    assert lacks(front, front[:0]).tolist() == [-math.inf, -math.inf]


@given(points(3).filter(bool), st.integers(0, 10_000))
def test_shares_on_the_front_count_draws_without_a_better_point(values: list[tuple[float, ...]], seed: int) -> None:
    """Against the definition, draw by draw; equal points do not push each other off."""
    fixed = np.array(values)[:, 1:]
    drawn = np.random.default_rng(seed).integers(0, 4, size=(7, len(fixed))).astype(float)
    rows = [[tuple(point) for point in np.column_stack([draw, fixed])] for draw in drawn]
    undominated = [[not any(dominates(other, point) for other in row) for point in row] for row in rows]
    assert front_shares(drawn, fixed) == pytest.approx(np.mean(undominated, axis=0))


def grid_volume(values: list[tuple[float, ...]], side: int, objectives: int) -> float:
    """Count the cells of a grid (of the points' own spacing, 1/4) that some point dominates."""
    cells = itertools.product(range(side), repeat=objectives)
    covered = sum(any(all(4 * x <= c for x, c in zip(p, cell, strict=True)) for p in values) for cell in cells)
    return covered / 4**objectives


@given(st.integers(1, 3).flatmap(lambda m: st.tuples(st.just(m), points(m, max_size=6))))
def test_the_hypervolume_is_the_count_of_dominated_cells(case: tuple[int, list[tuple[float, ...]]]) -> None:
    """Exact: the points lie on the cells' corners, some of them on and beyond the reference."""
    objectives, values = case
    assert hypervolume(values, [1.75] * objectives) == pytest.approx(grid_volume(values, 7, objectives), abs=1e-12)


@pytest.mark.parametrize(
    ("values", "reference", "volume"),
    [
        ([(1, 1)], (2, 3), 2),
        ([(0, 1), (1, 0)], (2, 2), 3),
        ([(0, 2), (1, 1), (2, 0)], (3, 3), 6),
        ([(0, 2), (1, 1), (1, 1), (2, 0), (2, 2)], (3, 3), 6),
        ([(0, 0, 0)], (1, 2, 3), 6),
        ([(0, 0, 1), (0, 1, 0), (1, 0, 0)], (2, 2, 2), 7),
        ([(3, 0)], (2, 2), 0),
        ([(2, 0)], (2, 2), 0),
        ([], (2, 2), 0),
        ([(1,), (3,)], (4,), 3),
        ([(0, 0, 0, 0)], (2, 2, 2, 2), 16),
    ],
)
def test_hypervolumes_in_closed_form(
    values: list[tuple[float, ...]], reference: tuple[float, ...], volume: float
) -> None:
    """Boxes and their unions, by hand."""
    assert hypervolume(values, reference) == pytest.approx(volume, abs=1e-12)


def test_the_hypervolume_under_a_line_tends_to_its_area() -> None:
    """With n points on x + y = 1 a staircase of n - 1 steps is missing: 1/2 - 1/(2(n - 1)) in the unit box."""
    n = 101
    x = np.linspace(0, 1, n)
    assert hypervolume(np.stack([x, 1 - x], axis=1), (1, 1)) == pytest.approx(0.5 - 0.5 / (n - 1), abs=1e-12)


@pytest.mark.parametrize("objectives", [2, 3, 4])
def test_the_hypervolume_agrees_with_monte_carlo(objectives: int) -> None:
    """Within four standard errors of 40,000 throws."""
    rng = np.random.default_rng(objectives)
    values = rng.random((15, objectives))
    throws = rng.random((40_000, objectives))
    hit = (values[None] <= throws[:, None]).all(axis=2).any(axis=1).mean()
    error = math.sqrt(hit * (1 - hit) / len(throws))
    assert hypervolume(values, [1.0] * objectives) == pytest.approx(hit, abs=4 * error)


@given(points(3), st.tuples(*[st.integers(0, 8).map(lambda i: i / 4)] * 3))
def test_another_point_never_shrinks_the_hypervolume(values: list[tuple[float, ...]], more: tuple[float, ...]) -> None:
    """And a dominated one leaves it as it is."""
    reference = (2.0, 2.0, 2.0)
    before, after = hypervolume(values, reference), hypervolume([*values, more], reference)
    assert after >= before - 1e-12
    if any(dominates(value, more) for value in values):
        assert after == pytest.approx(before, abs=1e-12)


@given(st.integers(1, 4).flatmap(lambda m: st.tuples(st.just(m), points(m, max_size=6), points(m, max_size=6))))
def test_volumes_that_are_added_one_by_one_sum_to_the_whole(
    case: tuple[int, list[tuple[float, ...]], list[tuple[float, ...]]],
) -> None:
    """Also for points on, beyond and within what there was before."""
    objectives, before, after = case
    reference = [1.75] * objectives
    total = hypervolume(before, reference)
    for index, point in enumerate(after):
        total += added_volume(point, [*before, *after[:index]], reference)
    assert total == pytest.approx(hypervolume([*before, *after], reference), abs=1e-12)


@pytest.mark.parametrize("objectives", [5, 6])
def test_the_hypervolume_of_many_objectives_is_that_of_inclusion_and_exclusion(objectives: int) -> None:
    """Over the boxes of eight points, each intersection by its corner."""
    values = np.random.default_rng(objectives).random((8, objectives))
    total = 0.0
    for size in range(1, 9):
        for chosen in itertools.combinations(values, size):
            total -= (-1) ** size * np.prod(1 - np.max(chosen, axis=0))
    assert hypervolume(values, [1.0] * objectives) == pytest.approx(total, abs=1e-12)


@pytest.mark.parametrize(
    ("values", "knee"),
    [
        ([(0, 10), (1, 2), (10, 0)], 1),
        ([(0, 10), (1, 9), (2, 1), (6, 0.5), (10, 0)], 2),
        ([(10, 0), (5, 5), (1, 1), (0, 10), (9, 9)], 2),
        ([(3, 4)], 0),
        ([(0, 1), (1, 0)], 1),
        ([(0, 2), (1, 1), (2, 0)], 1),
        ([(0, 10), (9, 9.9), (10, 0)], 1),
        ([(1, 1), (1, 1), (1, 1)], 0),
    ],
)
def test_the_knee_stands_out_furthest(values: list[tuple[float, float]], knee: int) -> None:
    """By eye; on a straight or bulging front, the middle."""
    assert knee_of(values) == knee


@given(points(2).filter(bool), st.integers(1, 5), st.integers(1, 5), st.integers(-3, 3))
def test_the_knee_does_not_depend_on_the_objectives_units(
    values: list[tuple[float, float]], x_scale: int, y_scale: int, shift: int
) -> None:
    """It is on the front, and the same in milliseconds and microseconds (up to rounding: exact factors here)."""
    knee = knee_of(values)
    assert knee in front_of(values)
    assert knee_of([(x * 2**x_scale + shift, y * 2**y_scale) for x, y in values]) == knee


@given(st.integers(3, 4).flatmap(points).filter(bool))
def test_the_compromise_of_more_objectives_is_nearest_to_the_best_of_each(values: list[tuple[float, ...]]) -> None:
    """By definition, among the front's members, with each objective scaled to 0..1 over the front."""
    front = np.array(values)[front_of(values)]
    low, span = front.min(axis=0), np.ptp(front, axis=0)
    distances = np.linalg.norm((front - low) / np.where(span > 0, span, 1), axis=1)
    knee = knee_of(values)
    assert knee in front_of(values)
    assert distances[front_of(values).index(knee)] == pytest.approx(distances.min())


def test_standings_are_distances_from_the_line_between_the_ends() -> None:
    """The ends lie on it, the middle of an L-shaped front beyond it, a dominated point behind it."""
    values = [(0, 10), (1, 1), (10, 0), (10, 10)]
    assert standings(values) == pytest.approx([0, 0.8, 0, -1])
    assert standings([(3, 4), (5, 6)]) == pytest.approx([0, 0])
    with pytest.raises(ValueError, match="two objectives"):
        standings([(1, 2, 3)])


@pytest.mark.parametrize("use", [front_of, ranks, knee_of, lambda values: hypervolume(values, (1, 1))])
def test_nan_is_refused(use: object) -> None:
    """A failed trial cannot slip into a front."""
    with pytest.raises(ValueError, match="NaN"):
        use([(0, 1), (math.nan, 0)])  # type: ignore[operator]


def test_what_has_no_answer_is_refused() -> None:
    """No points, other dimensions, a reference of NaN."""
    assert front_of([]) == []
    assert hypervolume(np.empty((0, 2)), (1, 1)) == 0
    for wrong, said in [([], "without points"), ([(1, math.inf)], "finite")]:
        with pytest.raises(ValueError, match=said):
            knee_of(wrong)
    with pytest.raises(ValueError, match="points have 2 objectives, but the reference has 3"):
        hypervolume([(0, 0)], (1, 1, 1))
    with pytest.raises(ValueError, match="reference must not hold NaN"):
        hypervolume([(0, 0)], (1, math.nan))
    with pytest.raises(ValueError, match=r"an \(n, m\) array"):
        front_of([1.0, 2.0])
