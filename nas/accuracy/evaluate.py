"""How good is an architecture, and what was spent to know it?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Protocol

import torch
from torch import Tensor

from nas.accuracy.dataset import Dataset
from nas.accuracy.train import TrainingFailedError, TrainingSettings, train
from nas.errors import NasError
from nas.networks.architecture import Architecture
from nas.networks.build import build_network
from nas.networks.proxy import ProxySettings, proxy_architecture

# Datasets at other resolutions that an evaluator keeps.
_KEPT_RESOLUTIONS = 4


@dataclass(frozen=True)
class Score:
    """Top-1 on the validation images, in percent, and how it was earned.

    `epochs` is the budget; `resolution` is that of the network that was trained, in pixels; `seconds` are those of
    training alone.
    """

    top1: float
    epochs: int
    seed: int
    seconds: float
    dataset: str
    resolution: int
    train_images: int
    val_images: int

    def __post_init__(self) -> None:
        if not 0 <= self.top1 <= 100:
            raise NasError(f"top1 must be 0 to 100 percent, but is {self.top1}")
        if self.epochs < 1:
            raise NasError(f"the epochs of a score must be at least 1, but are {self.epochs}")

    def comparable(self, other: Score) -> bool:
        """Whether both were earned with the same budget, on the same images: else neither is better."""
        return self._conditions() == other._conditions()

    def _conditions(self) -> tuple[str, int, int, int]:
        return self.dataset, self.epochs, self.train_images, self.val_images

    def to_json(self) -> dict[str, Any]:
        """A dictionary that JSON can hold."""
        return asdict(self)

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Score:
        """The score that `to_json` wrote. Raises NasError for missing and unknown keys."""
        known = {f.name for f in fields(Score)}
        missing, unknown = sorted(known - set(data)), sorted(set(data) - known)
        if missing or unknown:
            raise NasError(f"a score must have the keys {sorted(known)}, but lacks {missing} and has {unknown} besides")
        return Score(**data)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A score and, where a network was trained for it, the weights of the network (its state_dict, on the CPU)."""

    score: Score
    weights: Mapping[str, Tensor] | None = None


class Evaluator(Protocol):
    """Anything that scores architectures."""

    def evaluate(self, architecture: Architecture, budget: int, seed: int) -> Evaluation:
        """The score of `architecture` after `budget` epochs, the same for the same three arguments.

        Raises TrainingFailedError with the reason where this architecture cannot be scored; others still can.
        """
        ...

    def proxy_of(self, architecture: Architecture) -> Architecture:
        """The network that is trained in the place of `architecture`; two with one proxy have one score."""
        ...


@dataclass(frozen=True, eq=False)
class ShortTraining:
    """Trains each architecture's proxy from scratch and scores it on the validation images of `dataset`.

    `largest_resolution` is that of the search space, which is trained at `proxy.resolution`. `training.epochs` is not
    used: the budget of each call takes its place.
    """

    dataset: Dataset
    training: TrainingSettings
    proxy: ProxySettings
    largest_resolution: int
    _resized: dict[int, Dataset] = field(default_factory=dict, init=False, repr=False)

    def evaluate(self, architecture: Architecture, budget: int, seed: int) -> Evaluation:
        """Train for `budget` epochs; `seed` decides the first weights, the order of the images and the crops."""
        if budget < 1:
            raise NasError(f"the budget must be at least 1 epoch, but is {budget}")
        proxy = self.proxy_of(architecture)
        settings = self.training.model_copy(update={"epochs": budget})
        with memory_as_failure(proxy):
            dataset = self._dataset_at(proxy.resolution)
            network = build_network(proxy, seed=seed)
            result = train(network, dataset, settings, seed=seed)
        score = Score(
            top1=result.top1,
            epochs=budget,
            seed=seed,
            seconds=result.seconds,
            dataset=dataset.name,
            resolution=proxy.resolution,
            train_images=len(dataset.train),
            val_images=len(dataset.val),
        )
        return Evaluation(score, {name: weight.cpu() for name, weight in network.state_dict().items()})

    def proxy_of(self, architecture: Architecture) -> Architecture:
        """The network that is trained for `architecture`: the one its weights fit."""
        return proxy_architecture(
            architecture,
            self.proxy,
            largest_resolution=self.largest_resolution,
            classes=len(self.dataset.classes),
        )

    def _dataset_at(self, resolution: int) -> Dataset:
        if resolution not in self._resized:
            while len(self._resized) >= _KEPT_RESOLUTIONS:
                del self._resized[next(iter(self._resized))]
            self._resized[resolution] = self.dataset.at(resolution)
        return self._resized[resolution]


@contextmanager
def memory_as_failure(architecture: Architecture) -> Iterator[None]:
    """Memory that runs out inside becomes a TrainingFailedError; other errors pass."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not _out_of_memory(error):
            raise
        raise TrainingFailedError(
            f"out of memory while training {architecture.fingerprint} at {architecture.resolution} pixels; "
            "lower training.batch_size or the proxy's resolution"
        ) from error


def _out_of_memory(error: RuntimeError) -> bool:
    """Whether `error` is torch's way to say so: the CPU's allocator has no type of its own for it."""
    text = str(error)
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in text or "out of memory" in text
