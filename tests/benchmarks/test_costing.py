"""Many networks are costed as they are one by one, and quickly."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas.benchmarks.costing import main, measure, measure_one
from nas.errors import NasError
from nas.latency.table import LatencyTable, load_table
from nas.networks.space.search_space import load_space
from nas.networks.space.table import SpaceTable


def test_members_drawn_together_have_the_latencies_that_each_has() -> None:
    """Calibration included."""
    table = load_table("pixel_lut")
    calibrated = LatencyTable(
        table.name,
        table.conditions.model_copy(
            update={"calibration": table.conditions.calibration.model_copy(update={"scale": 1.5, "offset_ms": 2.0})}
        ),
        table.rows,
    )
    members = SpaceTable(load_space("mbv3")).sample(300, np.random.default_rng(0))
    some = [members[index] for index in range(20)]
    for device in (table, calibrated):
        assert device.estimate_members(members)[:20] == pytest.approx(device.estimate_many(some))


def test_a_unit_without_a_row_is_an_error() -> None:
    """As for one network: never zero and never guessed."""
    table = load_table("pixel_lut")
    rows = dict(table.rows)
    del rows["conv_7x7_i160_o960_k1_s1_hswish"]
    members = SpaceTable(load_space("mbv3")).sample(3, np.random.default_rng(0))
    with pytest.raises(NasError, match="has no row for 1 unit: conv_7x7_i160_o960_k1_s1_hswish"):
        LatencyTable(table.name, table.conditions, rows).estimate_members(members)


def test_the_benchmark_says_what_took_how_long(capsys: pytest.CaptureFixture[str]) -> None:
    """The parts add up to the total, the first time and again."""
    assert main(["--count", "50"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "50 networks of mbv3 with pixel_lut, seconds:"
    table = {line[:20].strip(): [float(word) for word in line[20:].split()] for line in lines[3:-2]}
    for column in range(2):
        parts = [seconds[column] for part, seconds in table.items() if part != "total"]
        assert sum(parts) == pytest.approx(table["total"][column], abs=0.005)
    assert re.fullmatch(r"estimate of one network: \d+ µs", lines[-1])
    first, again = measure(load_space("mbv3"), load_table("pixel_lut"), 5, np.random.default_rng(0))
    assert first.keys() - again.keys() == {"building"}


def test_the_example_of_the_spaces_readme_runs() -> None:
    """Whoever copies it has a network that is nearly the fastest, and a hundred of each stratum."""
    readme = Path(__file__).parents[2] / "search_spaces" / "README.md"
    example = re.search(r"```python\n(.*?)```", readme.read_text(encoding="utf-8"), re.DOTALL)
    assert example is not None
    names: dict[str, Any] = {}
    exec(example[1], names)
    assert np.bincount(names["stratum"]).tolist() == [100] * 10
    assert names["edges"][0] <= names["table"].estimate(names["fast"]).latency_ms < names["edges"][1]


@pytest.mark.slow
def test_a_hundred_thousand_networks_take_a_second() -> None:
    """Drawn and costed for the first time, in a fresh process; the best of three on a machine that may be busy."""
    totals = []
    for _ in range(3):
        command = [sys.executable, "-m", "nas.benchmarks.costing", "--count", "100000"]
        out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        totals.append(float(re.search(r"^total +([\d.]+)", out, re.MULTILINE)[1]))  # type: ignore[index]
    assert min(totals) < 1


@pytest.mark.slow
def test_one_estimate_takes_less_than_a_hundred_microseconds() -> None:
    """Of a network that was not met before; the best of three on a machine that may be busy."""
    space, table = load_space("mbv3"), load_table("pixel_lut")
    assert min(measure_one(space, table, np.random.default_rng(seed)) for seed in range(3)) < 100e-6
