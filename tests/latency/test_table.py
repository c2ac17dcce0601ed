"""Tests of `nas.latency.table`: estimates, missing units, and reading and writing tables."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.errors import ConfigError, NasError
from nas.latency.published.pixel_lut import NETWORKS
from nas.latency.table import (
    SOURCES,
    Calibration,
    Citation,
    LatencyTable,
    Row,
    TableFormat,
    load_table,
    read_table,
    save_table,
)
from nas.networks.operators import Unit, units
from nas.networks.references import reference
from nas.networks.references.mobilenet_v2 import mobilenet_v2
from nas.networks.references.mobilenet_v3 import mobilenet_v3_large
from nas.networks.space.search_space import load_space
from tests.strategies import units as any_unit

HEADER = "unit,latency_ms,spread_ms,runs,source\n"
UNIT = "mbconv_112x112_i16_o24_h64_k3_s2_se0_relu"
CITATION = Citation(title="t", url="u", licence="MIT", use="rows")
MODEL = {"coefficients": {"macs": {"value": 0.1 + 0.2, "unit": "ms"}}, "operations": ["conv"]}


def conditions(**changes: object) -> TableFormat:
    """Some conditions, complete."""
    texts = dict.fromkeys(
        ("device", "soc", "cores", "threads", "runtime", "runtime_version", "execution_provider"), "x"
    )
    more = {"precision": "float32", "date": "2026", "protocol": "p", "sources": dict.fromkeys(SOURCES, (CITATION,))}
    return TableFormat.model_validate({**texts, **more, **changes})


def rounded(digits: int, low: float) -> st.SearchStrategy[float]:
    """Numbers that the CSV's digits hold exactly."""
    return st.floats(low, 1e4, allow_nan=False).map(lambda x: float(f"{x:.{digits}g}"))


rows = st.builds(Row, rounded(6, 1e-3), rounded(4, 0), st.integers(0, 1000), st.sampled_from(SOURCES))


def table_of(ms: dict[Unit, float], **changes: object) -> LatencyTable:
    """A table of measured rows."""
    return LatencyTable("t", conditions(**changes), {unit.key: Row(value) for unit, value in ms.items()})


@given(st.dictionaries(any_unit().map(lambda unit: unit.key), rows, min_size=1, max_size=5))
def test_a_table_comes_back_and_gives_the_same_bytes(
    tmp_path_factory: pytest.TempPathFactory, contents: dict[str, Row]
) -> None:
    """Saved, read, saved again: equal values, equal files."""
    folder = tmp_path_factory.mktemp("table")
    table = LatencyTable("t", conditions(calibration={"scale": 1.25, "offset_ms": -1}, model=MODEL), contents)
    first = [path.read_bytes() for path in save_table(table, folder)]
    again = read_table(folder / "t.yaml")
    assert again == table
    assert list(again.rows) == list(table.rows)
    assert [path.read_bytes() for path in save_table(again, folder / "again")] == first


def test_a_network_is_the_sum_of_its_units() -> None:
    """Repeated units count each time, and the parts by source add up."""
    network = mobilenet_v3_large()
    latencies = {unit: 0.5 + index for index, unit in enumerate(dict.fromkeys(units(network)))}
    table = table_of(latencies)
    key = units(network)[1].key
    table = replace(table, rows={**table.rows, key: replace(table.rows[key], source="published")})
    estimate = table.estimate(network)
    assert estimate.latency_ms == pytest.approx(sum(latencies[unit] for unit in units(network)))
    assert estimate.by_source["published"] == pytest.approx(1.5)
    assert sum(estimate.share(source) for source in SOURCES) == pytest.approx(1)
    assert table.estimate_many([network, network]).tolist() == [estimate.latency_ms] * 2


def test_calibration_is_an_offset_plus_a_scale_times_the_sum() -> None:
    """The split by source stays that of the sum."""
    network = mobilenet_v2()
    plain = table_of(dict.fromkeys(units(network), 2.0))
    calibrated = table_of(dict.fromkeys(units(network), 2.0), calibration=Calibration(scale=1.5, offset_ms=3))
    total = 2.0 * len(units(network))
    assert plain.estimate(network).latency_ms == pytest.approx(total)
    assert calibrated.estimate(network).latency_ms == pytest.approx(3 + 1.5 * total)
    assert calibrated.estimate(network).by_source == plain.estimate(network).by_source


