"""A score is earned once, rung by rung, and never paid for twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from nas.accuracy.evaluators.evaluator import Evaluation, Evaluator, Untrained
from nas.accuracy.evaluators.score_cache import ScoreCache
from nas.accuracy.score import TOP1, Score
from nas.accuracy.training.failures import TrainingFailedError
from nas.errors import NasError
from nas.latency.table import LatencyEstimate
from nas.networks.architecture import Architecture, Block
from nas.networks.operators import estimate_costs
from nas.search.costing import CostedNetwork
from nas.search.scoring.rungs import StoppingSettings
from nas.search.scoring.scorer import FROM_CACHE, Earned, Scorer, Scoring
from nas.search.trial import Trial
from nas.search.workers.worker import run_job
from tests.search.conftest import SteppingEvaluator

BUDGET = 9
HALVING = StoppingSettings(method="halving")

# The evaluator of each scorer.
EVALUATORS: dict[Scorer, Evaluator] = {}


@dataclass
class Stepwise(SteppingEvaluator):
    """Scores a network by its width, as far as it was trained; keeps each stretch of epochs that it trained."""

    trained: list[tuple[int, int, int]] = field(default_factory=list)
    breaks_at: int | None = None

    def train(self, architecture: Architecture, start: int, until: int, budget: int, seed: int) -> Evaluation:
        if self.breaks_at is not None and start <= self.breaks_at < until:
            raise RuntimeError("shapes differ\nand more")
        width = architecture.blocks[0].out_channels
        self.trained.append((width, start, until))
        score = Score(
            width * until / budget, until, seed, 1.0, "made up", 8, 100, 50, budget if until < budget else None
        )
        return Evaluation(score, {} if until == budget else None)


def network(width: int, latency_ms: float = 1.0) -> CostedNetwork:
    """One of top-1 `width` at the end."""
    stem = Block("conv", width, kernel_size=3, activation="relu")
    architecture = Architecture(8, 10, (stem, Block("pool"), Block("linear", 10)))
    return CostedNetwork(f"w{width}", architecture, LatencyEstimate(latency_ms, {}), estimate_costs(architecture))


def scorer(
    folder: Path,
    evaluator: Evaluator,
    *,
    cache: bool = True,
    stopping: StoppingSettings = HALVING,
    dataset: str = "made up",
) -> Scorer:
    scores = Scorer(
        evaluator,
        "made_up",
        BUDGET,
        0,
        dataset=dataset,
        stopping=stopping,
        objectives=("top1", "latency_ms"),
        cache=ScoreCache(folder / "scores.sqlite" if cache else None, pytest.fail),
        checkpoints=folder / "checkpoints",
    )
    EVALUATORS[scores] = evaluator
    return scores


def run(evaluator: Evaluator, scoring: Scoring) -> Earned:
    """Run each job of a scoring, until its score is earned."""
    while (job := scoring.next_job()) is not None:
        assert scoring.next_job() == job
        scoring.told(run_job(evaluator, job))
    assert scoring.earned is not None
    return scoring.earned


def earn(scores: Scorer, number: int, candidate: CostedNetwork, earlier: Sequence[Trial]) -> Earned:
    """The score of a trial."""
    return run(EVALUATORS[scores], scores.trial(number, candidate, earlier))


def whole(scores: Scorer, architecture: Architecture, seed: int | None = None) -> Earned:
    """The score of a whole training."""
    return run(EVALUATORS[scores], scores.whole(architecture, seed))


def ended(number: int, width: int, rungs: Mapping[int, float], latency_ms: float = 1.0) -> Trial:
    """An earlier trial that stood so at the rungs."""
    return Trial(number, "stopped", network(width, latency_ms), rungs=rungs)


def test_the_first_is_trained_rung_by_rung_to_the_end(tmp_path: Path) -> None:
    """Never from the start again; what it went on from is gone once it is kept."""
    evaluator = Stepwise()
    scores = scorer(tmp_path, evaluator)
    earned = earn(scores, 0, network(90), [])
    assert evaluator.trained == [(90, 0, 1), (90, 1, 3), (90, 3, 9)]
    assert (earned.score.top1, earned.rungs, earned.note) == (90.0, {1: 10.0, 3: 30.0}, "")
    assert earned.weights == {}
    scores.clear(0)
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_one_far_from_the_front_is_stopped(tmp_path: Path) -> None:
    """With the partial score that it has, and the reason."""
    earlier = [ended(n, 90, {1: 10.0 + n, 3: 30.0}) for n in range(3)]
    evaluator = Stepwise()
    earned = earn(scorer(tmp_path, evaluator), 3, network(45), earlier)
    assert evaluator.trained == [(45, 0, 1)]
    assert (earned.score.epochs, earned.score.budget, earned.weights) == (1, 9, None)
    assert earned.rungs == {1: 5.0}
    assert earned.note.startswith("stopped after 1 of 9 epochs: place 4 of 4")


def test_a_faster_one_goes_on_with_less_accuracy(tmp_path: Path) -> None:
    """The latency is exact: nothing that is as fast beats it."""
    earlier = [ended(n, 90, {1: 10.0 + n, 3: 30.0}, latency_ms=5.0) for n in range(3)]
    evaluator = Stepwise()
    assert earn(scorer(tmp_path, evaluator), 3, network(45, 4.0), earlier).score.epochs == 9


def test_only_equal_epochs_are_compared(tmp_path: Path) -> None:
    """Better ones that have only scores of the end, or of another rung, are no peers."""
    whole = [Trial(n, "complete", replace(network(90), score=Score(90.0, 9, 0, 1.0, "", 8, 1, 1))) for n in range(3)]
    later = [ended(n, 90, {3: 30.0}) for n in range(3, 6)]
    evaluator = Stepwise()
    earned = earn(scorer(tmp_path, evaluator), 6, network(45), [*whole, *later])
    assert evaluator.trained == [(45, 0, 1), (45, 1, 3)]
    assert earned.score.epochs == 3


def test_a_bracket_that_begins_later_does_not_look_earlier(tmp_path: Path) -> None:
    """Hyperband's brackets have their own rungs, and the last has none."""
    hyperband = StoppingSettings(method="hyperband")
    stretches = set()
    for number in range(12):
        evaluator = Stepwise()
        earn(scorer(tmp_path / str(number), evaluator, stopping=hyperband), number, network(50), [])
        stretches.add(tuple(until for _, _, until in evaluator.trained))
    assert stretches == {(1, 3, 9), (3, 9), (9,)}


