"""Does final training learn, and is it the same training however it is cut up?"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers import random_dataset, tiny_network
from torch import Tensor, nn
from torch.nn import functional

from nas.accuracy.data import load_dataset
from nas.accuracy.distillation import Teacher
from nas.accuracy.final_training import FinalTraining, Tuning, WeightAverage, score, train_to_the_end
from nas.accuracy.recipes import RECIPES, Recipe, find_recipe, learning_rate_at
from nas.accuracy.regularise import add_drop_path, add_dropout
from nas.accuracy.sealed_file import DamagedFileError
from nas.accuracy.train import TrainingFailedError
from nas.errors import NasError
from nas.networks.architecture import Architecture, Block
from nas.networks.build import build_network

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
# Nothing is drawn but the order, and no image's statistics are another's: parts can be compared with the whole.
BARE = Recipe(
    epochs=2, batch_size=16, learning_rate=0.5, warmup_epochs=0.0, crop_padding=0.0, mirror="never", device="cpu"
)


def small_network(seed: int = 0) -> nn.Sequential:
    """With a residual block, for 8 pixels and 2 classes."""
    blocks = (
        Block("conv", 8, 3, 2, activation="relu"),
        Block("mbconv", 8, 3, 1, 16, activation="hswish", se_channels=4, se_gate="hsigmoid"),
        Block("pool"),
        Block("linear", 12, activation="hswish"),
        Block("linear", 2),
    )
    return build_network(Architecture(8, 2, blocks), seed=seed)


def without_norm(seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16, 2))


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


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
from test_final_training import ALL, find_recipe, random_dataset, small_network, train_to_the_end
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
    code = KILLED.format(here=str(Path(__file__).parent), place=str(place))
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert [process.stdout.readline().strip() for _ in range(2)] == ["1", "2"]
        process.send_signal(signal.SIGKILL)
    recipe, dataset = find_recipe("modern", ALL), random_dataset(48)
    resumed = train_to_the_end(small_network(), dataset, recipe, seed=3, checkpoint=place)
    assert same(train_to_the_end(small_network(), dataset, recipe, seed=3).last, resumed.last)


def test_damaged_checkpoints_are_refused_and_left_alone(tmp_path: Path) -> None:
    """Cut off, with a flipped bit, or something else: nothing is overwritten."""
    place = tmp_path / "c.pt"
    train_to_the_end(small_network(), random_dataset(), BARE, seed=0, checkpoint=place)
    whole = place.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for content in (whole[:-9], bytes(flipped), b"", b"something else"):
        place.write_bytes(content)
        with pytest.raises(DamagedFileError, match=r"damaged.*left as it is.*Give another folder"):
            train_to_the_end(small_network(), random_dataset(), BARE, seed=0, checkpoint=place)
        assert place.read_bytes() == content


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seed": 1}, r"seed \(0 instead of 1\)"),
        ({"recipe": BARE.model_copy(update={"mixup": 0.5})}, r"recipe \(mixup: 0.0 instead of 0.5\)"),
        ({"network": small_network(5)}, "network and first weights"),
        ({"dataset": random_dataset(44)}, r"data \(digest: .*, train_images: 40 instead of 44"),
        ({"tuning": Tuning(layer_decay=0.5)}, "tuning"),
        ({"teacher": Teacher("t", lambda images: images.mean((2, 3))[:, :2])}, "teacher"),
    ],
)
def test_checkpoints_of_other_trainings_are_refused(change: dict[str, object], said: str, tmp_path: Path) -> None:
    """What differs is named."""
    place = tmp_path / "c.pt"
    train_to_the_end(small_network(), random_dataset(), BARE, seed=0, checkpoint=place)
    before = place.read_bytes()
    given = {"network": small_network(), "dataset": random_dataset(), "recipe": BARE, "seed": 0, **change}
    with pytest.raises(NasError, match=f"of another training: it differs in {said}"):
        train_to_the_end(**given, checkpoint=place)  # type: ignore[arg-type]
    assert place.read_bytes() == before


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
from nas.accuracy.processes import joined_processes
from test_final_training import BARE, random_dataset, train_to_the_end, without_norm, score
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
    code = RANK.format(here=str(Path(__file__).parent), place=str(tmp_path / "rank"))
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


def test_the_average_is_written_out() -> None:
    """After each update the average is decay times itself and the rest the weights; counters are copied."""
    network = small_network()
    average = WeightAverage(network)
    was = average.network.state_dict()["0.0.weight"].clone()
    with torch.no_grad():
        network[0][0].weight += 1.0  # type: ignore[index]
        network[0][1].num_batches_tracked += 5  # type: ignore[index]
    average.update(0.75)
    torch.testing.assert_close(average.network.state_dict()["0.0.weight"], was + 0.25)
    assert int(average.network.state_dict()["0.1.num_batches_tracked"]) == 5


def test_frozen_features_stay() -> None:
    """Weights and statistics of all blocks before the first linear one; the classifier learns."""
    network = small_network()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    train_to_the_end(network, random_dataset(), BARE, seed=0, tuning=Tuning(frozen_features=True))
    changed = {
        name.split(".")[0] for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])
    }
    assert changed == {"3", "4"}


def test_layer_wise_rates_are_powers() -> None:
    """Each block's rate is the next one's times the decay, the last one's being the schedule's."""
    state = train_to_the_end(small_network(), random_dataset(), BARE, seed=0, tuning=Tuning(layer_decay=0.5))
    rate = learning_rate_at(2 - 0.5 / 2, BARE)
    by_group = {group["lr"] / rate for group in state.optimiser.param_groups}
    assert by_group == {0.5**4, 0.5**3, 0.5, 1.0}
    with pytest.raises(NasError, match="layer_decay must be above 0"):
        Tuning(layer_decay=0)


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


def test_drop_path_leaves_out_whole_branches() -> None:
    """For some images, and scales the others up; nothing in evaluation mode; the mean stays."""
    network = small_network()
    assert add_drop_path(network, 0.5) == 1
    block, x = network[1], torch.randn(4000, 8, 4, 4)
    branch = block.layers(x) if block.eval() else x  # type: ignore[operator]
    torch.testing.assert_close(block(x), x + branch)
    block.layers.train()
    for layer in list(block.layers.modules())[1:]:
        layer.eval()
    added = block(x) - x
    gone = (added == 0).flatten(1).all(1)
    keep = 1 - 0.5 * 2 / 5
    assert float(gone.float().mean()) == pytest.approx(1 - keep, abs=0.03)
    torch.testing.assert_close(added[~gone], branch[~gone] / keep, atol=1e-4, rtol=1e-3)


@torch.no_grad()
def test_dropout_is_before_the_classifier() -> None:
    """In training mode alone."""
    network = nn.Sequential(nn.Identity(), nn.Linear(1000, 1, bias=False))
    nn.init.ones_(network[1].weight)
    add_dropout(network, 0.25)
    assert float(network.eval()(torch.ones(1, 1000))) == pytest.approx(1000)
    noisy = float(network.train()(torch.ones(1, 1000)))
    assert noisy != 1000
    assert noisy == pytest.approx(1000, rel=0.15)


def test_a_loss_that_is_not_finite_stops_training() -> None:
    """The reason names the rate, and nothing is scored."""
    recipe = BARE.model_copy(update={"learning_rate": 100.0, "epochs": 10})
    deep = nn.Sequential(nn.Flatten(), *(nn.Linear(192, 192) for _ in range(8)), nn.Linear(192, 2))
    with pytest.raises(TrainingFailedError, match=r"lower the recipe's learning_rate"):
        train_to_the_end(deep, random_dataset(), recipe, seed=0)


def test_scores_are_torchs() -> None:
    """Top-1, top-5 and loss of known logits."""
    dataset = random_dataset(30, classes=8)
    logits = torch.randn(30, 8, generator=torch.Generator().manual_seed(0))
    table = {
        bytes(image.numpy().data): row for image, row in zip(dataset.train.images.contiguous(), logits, strict=True)
    }

    class Known(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.unused = nn.Parameter(torch.zeros(1))

        def forward(self, x: Tensor) -> Tensor:
            pixels = x * dataset.std.view(1, 3, 1, 1) + dataset.mean.view(1, 3, 1, 1)
            return torch.stack([table[bytes(p.contiguous().numpy().data)] for p in pixels.round().to(torch.uint8)])

    scores = score(Known(), dataset.train, dataset)
    labels = dataset.train.labels
    ranks = (logits > logits.gather(1, labels[:, None])).sum(1)
    assert scores.top1 == pytest.approx(100 * float((ranks == 0).float().mean()))
    assert scores.top5 == pytest.approx(100 * float((ranks < 5).float().mean()))
    assert scores.loss == pytest.approx(float(functional.cross_entropy(logits, labels)), rel=1e-5)
