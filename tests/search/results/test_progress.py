"""What a search says while it runs is plain, and little, where nobody watches."""

from __future__ import annotations

import pytest

from nas.benchmarks.overhead import main as overhead
from nas.search.driver import search
from nas.search.results.progress import SearchProgress
from nas.search.run.directory import claimed
from tests.search.conftest import FakeEvaluator, Searcher


def test_plain_lines_come_now_and_then_and_never_twice(searcher: Searcher, capsys: pytest.CaptureFixture[str]) -> None:
    prepared = searcher.prepared(FakeEvaluator(), trials=60, limits__latency_ms=1.5)
    with SearchProgress(60) as progress, claimed(searcher.run):
        result = search(prepared, searcher.run, progress).result
    assert len(result.trials) > 60, "some draws were refused"
    printed = capsys.readouterr()
    lines = printed.err.splitlines()
    assert 10 <= len(lines) <= 21
    assert len(set(lines)) == len(lines)
    assert lines[-1].startswith("60/60 trained, 0:00 left, best ")
    assert "\x1b" not in printed.err
    assert printed.out == ""


def test_a_failed_trial_is_told_with_its_reason(searcher: Searcher, capsys: pytest.CaptureFixture[str]) -> None:
    prepared = searcher.prepared(FakeEvaluator(fails=lambda call: call == 1), trials=3)
    with SearchProgress(3) as progress, claimed(searcher.run):
        search(prepared, searcher.run, progress)
    assert "trial 1 failed: loss became nan in call 1" in capsys.readouterr().err


def test_overhead_needs_two_trials(capsys: pytest.CaptureFixture[str]) -> None:
    assert overhead(["--trials", "1"]) == 2
    assert "error: --trials must be at least 2" in capsys.readouterr().err


def test_overhead_is_measured_and_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert overhead(["--trials", "4", "--latency-max", "30"]) == 0
    assert "front, 4 trials:" in capsys.readouterr().out