@pytest.mark.parametrize("cache", [True, False])
def test_killed_between_rungs_it_goes_on_from_there(tmp_path: Path, cache: bool) -> None:
    """The next process trains what was missing, and decides the same."""
    killed = Stepwise(breaks_at=3)
    with pytest.raises(TrainingFailedError, match=r"RuntimeError: shapes differ$"):
        earn(scorer(tmp_path, killed, cache=cache), 0, network(90), [])
    again = Stepwise()
    earned = earn(scorer(tmp_path, again, cache=cache), 0, network(90), [])
    assert again.trained[-1] == (90, 3, 9)
    assert sum(until - start for _, start, until in again.trained) <= 9
    assert (earned.score.top1, earned.rungs) == (90.0, {1: 10.0, 3: 30.0})


def test_another_run_finds_the_score(tmp_path: Path) -> None:
    """Once the trial is settled, and not before: until it is kept the weights would be lost."""
    first = scorer(tmp_path, Stepwise())
    earned = earn(first, 0, network(90), [])
    idle = Stepwise()
    earn(scorer(tmp_path, idle), 4, network(90), [])
    assert idle.trained[-1][-1] == 9
    first.publish(network(90).architecture, earned.score)
    idle = Stepwise()
    found = earn(scorer(tmp_path, idle), 5, network(90), [])
    assert idle.trained == []
    assert (found.score, found.rungs, found.weights, found.note) == (earned.score, earned.rungs, None, FROM_CACHE)


def test_a_score_from_the_cache_has_this_runs_name_of_the_images(tmp_path: Path) -> None:
    """The same images may lie under another name; that does not make scores incomparable."""
    first = scorer(tmp_path, Stepwise())
    earned = whole(first, network(90).architecture)
    found = whole(scorer(tmp_path, Stepwise(), dataset="folder:/elsewhere"), network(90).architecture)
    assert found.note == FROM_CACHE
    assert found.score == replace(earned.score, dataset="folder:/elsewhere")


def test_another_run_stops_the_same_without_training(tmp_path: Path) -> None:
    """Partial scores are found too, so that a search with the same seed repeats itself for nothing."""
    earlier = [ended(n, 90, {1: 10.0 + n}) for n in range(3)]
    earn(scorer(tmp_path, Stepwise()), 3, network(45), earlier)
    idle = Stepwise()
    again = earn(scorer(tmp_path, idle), 3, network(45), earlier)
    assert idle.trained == []
    assert again.score.epochs == 1
    assert again.note.startswith("stopped after 1 of 9")


def test_whole_trainings_with_other_seeds(tmp_path: Path) -> None:
    """For references and repeats: straight to the end, and found the next time; another seed is another score."""
    evaluator = Stepwise()
    scores = scorer(tmp_path, evaluator)
    assert whole(scores, network(90).architecture, seed=7).score.seed == 7
    assert whole(scores, network(90).architecture, seed=7).note == FROM_CACHE
    assert whole(scores, network(90).architecture).score.seed == 0
    assert evaluator.trained == [(90, 0, 9)] * 2


class Plain(Untrained):
    """An evaluator that knows nothing of rungs."""

    metric = TOP1

    def evaluate(self, architecture: Architecture, budget: int, seed: int) -> Evaluation:
        return Stepwise().evaluate(architecture, budget, seed)


def test_an_evaluator_that_cannot_stop(tmp_path: Path) -> None:
    """It is used as it is, without a cache; stopping is refused."""
    none = StoppingSettings()
    assert earn(scorer(tmp_path, Plain(), stopping=none), 0, network(90), []).score.top1 == 90.0
    assert not (tmp_path / "scores.sqlite").exists()
    with pytest.raises(NasError, match="stopping must be none with the evaluator made_up"):
        scorer(tmp_path, Plain())
