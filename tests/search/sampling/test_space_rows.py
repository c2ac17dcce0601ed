"""Rows of choices become the networks that a space decodes them to."""

from __future__ import annotations

import numpy as np
import pytest

from nas.networks.space.search_space import load_space
from nas.networks.space.table import SpaceTable
from nas.search.sampling.front_sampler.grid import Grid
from nas.search.sampling.space_rows import SpaceRows


@pytest.mark.parametrize("name", ["mbv3", "efficientnet", "fbnet", "mbv4", "mixed", "shufflenetv1", "shufflenetv2"])
def test_rows_are_the_networks_that_their_parameters_decode_to(name: str) -> None:
    """Also when some were looked up before, and in their canonical spelling, which is its own."""
    space = load_space(name)
    rows = SpaceRows(SpaceTable(space))
    grid = Grid(rows.distributions)
    asked = grid.random(24, np.random.default_rng(0))
    decoded = [space.decode(grid.params(row)) for row in asked.tolist()]
    assert list(rows.members(asked)) == decoded
    assert list(rows.members(asked[5:9])) == decoded[5:9]
    spelt = rows.canonical(asked)
    assert [space.decode(grid.params(row)) for row in spelt.tolist()] == decoded
    assert (rows.canonical(spelt) == spelt).all()


def test_choices_of_absent_blocks_make_no_difference() -> None:
    """Two spellings of one network have one canonical row."""
    space = load_space("mbv3")
    rows = SpaceRows(SpaceTable(space))
    grid = Grid(rows.distributions)
    shallow = space.smallest_parameters()
    other = {**shallow, "stage2.block4.kernel": 7, "stage3.block3.expand": 6.0}
    spelt = rows.canonical(np.array([grid.row(shallow), grid.row(other)]))
    assert (spelt[0] == spelt[1]).all()
