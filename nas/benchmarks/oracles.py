"""Searches with known answers, on which samplers are compared.

One oracle is a published table of trained networks (NAS-Bench-Macro). The accuracies of the others are made up, and
their descriptions say so. Made-up accuracies predict nothing. They have what makes a search hard, in different
proportions: saturating returns, blocks that need each other, an unexplained residual, trainings that collapse, noise.
So a sampler that suits only one of them stands out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from optuna.distributions import CategoricalDistribution

from nas.errors import ConfigError, NasError
from nas.files import read_csv
from nas.latency.table import load_table
from nas.networks.space.search_space import load_space
from nas.networks.space.table import Members, SpaceTable
from nas.search.pareto import front_of
from nas.search.sampling.front_sampler.acquisition import covered
from nas.search.sampling.front_sampler.candidates import bred
from nas.search.sampling.front_sampler.grid import Floats, Rows
from nas.search.sampling.front_sampler.problem import Problem
from nas.search.sampling.space_rows import SpaceRows

# NAS-Bench-Macro's choices for each of its 8 layers (github.com/xiusu/NAS-Bench-Macro, README).
MACRO_CHOICES = ("identity", "mb3_k3", "mb6_k5")
MACRO_FILE = "nas_bench_macro_cifar10.csv"
_MACRO_COLUMNS = ("arch", "acc0", "acc1", "acc2", "mean_acc", "std", "params", "flops")
_LISTED = 50_000
_GENERATIONS, _CHILDREN, _REFINED = 150, 600, 50


@dataclass(frozen=True, eq=False)
class Oracle:
    """A search with known answers: maximise accuracy (objective 0, in percent), minimise all other objectives.

    `accuracy` gives the true accuracy of rows of choices. What a trial is told differs from it by normal noise with a
    standard deviation of `noise` percent. `words` describe the oracle.
    """

    name: str
    words: str
    problem: Problem
    accuracy: Callable[[Rows], Floats]
    noise: float = 0.0

    @property
    def reference(self) -> Floats:
        """The reference point of hypervolume."""
        return np.asarray(self.problem.reference, dtype=np.float64)

    def objectives(self, rows: Rows) -> Floats:
        """The true objectives of rows: (n, objectives)."""
        assert self.problem.known is not None
        values = self.problem.known(rows).copy()
        values[:, 0] = self.accuracy(rows)
        return values

    def told(self, row: Rows, seed: int) -> list[float]:
        """The objectives that a trial of `row` is told: the same each time for one seed."""
        values = self.objectives(row[None])[0]
        if self.noise:
            drawn = np.random.default_rng([seed, *row.tolist()]).standard_normal()
            values[0] += self.noise * drawn
        return [float(value) for value in values]

    def hypervolume(self, values: Floats) -> float:
        """The hypervolume of objectives (n, objectives)."""
        front, reference = _minimised(self.front_of(values)), _minimised(self.reference[None])[0]
        return covered(front[:, 1:], front[:, 0], reference[1:], float(reference[0]))

    def front_of(self, values: Floats) -> Floats:
        """Those of the objectives (n, objectives) that no others dominate."""
        return values[front_of(_minimised(values))]

    @property
    def listed(self) -> bool:
        """Whether the space is small enough to list all members."""
        return self.problem.grid.size <= _LISTED

    @cached_property
    def best(self) -> Floats:
        """The true objectives of the best front: of all members where they are listed, else of a long search.

        The search knows all true objectives and evolves a front (90,000 members, then neighbours of the last front). It
        is repeatable; its front is a lower bound.
        """
        grid = self.problem.grid
        if self.listed:
            return self.front_of(self.objectives(grid.all_rows()))
        rng = np.random.default_rng(0)
        rows = grid.random(_CHILDREN, rng)
        values = self.objectives(rows)
        for generation in range(_GENERATIONS + 3):
            last = generation >= _GENERATIONS
            front = np.array(front_of(_minimised(values)))
            front = front[np.argsort(values[front, 1], kind="stable")]
            parents = rows[front]
            some = rng.permutation(parents)[:_REFINED]
            new = grid.neighbours(some) if last else bred(self.problem, parents, _CHILDREN, rng)
            rows = np.concatenate([parents, new])
            values = np.concatenate([values[front], self.objectives(new)])
        return self.front_of(values)


def _minimised(values: Floats) -> Floats:
    turned = values.copy()
    turned[:, 0] *= -1
    return turned


def macro_oracle(folder: Path) -> Oracle:
    """NAS-Bench-Macro: 6,561 networks, each trained three times on CIFAR-10; accuracy and MACs.

    Su et al., "Prioritized Architecture Sampling with Monto-Carlo Tree Search", CVPR 2021, arXiv:2103.11922; the mean
    accuracy of the three. Raises ConfigError where the file is not in `folder` or is not what it should be.
    """
    rows = read_csv(folder / MACRO_FILE, "NAS-Bench-Macro (nas_bench_macro_cifar10.csv in --published)", _MACRO_COLUMNS)
    shape = (3,) * 8
    accuracy, macs = np.full(shape, np.nan), np.full(shape, np.nan)
    try:
        for _, fields in rows:
            place = tuple(int(digit) for digit in fields[0])
            accuracy[place], macs[place] = float(fields[4]), float(fields[7])
    except (ValueError, IndexError) as error:
        raise ConfigError([f"cannot read {MACRO_FILE}: {error}"]) from error
    if np.isnan(accuracy).any():
        raise ConfigError(
            [f"{MACRO_FILE} must have all {3**8:,} networks, but {int(np.isnan(accuracy).sum())} are missing"]
        )
    space = {f"layer{number + 1}": CategoricalDistribution(MACRO_CHOICES) for number in range(8)}
    problem = Problem(space, lambda rows: _with_nan(macs[tuple(rows.T)]), reference=(88.0, 1.01 * float(macs.max())))
    words = "NAS-Bench-Macro: 6,561 networks trained on CIFAR-10; accuracy and MACs"
    return Oracle("nas_bench_macro", words, problem, lambda rows: accuracy[tuple(rows.T)])


def _with_nan(*known: Floats) -> Floats:
    """Known objectives after a column of NaN for the learned one."""
    return np.column_stack([np.full(len(known[0]), np.nan), *known])


@dataclass(frozen=True)
class Made:
    """The parameters of made-up accuracies, in percent unless said otherwise.

    `top` is the accuracy without any loss. Each level of resolution loses `loss · exp(−capacity / scale)`. Levels of
    unequal capacity lose `balance` times the squared difference of log capacities. Halving the image loses `pixels`.
    `residual` is the standard deviation of an unexplained part. `collapse` is the share of networks whose training
    fails, with accuracies near `collapsed`.
    """

    top: float = 80.0
    loss: float = 9.0
    scale: float = 1.6
    balance: float = 1.5
    pixels: float = 5.0
    residual: float = 0.15
    collapse: float = 0.0
    collapsed: float = 20.0


def made_accuracy(rows: SpaceRows, made: Made, seed: int) -> Callable[[Rows], Floats]:
    """Made-up accuracies of a space's networks."""
    table = rows.table
    capacity = _capacities(table)
    rng = np.random.default_rng(seed)
    weights = rng.uniform(0.6, 1.4, size=len(capacity))
    signs = rng.integers(1, 2**62, size=(2, table.steps), dtype=np.int64)
    resolutions = np.array(table.resolutions, dtype=np.float64)

    def of_rows(batch: Rows) -> Floats:
        members = rows.members(batch)
        levels = np.stack([members.summed(of_piece) for of_piece in capacity])
        healthy = made.top - made.loss * (weights[:, None] * np.exp(-levels / made.scale)).sum(axis=0)
        logs = np.log(levels + 0.1)
        healthy -= made.balance * (np.diff(logs, axis=0) ** 2).sum(axis=0)
        pixels = resolutions[table.resolution_of[members.edges[0]]]
        healthy -= made.pixels * np.log2(resolutions.max() / pixels)
        # Two numbers between 0 and 1 that depend on the whole network and on nothing else.
        uniform = [_hashed(members, sign) for sign in signs]
        healthy += made.residual * np.sqrt(-2 * np.log(uniform[0])) * np.cos(2 * np.pi * uniform[1])
        fails = _hashed(members, signs[0] ^ signs[1]) < made.collapse
        accuracy: Floats = np.where(fails, made.collapsed + 0.1 * healthy, healthy)
        return accuracy

    return of_rows


