"""Oracles give repeatable answers and know the best front."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from nas.benchmarks.oracles import MACRO_FILE, cell_oracle, load_oracle, macro_oracle
from nas.errors import ConfigError, NasError
from nas.search.pareto import hypervolume


@pytest.mark.parametrize("name", ["cells", "mbv3_pixel", "ofa_three", "mixed_collapse", "shuffle_noisy"])
def test_made_up_oracles_answer_the_same_each_time(name: str) -> None:
    """Accuracies in percent and costs above 0; a network has one answer however it is spelt, the noise aside."""
    oracle = load_oracle(name, None)
    again = load_oracle(name, None) if name in ("cells", "shuffle_noisy") else oracle
    rows = oracle.problem.grid.random(50, np.random.default_rng(0))
    values = oracle.objectives(rows)
    assert (values == again.objectives(rows)).all()
    assert (values == oracle.objectives(oracle.problem.spelt(rows))).all()
    assert ((values[:, 0] > 0) & (values[:, 0] < 100)).all()
    assert (values[:, 1:] > 0).all()
    assert oracle.told(rows[0], 3) == again.told(rows[0], 3)
    assert (oracle.told(rows[0], 3)[0] == values[0, 0]) == (oracle.noise == 0)


def test_the_best_front_of_a_listed_oracle_is_that_of_all_members() -> None:
    """Nothing beats it, and its hypervolume is the whole space's, computed another way."""
    oracle = cell_oracle()
    values = oracle.objectives(oracle.problem.grid.all_rows())
    assert len(values) == 15_625
    turned, reference = values * [-1, 1], oracle.reference * [-1, 1]
    assert oracle.hypervolume(oracle.best) == pytest.approx(hypervolume(turned, reference.tolist()))


def test_a_tenth_of_the_cells_learns_badly() -> None:
    """As its words say."""
    oracle = cell_oracle()
    values = oracle.objectives(oracle.problem.grid.all_rows())
    assert 0.08 < (values[:, 0] < 80).mean() < 0.12


def test_the_published_table_is_read_as_it_is() -> None:
    """NAS-Bench-Macro, where NAS_ORACLES names its folder: size, best accuracy and the hypervolume known elsewhere."""
    folder = Path(os.environ.get("NAS_ORACLES", "/nowhere"))
    if not (folder / MACRO_FILE).is_file():
        pytest.skip(f"NAS_ORACLES names no folder with {MACRO_FILE}")
    oracle = macro_oracle(folder)
    values = oracle.objectives(oracle.problem.grid.all_rows())
    assert values.shape == (6561, 2)
    assert values[:, 0].max() == pytest.approx(93.1266, abs=1e-3)
    assert oracle.hypervolume(oracle.best) == pytest.approx(3.474331e8, rel=1e-6)


def test_a_table_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    """Missing, without its rows, with another name, and without a folder."""
    with pytest.raises(ConfigError, match="cannot read NAS-Bench-Macro"):
        macro_oracle(tmp_path)
    header = "arch,acc0,acc1,acc2,mean_acc,std,params,flops\n"
    (tmp_path / MACRO_FILE).write_text(header + "00000000,45,45,45,45,0,387882,7713280\n")
    with pytest.raises(ConfigError, match="6,561 networks, but 6560 are missing"):
        macro_oracle(tmp_path)
    (tmp_path / MACRO_FILE).write_text(header + "0000000x,45,45,45,45,0,387882,7713280\n")
    with pytest.raises(ConfigError, match="cannot read"):
        macro_oracle(tmp_path)
    with pytest.raises(NasError, match="needs --published"):
        load_oracle("nas_bench_macro", None)
    with pytest.raises(NasError, match="unknown oracle 'cell'"):
        load_oracle("cell", None)
