"""What does the model see of an architecture?"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nas.search.front_sampler.grid import Floats, Grid, Rows
from nas.search.front_sampler.model import Inputs


@dataclass(frozen=True)
class Encoder:
    """Turns rows into the model's inputs, by tables that hold a line for each choice of each parameter."""

    grid: Grid

    def inputs(self, rows: Rows, features: Floats) -> Inputs:
        """The inputs of rows whose features (n, f) are about 0 and about 1 wide."""
        linear, codes = self._tables
        places = rows + self._offsets
        own = linear[places].reshape(len(rows), -1)
        shared = features / np.sqrt(max(1, features.shape[1]))
        return Inputs(np.hstack([own, shared]), codes[places].reshape(len(rows), -1), features)

    @cached_property
    def _offsets(self) -> Rows:
        return np.concatenate([[0], np.cumsum(self.grid.sizes)[:-1]]) if len(self.grid.sizes) else self.grid.sizes

    @cached_property
    def _tables(self) -> tuple[Floats, Floats]:
        """Linear columns and codes of each choice, as wide as the widest parameter needs."""
        sizes, count = self.grid.sizes.tolist(), max(1, len(self.grid.sizes))
        linear, codes = [], []
        for size, ordered in zip(sizes, self.grid.ordered, strict=True):
            linear.append(_trend(size) if ordered else np.eye(size) - 1 / size)
            codes.append(_steps(size) if ordered else np.eye(size) / np.sqrt(2))
        return _stacked(linear) / np.sqrt(count), _stacked(codes) / np.sqrt(count)


def _trend(size: int) -> Floats:
    """Linear and quadratic columns of ordered choices, each about 1 wide over the choices."""
    at = np.linspace(-1.0, 1.0, size) if size > 1 else np.zeros(1)
    columns = np.stack([at, at**2 - np.mean(at**2)], axis=1)
    width: Floats = columns.std(axis=0)
    return np.where(width > 0, columns / np.where(width > 0, width, 1.0), 0.0)


def _steps(size: int) -> Floats:
    """Codes whose squared distances are how far apart choices stand, 1 from the first to the last."""
    found: Floats = np.tril(np.ones((size, size - 1)), -1) / np.sqrt(max(1, size - 1))
    return found


def _stacked(tables: list[Floats]) -> Floats:
    width = max((table.shape[1] for table in tables), default=0)
    if not tables:
        return np.zeros((0, 0))
    return np.concatenate([np.pad(table, ((0, 0), (0, width - table.shape[1]))) for table in tables])