def _capacities(table: SpaceTable) -> Floats:
    """(levels, resolutions · pieces): the capacity of each piece at each level, flattened as costs are.

    The capacity of a block grows with its expansion and its kernel, both with diminishing returns. The head and the
    stem have none.
    """
    halvings = sorted({piece.halvings for piece in table.pieces if len(piece.blocks) == 1})
    capacities = np.zeros((len(halvings), len(table.pieces)))
    for number, piece in enumerate(table.pieces):
        if len(piece.blocks) != 1 or piece.blocks[0].op in ("linear", "pool"):
            continue
        block = piece.blocks[0]
        ratio = max(block.hidden_channels, block.out_channels) / max(1, piece.in_channels)
        reach = max(block.kernel_size, block.start_kernel_size, 1) / 3
        value = 0.5 * ratio**0.4 * reach**0.25 * (1.1 if block.se_channels else 1.0)
        value *= (1.05 if block.activation == "hswish" else 1.0) * (1.15 if "shuffle" in block.op else 1.0)
        capacities[halvings.index(piece.halvings), number] = value * (block.out_channels / 8) ** 0.15
    used = capacities.any(axis=1)
    return np.tile(capacities[used], (1, len(table.resolutions)))


def _hashed(members: Members, factors: Any) -> Floats:
    """A pseudo-random number in (0, 1] for each network: splitmix64's finaliser of a sum over its walk."""
    with np.errstate(over="ignore"):
        mixed = (members.edges.T.astype(np.uint64) + np.uint64(1)) @ factors.astype(np.uint64)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    uniform: Floats = (((mixed ^ (mixed >> np.uint64(31))) >> np.uint64(11)).astype(np.float64) + 1) / 2.0**53
    return uniform


