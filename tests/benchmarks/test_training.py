"""The throughput of both loops is measured and printed."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial

import pytest

from nas.accuracy.__main__ import main
from nas.benchmarks.training import Throughput, Turn, loop_process
from nas.errors import RunFailedError


def test_ratio_is_the_median_of_the_rounds() -> None:
    """Rounds are compared one by one, so that a slow minute falls on both."""
    throughput = Throughput(32, 64, 2, 2, ours=(200.0, 100.0, 300.0), plain=(100.0, 100.0, 100.0))
    assert throughput.ratios == (2, 1, 3)
    assert throughput.ratio == 2
    assert throughput.to_json()["ours_median"] == 200


@pytest.mark.parametrize("wrong", [["--resolution", "4"], ["--batch-size", "x"], ["--seconds", "-1"], ["--colour"]])
def test_bad_usage_ends_with_2(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """The parser says what must hold."""
    with pytest.raises(SystemExit) as ended:
        main(["benchmark", *wrong])
    assert ended.value.code == 2
    assert "error" in capsys.readouterr().err


def test_help_does_not_import_torch() -> None:
    """`--help` answers at once."""
    code = (
        "import sys, nas.accuracy.__main__ as command\n"
        "try: command.main(['benchmark', '--help'])\n"
        "finally: print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("False\n")
    assert "example:" in done.stdout


def broken(*_: object) -> Turn:
    raise SystemExit


def test_a_loop_that_ends_is_named() -> None:
    """Also one with a recipe bound to it, as in the benchmark of final training."""
    with (
        loop_process("modern", partial(broken), (8, 4, 0)) as turn,
        pytest.raises(RunFailedError, match=r"ended early \(modern\)"),
    ):
        turn()


@pytest.mark.slow
def test_benchmark_measures_both(capsys: pytest.CaptureFixture[str]) -> None:
    """A short run prints JSON with at least five rounds of each loop."""
    options = ["--resolution", "8", "--batch-size", "4", "--seconds", "0", "--workers", "0", "--json"]
    assert main(["benchmark", *options]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert len(printed["ours"]) == len(printed["plain"]) == 5
    assert min(*printed["ours"], *printed["plain"]) > 0
