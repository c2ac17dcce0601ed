"""The training loop learns, is reproducible, and fails with clear messages."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from nas.accuracy.data.dataset import Split
from nas.accuracy.data.load import load_dataset
from nas.accuracy.training import train as train_module
from nas.accuracy.training.batchnorm import recalibrate
from nas.accuracy.training.failures import TrainingFailedError
from nas.accuracy.training.settings import TrainingSettings
from nas.accuracy.training.train import Epoch, build_optimiser, learning_rate_at, train
from tests.accuracy.helpers import random_dataset, tiny_network


def test_learns_the_digits() -> None:
    """A tiny network reaches 90 % in 3 epochs, and says how it got there."""
    seen: list[tuple[int, Epoch]] = []
    result = train(
        tiny_network(10),
        load_dataset("digits", image_size=8),
        TrainingSettings(epochs=3, device="cpu"),
        seed=0,
        on_epoch=lambda done, epoch: seen.append((done, epoch)),
    )
    assert result.top1 > 90
    assert [done for done, _ in seen] == [1, 2, 3]
    assert tuple(epoch for _, epoch in seen) == result.history
    assert result.history[-1].loss < result.history[0].loss
    assert result.images_per_second == pytest.approx(3 * 1096 / result.seconds, rel=0.01)


def weights_after(seed: int, *, dropout: float = 0.3) -> dict[str, torch.Tensor]:
    network = tiny_network(2, dropout=dropout)
    train(network, random_dataset(), TrainingSettings(epochs=2, batch_size=8, device="cpu"), seed=seed)
    return network.state_dict()


def test_same_seed_same_weights() -> None:
    """Bit for bit, whatever the global random state, which stays as it was; another seed differs."""
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = weights_after(5)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    second = weights_after(5)
    assert all(torch.equal(first[name], second[name]) for name in first)
    other = weights_after(6)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_validation_images_do_not_change_the_weights() -> None:
    """Trained with other validation images, the weights are the same: they are never trained on."""
    dataset = random_dataset()
    black = Split(torch.zeros_like(dataset.val.images), dataset.val.labels)
    states = []
    for each in (dataset, replace(dataset, val=black)):
        network = tiny_network(2)
        train(network, each, TrainingSettings(epochs=1, batch_size=8, device="cpu"), seed=0)
        states.append(network.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_loss_that_is_not_finite_stops_training() -> None:
    """The reason names the loss, the epoch and the learning rate, and what to do."""
    settings = TrainingSettings(epochs=5, batch_size=8, learning_rate=100, warmup_epochs=0, device="cpu")
    network = nn.Sequential(nn.Flatten(), nn.Linear(192, 64), *(nn.Linear(64, 64) for _ in range(6)), nn.Linear(64, 2))
    with pytest.raises(TrainingFailedError, match=r"loss became (nan|inf) in epoch \d of 5 at learning rate .*; lower"):
        train(network, random_dataset(), settings, seed=0)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_outputs_that_are_not_finite_earn_no_score(value: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Statistics that break after the last loss was looked at do not score as class 0 does."""

    def broken(network: nn.Module, *_: object, **__: object) -> None:
        nn.init.constant_(network[-1].bias, value)  # type: ignore[index]

    monkeypatch.setattr(train_module, "recalibrate", broken)
    with pytest.raises(TrainingFailedError, match=r"outputs are NaN or infinite; lower the learning rate"):
        train(tiny_network(2), random_dataset(), TrainingSettings(epochs=1, device="cpu"), seed=0)


@pytest.mark.parametrize("count", [9, 17])
def test_a_last_batch_of_one_is_left_out(count: int) -> None:
    """One image has no variance, so batch normalisation could not train on it."""
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.BatchNorm1d(3), nn.Linear(3, 2))
    dataset = random_dataset(count)
    settings = TrainingSettings(epochs=1, batch_size=8, device="cpu")
    result = train(network, replace(dataset, val=dataset.train), settings, seed=0)
    assert np.isfinite(result.history[0].loss)


