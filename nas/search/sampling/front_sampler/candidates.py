"""Draw the candidates that a proposal is chosen from: bred from parents, spread broadly, or evenly stepped."""

from __future__ import annotations

import numpy as np

from nas.errors import NasError
from nas.search.sampling.front_sampler.grid import Floats, Rows
from nas.search.sampling.front_sampler.problem import Minimised, Problem

_BROAD = 512
_CLIMBS = 3


def bred(problem: Problem, parents: Rows, count: int, rng: np.random.Generator) -> Rows:
    """`count` children of `parents`, which are in the order of a known objective.

    Half of them mix the choices of two parents that are near each other; the other half copy one parent and draw one or
    a few choices anew.
    """
    grid = problem.grid
    parameters = len(grid.sizes)
    children = parents[rng.integers(len(parents), size=count)]
    mixed = slice(0, count // 2)
    first = rng.integers(len(parents), size=count // 2)
    away = rng.integers(1, 4, size=count // 2) * rng.choice([-1, 1], size=count // 2)
    second = np.clip(first + away, 0, len(parents) - 1)
    heads = rng.random((count // 2, parameters)) < rng.random((count // 2, 1))
    children[mixed] = np.where(heads, parents[first], parents[second])
    # Every choice changes with probability 1/parameters; a copy changes in one for certain.
    changed = rng.random((count, parameters)) < 1.0 / parameters
    changed[np.arange(count // 2, count), rng.integers(parameters, size=count - count // 2)] = True
    return np.where(changed, grid.random(count, rng), children)


def broad(view: Minimised, rng: np.random.Generator) -> Rows:
    """Feasible members from one end of the known objectives to the other, in random order.

    Members of random choices alone would crowd in the middle, so they are mixed with members at the ends. Raises
    NasError, with the nearest member, where none is found that meets the constraints.
    """
    problem = view.problem
    rows = problem.grid.random(_BROAD, rng)
    known = view.known(rows)
    ends = [rows[:1]]
    for column in range(known.shape[1]):
        for sign in (1.0, -1.0):
            ends.append(_climbed(problem, rows[[np.argmin(sign * known[:, column])]], view, column, sign))
    extremes = np.concatenate(ends)
    if known.shape[1]:
        mixed_in = rng.random((_BROAD, 1)) * rng.integers(0, 2, size=(_BROAD, 1))
        rows = np.where(rng.random(rows.shape) < mixed_in, extremes[rng.integers(1, len(extremes), size=_BROAD)], rows)
    rows = np.unique(problem.spelt(np.concatenate([rows, extremes])), axis=0)
    beyond = problem.excess(rows)
    if (beyond <= 0).any():
        return rng.permutation(rows[beyond <= 0])
    return _feasible_near(problem, rows[np.argsort(beyond, kind="stable")[:4]])


def stratified(known: Floats, count: int, rng: np.random.Generator) -> list[int]:
    """Numbers of up to `count` members at even steps of the first known objective of `known` (n, objectives − 1).

    They are in random order, so that a search that is cut short has still seen the whole range.
    """
    if not known.shape[1]:
        return list(range(min(count, len(known))))
    values = known[:, 0]
    chosen: dict[int, None] = {}
    for target in np.linspace(values.min(), values.max(), count):
        distances = np.abs(values - target)
        distances[list(chosen)] = np.inf
        chosen[int(np.argmin(distances))] = None
        if len(chosen) == len(values):
            break
    numbers = list(chosen)
    return [numbers[index] for index in rng.permutation(len(numbers))]


def _climbed(problem: Problem, row: Rows, view: Minimised, column: int, sign: float) -> Rows:
    """A member near the least (sign 1) or the most (sign −1) of known objective number `column`, reached from `row`.

    In each step every parameter takes its best choice, judged with all other parameters unchanged.
    """
    for _ in range(_CLIMBS):
        around = problem.grid.neighbours(row)
        value = sign * view.known(np.concatenate([row, around]))[:, column]
        together = row.copy()
        best = np.full(row.shape[1], value[0])
        for neighbour, reached in zip(around, value[1:], strict=True):
            place = int(np.flatnonzero(neighbour != row[0])[0]) if (neighbour != row[0]).any() else 0
            if reached < best[place]:
                best[place], together[0, place] = reached, neighbour[place]
        after = sign * view.known(together)[0, column]
        if after >= value[0]:
            return row
        row = together
    return row


def _feasible_near(problem: Problem, rows: Rows) -> Rows:
    """Feasible members reached from the first of `rows` that leads to any, by neighbours of ever smaller excess."""
    for row in rows:
        here = row[None]
        beyond = float(problem.excess(here)[0])
        while beyond > 0:
            around = problem.spelt(problem.grid.neighbours(here))
            excess = problem.excess(around)
            if excess.min(initial=np.inf) >= beyond:
                break
            here, beyond = around[[int(np.argmin(excess))]], float(excess.min())
        if beyond <= 0:
            around = np.unique(np.concatenate([here, problem.spelt(problem.grid.neighbours(here))]), axis=0)
            return around[problem.excess(around) <= 0]
    nearest = problem.grid.params(rows[0].tolist())
    raise NasError(
        f"no member of the search space was found that meets the constraints: the nearest is beyond them by "
        f"{beyond:.4g} in sum ({nearest}). Loosen the constraints, or widen the space"
    )