def space_oracle(
    name: str,
    space: str,
    costs: Mapping[str, Callable[[SpaceTable], Callable[[Members], Floats]]],
    *,
    made: Made,
    worst: float,
    seed: int,
    noise: float = 0.0,
) -> Oracle:
    """An oracle of made-up accuracies and true costs on one of our spaces; `worst` is the reference's accuracy."""
    rows = SpaceRows(SpaceTable(load_space(space)))
    functions = [of_table(rows.table) for of_table in costs.values()]

    def known(batch: Rows) -> Floats:
        members = rows.members(batch)
        return _with_nan(*(function(members) for function in functions))

    sample = rows.table.sample(2000, np.random.default_rng(seed))
    limits = [1.3 * float(function(sample).max()) for function in functions]
    problem = Problem(rows.distributions, known, canonical=rows.canonical, reference=(worst, *limits))
    told = f", told with noise of {noise:g}" if noise else ""
    fails = f", {made.collapse:.0%} of trainings collapse" if made.collapse else ""
    words = f"made-up accuracies of {space} ({len(rows.distributions)} parameters{told}{fails}); {', '.join(costs)}"
    return Oracle(name, words, problem, made_accuracy(rows, made, seed), noise)


def cell_oracle() -> Oracle:
    """An oracle of made-up accuracies of 15,625 cells: 6 edges between 4 nodes, with 5 operations each.

    The shape is that of NAS-Bench-201 (Dong and Yang, arXiv:2001.00326); the figures are not. A cell whose output no
    path reaches learns nothing, and one without a convolution learns little: a tenth of all members are below 80 %.
    """
    operations = ("none", "skip", "pool", "conv1", "conv3")
    edges = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
    strength, cost = np.array([0.0, 0.15, 0.1, 0.7, 1.0]), np.array([0.0, 0.0, 0.5, 3.0, 20.0])
    size = len(operations) ** len(edges)
    unexplained = np.random.default_rng(5).normal(0, 0.25, size=size)

    def accuracy(rows: Rows) -> Floats:
        open_, reached = rows > 0, np.zeros((len(rows), 4))
        reached[:, 0] = 1.0
        for number, (begin, end) in enumerate(edges):
            flow = np.where(open_[:, number], reached[:, begin] * (0.35 + strength[rows[:, number]]), 0.0)
            reached[:, end] = np.sqrt(reached[:, end] ** 2 + flow**2)
        conv = (rows >= 3).sum(axis=1)
        healthy = 94 - 24 * np.exp(-1.6 * reached[:, 3]) - 22 * np.exp(-1.8 * conv)
        residual = unexplained[np.ravel_multi_index(tuple(rows.T), (5,) * 6)]
        return np.where(reached[:, 3] > 0, healthy + residual, 10.0)

    def known(rows: Rows) -> Floats:
        return _with_nan(8.0 + cost[rows].sum(axis=1))

    space = {f"edge{begin}{end}": CategoricalDistribution(operations) for begin, end in edges}
    words = "made-up accuracies of 15,625 cells, a tenth of which learn badly; MACs (M)"
    return Oracle("cells", words, Problem(space, known, reference=(85.0, 1.01 * 128.0)), accuracy)


