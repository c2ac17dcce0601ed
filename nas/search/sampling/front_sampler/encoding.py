"""Encode rows of choices as the model's inputs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nas.search.sampling.front_sampler.grid import Floats, Grid, Rows
from nas.search.sampling.front_sampler.model import Inputs


@dataclass(frozen=True)
class Encoder:
    """Turns rows into the model's inputs by tables with one line for each choice of a parameter."""

    grid: Grid

    def inputs(self, rows: Rows, features: Floats) -> Inputs:
        """The inputs of rows whose features (n, f) have a mean near 0 and a spread near 1."""
        linear, codes = self._tables
        shared = features / np.sqrt(max(1, features.shape[1]))
        return Inputs(np.hstack([*_looked_up(linear, rows), shared]), np.hstack(_looked_up(codes, rows)), features)

    @cached_property
    def _tables(self) -> tuple[list[Floats], list[Floats]]:
        """For each parameter, the linear columns and the codes of its choices, both (choices, columns)."""
        linear, codes = [], []
        root = np.sqrt(max(1, len(self.grid.sizes)))
        for size, ordered in zip(self.grid.sizes.tolist(), self.grid.ordered, strict=True):
            linear.append((_trend(size) if ordered else np.eye(size) - 1 / size) / root)
            codes.append((_steps(size) if ordered else np.eye(size) / np.sqrt(2)) / root)
        return linear, codes


def _looked_up(tables: list[Floats], rows: Rows) -> list[Floats]:
    """Each table's lines for the rows' choices, after an empty block, so that no parameters give a shape, too."""
    return [np.zeros((len(rows), 0)), *(table[column] for table, column in zip(tables, rows.T, strict=True))]


def _trend(size: int) -> Floats:
    """A linear and a quadratic column for ordered choices, each with a standard deviation of 1 over the choices."""
    at = np.linspace(-1.0, 1.0, size) if size > 1 else np.zeros(1)
    columns = np.stack([at, at**2 - np.mean(at**2)], axis=1)
    width: Floats = columns.std(axis=0)
    return np.where(width > 0, columns / np.where(width > 0, width, 1.0), 0.0)


def _steps(size: int) -> Floats:
    """Codes of ordered choices: squared distance = |i − j| / (size − 1), which is 1 from the first to the last."""
    codes: Floats = np.tril(np.ones((size, size - 1)), -1) / np.sqrt(max(1, size - 1))
    return codes
