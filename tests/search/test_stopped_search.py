"""A search that stops trainings, repeats its front and shares scores is the same in one piece and in several."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import optuna
import pytest

from nas.accuracy.evaluators.evaluator import Evaluation
from nas.accuracy.score import Score
from nas.config import parse_document
from nas.errors import ConfigError, NasError
from nas.networks.architecture import Architecture
from nas.networks.operators import estimate_costs
from nas.report.files import ParetoFront
from nas.report.page import page
from nas.report.write import write_report
from nas.search.__main__ import main
from nas.search.experiment import resolve_experiment
from nas.search.results.result import SearchResult
from nas.search.results.summary import print_summary
from nas.search.run.directory import RunDirectory
from nas.search.run.load import load_result
from tests.search.conftest import FakeEvaluator, Searcher, SteppingEvaluator

HALVING = {"stopping": "halving", "training__epochs": 9, "trials": 24}


@dataclass
class Curves(SteppingEvaluator):
    """Scores that grow with epochs and size, with noise that network and seed decide; it can be killed at a call."""

    killed_at: int | None = None
    calls: list[tuple[str, int, int]] = field(default_factory=list)

    @property
    def epochs(self) -> int:
        """How many were trained."""
        return sum(until - start for _, start, until in self.calls)

    def train(self, architecture: Architecture, start: int, until: int, budget: int, seed: int) -> Evaluation:
        if len(self.calls) == self.killed_at:
            raise KeyboardInterrupt
        self.calls.append((architecture.fingerprint, start, until))
        macs = estimate_costs(architecture).macs
        noise = np.random.default_rng([int(architecture.fingerprint[:8], 16), seed]).normal(0, 4 + 6 / until)
        top1 = float(np.clip(100 * macs / (macs + 5e5) * until / (until + 1) + noise, 0, 100))
        partial = budget if until < budget else None
        score = Score(top1, until, seed, 0.1, "digits", architecture.resolution, 100, 50, partial)
        return Evaluation(score, None if partial else {})


def searched(place: Path, evaluator: Curves, **overrides: object) -> SearchResult:
    return Searcher(RunDirectory(place))(evaluator, **{**HALVING, **overrides}).result  # type: ignore[arg-type]


def test_a_stopped_trial_keeps_its_score_and_its_budget(workplace: Path) -> None:
    """As light points in the result, and for samplers in Optuna's storage; the front is of whole trainings."""
    evaluator = Curves()
    result = searched(workplace / "run", evaluator)
    assert {1, 3} >= {trial.network.score.epochs for trial in result.stopped if trial.network.score}
    assert len(result.stopped) > 8
    assert len(result.stopped) + len(result.completed) == 24
    assert all(trial.network.score and trial.network.score.budget is None for trial in result.front)
    assert result.epochs_trained == (evaluator.epochs, 24 * 9)
    assert evaluator.epochs < 0.6 * 24 * 9
    journal = optuna.storages.journal.JournalFileBackend(str(workplace / "run" / "study.journal"))
    (study,) = optuna.study.get_all_study_summaries(optuna.storages.JournalStorage(journal))
    kept = optuna.load_study(study_name=study.study_name, storage=optuna.storages.JournalStorage(journal)).trials
    for trial in result.stopped:
        assert trial.network.score is not None
        assert kept[trial.number].state == optuna.trial.TrialState.PRUNED
        partial = {"value": trial.network.score.top1, "budget": trial.network.score.epochs / 9}
        assert kept[trial.number].user_attrs["partial"] == partial
    assert not any("partial" in kept[trial.number].user_attrs for trial in result.completed)
    assert load_result(workplace / "run") == result


@pytest.mark.parametrize("method", ["halving", "hyperband"])
@pytest.mark.parametrize("killed_at", [1, 2, 7, 16])
def test_killed_between_rungs_it_comes_to_the_same_trials(workplace: Path, method: str, killed_at: int) -> None:
    """The same networks, decisions and scores, and no epoch is trained twice."""
    whole = Curves()
    expected = searched(workplace / "whole", whole, stopping=method)
    parts = [Curves(killed_at=killed_at), Curves()]
    for evaluator in parts:
        result = searched(workplace / "parts", evaluator, stopping=method)
    told = [[(t.network, t.status, t.reason, t.rungs) for t in found.trials] for found in (result, expected)]
    assert told[0] == told[1]
    assert sum(evaluator.epochs for evaluator in parts) == whole.epochs
    assert not list((workplace / "parts" / "checkpoints").glob("unfinished*"))


def test_what_was_stopped_is_not_trained_again_after_a_resume(workplace: Path) -> None:
    """In a space that is nearly used up, where the same networks come up again and again."""
    settings = {"sampler": "random", "limits__latency_ms": 1.2}
    whole = searched(workplace / "whole", Curves(), trials=40, **settings)
    evaluator = Curves()
    for trials in (10, 20, 30, 40):
        parts = searched(workplace / "parts", evaluator, trials=trials, **settings)
    assert [(t.network, t.status) for t in parts.trials] == [(t.network, t.status) for t in whole.trials]
    first_epochs = Counter(fingerprint for fingerprint, start, _ in evaluator.calls if start == 0)
    assert set(first_epochs.values()) == {1}


def test_a_second_run_costs_nothing(workplace: Path) -> None:
    """With the same seed it comes to the same trials, all of them from the cache; another seed is trained."""
    cache = str(workplace / "scores.sqlite")
    first = searched(workplace / "one", Curves(), score_cache=cache)
    idle = Curves()
    second = searched(workplace / "two", idle, score_cache=cache)
    assert idle.calls == []
    told = [[(t.network, t.status, t.rungs) for t in found.trials] for found in (first, second)]
    assert told[0] == told[1]
    assert all("from the cache" in trial.reason for trial in second.completed)
    other = Curves()
    searched(workplace / "three", other, score_cache=cache, seed=1)
    assert other.epochs > 24