def test_learning_rate_has_the_closed_form() -> None:
    """Linear to the highest at the end of warm-up, half of it midway through the cosine, zero at the end."""
    settings = TrainingSettings(epochs=9, warmup_epochs=1, learning_rate=0.8, batch_size=64)
    highest = 0.8 * 64 / 256
    assert learning_rate_at(0.25, settings) == pytest.approx(highest / 4)
    assert learning_rate_at(1, settings) == pytest.approx(highest)
    assert learning_rate_at(3, settings) == pytest.approx(highest * (1 + math.cos(math.pi / 4)) / 2)
    assert learning_rate_at(5, settings) == pytest.approx(highest / 2)
    assert learning_rate_at(9, settings) == pytest.approx(0)


def test_long_warm_up_ends_half_way() -> None:
    """Warm-up takes at most half of the training, so that short budgets also decay."""
    settings = TrainingSettings(epochs=2, warmup_epochs=5, learning_rate=1, batch_size=256)
    assert learning_rate_at(1, settings) == pytest.approx(1)
    assert learning_rate_at(2, settings) == pytest.approx(0)


def test_history_holds_the_schedule() -> None:
    """Each step takes the rate of the formula at its middle: of four steps, the last one's is at 7/8 of the epoch."""
    settings = TrainingSettings(epochs=4, warmup_epochs=1, batch_size=10, device="cpu")
    result = train(tiny_network(2), random_dataset(), settings, seed=0)
    assert [e.learning_rate for e in result.history] == pytest.approx(
        [learning_rate_at(epoch + 7 / 8, settings) for epoch in range(4)]
    )


@pytest.mark.parametrize("warmup_epochs", [0, 1])
def test_a_single_step_learns(warmup_epochs: float) -> None:
    """One batch for one epoch changes the weights: no step has a learning rate of 0."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(192, 2))
    before = network[1].weight.clone()
    settings = TrainingSettings(epochs=1, batch_size=64, warmup_epochs=warmup_epochs, device="cpu")
    train(network, random_dataset(), settings, seed=0)
    assert not torch.equal(network[1].weight, before)


def test_biases_and_batch_normalisation_are_not_decayed() -> None:
    """Only weights of convolutions and linear layers are."""
    network = tiny_network(2)
    decayed, kept = build_optimiser(network, TrainingSettings(weight_decay=0.01)).param_groups
    assert [p.ndim for p in decayed["params"]] == [4, 4, 2]
    assert [p.ndim for p in kept["params"]] == [1] * 5
    assert (decayed["weight_decay"], kept["weight_decay"]) == (0.01, 0)


def test_recalibrated_statistics_are_those_of_the_images() -> None:
    """Afterwards, a batch normalisation right at the input holds the mean and variance of the images."""
    dataset = random_dataset(100)
    layer = nn.BatchNorm2d(3, momentum=0.3)
    recalibrate(layer, dataset, seed=0)
    torch.testing.assert_close(layer.running_mean, torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(layer.running_var, torch.ones(3), atol=1e-3, rtol=0)
    assert layer.momentum == 0.3
    assert not layer.training


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"batch_size": 1},
        {"learning_rate": 0},
        {"learning_rate": math.nan},
        {"momentum": 1},
        {"label_smoothing": 1},
        {"crop_padding": 0.5},
        {"precision": "int8"},
        {"epoch": 3},
        {"epochs": True},
        {"epochs": "3"},
        {"epochs": 3.0},
        {"learning_rate": True},
        {"warmup_epochs": "1"},
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    """Each setting says what it may be."""
    with pytest.raises(ValidationError):
        TrainingSettings.model_validate(wrong)


def test_a_whole_number_is_a_number() -> None:
    """`learning_rate: 1` needs no decimal point."""
    assert TrainingSettings.model_validate({"learning_rate": 1}).learning_rate == 1.0


def test_bfloat16_learns_too() -> None:
    """Autocast computes what the network computes, less exactly."""
    settings = TrainingSettings(epochs=2, device="cpu", precision="bfloat16")
    assert train(tiny_network(10), load_dataset("digits", image_size=8), settings, seed=0).top1 > 80
