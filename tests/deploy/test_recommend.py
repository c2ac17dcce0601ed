"""Tests of recommending networks within the limits of a use."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from nas.deploy.__main__ import main
from nas.deploy.recommend import USES, Candidate, nearest_misses, recommend, with_latency
from tests.deploy.digits_network import DIGITS

CANDIDATE = Candidate("a", "front", DIGITS, 90.0, 20.0, 2_000_000, 100_000_000, 1_000_000)


def test_the_most_accurate_within_the_limits_comes_first() -> None:
    """A better network that is too slow is not named; faster and smaller ones that are as good are."""
    slow = replace(CANDIDATE, name="slow", top1=99.0, latency_ms=34.0)
    fast = replace(CANDIDATE, name="fast", top1=89.5, latency_ms=5.0)
    small = replace(CANDIDATE, name="small", top1=89.2, params=100_000)
    poor = replace(CANDIDATE, name="poor", top1=50.0, latency_ms=1.0, params=10)
    recommended = recommend([slow, fast, CANDIDATE, small, poor], USES["real-time"])
    assert [one.candidate.name for one in recommended] == ["a", "fast", "small"]
    assert recommended[0].why == "the most accurate that meets the limits, 13.3 ms to spare"


def test_one_network_is_named_once() -> None:
    """Where the best is also the fastest and the smallest, there is nothing to add."""
    assert [one.candidate for one in recommend([CANDIDATE], USES["general"])] == [CANDIDATE]


def test_memory_is_counted_in_the_bytes_of_the_use() -> None:
    """A microcontroller runs int8: 0.9 million parameters fit in 1 MB, and a float's peak is four times an int8's."""
    fits = replace(CANDIDATE, params=900_000, peak_activation_bytes=4 * 300_000)
    assert fits.broken(USES["embedded"]) == ()
    assert replace(fits, params=1_100_000).broken(USES["embedded"]) == ("weights 1.1 MB > 1 MB",)
    large = replace(fits, peak_activation_bytes=4 * 400_000)
    assert large.broken(USES["embedded"]) == ("activations 400 kB > 320 kB",)


def test_without_accuracies_the_largest_that_fits_is_best() -> None:
    """Multiply-accumulates stand in, and it is said."""
    unknown = replace(CANDIDATE, top1=None)
    larger = replace(unknown, name="b", macs=200_000_000)
    recommended = recommend([unknown, larger], USES["general"])
    assert recommended[0].candidate == larger
    assert "multiply-accumulates" in recommended[0].why


def test_where_none_fits_the_nearest_are_shown() -> None:
    """Those that break the fewest limits come first."""
    use = with_latency(USES["embedded"], 1.0)
    close = replace(CANDIDATE, name="close", params=10, peak_activation_bytes=10)
    assert recommend([CANDIDATE, close], use) == []
    assert nearest_misses([CANDIDATE, close], use)[0] == close


def test_the_command_recommends_published_networks(capsys: pytest.CaptureFixture[str]) -> None:
    """Every named network keeps the limit by the table; a limit that none keeps is a failure that names the nearest."""
    assert main(["recommend", "--device", "pixel_lut", "--use", "real-time", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["recommended"]
    assert all(row["latency_ms"] <= 1000 / 30 and row["top1"] is None for row in data["recommended"])
    assert main(["recommend", "--latency", "0.01"]) == 1
    assert "no network meets the limits; the nearest:" in capsys.readouterr().out
    assert main(["recommend", "--use", "realtime"]) == 2
    assert "unknown use 'realtime'. Known: real-time" in capsys.readouterr().err
