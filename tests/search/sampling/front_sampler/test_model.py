"""The parts of the front sampler that have closed forms, or a second way to compute them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from scipy.optimize import approx_fprime

from nas.errors import NasError
from nas.search.pareto import hypervolume
from nas.search.sampling.front_sampler.acquisition import (
    covered,
    decompose,
    expected_below,
    expected_improvement,
    improvement,
)
from nas.search.sampling.front_sampler.encoding import Encoder
from nas.search.sampling.front_sampler.grid import MOST_VALUES, Grid
from nas.search.sampling.front_sampler.model import _Distances, condition, covariance, fit
from nas.search.sampling.front_sampler.warp import fit_warp

Array = NDArray[Any]


def points(objectives: int, count: int, seed: int) -> Array:
    return np.random.default_rng(seed).random((count, objectives))


@given(st.integers(1, 4), st.integers(0, 12), st.integers(0, 10_000))
def test_improvement_is_the_difference_of_hypervolumes(objectives: int, count: int, seed: int) -> None:
    """For any number of objectives, dominated members and members beyond the reference included."""
    front, new = points(objectives, count, seed), points(objectives, 3, seed + 1)
    reference = np.full(objectives, 0.9)
    boxes = decompose(front[:, :-1], front[:, -1], reference[:-1], 0.9)
    found = improvement(boxes, new[:, :-1], new[:, -1])
    before = hypervolume(front, reference)
    expected = [hypervolume(np.vstack([front, one]), reference) - before for one in new]
    assert found == pytest.approx(expected, abs=1e-9)


@given(st.integers(1, 4), st.integers(1, 12), st.integers(0, 10_000))
def test_covered_is_the_hypervolume(objectives: int, count: int, seed: int) -> None:
    """Two ways to compute it agree."""
    front = points(objectives, count, seed)
    found = covered(front[:, :-1], front[:, -1], np.full(objectives - 1, 0.9), 0.9)
    assert found == pytest.approx(hypervolume(front, [0.9] * objectives), abs=1e-9)


@pytest.mark.parametrize("objectives", [1, 2, 3])
def test_expected_improvement_is_the_mean_of_improvements(objectives: int) -> None:
    """Against numerical integration over the learned objective."""
    front, new = points(objectives, 8, 1), points(objectives, 4, 2)
    reference = np.full(objectives - 1, 1.0)
    boxes = decompose(front[:, :-1], front[:, -1], reference, 1.0)
    mean, std = np.linspace(0.2, 0.8, 4), np.linspace(0.05, 0.4, 4)
    found = expected_improvement(boxes, new[:, :-1], lambda levels: expected_below(levels, mean[:, None], std[:, None]))
    at = (np.arange(4000) + 0.5) / 4000 * 16 - 8
    weight = np.exp(-0.5 * at**2) / np.sqrt(2 * np.pi) * 16 / 4000
    numeric = sum(w * improvement(boxes, new[:, :-1], mean + std * z) for w, z in zip(weight, at, strict=True))
    assert found == pytest.approx(numeric, rel=1e-4)


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=30))
def test_a_warp_keeps_order_and_has_an_inverse(values: list[float]) -> None:
    """Whatever it was fitted to."""
    warp = fit_warp(np.array([*values, np.inf]))
    ordered = np.sort(np.array(values))
    warped = warp.forward(ordered)
    assert (np.diff(warped) >= 0).all()
    assert warp.backward(warped) == pytest.approx(ordered, rel=1e-6, abs=1e-6)
    assert np.isfinite(warp.forward(np.array([np.inf]))).all()


def test_a_warp_brings_outliers_near_and_leaves_good_values_alone() -> None:
    """45 % among 90 % (as errors) comes within a few units; differences below the median stay in proportion."""
    errors = np.array([7.0, 7.5, 8.0, 8.5, 9.0, 9.5, 10.0, 55.0])
    warp = fit_warp(errors)
    warped = warp.forward(errors)
    assert warped[-1] - warped[-2] < 8 * (warped[-2] - warped[0])
    assert np.diff(warped[:4]) == pytest.approx(np.full(3, warped[1] - warped[0]))


def test_expected_amounts_below_are_in_the_original_unit() -> None:
    """Through the warp's bends too: against numerical integration."""
    warp = fit_warp(np.array([1.0, 2.0, 3.0, 4.0, 5.0, 40.0]))
    thresholds = np.array([0.5, 3.0, 6.0, 12.0, 45.0])
    mean, std = np.array([0.3, 2.0, 4.0]), np.array([0.5, 1.0, 2.0])
    found = warp.expected_below(thresholds, mean, std)
    at = (np.arange(20_000) + 0.5) / 20_000 * 16 - 8
    weight = np.exp(-0.5 * at**2) / np.sqrt(2 * np.pi) * 16 / 20_000
    original = warp.backward(mean[:, None] + std[:, None] * at)
    numeric = [(weight * np.maximum(t - original, 0)).sum(axis=1) for t in thresholds]
    assert found == pytest.approx(np.stack(numeric, axis=1), rel=1e-3, abs=1e-5)


