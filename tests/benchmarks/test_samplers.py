"""Samplers are compared on oracles, with and without optional packages."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from nas.benchmarks.oracles import cell_oracle
from nas.benchmarks.samplers import SAMPLERS, main, run_search


def test_shares_rise_to_at_most_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A curve a seed with its times, in the JSON that is printed and the one that is written, and a picture."""
    words = ["--oracle", "cells", "--sampler", "front", "--sampler", "random", "--seeds", "2", "--evaluations", "12"]
    assert main([*words, "--json", "--out", str(tmp_path)]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((tmp_path / "benchmark.json").read_text())
    assert (tmp_path / "benchmark.png").read_bytes().startswith(b"\x89PNG")
    for one in printed["cells"]["samplers"].values():
        shares = np.array(one["shares"])
        assert shares.shape == (2, 12)
        assert (np.diff(shares, axis=1) >= -1e-12).all()
        assert ((shares >= 0) & (shares <= 1)).all()
        assert one["share_mean"] == pytest.approx(shares.mean(axis=0).tolist())
        assert one["suggest_ms_most"] >= one["suggest_ms_median"] > 0


def test_nothing_to_compare_is_an_error(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert main(["--oracle", "cells", "--sampler", "botorch"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "botorch is left out: it is not installed" in printed.err
    assert "error: no sampler is left to compare. Install one, or ask for others: random, " in printed.err


def test_the_front_sampler_beats_random_search() -> None:
    """After 40 evaluations of 15,625 cells, by more than a third of what random search misses."""
    oracle = cell_oracle()
    front, random = (
        np.mean([run_search(oracle, SAMPLERS[name], seed, 40).shares[-1] for seed in range(2)])
        for name in ("front", "random")
    )
    assert 1 - front < 0.66 * (1 - random)


def test_a_run_is_repeatable() -> None:
    """Same oracle, sampler and seed: the same curve."""
    oracle = cell_oracle()
    first, second = (run_search(oracle, SAMPLERS["front"], 1, 14).shares for _ in range(2))
    assert first == second


def test_peers_that_are_not_installed_are_left_out_and_said_to_be(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are run all the same."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    words = ["--oracle", "cells", "--sampler", "botorch", "--sampler", "random", "--seeds", "1", "--evaluations", "3"]
    assert main(words) == 0
    told = capsys.readouterr()
    assert "botorch is left out: it is not installed" in told.err
    assert "random" in told.out


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--sampler", "nsga4"], "unknown sampler 'nsga4'. Known: nsga"),
        (["--oracle", "cell"], "unknown oracle 'cell'"),
        (["--oracle", "nas_bench_macro"], "needs --published"),
        (["--seeds", "0"], "at least 1"),
    ],
)
def test_bad_words_are_refused(words: list[str], problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With what is known, and exit code 2."""
    assert main(words) == 2
    assert problem in capsys.readouterr().err
