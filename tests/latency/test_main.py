"""Tests of `python -m nas.latency show` and of the errors that its commands report."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from nas.latency.__main__ import main
from nas.latency.table import load_table
from nas.networks.operators import units
from nas.networks.references.mobilenet_v3 import mobilenet_v3_large


def test_show_has_conditions_sources_and_agreement(capsys: pytest.CaptureFixture[str]) -> None:
    """The conditions, the sources, and the number of rows of each kind are printed."""
    assert main(["show", "pixel_lut"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("pixel_lut: Google Pixel 1, TensorFlow Lite, float32\n")
    assert "not measured by this project" in out
    counts = [row.source for row in load_table("pixel_lut").rows.values()]
    assert f"modelled   {counts.count('modelled'):,}\n" in out
    assert "mobilenet_v3_large                       51.2 " in out


def test_show_network_adds_up(capsys: pytest.CaptureFixture[str]) -> None:
    """Unit by unit with its source, and the parts of the sum by source."""
    assert main(["show", "pixel_lut", "--network", "mobilenet_v3_large", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    network = data["network"]
    assert [unit["unit"] for unit in network["units"]] == [unit.key for unit in units(mobilenet_v3_large())]
    assert sum(unit["latency_ms"] for unit in network["units"]) == pytest.approx(network["latency_ms"])
    assert sum(network["latency_by_source_ms"].values()) == pytest.approx(network["latency_ms"])
    assert main(["show", "pixel_lut", "--network", "mobilenet_v3_large"]) == 0
    out = capsys.readouterr().out
    assert f"latency: {network['latency_ms']:.2f} ms (" in out
    pool = next(unit for unit in network["units"] if unit["unit"] == "pool_7x7_i960")
    share = pool["latency_ms"] / network["latency_ms"]
    assert re_line(out, "pool_7x7_i960") == [
        "pool_7x7_i960",
        f"{pool['latency_ms']:.3f}",
        f"{share:.1%}",
        "modelled",
    ]


def test_show_network_has_its_stages(capsys: pytest.CaptureFixture[str]) -> None:
    """Units that follow one another with one output shape; the shares add up to 1."""
    assert main(["show", "pixel_lut", "--network", "mobilenet_v3_large", "--json"]) == 0
    stages = json.loads(capsys.readouterr().out)["network"]["stages"]
    assert [stage["units"] for stage in stages] == [1, 1, 2, 3, 4, 2, 3, 1, 1, 1, 1]
    assert sum(stage["share"] for stage in stages) == pytest.approx(1)
    assert [stage["output"] for stage in stages[1:4]] == ["16x112x112", "24x56x56", "40x28x28"]


def test_show_has_the_kinds_of_blocks(capsys: pytest.CaptureFixture[str]) -> None:
    """How many rows each operator has, between which sides and latencies; all rows are counted."""
    table = load_table("pixel_lut")
    assert main(["show", "pixel_lut", "--json"]) == 0
    kinds = {kind.pop("op"): kind for kind in json.loads(capsys.readouterr().out)["kinds"]}
    assert sum(kind["rows"] for kind in kinds.values()) == len(table.rows)
    assert set(kinds) == {"conv", "linear", "mbconv", "pool"}
    linear = [row.latency_ms for key, row in table.rows.items() if key.startswith("linear_")]
    assert (kinds["linear"]["sides"], kinds["linear"]["least_ms"]) == ([1, 1], min(linear))
    assert main(["show", "pixel_lut"]) == 0
    assert "family held out" in capsys.readouterr().out


def re_line(text: str, start: str) -> list[str]:
    """The words of the line that starts so."""
    return next(line.split() for line in text.splitlines() if line.startswith(start))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["show", "pixle"], "error: unknown device 'pixle'. Known: pixel"),
        (["show", "../../x"], "error: device must be a name"),
        (
            ["show", "pixel_lut", "--network", "mobilenet_v4"],
            "error: unknown reference network 'mobilenet_v4'. ",
        ),
        (["show", "pixel_lut", "--network", "x.json"], "error: cannot read x.json"),
        (["build", "pixel_lut", "--published", "nowhere"], "error: cannot read the published latencies in nowhere"),
        (
            ["build", "pixel_lut", "--published", ".", "--space", "mbv9"],
            "error: unknown search space 'mbv9'. Known: mbv",
        ),
    ],
)
def test_bad_words_are_one_line_and_exit_code_2(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On stderr, and nothing is written."""
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    caught = capsys.readouterr()
    assert caught.err.startswith(message)
    assert caught.err.count("\n") == 1
    assert caught.out == ""
    assert list(tmp_path.iterdir()) == []


def test_a_network_with_units_that_are_missing_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the units named."""
    path = tmp_path / "x.json"
    path.write_text(json.dumps(mobilenet_v3_large(resolution=97).to_json()), encoding="utf-8")
    assert main(["show", "pixel_lut", "--network", str(path)]) == 2
    assert "error: the latency table pixel_lut has no row for " in capsys.readouterr().err


def test_show_needs_no_fitting_library() -> None:
    """SciPy is needed to build tables, not to show them."""
    code = "import sys; from nas.latency.__main__ import main; main(['show', 'pixel_lut']); "
    code += "print(sorted({'torch', 'optuna', 'pandas', 'scipy', 'onnxruntime'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]"