def inputs_of(rows: Array, grid: Grid) -> Any:
    return Encoder(grid).inputs(rows, rows[:, :2] - 1.0)


GRID = Grid({f"p{n}": CategoricalDistribution(("a", "b", "c")) for n in range(4)} | {"q": IntDistribution(0, 5)})


def test_the_covariance_is_positive_and_its_gradients_are_right() -> None:
    """Analytic derivatives against finite differences."""
    rows = np.unique(GRID.random(20, np.random.default_rng(0)), axis=0)
    inputs = inputs_of(rows, GRID)
    distances = _Distances(inputs)
    at = np.array([-0.3, 0.2, -0.5, -2.0, 0.1, 0.4, 0.2])
    own = covariance(inputs, inputs, at)
    assert np.linalg.eigvalsh(own).min() > -1e-9
    assert sum(distances.parts(at)) == pytest.approx(own, abs=1e-6)
    matrix = np.random.default_rng(1).random((len(rows), len(rows)))
    matrix = matrix + matrix.T
    numeric = approx_fprime(at, lambda p: float((matrix * sum(distances.parts(p))).sum()), 1e-7)
    found = distances.gradients(at, matrix, distances.parts(at))
    assert found == pytest.approx(numeric, rel=1e-3, abs=1e-3)


def test_the_model_knows_what_it_was_told_and_doubts_what_it_was_not() -> None:
    """It interpolates, and is surer at what it has seen."""
    rng = np.random.default_rng(0)
    rows = np.unique(GRID.random(60, rng), axis=0)
    targets = rows[:, 0] * 0.5 + np.sin(rows[:, 4]) + 0.3 * (rows[:, 1] == rows[:, 2])
    seen, unseen = inputs_of(rows[::2], GRID), inputs_of(rows[1::2], GRID)
    model = condition(seen, targets[::2], fit(seen, targets[::2]))
    mean, std = model.predict(seen)
    mean_unseen, std_unseen = model.predict(unseen)
    assert mean == pytest.approx(targets[::2], abs=0.3)
    assert np.sqrt(np.mean((mean_unseen - targets[1::2]) ** 2)) < 0.6 * targets.std()
    assert std.mean() < std_unseen.mean()


def test_believing_changes_no_mean_and_removes_the_doubt() -> None:
    """As if the model's word had come true."""
    rows = np.unique(GRID.random(40, np.random.default_rng(2)), axis=0)
    seen, running = inputs_of(rows[:20], GRID), inputs_of(rows[20:23], GRID)
    targets = np.cos(rows[:20, 4]) + rows[:20, 0]
    model = condition(seen, targets, fit(seen, targets))
    believer = model.believing(running)
    before, doubt = model.predict(running)
    after, less = believer.predict(running)
    assert after == pytest.approx(before, abs=0.1)
    assert (less < doubt).all()


def test_neighbours_differ_in_one_parameter_and_are_complete() -> None:
    """All other choices of each parameter, once."""
    row = np.array([[0, 1, 2, 0, 3]])
    around = GRID.neighbours(row)
    assert ((around != row).sum(axis=1) == 1).all()
    assert len(np.unique(around, axis=0)) == len(around) == 4 * 2 + 5


@pytest.mark.parametrize(
    ("distribution", "count"),
    [
        (IntDistribution(1, 7, step=2), 4),
        (IntDistribution(1, 1000, log=True), None),
        (FloatDistribution(0.0, 1.0, step=0.1), 11),
        (FloatDistribution(1e-5, 1.0, log=True), MOST_VALUES),
        (FloatDistribution(2.0, 2.0), 1),
    ],
)
def test_every_value_of_a_grid_is_within_its_distribution(distribution: Any, count: int | None) -> None:
    """The ends included, and rows come back from parameters."""
    grid = Grid({"x": distribution})
    values = grid.values[0]
    assert all(distribution._contains(value) for value in values)
    assert values[0] == distribution.low
    assert values[-1] == pytest.approx(distribution.high)
    assert len(values) <= MOST_VALUES
    assert count is None or len(values) == count
    assert [grid.row(grid.params([n])) for n in range(len(values))] == [[n] for n in range(len(values))]


def test_what_no_row_can_hold_is_refused() -> None:
    """A missing parameter and an unknown choice."""
    with pytest.raises(NasError, match="p0 is missing"):
        GRID.row({})
    with pytest.raises(NasError, match="p0 must be one of a, b, c"):
        GRID.row({"p0": "d", "p1": "a", "p2": "a", "p3": "a", "q": 1})
