"""Tests of `nas.latency.published.importing`: a table from a CSV, with all of its problems reported at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from nas.config import Document
from nas.errors import ConfigError
from nas.latency.__main__ import main
from nas.latency.published.importing import import_table
from nas.latency.table import Row, load_table

CONDITIONS = {
    "device": "board",
    "soc": "chip",
    "cores": "4",
    "threads": "1",
    "runtime": "ONNX Runtime",
    "runtime_version": "1.20",
    "execution_provider": "CPU",
    "precision": "float32",
    "date": "2026",
    "protocol": "median of 50",
    "sources": {"measured": [{"title": "board", "url": "", "licence": "mine", "use": "rows"}]},
}
POOL, CONV = "pool_7x7_i960", "conv_224x224_i3_o16_k3_s2_hswish"


def write(folder: Path, text: str) -> Path:
    """The CSV."""
    path = folder / "timings.csv"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        (f"unit,latency_ms\n{POOL},0.5\n", {POOL: Row(0.5)}),
        (f"\ufeffunit,latency_ms,spread_ms,runs\n{POOL},0.5,0.1,20\n", {POOL: Row(0.5, 0.1, 20)}),
        (f"runs, latency_ms ,unit\n3, 0.5 , {POOL}\n\n,1.5,{CONV}\n", {POOL: Row(0.5, runs=3), CONV: Row(1.5)}),
    ],
)
def test_columns_stand_in_any_order_and_the_optional_ones_can_be_empty(
    text: str, rows: dict[str, Row], tmp_path: Path
) -> None:
    """Whatever a spreadsheet makes of it: a byte order mark, blanks, empty lines."""
    assert import_table(write(tmp_path, text), "board", Document(CONDITIONS, "x")).rows == rows


def test_every_problem_is_told_at_once(tmp_path: Path) -> None:
    """Of the conditions and of every line, with its number."""
    lines = ["unit,latency_ms,runs", f"{POOL},0.5,1", f"{POOL},0.6,1", "foo,2,1", f"{CONV},0,1", f"{CONV},1"]
    conditions = {key: value for key, value in CONDITIONS.items() if key != "soc"} | {"sources": {}, "sock": "x"}
    with pytest.raises(ConfigError) as caught:
        import_table(write(tmp_path, "\n".join(lines)), "board", Document(conditions, "board.yaml"))
    problems = caught.value.problems
    expected = ["'soc' is missing", "sock", "given twice, first in line 2", "not a unit: 'foo'", "must be above 0"]
    expected.append("must have 3 fields")
    for words in expected:
        assert sum(words in problem for problem in problems) == 1, words
    assert [problem.split("timings.csv:")[1] for problem in problems if "timings.csv" in problem] == [
        "3)",
        "4)",
        "5)",
        "6)",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "must start with a line that names its columns"),
        ("unit,latency\nx,1\n", "the column latency_ms is missing"),
        ("unit,latency_ms,latency_s\n", "unknown column 'latency_s'. Known: latency_ms, "),
        ("unit,latency_ms,unit\n", "the column unit is given twice"),
        ("unit,latency_ms\n", "there are no rows below the names"),
    ],
)
def test_a_csv_in_another_layout_is_refused(text: str, expected: str, tmp_path: Path) -> None:
    """Saying what it must be."""
    with pytest.raises(ConfigError) as caught:
        import_table(write(tmp_path, text), "board", Document(CONDITIONS, "x"))
    assert any(expected in problem for problem in caught.value.problems)


def test_rows_must_be_explained(tmp_path: Path) -> None:
    """A table says under `sources` where its rows come from."""
    path = write(tmp_path, f"unit,latency_ms\n{POOL},0.5\n")
    with pytest.raises(ConfigError, match="sources must say where published rows come from"):
        import_table(path, "board", Document(CONDITIONS, "x"), "published")
    with pytest.raises(ConfigError, match=r"cannot read .*nowhere\.csv"):
        import_table(tmp_path / "nowhere.csv", "board", Document(CONDITIONS, "x"))


def test_the_command_takes_options_a_yaml_or_both(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Options go before the .yaml, and the table can be read back."""
    path = write(tmp_path, f"unit,latency_ms\n{POOL},0.5\n")
    words = ["import", str(path), "--name", "board", "--out", str(tmp_path)]
    assert main(words) == 2
    assert "the key 'device' is missing" in capsys.readouterr().err
    options = [part for key in CONDITIONS if key != "sources" for part in (f"--{key.replace('_', '-')}", f"my {key}")]
    assert main([*words, *options, "--licence", "CC0"]) == 0
    table = load_table(str(tmp_path / "board.yaml"))
    assert dict(table.rows) == {POOL: Row(0.5)}
    assert table.conditions.runtime_version == "my runtime_version"
    assert table.conditions.sources["measured"][0].licence == "CC0"
    again = [*words, "--conditions", str(tmp_path / "board.yaml"), "--device", "another"]
    assert main(again) == 0
    read = load_table(str(tmp_path / "board.yaml"))
    assert read.conditions == table.conditions.model_copy(update={"device": "another"})