def _mbv3_pixel() -> Oracle:
    costs = {"latency on pixel_lut": latency_of("pixel_lut")}
    return space_oracle("mbv3_pixel", "mbv3", costs, made=Made(), worst=60.0, seed=1)


def _ofa_three() -> Oracle:
    costs = {"latency on note10_lut": latency_of("note10_lut"), "params": _params}
    return space_oracle("ofa_three", "ofa_mbv3", costs, made=Made(loss=8, scale=1.2), worst=65.0, seed=2)


def _mixed_collapse() -> Oracle:
    made = Made(loss=10, scale=2.0, balance=3.0, collapse=0.1)
    return space_oracle("mixed_collapse", "mixed", {"MACs": _macs}, made=made, worst=55.0, seed=3)


def _shuffle_noisy() -> Oracle:
    made = Made(loss=12, scale=1.5, balance=1.0, residual=0.2)
    return space_oracle("shuffle_noisy", "shufflenetv2", {"MACs": _macs}, made=made, worst=64.0, seed=4, noise=0.4)


def latency_of(device: str) -> Callable[[SpaceTable], Callable[[Members], Floats]]:
    """A function of a space's table that gives members' latencies by the table `device`; units are looked up once."""

    def of_table(table: SpaceTable) -> Callable[[Members], Floats]:
        latencies = load_table(device)
        costs = table.unit_costs(latencies.unit_latency_ms).ravel()
        calibration = latencies.conditions.calibration
        return lambda members: calibration.offset_ms + calibration.scale * members.summed(costs)

    return of_table


def _params(_: SpaceTable) -> Callable[[Members], Floats]:
    return lambda members: members.params.astype(np.float64)


def _macs(_: SpaceTable) -> Callable[[Members], Floats]:
    return lambda members: members.macs.astype(np.float64)


# Oracles that need no file beyond the repository.
MADE_UP: Mapping[str, Callable[[], Oracle]] = {
    "cells": cell_oracle,
    "mbv3_pixel": _mbv3_pixel,
    "ofa_three": _ofa_three,
    "mixed_collapse": _mixed_collapse,
    "shuffle_noisy": _shuffle_noisy,
}
PUBLISHED = "nas_bench_macro"


def load_oracle(name: str, published: Path | None) -> Oracle:
    """The oracle called `name`. Raises NasError for an unknown one, and for one whose file is missing."""
    if name in MADE_UP:
        return MADE_UP[name]()
    if name != PUBLISHED:
        raise NasError(f"unknown oracle {name!r}. Known: {', '.join((PUBLISHED, *MADE_UP))}")
    if published is None:
        raise NasError(f"the oracle {PUBLISHED} needs --published DIR, the folder that holds {MACRO_FILE}")
    return macro_oracle(published)
