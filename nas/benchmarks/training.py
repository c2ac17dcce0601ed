"""Measure the speed of the training loop beside that of a plain PyTorch loop.

    python -m nas.accuracy benchmark --seconds 120

Both train the same network, MobileNetV3-Large at the proxy's strides with 10 classes, on the same random images. Each
loop has a process of its own, as in use. They take turns, so that other work on the machine slows both.
"""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from nas.accuracy.data.dataset import Dataset, Split
from nas.accuracy.training.settings import TrainingSettings
from nas.accuracy.training.train import train
from nas.errors import RunFailedError
from nas.networks.architecture import Architecture
from nas.networks.build import build_network
from nas.networks.proxy import ProxySettings, proxy_architecture
from nas.networks.references import reference

NETWORK = "mobilenet_v3_large"
CLASSES = 10
MAX_STRIDE = 8
MIN_ROUNDS = 5

_BATCHES_A_TURN = 12

# One turn: trains for an epoch and returns images per second.
Turn = Callable[[], float]


@dataclass(frozen=True)
class Throughput:
    """Images per second of each round, by our loop and by the plain one, in the order they were measured."""

    resolution: int
    batch_size: int
    threads: int
    plain_workers: int
    ours: tuple[float, ...]
    plain: tuple[float, ...]

    @property
    def ratios(self) -> tuple[float, ...]:
        """Ours / plain in each round."""
        return tuple(ours / plain for ours, plain in zip(self.ours, self.plain, strict=True))

    @property
    def ratio(self) -> float:
        """The median over the rounds of ours / plain."""
        return statistics.median(self.ratios)

    def to_json(self) -> dict[str, Any]:
        """The conditions, every round, and the medians."""
        medians = {"ours_median": statistics.median(self.ours), "plain_median": statistics.median(self.plain)}
        return asdict(self) | medians | {"ratio": self.ratio}


def measure_throughput(
    *,
    resolution: int,
    batch_size: int,
    seconds: float,
    workers: int = 2,
    on_round: Callable[[int], None] | None = None,
) -> Throughput:
    """Time both loops in turns for about `seconds` and at least five rounds, after one round of warm-up.

    The plain loop's DataLoader has `workers` processes, which start before anything is timed.
    """
    shape = (resolution, batch_size, workers)
    rounds: list[tuple[float, float]] = []
    with loop_process("ours", _ours, shape) as ours, loop_process("plain", plain_turn, shape) as plain:
        end = time.perf_counter() + seconds
        while len(rounds) <= MIN_ROUNDS or time.perf_counter() < end:
            rounds.append((ours(), plain()))
            if on_round is not None:
                on_round(len(rounds))
    speeds = list(zip(*rounds[1:], strict=True))
    return Throughput(resolution, batch_size, torch.get_num_threads(), workers, speeds[0], speeds[1])


@contextmanager
def loop_process(name: str, loop: Callable[[int, int, int], Turn], shape: tuple[int, int, int]) -> Iterator[Turn]:
    """A process in which `loop` trains for one turn whenever the returned function is called, and sleeps in between.

    `shape` holds the resolution, the batch size and the number of the DataLoader's processes. A turn raises
    RunFailedError, with `name`, when the process has ended.
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, loop, shape))
    process.start()
    there.close()

    def turn() -> float:
        try:
            here.send(True)
            return float(here.recv())
        except (EOFError, OSError) as error:
            message = f"the process of a training loop ended early ({name}); its output is above"
            raise RunFailedError(message) from error

    try:
        yield turn
    finally:
        here.close()
        process.join()


def _serve(connection: Connection, loop: Callable[[int, int, int], Turn], shape: tuple[int, int, int]) -> None:
    turn = loop(*shape)
    try:
        while connection.recv():
            connection.send(turn())
    except (EOFError, KeyboardInterrupt):
        return


def _ours(resolution: int, batch_size: int, workers: int) -> Turn:  # noqa: ARG001
    network, dataset, settings = benchmark_task(resolution, batch_size)
    return lambda: train(network, dataset, settings, seed=0).images_per_second


def plain_turn(resolution: int, batch_size: int, workers: int) -> Turn:
    """A turn of the plain loop, whose DataLoader has `workers` processes."""
    network, dataset, settings = benchmark_task(resolution, batch_size)
    loader = _plain_loader(dataset, settings, workers)
    return lambda: _plain_epoch(network, loader, settings)


def benchmark_task(resolution: int, batch_size: int) -> tuple[nn.Module, Dataset, TrainingSettings]:
    """The task of a turn, the same for every loop: a network, random images for 12 batches, and the settings."""
    dataset = _random_images(resolution, _BATCHES_A_TURN * batch_size)
    settings = TrainingSettings(epochs=1, batch_size=batch_size, device="cpu", mirror="always")
    return build_network(benchmark_network(resolution), seed=0), dataset, settings


def benchmark_network(resolution: int) -> Architecture:
    """MobileNetV3-Large at the proxy's strides, for 10 classes of images of `resolution` pixels."""
    architecture = reference(NETWORK)
    settings = ProxySettings(resolution=resolution, max_stride=MAX_STRIDE)
    return proxy_architecture(architecture, settings, largest_resolution=architecture.resolution, classes=CLASSES)


def _random_images(resolution: int, count: int) -> Dataset:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 3, resolution, resolution), dtype=torch.uint8, generator=generator)
    labels = torch.arange(count) % CLASSES
    train_split = Split(images.contiguous(memory_format=torch.channels_last), labels)
    val = train_split.pick(torch.arange(1))
    return Dataset("random", tuple("0123456789"), train_split, val, mirror=True, description="random images")


def _plain_loader(dataset: Dataset, settings: TrainingSettings, workers: int) -> DataLoader[tuple[Tensor, int]]:
    images = _PlainImages(dataset, padding=round(settings.crop_padding * dataset.resolution))
    return DataLoader(images, settings.batch_size, shuffle=True, num_workers=workers, persistent_workers=workers > 0)


def _plain_epoch(network: nn.Module, loader: DataLoader[tuple[Tensor, int]], settings: TrainingSettings) -> float:
    """Images per second of one epoch of the loop in tutorials: NCHW, float32, torch's own SGD."""
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4, nesterov=True)
    network.train()
    start = time.perf_counter()
    images = 0
    for inputs, labels in loader:
        loss = functional.cross_entropy(network(inputs), labels, label_smoothing=settings.label_smoothing)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        images += len(labels)
    return images / (time.perf_counter() - start)


class _PlainImages(TorchDataset[tuple[Tensor, int]]):
    """Images in NCHW memory, augmented one by one: pad, crop, mirror, to float, normalise."""

    def __init__(self, dataset: Dataset, padding: int) -> None:
        self.images = dataset.train.images.contiguous()
        self.labels = dataset.train.labels.tolist()
        self.mean, self.std = dataset.mean.view(3, 1, 1) / 255, dataset.std.view(3, 1, 1) / 255
        self.padding = padding

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        side = self.images.shape[-1]
        padded = functional.pad(self.images[index], [self.padding] * 4)
        top, left = torch.randint(0, 2 * self.padding + 1, (2,)).tolist()
        image = padded[:, top : top + side, left : left + side]
        if torch.rand(()) < 0.5:
            image = image.flip(-1)
        return (image.float() / 255 - self.mean) / self.std, self.labels[index]
