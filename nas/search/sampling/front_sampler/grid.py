"""Convert an Optuna study's parameters to rows of whole numbers, and back.

A row holds, for each parameter in order, the number of its choice. Everything in this package works on arrays of rows
(n, parameters); only the row that is proposed becomes a dictionary.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from nas.errors import NasError

Rows = NDArray[np.int64]
Floats = NDArray[np.float64]

# A parameter with more values than this, or with a continuous range, is searched at this many evenly spread values.
MOST_VALUES = 33
# Of a parameter with at most this many choices, every other choice is a neighbour.
_FEW = 12


@dataclass(frozen=True)
class Grid:
    """The finite set of parameters that the sampler chooses from."""

    space: Mapping[str, BaseDistribution]

    @cached_property
    def values(self) -> tuple[tuple[Any, ...], ...]:
        """The choices of each parameter."""
        return tuple(_values(distribution) for distribution in self.space.values())

    @cached_property
    def sizes(self) -> Rows:
        """How many choices each parameter has."""
        return np.array([len(values) for values in self.values], dtype=np.int64)

    @property
    def size(self) -> int:
        """How many rows there are."""
        return math.prod(self.sizes.tolist())

    @cached_property
    def ordered(self) -> tuple[bool, ...]:
        """Whether a parameter's choices are numbers, so that neighbouring choices are alike."""
        return tuple(
            all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
            for values in self.values
        )

    def params(self, row: Sequence[int]) -> dict[str, Any]:
        """The parameters of one row."""
        return {name: values[n] for name, values, n in zip(self.space, self.values, row, strict=True)}

    def row(self, params: Mapping[str, Any]) -> list[int]:
        """The row of parameters; a number that is not a choice becomes the nearest one.

        Raises NasError for a missing parameter, and for another value that is not a choice.
        """
        row = []
        for name, numbers in zip(self.space, self._numbers, strict=True):
            if name not in params:
                raise NasError(f"the parameter {name} is missing; got {', '.join(params) or 'none'}")
            value = params[name]
            number = numbers.get(value)
            row.append(self._nearest(name, value) if number is None else number)
        return row

    def contains(self, params: Mapping[str, Any], distributions: Mapping[str, BaseDistribution]) -> bool:
        """Whether these parameters are ones of this space, each within its distribution."""
        return all(
            name in params
            and type(distributions[name]) is type(distribution)
            and distribution._contains(distribution.to_internal_repr(params[name]))
            for name, distribution in self.space.items()
        )

    def all_rows(self) -> Rows:
        """Every row; for small spaces only."""
        return np.stack(np.unravel_index(np.arange(self.size), self.sizes.tolist() or (1,)), axis=1)[
            :, : len(self.sizes)
        ].astype(np.int64)

    def random(self, count: int, rng: np.random.Generator) -> Rows:
        """Rows of independent choices, each uniformly drawn."""
        return rng.integers(self.sizes, size=(count, len(self.sizes)))

    def neighbours(self, rows: Rows) -> Rows:
        """Every row that differs from one of `rows` in one parameter.

        A parameter of more than _FEW choices moves by one or two steps only.
        """
        places, steps = self._steps
        around = np.repeat(rows, len(places), axis=0)
        sizes = self.sizes[places]
        target = rows[:, places] + steps
        # Few choices: steps go round in a ring. Many: steps end at the first and the last choice.
        target = np.where(sizes > _FEW, np.clip(target, 0, sizes - 1), target % sizes)
        around[np.arange(len(around)), np.tile(places, len(rows))] = target.ravel()
        return around

    @cached_property
    def _steps(self) -> tuple[Rows, Rows]:
        """For each neighbour of a row: the place of the parameter that differs, and the step."""
        pairs = [
            (place, step)
            for place, size in enumerate(self.sizes.tolist())
            for step in (range(1, size) if size <= _FEW else (-2, -1, 1, 2))
        ]
        return np.array(pairs, dtype=np.int64).reshape(-1, 2).T  # type: ignore[return-value]

    @cached_property
    def _numbers(self) -> tuple[dict[Any, int], ...]:
        return tuple({value: number for number, value in enumerate(values)} for values in self.values)

    def _nearest(self, name: str, value: Any) -> int:
        place = list(self.space).index(name)
        if not self.ordered[place] or not isinstance(value, int | float):
            raise NasError(f"{name} must be one of {', '.join(map(str, self.values[place]))}, but got {value!r}")
        return int(np.argmin(np.abs(np.array(self.values[place], dtype=np.float64) - value)))


def _values(distribution: BaseDistribution) -> tuple[Any, ...]:
    if isinstance(distribution, CategoricalDistribution):
        return tuple(distribution.choices)
    if isinstance(distribution, IntDistribution):
        low, high, step = distribution.low, distribution.high, distribution.step
        if (high - low) // step < MOST_VALUES:
            return tuple(range(low, high + 1, step))
        numbers = low + step * np.rint((_spread(low, high, log=distribution.log) - low) / step).astype(int)
        return tuple(dict.fromkeys(np.minimum(numbers, high).tolist()))
    if isinstance(distribution, FloatDistribution):
        low_, high_, width = distribution.low, distribution.high, distribution.step
        if width is None:
            return tuple(dict.fromkeys(_spread(low_, high_, log=distribution.log).tolist()))
        count = round((high_ - low_) / width)
        numbers = np.unique(np.rint(np.linspace(0, count, min(count + 1, MOST_VALUES))))
        return tuple(np.minimum(low_ + numbers * width, high_).tolist())
    raise NasError(f"a parameter must be categorical, an integer or a float, but got {distribution}")


def _spread(low: float, high: float, *, log: bool) -> Floats:
    if low == high:
        return np.array([low], dtype=np.float64)
    spread = np.geomspace(low, high, MOST_VALUES) if log else np.linspace(low, high, MOST_VALUES)
    return np.clip(spread, low, high)
