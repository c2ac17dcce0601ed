"""Full training learns, and gives the same weights when it is interrupted, accumulated or parallel."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from nas.accuracy.data.load import load_dataset
from nas.accuracy.full_training import train as final_training
from nas.accuracy.full_training.distillation import Teacher
from nas.accuracy.full_training.recipes import RECIPES, find_recipe
from nas.accuracy.full_training.state import FinalTraining
from nas.accuracy.full_training.train import train_to_the_end
from nas.accuracy.training.failures import TrainingFailedError
from nas.accuracy.training.scores import score
from nas.errors import NasError
from tests.accuracy.helpers import BARE, random_dataset, same, small_network, tiny_network

ALL = {
    "epochs": 3,
    "batch_size": 16,
    "device": "cpu",
    "warmup_epochs": 1.0,
    "dropout": 0.2,
    "drop_path": 0.2,
    "erasing": 0.3,
    "crop": "resized",
}


def without_norm(seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16, 2))


@pytest.mark.parametrize("name", ["plain", "mobilenet", "modern"])
def test_recipes_learn_the_digits(name: str) -> None:
    """A tiny network gets far in a few epochs, and the best weights are those with the best score."""
    recipe = find_recipe(name, {"epochs": 4, "batch_size": 64, "warmup_epochs": 1.0, "device": "cpu"})
    network, dataset = tiny_network(10), load_dataset("digits", image_size=8)
    state = train_to_the_end(network, dataset, recipe, seed=0)  # type: ignore[arg-type]
    assert state.best_epoch == 1 + max(range(4), key=lambda n: (state.history[n].top1, -n))
    assert state.history[-1].top1 > 75
    state.scored.load_state_dict(state.best)
    scores = score(state.scored, dataset.val, dataset)
    best = state.history[state.best_epoch - 1]
    assert (scores.top1, scores.top5, scores.loss) == pytest.approx((best.top1, best.top5, best.val_loss))
    assert scores.confusion.sum(1).tolist() == torch.bincount(dataset.val.labels, minlength=10).tolist()
    assert scores.top1 <= scores.top5 <= 100


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_stopped_and_resumed_is_the_same_training(name: str, tmp_path: Path) -> None:
    """Bit for bit, best weights, optimiser, history and all, with everything that draws; the random state stays."""
    recipe = find_recipe(name, ALL)
    dataset = random_dataset(48)
    before = torch.get_rng_state()
    whole = train_to_the_end(small_network(), dataset, recipe, seed=3)

    def stop(state: FinalTraining) -> None:
        if len(state.history) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_to_the_end(small_network(), dataset, recipe, seed=3, checkpoint=tmp_path / "c.pt", on_epoch=stop)
    resumed = train_to_the_end(small_network(), dataset, recipe, seed=3, checkpoint=tmp_path / "c.pt")
    assert torch.equal(torch.get_rng_state(), before)
    assert same(whole.network.state_dict(), resumed.network.state_dict())
    assert same(whole.last, resumed.last)
    assert same(whole.best, resumed.best)
    figures = [[(e.train_loss, e.top1, e.val_loss) for e in state.history] for state in (whole, resumed)]
    assert figures[0] == figures[1]
    other = train_to_the_end(small_network(), dataset, recipe, seed=4)
    assert not same(whole.last, other.last)


KILLED = """
import sys, time
sys.path.insert(0, {here!r})
from pathlib import Path
from tests.accuracy.full_training.test_train import ALL, find_recipe, random_dataset, small_network, train_to_the_end
def wait(state):
    print(len(state.history), flush=True)
    if len(state.history) == 2:
        time.sleep(60)
train_to_the_end(small_network(), random_dataset(48), find_recipe("modern", ALL), seed=3,
                 checkpoint=Path({place!r}), on_epoch=wait)
