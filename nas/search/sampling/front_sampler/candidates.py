"""Which members of the space are looked at, before one is chosen?"""

from __future__ import annotations

import numpy as np

from nas.errors import NasError
from nas.search.sampling.front_sampler.grid import Floats, Rows
from nas.search.sampling.front_sampler.problem import Minimised, Problem

_BROAD = 512
_CLIMBS = 3


def bred(problem: Problem, parents: Rows, count: int, rng: np.random.Generator) -> Rows:
    """`count` children of `parents`, which stand in the order of a known objective: half of one parent with one to a
    few choices drawn anew, half of two that stand near each other, their choices mixed.
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
    # One change for certain in the unmixed, and a few more: one on average.
    changed = rng.random((count, parameters)) < 1.0 / parameters
    changed[np.arange(count // 2, count), rng.integers(parameters, size=count - count // 2)] = True
    return np.where(changed, grid.random(count, rng), children)


def broad(view: Minimised, rng: np.random.Generator) -> Rows:
    """Feasible members from one end of the known objectives to the other, in no order.

    Random choices alone would pile up in the middle: so they are mixed with those of the ends. Raises NasError, with
    the nearest member found, where nothing meets the constraints.
    """
    problem = view.problem
    rows = problem.grid.random(_BROAD, rng)
    known = view.known(rows)
    ends = [rows[:1]]
    for column in range(known.shape[1]):
        for sign in (1.0, -1.0):
            ends.append(_climbed(problem, rows[[np.argmin(sign * known[:, column])]], view, column, sign))
    end = np.concatenate(ends)
    if known.shape[1]:
        taken = rng.random((_BROAD, 1)) * rng.integers(0, 2, size=(_BROAD, 1))
        rows = np.where(rng.random(rows.shape) < taken, end[rng.integers(1, len(end), size=_BROAD)], rows)
    rows = np.unique(problem.spelt(np.concatenate([rows, end])), axis=0)
    beyond = problem.excess(rows)
    if (beyond <= 0).any():
        return rng.permutation(rows[beyond <= 0])
    return _feasible_near(problem, rows[np.argsort(beyond, kind="stable")[:4]])


def stratified(known: Floats, count: int, rng: np.random.Generator) -> list[int]:
    """Numbers of up to `count` members, at even steps of the first known objective (n, known), in random order.

    In random order, so that a search that is cut short has still seen the whole range.
    """
    if not known.shape[1]:
        return list(range(min(count, len(known))))
    of = known[:, 0]
    chosen: dict[int, None] = {}
    for target in np.linspace(of.min(), of.max(), count):
        away = np.abs(of - target)
        away[list(chosen)] = np.inf
        chosen[int(np.argmin(away))] = None
        if len(chosen) == len(of):
            break
    numbers = list(chosen)
    return [numbers[index] for index in rng.permutation(len(numbers))]


def _climbed(problem: Problem, row: Rows, view: Minimised, column: int, sign: float) -> Rows:
    """A member near the least (sign 1) or most (-1) of a known objective: the best choice of each parameter."""
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
    """Feasible members downhill from `rows`."""
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
