"""Tests of `nas.latency.difference`: comparing two tables."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from nas.errors import NasError
from nas.latency.__main__ import main
from nas.latency.difference import compare_latencies, compare_on_space, compare_tables, differing_conditions
from nas.latency.table import LatencyTable, Row, load_table
from nas.networks.references import reference
from nas.networks.space.search_space import load_space

PIXEL = load_table("pixel_lut")


def scaled(table: LatencyTable, factor: float) -> LatencyTable:
    """The same device, slower."""
    return replace(
        table, rows={key: replace(row, latency_ms=row.latency_ms * factor) for key, row in table.rows.items()}
    )


def test_a_device_twice_as_slow_is_that_throughout() -> None:
    """Every ratio, on units and on networks, and one order."""
    slow = scaled(PIXEL, 2)
    for comparison in (
        compare_tables(PIXEL, slow).common,
        compare_on_space(PIXEL, slow, load_space("mbv3"), count=50, seed=0),
    ):
        assert comparison.median_ratio == comparison.low_ratio == comparison.high_ratio == pytest.approx(2)
        assert comparison.spearman == pytest.approx(1)


def test_the_largest_differences_are_those_from_the_median_ratio() -> None:
    """In either direction; units of one table alone are counted."""
    keys = list(PIXEL.rows)[:10]
    rows = {key: replace(PIXEL.rows[key], latency_ms=PIXEL.rows[key].latency_ms * 2) for key in keys}
    rows[keys[3]] = Row(PIXEL.rows[keys[3]].latency_ms * 0.5)
    rows[keys[7]] = Row(PIXEL.rows[keys[7]].latency_ms * 6)
    difference = compare_tables(PIXEL, replace(PIXEL, rows=rows | {"pool_9x9_i9": Row(1.0)}), largest=2)
    assert [d.unit for d in difference.largest] == [keys[3], keys[7]]
    assert [d.ratio for d in difference.largest] == pytest.approx([0.5, 6])
    assert (difference.common.count, difference.only_first, difference.only_second) == (10, len(PIXEL.rows) - 10, 1)


def test_opposite_orders_and_ties() -> None:
    """Spearman -1; no order where all is equal."""
    assert compare_latencies([1, 2, 3], [3, 2, 1]).spearman == pytest.approx(-1)
    assert math.isnan(compare_latencies([1, 1], [3, 2]).spearman)
    assert math.isnan(compare_latencies([1], [3]).spearman)


def test_tables_without_a_common_unit_are_refused() -> None:
    """Naming both."""
    with pytest.raises(NasError, match="tables pixel_lut and raspi4_fbnet32 have no unit in common"):
        compare_tables(PIXEL, load_table("raspi4_fbnet32"))


def test_conditions_that_differ_are_named() -> None:
    """And no others."""
    conditions = PIXEL.conditions.model_copy(update={"threads": "4"})
    assert differing_conditions(PIXEL, replace(PIXEL, conditions=conditions)) == {"threads": ("1", "4")}


def test_the_command_prints_both_tables(capsys: pytest.CaptureFixture[str]) -> None:
    """Units, networks and spaces, for people and as JSON."""
    assert main(["diff", "pixel4_early", "pixel6_early", "--largest", "3"]) == 0
    out = capsys.readouterr().out
    assert "common units" in out
    assert "ratio: pixel6_early / pixel4_early" in out
    assert main(["diff", "pixel_lut", "pixel_lut", "--network", "mnasnet_a1", "--space", "mbv3", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["conditions"] == {}
    assert data["spaces"]["mbv3"]["count"] == 1000
    assert data["networks"]["mnasnet_a1"]["first_ms"] == PIXEL.estimate(reference("mnasnet_a1")).latency_ms
    assert data["units"]["common"]["median_ratio"] == 1
    assert main(["diff", "pixel_lut", "note10_lut", "--network", "mnasnet_a1"]) == 2
    assert "error: the latency table note10_lut has no row for" in capsys.readouterr().err


@pytest.mark.parametrize("count", ["x", "0", "-1", "1.5", ""])
def test_a_count_is_explained(count: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The message says what the number counts."""
    with pytest.raises(SystemExit):
        main(["diff", "pixel4_early", "pixel6_early", f"--count={count}"])
    assert f"--count: must be a whole number of at least 1, but got {count!r}" in capsys.readouterr().err
