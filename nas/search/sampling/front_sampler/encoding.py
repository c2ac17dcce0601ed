"""What does the model see of an architecture?"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nas.search.sampling.front_sampler.grid import Floats, Grid, Rows
from nas.search.sampling.front_sampler.model import Inputs


@dataclass(frozen=True)
class Encoder:
    """Turns rows into the model's inputs, by tables that hold a line for each choice of each parameter."""

    grid: Grid

    def inputs(self, rows: Rows, features: Floats) -> Inputs:
        """The inputs of rows whose features (n, f) are about 0 and about 1 wide."""
        linear, codes = self._tables
        shared = features / np.sqrt(max(1, features.shape[1]))
        return Inputs(np.hstack([*_looked_up(linear, rows), shared]), np.hstack(_looked_up(codes, rows)), features)

    @cached_property
    def _tables(self) -> tuple[list[Floats], list[Floats]]:
        """Of each parameter, the linear columns and the codes of each choice: (choices, columns)."""
        linear, codes = [], []
        root = np.sqrt(max(1, len(self.grid.sizes)))
        for size, ordered in zip(self.grid.sizes.tolist(), self.grid.ordered, strict=True):
            linear.append((_trend(size) if ordered else np.eye(size) - 1 / size) / root)
            codes.append((_steps(size) if ordered else np.eye(size) / np.sqrt(2)) / root)
        return linear, codes


def _looked_up(tables: list[Floats], rows: Rows) -> list[Floats]:
    """A column for each of the tables, and one of no width, so that a space of no parameters has a shape too."""
    return [np.zeros((len(rows), 0)), *(table[column] for table, column in zip(tables, rows.T, strict=True))]


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