"""


@pytest.mark.slow
def test_killed_and_resumed_is_the_same_training(tmp_path: Path) -> None:
    """After SIGKILL, which nothing can be done about."""
    place = tmp_path / "c.pt"
    code = KILLED.format(here=str(Path(__file__).parents[3]), place=str(place))
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert [process.stdout.readline().strip() for _ in range(2)] == ["1", "2"]
        process.send_signal(signal.SIGKILL)
    recipe, dataset = find_recipe("modern", ALL), random_dataset(48)
    resumed = train_to_the_end(small_network(), dataset, recipe, seed=3, checkpoint=place)
    assert same(train_to_the_end(small_network(), dataset, recipe, seed=3).last, resumed.last)


def test_accumulated_parts_are_the_whole_batch() -> None:
    """Up to rounding, where no statistics of a batch are used."""
    parts = BARE.model_copy(update={"accumulate": 4})
    whole, cut = (train_to_the_end(without_norm(), random_dataset(48), recipe, seed=0) for recipe in (BARE, parts))
    for name, weight in whole.last.items():
        torch.testing.assert_close(cut.last[name], weight, atol=1e-5, rtol=1e-4)


RANK = """
import sys
sys.path.insert(0, {here!r})
import torch
torch.set_num_threads(1)
from nas.accuracy.training.processes import joined_processes
from tests.accuracy.full_training.test_train import BARE, random_dataset, train_to_the_end, without_norm, score
with joined_processes(torch.device("cpu")) as processes:
    data = random_dataset(48)
    state = train_to_the_end(without_norm(), data, BARE, seed=0, processes=processes)
    scores = score(state.scored, data.train, data, processes=processes)
    torch.save((state.last, scores.confusion, processes.first), {place!r} + str(processes.rank))
"""


@pytest.mark.slow
def test_two_processes_train_one_network(tmp_path: Path) -> None:
    """As torchrun starts them: both have the weights that one process gets from the same batches."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    code = RANK.format(here=str(Path(__file__).parents[3]), place=str(tmp_path / "rank"))
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            env={
                **os.environ,
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": "2",
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
            },
        )
        for rank in range(2)
    ]
    assert [process.wait(120) for process in processes] == [0, 0]
    first, second = (torch.load(tmp_path / f"rank{rank}") for rank in range(2))
    assert same(first[0], second[0])
    assert (first[2], second[2]) == (True, False)
    alone = train_to_the_end(without_norm(), random_dataset(48), BARE, seed=0)
    for name, weight in alone.last.items():
        torch.testing.assert_close(first[0][name], weight, atol=1e-5, rtol=1e-4)
    assert torch.equal(first[1], second[1])
    assert int(first[1].sum()) == 48


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"accumulate": 3}, "divide by it, but is 16"),
        ({"accumulate": 16}, "batch_size must be 2 or more times"),
        ({"batch_size": 64, "accumulate": 2}, "there are 40 training images, fewer than batch_size"),
    ],
)
def test_batches_that_cannot_be_divided(change: dict[str, int], said: str) -> None:
    """Are refused before anything is trained."""
    with pytest.raises(NasError, match=said):
        train_to_the_end(small_network(), random_dataset(), BARE.model_copy(update=change), seed=0)


def test_a_teacher_is_learnt_from() -> None:
    """With alpha 1 the student comes to agree with a teacher who knows nothing of the labels."""
    dataset = random_dataset(48)

    def bright(images: Tensor) -> Tensor:
        return torch.stack([images[:, 0].mean((1, 2)), -images[:, 0].mean((1, 2))], 1) * 50

    recipe = BARE.model_copy(update={"epochs": 25, "batch_size": 24})
    teacher = Teacher("bright", bright, temperature=2.0, alpha=1.0)
    state = train_to_the_end(without_norm(), dataset, recipe, seed=0, teacher=teacher)
    pixels = (dataset.train.images.float() - dataset.mean.view(1, 3, 1, 1)) / dataset.std.view(1, 3, 1, 1)
    agreed = (state.network(pixels).argmax(1) == bright(pixels).argmax(1)).float().mean()
    assert agreed > 0.9


def test_a_loss_that_is_not_finite_stops_training() -> None:
    """The reason names the rate, and nothing is scored."""
    recipe = BARE.model_copy(update={"learning_rate": 100.0, "epochs": 10})
    deep = nn.Sequential(nn.Flatten(), *(nn.Linear(192, 192) for _ in range(8)), nn.Linear(192, 2))
    said = r"loss became (nan|inf) in epoch 1 of 10 .*; lower the recipe's learning_rate \(100 for 256 images\)"
    with pytest.raises(TrainingFailedError, match=said):
        train_to_the_end(deep, random_dataset(400), recipe, seed=0)


def test_memory_that_runs_out_is_a_failed_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason names what takes less of it."""

    def too_large(*_: object) -> Tensor:
        return torch.empty(2**50)

    monkeypatch.setattr(final_training, "_loss", too_large)
    with pytest.raises(
        TrainingFailedError, match=r"out of memory .* 16 images \(accumulate: 1\) at 8 pixels; raise accumulate"
    ):
        train_to_the_end(small_network(), random_dataset(), BARE, seed=0)
