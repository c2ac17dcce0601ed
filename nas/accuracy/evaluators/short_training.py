"""ShortTraining: each candidate's proxy is trained from scratch for a few epochs, and scored on held-out images."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from nas.accuracy.data.dataset import Dataset
from nas.accuracy.evaluators.evaluator import Evaluation
from nas.accuracy.evaluators.registry import Task
from nas.accuracy.score import SHORT, TOP1, Score
from nas.accuracy.training.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from nas.accuracy.training.failures import memory_as_failure
from nas.accuracy.training.settings import TrainingSettings
from nas.accuracy.training.train import TrainingState, advance, begin_training, final_top1, top1_so_far
from nas.accuracy.training.training_identity import TrainingIdentity, data_identity, recipe_of
from nas.errors import NasError
from nas.files import shown
from nas.listener import Listener
from nas.networks.architecture import Architecture
from nas.networks.build import build_network
from nas.networks.proxy import ProxySettings, proxy_architecture

# Datasets at other resolutions that an evaluator keeps.
_KEPT_RESOLUTIONS = 4


def short_training(task: Task) -> ShortTraining:
    """The evaluator `short` for a task."""
    return ShortTraining(task.dataset, task.training, task.proxy, task.space.largest_resolution)


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

    rung: ClassVar[str] = SHORT
    metric: ClassVar[str] = TOP1

    @property
    def chance(self) -> float:
        """Top-1 in percent of a network that guesses."""
        return 100 / len(self.dataset.classes)

    def begin(self, folder: Path, listener: Listener) -> None:
        """Nothing: each network is trained by itself."""

    def describe(self, budget: int) -> str:
        """The proxy, its images and its epochs."""
        return (
            f"the candidate's proxy for {budget} {'epoch' if budget == 1 else 'epochs'} on {self.dataset.name}: "
            f"{self.proxy.resolution} px for {self.largest_resolution} px (smaller ones in proportion), "
            f"{len(self.dataset.classes)} classes, early strides 1 so that the image shrinks at most "
            f"{self.proxy.max_stride} times"
        )

    def evaluate(self, architecture: Architecture, budget: int, seed: int) -> Evaluation:
        """Train for `budget` epochs; `seed` decides the first weights, the order of the images and the crops."""
        return self._train(architecture, budget, seed, until=budget, checkpoint=None)

    def advance(
        self, architecture: Architecture, budget: int, seed: int, *, until: int, checkpoint: Path
    ) -> Evaluation:
        """Train until `until` epochs are done, with the learning rates of `budget`."""
        return self._train(architecture, budget, seed, until=until, checkpoint=checkpoint)

    def identity(self, architecture: Architecture, budget: int, seed: int) -> TrainingIdentity:
        """The proxy, the images, the recipe, the budget and the seed."""
        proxy = self.proxy_of(architecture).fingerprint
        return TrainingIdentity(proxy, self._data_identity, recipe_of(self.training), budget, seed)

    def _train(
        self, architecture: Architecture, budget: int, seed: int, *, until: int, checkpoint: Path | None
    ) -> Evaluation:
        if budget < 1:
            raise NasError(f"the budget must be at least 1 epoch, but is {budget}")
        if not 1 <= until <= budget:
            raise NasError(f"a training of {budget} epochs must stop after 1 to {budget} of them, but got {until}")
        proxy = self.proxy_of(architecture)
        settings = self.training.model_copy(update={"epochs": budget})
        kept = (checkpoint, self.identity(architecture, budget, seed)) if checkpoint is not None else None
        what = f"{proxy.fingerprint} at {proxy.resolution} pixels"
        with memory_as_failure(what, "lower training.batch_size or the proxy's resolution"):
            dataset = self._dataset_at(proxy.resolution)
            state, note = _begun(proxy, settings, seed, until, kept)
            advance(state, dataset, settings, seed=seed, until=until)
            if until == budget:
                top1 = final_top1(state, dataset, settings, seed=seed)
                weights = {name: weight.cpu() for name, weight in state.network.state_dict().items()}
                return Evaluation(self._score(top1, state, proxy, until, budget, seed), weights, note)
            if until not in state.partial_top1:
                state.partial_top1[until] = top1_so_far(state, dataset, settings, seed=seed)
                if kept is not None:
                    save_checkpoint(kept[0], state, kept[1])
        return Evaluation(self._score(state.partial_top1[until], state, proxy, until, budget, seed), note=note)

    def _score(
        self, top1: float, state: TrainingState, proxy: Architecture, epochs: int, budget: int, seed: int
    ) -> Score:
        return Score(
            value=top1,
            epochs=epochs,
            seed=seed,
            seconds=sum(epoch.seconds for epoch in state.history[:epochs]),
            dataset=self.dataset.name,
            resolution=proxy.resolution,
            train_images=len(self.dataset.train),
            val_images=len(self.dataset.val),
            budget=budget if epochs < budget else None,
        )

    def proxy_of(self, architecture: Architecture) -> Architecture:
        """The network that is trained for `architecture`: the one its weights fit."""
        return proxy_architecture(
            architecture,
            self.proxy,
            largest_resolution=self.largest_resolution,
            classes=len(self.dataset.classes),
        )

    @cached_property
    def _data_identity(self) -> dict[str, Any]:
        return data_identity(self.dataset)

    def _dataset_at(self, resolution: int) -> Dataset:
        if resolution not in self._resized:
            while len(self._resized) >= _KEPT_RESOLUTIONS:
                del self._resized[next(iter(self._resized))]
            self._resized[resolution] = self.dataset.at(resolution)
        return self._resized[resolution]


def _begun(
    proxy: Architecture,
    settings: TrainingSettings,
    seed: int,
    until: int,
    kept: tuple[Path, TrainingIdentity] | None,
) -> tuple[TrainingState, str]:
    """The state to go on from towards `until` epochs, and why it is not the checkpoint's where one was kept."""

    def fresh() -> TrainingState:
        return begin_training(build_network(proxy, seed=seed), settings)

    state = fresh()
    if kept is None or not kept[0].exists():
        return state, ""
    try:
        load_checkpoint(kept[0], state, kept[1])
    except CheckpointError as error:
        return fresh(), f"{error}; trained again from the start"
    if state.epochs_done > until and until not in state.partial_top1:
        return fresh(), f"{shown(kept[0])} is beyond {until} epochs; trained again from the start"
    return state, ""
