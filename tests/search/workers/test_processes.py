"""A search by other processes is the same search."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nas.errors import NasError, RunFailedError
from nas.networks.space.search_space import load_space
from nas.search.__main__ import main as command
from nas.search.driver import search
from nas.search.experiment import resolve_experiment
from nas.search.listener import SilentSearch
from nas.search.prepare import prepare
from nas.search.results.result import Outcome, SearchResult
from nas.search.run.directory import RunDirectory, claimed
from nas.search.run.kept import load_weights
from nas.search.run.load import load_result
from nas.search.trial import Trial
from nas.search.workers.processes import Processes, Setup
from tests.search.workers.evaluators import BROKEN, DEADLY, MACS, UNSTEADY

BASE = {
    "space": "small",
    "device": "made_up",
    "objectives": "score,latency_ms",
    "references": [],
    "trials": 8,
    "max_images": 40,
    "score_cache": "none",
}


def searched(folder: Path, evaluator: str, **overrides: Any) -> Outcome:
    experiment = resolve_experiment(None, {**BASE, "evaluator": evaluator, **overrides})
    run = RunDirectory(folder)
    with claimed(run):
        return search(prepare(experiment), run)


def outcomes(result: SearchResult) -> list[Trial]:
    """The trials without what they took."""
    return [replace(trial, seconds=0.0) for trial in result.trials]


@pytest.mark.parametrize("sampler", ["front", "nsga2"])
def test_one_worker_process_does_what_this_one_does(workplace: Path, sampler: str) -> None:
    """Trial by trial, weights included."""
    here = searched(workplace / "here", MACS, sampler=sampler).result
    experiment = resolve_experiment(None, {**BASE, "evaluator": MACS, "sampler": sampler})
    run = RunDirectory(workplace / "there")
    with claimed(run):
        workers = Processes(1, Setup(experiment.to_json(), str(run.evaluator)))
        there = search(prepare(experiment), run, workers=workers).result
    assert outcomes(there) == outcomes(here)
    for trial in there.front:
        mine, theirs = (load_weights(RunDirectory(workplace / place), trial.number) for place in ("here", "there"))
        assert mine is not None
        assert theirs is not None
        assert mine["w"].equal(theirs["w"])


@pytest.mark.parametrize("sampler", ["front", "nsga2"])
def test_the_same_trials_whatever_the_timing(workplace: Path, sampler: str) -> None:
    """With a fixed number of workers: what ends first decides nothing."""
    overrides = {"workers": 2, "sampler": sampler, "trials": 12, "population": 4, "limits.latency_ms": 2.0}
    first, second = (searched(workplace / name, UNSTEADY, **overrides).result for name in ("a", "b"))
    assert outcomes(first) == outcomes(second)
    assert {trial.status for trial in first.trials} >= {"complete", "failed"}
    assert [trial.number for trial in first.trials] == list(range(len(first.trials)))


class _Stops(SilentSearch):
    def __init__(self, after: int) -> None:
        self._after = after

    def ended(self, trial: Trial, done: int, front: object) -> None:
        if done == self._after:
            raise KeyboardInterrupt


@pytest.mark.parametrize("after", [3, 6])
def test_interrupted_and_resumed_it_is_the_same_search(workplace: Path, after: int) -> None:
    """What had ended behind a trial that was in flight is kept, and not scored again."""
    overrides = {"workers": 2, "trials": 8}
    whole = searched(workplace / "whole", UNSTEADY, **overrides).result
    run = RunDirectory(workplace / "parts")
    experiment = resolve_experiment(None, {**BASE, "evaluator": UNSTEADY, **overrides})
    with claimed(run):
        assert search(prepare(experiment), run, _Stops(after)).ending == "interrupted"
    before = {trial.number: trial for trial in load_result(run.path).trials}
    resumed = searched(workplace / "parts", UNSTEADY, **overrides).result
    assert outcomes(resumed) == outcomes(whole)
    assert all(resumed.trials[number] == trial for number, trial in before.items())


def test_killed_with_trials_in_flight_it_goes_on(workplace: Path) -> None:
    """After SIGKILL of the driver: its workers end too, and each trial ends up there once."""
    words = [f"{key}={value}" for key, value in BASE.items() if key != "references"]
    process_words = [
        sys.executable,
        "-m",
        "nas.search",
        *words,
        "references=[]",
        f"evaluator={UNSTEADY}",
        "workers=2",
        "--run",
        "killed",
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with subprocess.Popen(process_words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        journal = workplace / "killed" / "study.journal"
        ends_at = time.monotonic() + 60
        while time.monotonic() < ends_at and not (journal.exists() and journal.read_bytes().count(b"record") > 2):
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    result = searched(workplace / "killed", UNSTEADY, workers=2).result
    assert outcomes(result) == outcomes(searched(workplace / "whole", UNSTEADY, workers=2).result)


def test_a_worker_that_is_killed_is_replaced(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its job is run again; killed again, the trial has failed, with the signal's name."""
    monkeypatch.chdir(workplace)
    result = searched(workplace / "run", DEADLY, workers=2, trials=6, sampler="random", seed=1).result
    by_size = {resolution: set() for resolution in (32, 64)}
    for trial in result.trials:
        if trial.status in ("complete", "failed"):
            by_size[trial.network.architecture.resolution].add((trial.status, trial.reason))
    assert by_size[32] == {("complete", "")}
    assert by_size[64] == {("failed", "its worker process ended 2 times, the last time with signal SIGKILL")}


