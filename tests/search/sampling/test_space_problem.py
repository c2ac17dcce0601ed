"""The front sampler is told of a network what the search computes for it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nas.errors import NasError
from nas.latency.energy import Power
from nas.latency.modelling.extend import with_modelled
from nas.latency.table import load_table
from nas.networks.references import reference
from nas.networks.space.search_space import load_space
from nas.search.costing import Costing, cost
from nas.search.experiment import Experiment, Limits
from nas.search.sampling.space_problem import problem_of

OBJECTIVES = ("latency_ms", "top1", "fps", "energy_mj", "params", "macs", "peak_activation_bytes")


@pytest.mark.usefixtures("workplace")
def test_known_objectives_and_limits_are_those_of_the_search() -> None:
    """Network by network: every quantity in its place, top-1 unknown, and what breaks a limit by as much."""
    space, table = load_space("small"), load_table("made_up")
    power = Power(active_w=2.0, source="made up")
    table = replace(table, conditions=table.conditions.model_copy(update={"power": power}))
    limits = Limits(latency_ms=1.5, fps=800.0, params=9000)
    experiment = Experiment(space="small", device="made_up", objectives=OBJECTIVES, limits=limits, references=())
    costing = Costing((table,), limits.given())
    problem = problem_of(experiment, space, costing)
    rows = problem.grid.random(50, np.random.default_rng(0))
    assert problem.known is not None
    assert problem.features is not None
    told, beyond, features = problem.known(rows), problem.excess(rows), problem.features(rows)
    assert problem.learned == 1
    assert features.shape == (50, 3)
    for row, values, too_much in zip(rows, told, beyond, strict=True):
        network = cost("", space.decode(problem.grid.params(row.tolist())), table)
        expected = [np.nan if name == "top1" else network.values[name] for name in OBJECTIVES]
        np.testing.assert_allclose(values, expected)
        assert too_much == pytest.approx(costing.excess(network))


def test_references_that_are_members_are_evaluated_first() -> None:
    """Others cannot be."""
    names = ("mobilenet_v2", "mobilenet_v3_large")
    space = load_space("mbv2")
    table = with_modelled(load_table("pixel_lut"), space.units())
    problem = problem_of(Experiment(space="mbv2", references=names), space, Costing((table,)))
    assert [space.decode(start) for start in problem.start] == [reference("mobilenet_v2")]


@pytest.mark.usefixtures("workplace")
def test_other_devices_are_told_apart() -> None:
    """Each by its own table and its own power; energy without a power is refused."""
    space, tables = load_space("small"), (load_table("made_up"), load_table("other"))
    objectives = ("top1", "latency_ms", "latency_ms@other", "energy_mj@other")
    problem = problem_of(Experiment(space="small", device="made_up", objectives=objectives), space, Costing(tables))
    assert problem.known is not None
    row = problem.grid.random(1, np.random.default_rng(0))
    network = cost("", space.decode(problem.grid.params(row[0].tolist())), *tables)
    np.testing.assert_allclose(problem.known(row)[0, 1:], [network.values[name] for name in objectives[1:]])
    with pytest.raises(NasError, match="energy needs the power that the device draws"):
        problem_of(
            Experiment(space="small", device="made_up", objectives=("top1", "energy_mj")), space, Costing(tables)
        )
