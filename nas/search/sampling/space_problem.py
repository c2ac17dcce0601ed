"""Describe an experiment to the front sampler: all that is known of a space's networks before training.

That is all objectives but top-1, the limits, and what top-1 may depend on, computed for thousands of networks at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from nas.errors import NasError
from nas.latency.energy import required_power
from nas.latency.table import LatencyTable
from nas.networks.references import reference
from nas.networks.space.search_space import Parameters, SearchSpace
from nas.networks.space.table import Members, SpaceTable
from nas.search.costing import Costing
from nas.search.experiment import Experiment
from nas.search.quantities import LEARNED, learned_of, loss_of, quantity_of, split_name
from nas.search.sampling.front_sampler.problem import Problem
from nas.search.sampling.space_rows import rows_of

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
OfMembers = Callable[[Members], Floats]


def problem_of(experiment: Experiment, space: SearchSpace, costing: Costing) -> Problem:
    """The problem of `experiment` for the front sampler.

    The references of the experiment that are members of the space are evaluated first.
    """
    rows, tables, limits = rows_of(space), costing.tables, costing.limits
    objectives = [_values_of(name, tables, rows.table) for name in experiment.objectives]
    limited = {name: _values_of(name, tables, rows.table) for name in limits}
    sizes = [_values_of(name, tables, rows.table) for name in ("macs", "params", "latency_ms")]

    def known(batch: Rows) -> Floats:
        members = rows.members(batch)
        return np.column_stack([values(members) for values in objectives])

    def violation(batch: Rows) -> Floats:
        members = rows.members(batch)
        beyond = [_losses(name, limited[name](members)) / loss_of(name, limit) - 1 for name, limit in limits.items()]
        return np.column_stack(beyond)

    def features(batch: Rows) -> Floats:
        members = rows.members(batch)
        return np.log(np.column_stack([values(members) for values in sizes]))

    return Problem(
        space=rows.distributions,
        known=known,
        learned=experiment.objectives.index(learned_of(experiment.objectives)),
        violation=violation if limits else None,
        features=features,
        canonical=rows.canonical,
        start=_references_inside(experiment, space),
    )


def _values_of(name: str, tables: Sequence[LatencyTable], of_space: SpaceTable) -> OfMembers:
    """A function that gives a quantity of many members, in its unit; NaN for top-1."""
    quantity, device = split_name(name)
    table = next((table for table in tables if table.name == device), tables[0])
    if quantity in LEARNED:
        return lambda members: np.full(len(members), np.nan)
    if not quantity_of(name).of_device:
        return lambda members: np.asarray(getattr(members, quantity), np.float64)
    latency_ms = _latency_by(table, of_space)
    if quantity == "fps":
        return lambda members: 1000 / latency_ms(members)
    if quantity == "energy_mj":
        watts = required_power(table.name, table.conditions.power).watts
        return lambda members: watts * latency_ms(members)
    return latency_ms


def _latency_by(table: LatencyTable, of_space: SpaceTable) -> OfMembers:
    """A function like `table.estimate_members`, with every unit looked up beforehand."""
    costs = of_space.unit_costs(table.unit_latency_ms).ravel()
    calibration = table.conditions.calibration
    return lambda members: calibration.offset_ms + calibration.scale * members.summed(costs)


def _losses(name: str, values: Floats) -> Floats:
    return np.array([loss_of(name, value) for value in values])


def _references_inside(experiment: Experiment, space: SearchSpace) -> tuple[Parameters, ...]:
    members = []
    for name in experiment.references:
        try:
            members.append(space.encode(reference(name)))
        except NasError:
            continue  # not a member of this space
    return tuple(members)