def test_a_damaged_cache_does_not_stop_the_search(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is said, and everything is trained."""
    (workplace / "scores.sqlite").write_text("no database" * 100)
    evaluator = Curves()
    assert searched(workplace / "run", evaluator, score_cache=str(workplace / "scores.sqlite")).completed
    assert evaluator.epochs > 24


def test_the_front_is_trained_again_with_new_seeds(workplace: Path) -> None:
    """Each member as often as asked, never with the search's own seed; more repeats add to those that are there."""
    run = workplace / "run"
    result = searched(run, Curves(), stopping="none", trials=10, repeats=3, seed=5)
    for trial in result.front:
        assert [score.seed for score in result.repeats[trial.network.architecture.fingerprint]] == [6, 7, 8]
    assert set(result.certainties) == {trial.number for trial in result.front}
    assert result.certainties[result.front[0].number].on_front == 1.0, "nothing else is as fast"
    again = Curves()
    more = searched(run, again, stopping="none", trials=10, repeats=4, seed=5)
    assert len(again.calls) == len(more.front)
    assert load_result(run).certainties == more.certainties


def test_repeats_go_on_where_they_were_cut_short(workplace: Path) -> None:
    """No seed of a member is trained twice."""
    settings = {"stopping": "none", "trials": 10, "repeats": 3}
    whole = searched(workplace / "whole", Curves(), **settings)
    parts = [Curves(killed_at=13), Curves()]
    for evaluator in parts:
        result = searched(workplace / "parts", evaluator, **settings)
    assert result.repeats == whole.repeats
    assert Counter(len(evaluator.calls) for evaluator in parts).total() == 2
    assert sum(len(evaluator.calls) for evaluator in parts) == 10 + 3 * len(whole.front)


def test_the_report_tells_of_both(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Error bars and probabilities, in the page, the files and on the terminal; stopped trials light."""
    result = searched(workplace / "run", Curves(), repeats=3)
    written = page(result, [])
    assert "How certain the front is" in written
    assert '"name":"trained again: mean, 95 %"' in written
    assert '"name":"stopped on the way"' in written
    assert f"{len(result.stopped)} stopped on the way ({result.epochs_trained[0]} of 216 epochs)" in written
    front = ParetoFront.of(result)
    assert ParetoFront.from_json(json.loads(json.dumps(front.to_json()))) == front
    assert set(front.certainties) == {trial.number for trial in result.front}
    files = write_report(result, workplace / "out")
    assert "place" in (workplace / "out" / "trials.csv").read_text()
    print_summary(result, "trials", workplace / "out", files)
    printed = capsys.readouterr().out
    header = next(line for line in printed.splitlines() if line.startswith("trained again"))
    assert header.split("  ")[-1] == "on the front"
    assert f"stopping took {result.epochs_trained[0]} of the 216 epochs" in printed
    plain = page(searched(workplace / "plain", Curves(), stopping="none", trials=4), [])
    assert "How certain" not in plain
    assert "stopped on the way" not in plain


def test_the_command_takes_all_three(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the real evaluator: options, the cache's file, and the partial scores in trials.csv."""
    words = ["--space", "small", "--device", "made_up", "--trials", "6", "--epochs", "3", "--stopping", "halving"]
    words += ["--repeats", "2", "--score-cache", "mine.sqlite", "references=[]", "max_images=20", "--quiet"]
    words += ["proxy.resolution=8", "proxy.max_stride=4"]
    assert main(words) == 0
    assert "trained again" in capsys.readouterr().out
    assert (workplace / "mine.sqlite").exists()
    assert main([*words, "--run", "again"]) == 0
    capsys.readouterr()
    first, second = (load_result(Path(run)) for run in ("runs/small-made_up-digits", "again"))
    assert [t.network for t in first.trials] == [t.network for t in second.trials]
    assert all("from the cache" in trial.reason for trial in second.completed)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"stopping": "asha"}, "method must be 'none', 'halving' or 'hyperband'"),
        ({"stopping": "halving", "training.epochs": 1}, "must have a rung before the end"),
        ({"stopping": {"method": "hyperband", "brackets": 9}, "training.epochs": 9}, "at most the number of rungs, 3"),
        ({"repeats": 1}, "must be 0 or at least 2"),
        ({"repeats": -1}, "repeats"),
        ({"score_cache": 3}, "score_cache"),
    ],
)
def test_wrong_settings_are_refused_before_training(wrong: dict[str, object], said: str) -> None:
    """With the key that is wrong."""
    with pytest.raises(ConfigError, match=said):
        resolve_experiment(None, wrong)


def test_short_forms_are_understood() -> None:
    """A method's name alone, with changes behind it or not, and YAML's off."""
    assert resolve_experiment(None, {"stopping": "hyperband"}).stopping.eta == 3
    document = parse_document("stopping: halving", "mine.yaml")
    changed = resolve_experiment(document, {"stopping.eta": 2}).stopping
    assert (changed.method, changed.eta) == ("halving", 2)
    assert resolve_experiment(None, {"stopping.eta": 2, "stopping": "halving"}).stopping == changed
    assert resolve_experiment(None, {"score_cache": False}).score_cache == "none"
    assert Path(resolve_experiment(None, {"score_cache": "mine"}).score_cache).is_absolute()


def test_an_evaluator_that_cannot_stop_is_refused(searcher: Searcher) -> None:
    """Before anything is trained."""
    evaluator = FakeEvaluator()
    with pytest.raises(NasError, match="stopping must be none with the evaluator short"):
        searcher(evaluator, stopping="halving", training__epochs=9)
    assert evaluator.asked == []