def test_an_error_of_the_evaluator_ends_the_search(workplace: Path) -> None:
    """In one line, which says what it was."""
    with pytest.raises(RunFailedError, match=r"a worker process cannot go on: KeyError: 'images'"):
        searched(workplace / "run", BROKEN, workers=2)


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("not_ready", "ended with exit code 3 before its evaluator was ready"),
        ("unsendable", "a result that cannot be sent to another process"),
        ("no_tensors", "the weights of a network must be tensors, but w are none"),
    ],
)
def test_what_is_no_networks_fault_ends_the_search(workplace: Path, function: str, said: str) -> None:
    """Rather than failing one trial after another for ever."""
    with pytest.raises(RunFailedError, match=said):
        searched(workplace / "run", f"tests.search.workers.evaluators:{function}", workers=2)
    assert load_result(workplace / "run").trials == ()


def test_scores_of_an_evaluator_that_says_what_they_depend_on_are_cached(workplace: Path) -> None:
    """However cheap it is, and whether or not it can stop on the way."""
    cache = {"score_cache": str(workplace / "scores.sqlite")}
    searched(workplace / "a", MACS, **cache)
    again = searched(workplace / "b", MACS, **cache).result
    assert {trial.reason for trial in again.completed} == {"score from the cache, which keeps no weights"}


def test_a_score_that_is_no_accuracy_is_never_called_one(
    workplace: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither on the terminal, nor in the CSV, nor in the report."""
    monkeypatch.setattr(sys, "stderr", sys.stdout)
    words = [f"{key}={value}" for key, value in BASE.items() if key != "references"]
    assert command([*words, "references=[]", f"evaluator={MACS}", "--run", "run"]) == 0
    printed = capsys.readouterr().out
    report = re.sub(r"(?s)<script.*?</script>|<style.*?</style>", "", Path("run/report.html").read_text())
    figures = re.findall(r"\"title\":\{\"text\":\"([^\"]*)\"", Path("run/report.html").read_text())
    for text in (printed, report, *figures):
        assert not re.search(r"(?i)top-1|top1", text)
    assert "score of the proxy" in figures
    header = Path("run/trials.csv").read_text().splitlines()[0].split(",")
    assert "score" in header
    assert "predicted_score" in header
    assert "top1" not in header
    assert 0 < json.loads(Path("run/pareto.json").read_text())["hypervolume"] <= 1


def test_the_objectives_must_be_what_the_evaluator_gives(workplace: Path) -> None:
    with pytest.raises(
        NasError, match=r"gives score, but the objectives name top1\. Write objectives: score,latency_ms"
    ):
        searched(workplace / "run", MACS, objectives="top1,latency_ms")


def test_two_references_that_are_one_network(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are scored, though one job is like the other."""
    space = load_space("small")
    monkeypatch.setattr("nas.search.prepare.reference", lambda _: space.decode(space.largest_parameters()))
    result = searched(workplace / "run", MACS, workers=2, references=["one", "two"], trials=1).result
    assert [network.name for network in result.references] == ["one", "two"]


def test_a_missing_trial_is_asked_for_again_by_any_number_of_workers(workplace: Path) -> None:
    """Trials behind it that had ended stay as they are, though fewer workers draw another network for it."""
    searched(workplace / "run", MACS, workers=2, trials=6)
    journal = workplace / "run" / "study.journal"
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(line for line in lines if not re.search(r'"name":\s*"trial 3"', line)))
    before = load_result(workplace / "run")
    assert [trial.number for trial in before.trials] == [0, 1, 2, 4, 5]
    after = searched(workplace / "run", MACS, workers=1, trials=6).result
    assert [trial.number for trial in after.trials] == list(range(len(after.trials)))
    assert len(after.completed) == 6
    assert all(after.trials[trial.number] == trial for trial in before.trials)


def test_a_script_needs_no_guard(workplace: Path) -> None:
    """Worker processes do not run it again."""
    settings = {**BASE, "evaluator": MACS, "workers": 2, "quiet": True, "run": "scripted"}
    del settings["space"], settings["device"]
    Path("script.py").write_text(f"import nas\nprint(len(nas.search('small', 'made_up', **{settings!r}).front))\n")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    words = [sys.executable, "script.py"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(len(load_result(Path("scripted")).front))]
