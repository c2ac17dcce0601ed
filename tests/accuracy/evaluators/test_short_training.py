"""Short training scores a network by its proxy, stops on the way and goes on to the same end."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from nas.accuracy.data.load import load_dataset
from nas.accuracy.evaluators import short_training as evaluate_module
from nas.accuracy.evaluators.evaluator import Evaluator, Identified, Resumable
from nas.accuracy.evaluators.short_training import ShortTraining
from nas.accuracy.score import Score
from nas.accuracy.training import train as train_module
from nas.accuracy.training.failures import TrainingFailedError
from nas.accuracy.training.scores import score
from nas.accuracy.training.settings import TrainingSettings
from nas.errors import NasError
from nas.networks.architecture import Architecture, Block
from nas.networks.build import build_network
from nas.networks.proxy import ProxySettings


def small(resolution: int = 32, channels: int = 8) -> Architecture:
    return Architecture(
        resolution,
        1000,
        (
            Block("conv", channels, kernel_size=3, stride=2, activation="relu"),
            Block("mbconv", 16, kernel_size=3, stride=2, hidden_channels=32, activation="relu"),
            Block("pool"),
            Block("linear", 1000),
        ),
    )


@pytest.fixture(params=["short_training"])
def evaluator(request: pytest.FixtureRequest) -> Evaluator:
    """Each evaluator there is."""
    return ShortTraining(
        load_dataset("digits", image_size=8, max_images=200),
        TrainingSettings(batch_size=32, device="cpu"),
        ProxySettings(resolution=8, max_stride=2),
        largest_resolution=32,
    )


def test_a_score_says_what_it_cost(evaluator: Evaluator) -> None:
    """Top-1 is a percentage; budget and seed are those asked for."""
    score = evaluator.evaluate(small(), 2, 7).score
    assert 0 <= score.top1 <= 100
    assert (score.epochs, score.seed) == (2, 7)
    assert score.seconds > 0


def test_the_same_call_gives_the_same_score(evaluator: Evaluator) -> None:
    """Only the time differs, and a score survives JSON."""
    first, second = (evaluator.evaluate(small(), 1, 0).score for _ in range(2))
    assert replace(first, seconds=0) == replace(second, seconds=0)
    assert Score.from_json(json.loads(json.dumps(first.to_json()))) == first


def test_the_global_random_state_is_left_alone(evaluator: Evaluator) -> None:
    """Randomness is an argument."""
    before = torch.get_rng_state()
    evaluator.evaluate(small(), 1, 0)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_budget_below_one_is_refused(evaluator: Evaluator) -> None:
    """There is no score without training."""
    with pytest.raises(NasError, match="at least 1"):
        evaluator.evaluate(small(), 0, 0)


@pytest.mark.parametrize("steps", [(3,), (1, 3), (1, 2, 3), (2, 2, 3, 3)])
def test_however_many_steps_the_end_is_the_same(evaluator: Evaluator, tmp_path: Path, steps: tuple[int, ...]) -> None:
    """Stopped on the way and gone on with, score and weights are those of a straight training, bit for bit."""
    assert isinstance(evaluator, Resumable)
    straight = evaluator.evaluate(small(), 3, 7)
    for until in steps:
        last = evaluator.advance(small(), 3, 7, until=until, checkpoint=tmp_path / "c")
        assert (last.score.epochs, last.score.budget) == (until, 3 if until < 3 else None)
        assert last.note == ""
    assert replace(last.score, seconds=0) == replace(straight.score, seconds=0)
    assert last.weights is not None
    assert straight.weights is not None
    assert all(torch.equal(last.weights[name], straight.weights[name]) for name in straight.weights)


def test_what_was_scored_on_the_way_is_answered_from_the_checkpoint(
    evaluator: Evaluator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A search that was killed asks for each rung again, and nothing is trained twice."""
    assert isinstance(evaluator, Resumable)
    first = [evaluator.advance(small(), 4, 0, until=until, checkpoint=tmp_path / "c") for until in (1, 2)]
    monkeypatch.setattr(train_module, "train_epoch", lambda *_, **__: pytest.fail("trained again"))
    again = [evaluator.advance(small(), 4, 0, until=until, checkpoint=tmp_path / "c") for until in (1, 2)]
    assert [evaluation.score for evaluation in again] == [evaluation.score for evaluation in first]


def damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def test_a_checkpoint_that_cannot_be_used_is_said(evaluator: Evaluator, tmp_path: Path) -> None:
    """Damaged, of another seed, or beyond: trained from the start with the right result, and the note says why."""
    assert isinstance(evaluator, Resumable)
    straight = evaluator.evaluate(small(), 3, 7)
    checkpoint = tmp_path / "c"
    evaluator.advance(small(), 3, 7, until=2, checkpoint=checkpoint)
    beyond = evaluator.advance(small(), 3, 7, until=1, checkpoint=checkpoint)
    assert "is beyond 1 epochs; trained again from the start" in beyond.note
    damage(checkpoint)
    damaged = evaluator.advance(small(), 3, 7, until=3, checkpoint=checkpoint)
    assert "is damaged, or is not a checkpoint; trained again from the start" in damaged.note
    evaluator.advance(small(), 3, 8, until=2, checkpoint=checkpoint)
    other = evaluator.advance(small(), 3, 7, until=3, checkpoint=checkpoint)
    assert "is of another training; trained again from the start" in other.note
    assert damaged.score.top1 == other.score.top1 == straight.score.top1


@pytest.mark.parametrize("until", [0, 4])
def test_a_stop_outside_the_budget_is_refused(evaluator: Evaluator, tmp_path: Path, until: int) -> None:
    """Both numbers are named."""
    assert isinstance(evaluator, Resumable)
    with pytest.raises(NasError, match=f"of 3 epochs must stop after 1 to 3 of them, but got {until}"):
        evaluator.advance(small(), 3, 7, until=until, checkpoint=tmp_path / "c")


def test_a_training_is_known_by_what_decides_its_score(evaluator: Evaluator) -> None:
    """Networks with one proxy are one training; another seed or budget is another."""
    assert isinstance(evaluator, Identified)
    digest = evaluator.identity(small(), 3, 7).digest
    classes = replace(small(), classes=5, blocks=(*small().blocks[:-1], Block("linear", 5)))
    assert evaluator.identity(classes, 3, 7).digest == digest
    others = [evaluator.identity(*case).digest for case in ((small(), 3, 8), (small(), 4, 7), (small(32, 9), 3, 7))]
    assert digest not in others


def test_weights_fit_the_proxy_and_give_the_score() -> None:
    """What is handed over is the network that was scored, with the data set's classes, at the proxy's resolution."""
    dataset = load_dataset("digits", image_size=8)
    evaluator = ShortTraining(dataset, TrainingSettings(device="cpu"), ProxySettings(resolution=8, max_stride=2), 64)
    evaluation = evaluator.evaluate(small(48), 1, 0)
    proxy = evaluator.proxy_of(small(48))
    assert (proxy.resolution, proxy.classes) == (6, 10)
    assert evaluation.score.resolution == 6
    network = build_network(proxy)
    assert evaluation.weights is not None
    network.load_state_dict(dict(evaluation.weights))
    at_six = dataset.at(6)
    assert score(network, at_six.val, at_six).top1 == pytest.approx(evaluation.score.top1)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_out_of_memory_is_a_failed_training(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """The reason names the network and what to lower."""

    def fail(*arguments: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(evaluate_module, "advance", fail)
    dataset = load_dataset("digits", image_size=8)
    evaluator = ShortTraining(dataset, TrainingSettings(), ProxySettings(resolution=8, max_stride=2), 32)
    with pytest.raises(TrainingFailedError, match=r"out of memory .* at 8 pixels; lower training.batch_size"):
        evaluator.evaluate(small(), 1, 0)