def test_missing_units_are_named() -> None:
    """Never zero, never a guess; each once, the first five by name."""
    network = mobilenet_v3_large()
    distinct = list(dict.fromkeys(units(network)))
    one_missing = table_of(dict.fromkeys(distinct[1:], 1.0))
    assert one_missing.missing(units(network)) == [distinct[0].key]
    with pytest.raises(NasError, match=rf"the latency table t has no row for 1 unit: {distinct[0].key}\. Add rows"):
        one_missing.estimate(network)
    with pytest.raises(NasError, match=rf"has no row for {len(distinct)} units: .* and {len(distinct) - 5} more\. "):
        table_of({}).require(units(network))


def problems_of(folder: Path, csv: str | bytes | None, **changes: object) -> list[str]:
    """The problems of a table whose rows are `csv`."""
    path, _ = save_table(LatencyTable("t", conditions(**changes), {}), folder)
    path.unlink()
    if csv is not None:
        path.write_bytes(csv.encode() if isinstance(csv, str) else csv)
    with pytest.raises(ConfigError) as caught:
        read_table(folder / "t.yaml")
    return [problem.replace(str(folder / "t.csv"), "t.csv") for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (f"{UNIT},nan,0,1,measured", "latency_ms must be a finite number, but is 'nan'"),
        (f"{UNIT},inf,0,1,measured", "latency_ms must be a finite number, but is 'inf'"),
        (f"{UNIT},1e999,0,1,measured", "latency_ms must be a finite number, but is '1e999'"),
        (f"{UNIT},,0,1,measured", "latency_ms must be a finite number, but is ''"),
        (f"{UNIT},fast,0,1,measured", "latency_ms must be a finite number, but is 'fast'"),
        (f"{UNIT},0,0,1,measured", f"latency_ms must be above 0, but is 0 for {UNIT}"),
        (f"{UNIT},-1,0,1,measured", f"latency_ms must be above 0, but is -1 for {UNIT}"),
        (f"{UNIT},1,nan,1,measured", "spread_ms must be a finite number, but is 'nan'"),
        (
            f"{UNIT},1,-1,0.5,measured",
            f"spread_ms must be 0 or more and runs a whole number, but are -1 and 0.5 for {UNIT}",
        ),
        (
            f"{UNIT},1,0,1,guessed",
            f"source must be one of published, measured, modelled, but is 'guessed' for {UNIT}",
        ),
        (
            f"{UNIT},1,0,1,measured,x",
            "a row must have 5 fields (unit, latency_ms, spread_ms, runs, source), but has 6",
        ),
        (f"{UNIT},1,0,1", "a row must have 5 fields (unit, latency_ms, spread_ms, runs, source), but has 4"),
        ("", "a row must have 5 fields (unit, latency_ms, spread_ms, runs, source), but has 0"),
        ("mbconv_1,1,0,1,measured", f"not a unit: 'mbconv_1'. A unit looks like {UNIT}"),
        ("conv_8x8_i3_o8_k2_s1_relu,1,0,1,measured", "kernel_size must be odd and at least 1, but got 2"),
    ],
)
def test_a_bad_row_is_one_line_with_its_place(row: str, expected: str, tmp_path: Path) -> None:
    """The line number is the file's, which an editor shows."""
    good = "pool_7x7_i960,1,0,1,measured\n"
    assert problems_of(tmp_path, HEADER + good + row + "\n") == [f"{expected} (t.csv:3)"]


@pytest.mark.parametrize(
    ("csv", "expected"),
    [
        ("", "the first line must be unit,latency_ms,spread_ms,runs,source, but is an empty file (t.csv:1)"),
        ("unit,ms\n", "the first line must be unit,latency_ms,spread_ms,runs,source, but is unit,ms (t.csv:1)"),
        (HEADER, "the table has no rows (t.csv)"),
        (HEADER + f"{UNIT},1,0,1,measured\n" * 2, f"the unit {UNIT} is given twice (t.csv:3)"),
    ],
)
def test_a_file_without_usable_rows_is_refused(csv: str, expected: str, tmp_path: Path) -> None:
    """Empty, other columns, only a header, a unit twice."""
    assert problems_of(tmp_path, csv) == [expected]


