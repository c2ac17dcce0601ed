"""Are fronts, volumes and knees what their definitions say?"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.search.results.pareto import added_volume, front_of, hypervolume, knee_of, standings
from tests.strategies import points

any_points = st.integers(1, 4).flatmap(points)


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


@pytest.mark.parametrize("use", [front_of, knee_of, lambda values: hypervolume(values, (1, 1))])
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
