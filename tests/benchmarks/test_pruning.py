"""The latency left after pruning is compared by the pruning table, by measured rows, and as a whole."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas.benchmarks.pruning import compared, main, plan_comparison, prune_to_shares
from nas.deploy.pruning.table_latency import TableLatency
from nas.errors import NasError
from nas.latency.measuring.kit import EMPTY
from nas.latency.measuring.samples import Results, Timing
from nas.latency.table import LatencyTable, Row, load_table, save_table
from nas.networks.architecture import Architecture
from nas.networks.build import build_network
from nas.networks.operators import units
from nas.networks.references import find_network
from nas.networks.space.search_space import read_space

SPACE = """\
name: small
classes: 10
resolution: 64
stem: {op: conv, out: 16, kernel: 3, stride: 2, act: relu}
stages:
  - {op: mbconv, out: 32, stride: 2, depth: [1, 2], kernel: [3, 5], expand: [2, 4], se: [0, 0.25], act: relu}
  - {op: mbconv, out: 64, stride: 2, depth: [1, 2], kernel: [3, 5], expand: [2, 4], se: [0, 0.25], act: relu}
head:
  - {op: pool}
  - {op: linear, out: classes}
"""
SETTINGS: dict[str, Any] = {
    "provider": "CPUExecutionProvider",
    "threads": 1,
    "cores": [],
    "graph_optimization": "all",
    "precision": "float32",
    "passes": 2,
    "most_passes": 2,
    "rounds": 1,
    "runs": 2,
    "group_size": 250,
}


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Architecture:
    """A network of a space of few units, whose files are in the current folder."""
    monkeypatch.chdir(tmp_path)
    Path("small.yaml").write_text(SPACE)
    architecture = read_space(Path("small.yaml")).sample_member(np.random.default_rng(1))
    Path("one.json").write_text(json.dumps(architecture.to_json()))
    return architecture


def made_up_table() -> LatencyTable:
    """A device that takes a microsecond for a thousand MACs, and 0.01 ms for each unit."""
    rows = {unit.key: Row(1e-6 * unit.macs + 0.01) for unit in read_space(Path("small.yaml")).units()}
    conditions = load_table("pixel_lut").conditions
    measurement = {"space": "small.yaml", "resolutions": [], "settings": SETTINGS}
    sources = dict.fromkeys(("measured", "modelled"), conditions.sources["published"])
    changed = {"measurement": measurement, "model": None, "sources": sources}
    return LatencyTable("made_up", conditions.model_copy(update=changed), rows)


def test_what_is_left_is_told_three_ways(network: Architecture) -> None:
    """On a device whose networks take 5 ms more than their units, only the whole network shows it.

    Measured rows do, too, once the calibration is fitted; the table that was pruned by does not know.
    """
    table = made_up_table()
    latency_ms = TableLatency(table)
    assert latency_ms(network) == pytest.approx(table.estimate(network).latency_ms)
    pruned = prune_to_shares(network, build_network(network).state_dict(), latency_ms, [0.8, 0.6])
    assert all(latency_ms(one) <= share * latency_ms(network) for share, one in pruned.items())
    named = {"base": network, "base_80": pruned[0.8], "base_60": pruned[0.6]}
    plan = plan_comparison(table, named)
    assert {unit for one in named.values() for unit in units(one)} <= set(plan.units)

    def timing(ms: float) -> Timing:
        return Timing(np.full((4, 2), ms), 1.0)

    timings = {unit.key: timing(1e-6 * unit.macs + 0.01) for unit in plan.units}
    for one in plan.networks:
        timings[one.name] = timing(5 + sum(1e-6 * unit.macs + 0.01 for unit in one.units))
    machine = {"processor": "Made up", "cores": 4, "onnxruntime": "1", "system": "None", "python": "3"}
    header = {"kit": "0123", "settings": SETTINGS, "machine": machine, "governor": "unknown"}
    measured = {**timings, EMPTY: timing(0.0)}
    results = Results(header, measured, (measured, measured), {}, 4, 0, 0.0, 0.0, None)

    found = compared("base", "random", table, pruned, plan, results)
    assert found.measured_ms == pytest.approx(5 + found.modelled_ms)
    assert found.table_ms == pytest.approx(found.measured_ms, rel=1e-3)
    for share, one in zip((0.8, 0.6), found.pruned, strict=True):
        assert one.wanted == share
        assert one.modelled_share <= share
        assert one.table_share == pytest.approx(one.measured_share, rel=1e-3)
        assert one.model_error == pytest.approx(one.modelled_share / one.measured_share - 1)
        assert one.model_error < -0.01
        assert abs(one.table_error) < 1e-3
        assert one.noise == 0
        assert one.in_range == (found.range_ms[0] <= one.measured_ms <= found.range_ms[1])
        assert 0 < one.of_model <= 1
    lost = replace(results, timings={name: t for name, t in measured.items() if name != "base_60"})
    with pytest.raises(NasError, match="could not be measured: base_60"):
        compared("base", "random", table, pruned, plan, lost)


def test_the_command_measures_what_it_pruned(
    network: Architecture, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """From a table to the figures and the pruned networks; once more, nothing is measured again."""
    monkeypatch.setattr("nas.benchmarks.pruning._FIT", 8)
    monkeypatch.setattr("nas.benchmarks.pruning._HELD_OUT", 2)
    save_table(made_up_table(), Path("latency_tables"))
    again = ["--device", "made_up", "--network", "one.json", "--shares", "0.7", "--work", "work"]
    assert main(again) == 0
    assert "one, weights: random, seed 0." in capfd.readouterr().out
    data = json.loads(Path("work/result.json").read_text())
    assert find_network("work/one_70.json") != network
    (one,) = data["pruned"]
    assert one["wanted"] == 0.7
    assert one["modelled_ms"] <= 0.7 * data["modelled_ms"]
    assert one["measured_ms"] > 0
    assert one["measured_share"] == pytest.approx(one["measured_ms"] / data["measured_ms"])
    raw = Path("work/results.jsonl").read_bytes()
    assert main([*again, "--json"]) == 0
    assert json.loads(capfd.readouterr().out) == data
    assert Path("work/results.jsonl").read_bytes() == raw
    assert main([*again, "--shares", "0.6"]) == 2
    assert "holds another measurement: other units or networks" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--device", "pixel_lut"], "pixel_lut was not measured: make one by"),
        (["--device", "pixel_lut", "--shares", "0.5", "1.5"], "--shares must be between 0 and 1, but got 0.5, 1.5"),
    ],
)
def test_bad_words_are_explained(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything is pruned."""
    assert main(words) == 2
    assert said in capsys.readouterr().err
