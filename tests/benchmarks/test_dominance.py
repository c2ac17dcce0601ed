"""Fronts and hypervolumes are timed, and the ways to compute them agree."""

from __future__ import annotations

import json

import numpy as np
import pytest

from nas.benchmarks.dominance import available_ways, cloud, equal_fronts, main, measure, sphere
from nas.search.pareto import front_of


@pytest.mark.parametrize("objectives", [2, 3, 4])
def test_a_sphere_is_all_front_and_a_cloud_is_not(objectives: int) -> None:
    """Both within the box below the reference point."""
    rng = np.random.default_rng(0)
    for points, is_front in ((sphere(50, objectives, rng), True), (cloud(500, objectives, rng), False)):
        assert (front_of(points) == list(range(len(points)))) == is_front
        assert ((points >= 0) & (points <= 1)).all()


def test_a_way_that_would_take_too_long_is_left_out() -> None:
    """From the first size on that is predicted to be beyond the limit; the others go on."""
    ways = {"fast": len, "slow": lambda points: [np.linalg.svd(points) for _ in range(len(points))] and len(points)}
    first, second, third = measure("hypervolume", ways, 2, [10, 100, 1000], 1e-5, np.random.default_rng(0))
    assert None not in first.milliseconds.values()
    assert [timing.milliseconds["slow"] for timing in (second, third)] == [None, None]
    assert second.milliseconds["fast"] is not None
    assert first.agreement == 0


def test_the_command_prints_times_and_agreement(capsys: pytest.CaptureFixture[str]) -> None:
    """As a table and as JSON; our two hypervolumes agree to rounding."""
    assert main(["--points", "5", "20", "--objectives", "3"]) == 0
    assert "3 objectives, some infinite:" in capsys.readouterr().out
    assert main(["--points", "5", "20", "--objectives", "3", "--json"]) == 0
    timings = json.loads(capsys.readouterr().out)["timings"]
    assert [(t["task"], t["points"]) for t in timings] == [(k, n) for k in ("front", "hypervolume") for n in (5, 20)]
    assert all(t["agreement"] < 1e-12 for t in timings if t["task"] == "hypervolume")
    assert main(["--objectives", "1"]) == 2


def test_finite_fronts_are_the_same_by_all_ways() -> None:
    """Of equal points the first stays, in moocore too where it is installed."""
    ways = available_ways()["front"]
    for objectives in (2, 3, 4):
        assert equal_fronts(ways, objectives, np.random.default_rng(0), infinite=False, sets=50) == 1
