"""Does every Evaluator keep the contract?"""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch

from nas.accuracy import evaluate as evaluate_module
from nas.accuracy.data import load_dataset
from nas.accuracy.evaluate import Evaluator, Score, ShortTraining, memory_as_failure
from nas.accuracy.train import TrainingFailedError, TrainingSettings
from nas.errors import NasError
from nas.networks.architecture import Architecture, Block
from nas.networks.build import build_network
from nas.networks.proxy import ProxySettings

SCORE = Score(91.5, 2, 0, 3.25, "digits", 8, 1096, 401)


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


def test_weights_fit_the_proxy_and_give_the_score() -> None:
    """What is handed over is the network that was scored, with the data set's classes, at the proxy's resolution."""
    from nas.accuracy.train import top1_percent

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
    assert top1_percent(network, at_six.val, at_six) == pytest.approx(evaluation.score.top1)


def test_scores_of_different_budgets_are_not_comparable() -> None:
    """Epochs and images are the budget; seed and time are not."""
    assert SCORE.comparable(replace(SCORE, seed=3, seconds=9.0, top1=5.0, resolution=6))
    for other in ({"epochs": 3}, {"train_images": 9}, {"val_images": 9}, {"dataset": "cifar10"}):
        assert not SCORE.comparable(replace(SCORE, **other))


@pytest.mark.parametrize("wrong", [{"top1": -1.0}, {"top1": 101.0}, {"top1": math.nan}, {"epochs": 0}])
def test_impossible_scores_are_refused(wrong: dict[str, float]) -> None:
    """A score is a percentage that was earned."""
    with pytest.raises(NasError, match="must be"):
        replace(SCORE, **wrong)


def test_score_with_other_keys_is_refused() -> None:
    """Both what is missing and what is unknown are named."""
    data = SCORE.to_json() | {"colour": "blue"}
    del data["seed"]
    with pytest.raises(NasError, match=r"lacks \['seed'\] and has \['colour'\] besides"):
        Score.from_json(data)


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

    monkeypatch.setattr(evaluate_module, "train", fail)
    dataset = load_dataset("digits", image_size=8)
    evaluator = ShortTraining(dataset, TrainingSettings(), ProxySettings(resolution=8, max_stride=2), 32)
    with pytest.raises(TrainingFailedError, match=r"out of memory .* at 8 pixels; lower training.batch_size"):
        evaluator.evaluate(small(), 1, 0)


def test_the_allocators_own_error_is_known() -> None:
    """What torch raises today for memory that is not there is taken for what it is."""
    with pytest.raises(TrainingFailedError, match="out of memory"), memory_as_failure(small()):
        torch.empty(2**50)


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), ValueError("x"), KeyboardInterrupt()])
def test_other_errors_pass(error: BaseException) -> None:
    """A mistake of ours is not a failed trial."""
    with pytest.raises(type(error)), memory_as_failure(small()):
        raise error
