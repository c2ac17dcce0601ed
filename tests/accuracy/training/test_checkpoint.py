"""Training resumes from a checkpoint as if it had never stopped; a bad checkpoint is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from nas.accuracy.training.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from nas.accuracy.training.settings import TrainingSettings
from nas.accuracy.training.train import (
    TrainingState,
    advance,
    begin_training,
    final_top1,
    learning_rate_at,
    top1_so_far,
    train,
)
from nas.accuracy.training.training_identity import TrainingIdentity
from nas.errors import NasError
from tests.accuracy.helpers import random_dataset, tiny_network

SETTINGS = TrainingSettings(epochs=4, batch_size=8, device="cpu")
IDENTITY = TrainingIdentity("f00d", {"digest": "1"}, {"version": 1}, budget=4, seed=3)
DATASET = random_dataset()


def begun(seed: int = 0) -> TrainingState:
    return begin_training(tiny_network(2, seed=seed, dropout=0.3), SETTINGS)


def stopped(path: Path, epochs: int = 2) -> TrainingState:
    """A training that was scored and saved after `epochs`."""
    state = begun()
    advance(state, DATASET, SETTINGS, seed=3, until=epochs)
    state.partial_top1[epochs] = top1_so_far(state, DATASET, SETTINGS, seed=3)
    save_checkpoint(path, state, IDENTITY)
    return state


def same(one: TrainingState, other: TrainingState) -> bool:
    """Whether weights, statistics and momenta are equal, bit for bit."""
    weights = zip(one.network.state_dict().values(), other.network.state_dict().values(), strict=True)
    momenta = (
        (a["momentum_buffer"], b["momentum_buffer"])
        for a, b in zip(one.optimiser.state.values(), other.optimiser.state.values(), strict=True)
    )
    return all(torch.equal(a, b) for a, b in [*weights, *momenta])


def test_training_on_from_checkpoints_is_training_straight_through(tmp_path: Path) -> None:
    """Scored and saved after every epoch, and loaded into a fresh network: the same weights and score, bit for bit."""
    network = tiny_network(2, dropout=0.3)
    straight = train(network, DATASET, SETTINGS, seed=3)
    path = tmp_path / "checkpoint"
    save_checkpoint(path, begun(), IDENTITY)
    for until in range(1, 5):
        state = begun(seed=9)
        load_checkpoint(path, state, IDENTITY)
        advance(state, DATASET, SETTINGS, seed=3, until=until)
        state.partial_top1[until] = top1_so_far(state, DATASET, SETTINGS, seed=3)
        save_checkpoint(path, state, IDENTITY)
    assert final_top1(state, DATASET, SETTINGS, seed=3) == straight.top1 == state.partial_top1[4]
    expected, got = network.state_dict(), state.network.state_dict()
    assert all(torch.equal(expected[name], got[name]) for name in expected)
    assert [epoch.loss for epoch in state.history] == [epoch.loss for epoch in straight.history]


def test_the_schedule_is_that_of_the_whole_training(tmp_path: Path) -> None:
    """After 2 of 4 epochs the learning rate is where 4 epochs have it: it has not come down for the partial score."""
    last = stopped(tmp_path / "checkpoint").history[-1].learning_rate
    assert last == pytest.approx(learning_rate_at(2 - 0.5 / 5, SETTINGS))
    assert last > 0.5 * SETTINGS.learning_rate * 8 / 256


def test_a_partial_score_leaves_the_training_alone() -> None:
    """Neither weights nor the statistics of batch normalisation, which are measured anew for the score, change."""
    scored, plain = begun(), begun()
    for state in (scored, plain):
        advance(state, DATASET, SETTINGS, seed=3, until=1)
    top1_so_far(scored, DATASET, SETTINGS, seed=3)
    assert same(scored, plain)


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    """Weights, momenta, figures and partial scores."""
    saved, loaded = stopped(tmp_path / "deep" / "checkpoint"), begun(seed=9)
    load_checkpoint(tmp_path / "deep" / "checkpoint", loaded, IDENTITY)
    assert same(saved, loaded)
    assert loaded.history == saved.history
    assert loaded.partial_top1 == saved.partial_top1
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["checkpoint"]


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


@pytest.mark.parametrize("damage", [cut, flipped, lambda _: b"", lambda _: b"x" * 99])
def test_a_damaged_checkpoint_is_refused(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    """Cut off, a single bit changed, empty, or something else."""
    path = tmp_path / "checkpoint"
    stopped(path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CheckpointError, match="checkpoint is damaged, or is not a checkpoint"):
        load_checkpoint(path, begun(), IDENTITY)


def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    """Another seed is another training; so is another network, whatever the file says."""
    path = tmp_path / "checkpoint"
    stopped(path)
    other = TrainingIdentity("f00d", {"digest": "1"}, {"version": 1}, budget=4, seed=4)
    with pytest.raises(CheckpointError, match="is of another training"):
        load_checkpoint(path, begun(), other)
    with pytest.raises(CheckpointError, match="does not fit"):
        load_checkpoint(path, begin_training(tiny_network(5), SETTINGS), IDENTITY)
    with pytest.raises(CheckpointError, match="cannot be read: No such file"):
        load_checkpoint(tmp_path / "none", begun(), IDENTITY)


def test_a_checkpoint_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    """One line, and nothing half written is left."""
    (tmp_path / "checkpoint").mkdir()
    with pytest.raises(NasError, match=r"cannot write .*checkpoint: Is a directory"):
        stopped(tmp_path / "checkpoint")
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]