def test_a_missing_or_unreadable_csv_is_said(tmp_path: Path) -> None:
    """By its name."""
    assert problems_of(tmp_path, None)[0].startswith("cannot read t.csv, the rows of this table: ")
    assert problems_of(tmp_path, b"\xff\xfe\x00")[0].startswith("cannot read t.csv, the rows of this table: ")


def test_every_problem_of_a_csv_comes_at_once_up_to_twenty(tmp_path: Path) -> None:
    """The number of problems that are listed is limited."""
    problems = problems_of(tmp_path, HEADER + f"{UNIT},0,0,1,measured\nx\n")
    assert [problem[-9:] for problem in problems] == ["(t.csv:2)", "(t.csv:3)"]
    many = problems_of(tmp_path, HEADER + "x\n" * 30)
    assert (len(many), many[-1]) == (21, "and 10 more problems in t.csv")


def test_a_source_must_be_explained(tmp_path: Path) -> None:
    """Rows of a source that the .yaml does not cite are refused."""
    problems = problems_of(tmp_path, HEADER + f"{UNIT},1,0,1,modelled\n", sources={"measured": (CITATION,)})
    assert problems == ["source modelled is not explained under 'sources' in t.yaml (t.csv:2)"]


def test_what_a_spreadsheet_writes_is_read(tmp_path: Path) -> None:
    """A byte order mark and Windows line ends."""
    path, _ = save_table(LatencyTable("t", conditions(), {}), tmp_path)
    path.write_bytes(("\ufeff" + HEADER + f"{UNIT},1.5,0,1,measured\n").replace("\n", "\r\n").encode())
    assert read_table(tmp_path / "t.yaml").rows == {UNIT: Row(1.5, 0, 1)}


def test_every_problem_of_the_yaml_comes_at_once(tmp_path: Path) -> None:
    """A wrong key, a number for text, an impossible calibration, an unknown source."""
    path = save_table(LatencyTable("t", conditions(), {}), tmp_path)[1]
    text = path.read_text(encoding="utf-8").replace("device: x", "devise: x").replace("threads: x", "threads: 1")
    text = text.replace("  modelled:", "  modeled:") + "calibration: {scale: 0, offset_ms: .inf}\n"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        read_table(path)
    lines = [problem.split(" (")[0] for problem in caught.value.problems]
    assert lines[:5] == [
        "the key 'device' is missing",
        "threads must be text, but got 1; put it in quotes",
        "scale must be greater than 0, but got 0",
        "offset_ms must be a finite number, but got inf",
        "modeled must be 'measured', 'published' or 'modelled', but got 'modeled'",
    ]
    assert lines[5].startswith("unknown key 'devise'. Known, nearest first: device, ")


@pytest.mark.parametrize("name", ["../../x", "pixle_lut", "nowhere.yaml"])
def test_an_unknown_device_lists_the_known_ones(name: str) -> None:
    """And a name cannot lead out of its folder."""
    with pytest.raises(NasError, match=r"Known: .*pixel_lut"):
        load_table(name)


@pytest.mark.parametrize(("name", "published_ms"), [("mobilenet_v3_large", 51.2), ("mobilenet_v2", 73.8)])
def test_pixel_lut_is_within_a_tenth_of_the_published_latencies(name: str, published_ms: float) -> None:
    """What the project promises of its first table."""
    assert load_table("pixel_lut").estimate(reference(name)).latency_ms == pytest.approx(published_ms, rel=0.1)


def test_pixel_lut_covers_mbv3_and_the_references() -> None:
    """No candidate and no reference lacks a row, and nothing in it claims to be measured."""
    table = load_table("pixel_lut")
    assert table.missing(load_space("mbv3").units()) == []
    assert table.missing(unit for name in NETWORKS for unit in units(reference(name))) == []
    assert {row.source for row in table.rows.values()} == {"published", "modelled"}


def test_pixel_lut_orders_like_its_costs() -> None:
    """Among mbv3's samples, latency follows MACs (a sanity check: correlation above 0.9)."""
    space, table, rng = load_space("mbv3"), load_table("pixel_lut"), np.random.default_rng(0)
    members = [space.sample_member(rng) for _ in range(60)]
    macs = [sum(unit.macs for unit in units(member)) for member in members]
    assert np.corrcoef(macs, table.estimate_many(members))[0, 1] > 0.9
