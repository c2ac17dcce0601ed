"""Train a network for a few epochs and score it.

Stochastic gradient descent with momentum, linear warm-up and cosine decay (arXiv:1608.03983, without restarts), label
smoothing, crops and mirrored images. Tensors are channels-last, which makes depthwise convolutions fast. The randomness
of an epoch comes from (seed, epoch) alone, so a training resumes from weights, optimiser, scaler and epoch
(`TrainingState`). A change here that makes the same settings and seed train other weights must raise RECIPE_VERSION of
training_identity.py.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from nas.accuracy.data.augment import augment, normalised
from nas.accuracy.data.dataset import Dataset, Split
from nas.accuracy.training.batchnorm import recalibrate
from nas.accuracy.training.devices import placed, resolve_device, resolve_precision
from nas.accuracy.training.failures import STEPS_BETWEEN_CHECKS, check_losses
from nas.accuracy.training.memory import keep_freed_memory
from nas.accuracy.training.optimisation import scaled_learning_rate, set_learning_rate, split_by_decay
from nas.accuracy.training.randomness import derived_seed, seeded
from nas.accuracy.training.scores import score
from nas.accuracy.training.settings import TrainingSettings

_BATCHNORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@dataclass(frozen=True)
class Epoch:
    """Figures of one epoch: mean training loss, learning rate of the last step, and seconds."""

    loss: float
    learning_rate: float
    seconds: float


@dataclass(frozen=True)
class TrainingResult:
    """Result of a training: `top1` in percent on the validation split; `seconds` and speed without the scoring."""

    top1: float
    history: tuple[Epoch, ...]
    seconds: float
    images_per_second: float


@dataclass
class TrainingState:
    """Everything that a training resumes from: with these restored, the next epoch is the same, bit for bit.

    `history` has the figures of each epoch that is done. `partial_top1` maps numbers of epochs to the top-1 scored
    after them, in percent.
    """

    network: nn.Module
    optimiser: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    history: list[Epoch] = field(default_factory=list)
    partial_top1: dict[int, float] = field(default_factory=dict)

    @property
    def epochs_done(self) -> int:
        """Number of epochs trained so far."""
        return len(self.history)

    @property
    def seconds(self) -> float:
        """Seconds of training so far, without scoring."""
        return sum(epoch.seconds for epoch in self.history)


def train(
    network: nn.Module,
    dataset: Dataset,
    settings: TrainingSettings,
    *,
    seed: int,
    on_epoch: Callable[[int, Epoch], None] | None = None,
) -> TrainingResult:
    """Train `network` in place on the training images and score it on the validation images.

    The network takes (n, 3, h, w) float images and returns logits (n, classes); the caller has initialised it from the
    same seed. It ends in evaluation mode, on the device it was trained on. `seed` decides the order of images, crops
    and dropout: the same seed gives the same weights, bit for bit, on the same CPU with as many threads. The global
    random state is restored. `on_epoch` is called with the number of epochs done and the figures of the last one.

    Raises TrainingFailedError where the loss or the outputs become NaN or infinite, NasError for a device that this
    machine does not have.
    """
    state = begin_training(network, settings)
    advance(state, dataset, settings, seed=seed, until=settings.epochs, on_epoch=on_epoch)
    top1 = final_top1(state, dataset, settings, seed=seed)
    images = settings.epochs * len(dataset.train)
    return TrainingResult(top1, tuple(state.history), state.seconds, images / state.seconds)


def begin_training(network: nn.Module, settings: TrainingSettings) -> TrainingState:
    """Move `network` to its device and return the state before its first epoch.

    Raises NasError for a device that this machine does not have.
    """
    device = resolve_device(settings.device)
    dtype = resolve_precision(settings.precision, device)
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
    return TrainingState(network, build_optimiser(network, settings), scaler)


def advance(
    state: TrainingState,
    dataset: Dataset,
    settings: TrainingSettings,
    *,
    seed: int,
    until: int,
    on_epoch: Callable[[int, Epoch], None] | None = None,
) -> None:
    """Train until `until` of `settings.epochs` epochs are done, on the learning rate schedule of all `settings.epochs`.

    Training in several calls gives the same weights as in one. Raises as `train` does.
    """
    device = next(state.network.parameters()).device
    dtype = resolve_precision(settings.precision, device)
    split = Split(placed(dataset.train.images, device), dataset.train.labels)
    keep_freed_memory()
    while state.epochs_done < until:
        state.history.append(train_epoch(state, split, dataset, settings, dtype=dtype, seed=seed))
        if on_epoch is not None:
            on_epoch(state.epochs_done, state.history[-1])


def top1_so_far(state: TrainingState, dataset: Dataset, settings: TrainingSettings, *, seed: int) -> float:
    """Top-1 on the validation images, in percent, of the network as it is now; `state` is not changed.

    Batch normalisation is recalibrated on a copy, as before a final score, so that further training is not affected.
    """
    return final_top1(replace(state, network=copy.deepcopy(state.network)), dataset, settings, seed=seed)


def final_top1(state: TrainingState, dataset: Dataset, settings: TrainingSettings, *, seed: int) -> float:
    """Top-1 on the validation images, in percent, after recalibrating batch normalisation in place.

    This ends a training: going on from here would give other weights.
    """
    recalibrate(state.network, dataset, seed=seed)
    return score(state.network, dataset.val, dataset, batch_size=4 * settings.batch_size).top1


def train_epoch(
    state: TrainingState,
    split: Split,
    dataset: Dataset,
    settings: TrainingSettings,
    *,
    dtype: torch.dtype,
    seed: int,
) -> Epoch:
    """Train one pass over `split`, in an order drawn from (`seed`, epoch), normalising images as `dataset` says.

    Changes all of `state` but its history, to which the caller adds the epoch.
    """
    start = time.perf_counter()
    device = next(state.network.parameters()).device
    mean, std = dataset.mean.to(device), dataset.std.to(device)
    padding = round(settings.crop_padding * dataset.resolution)
    mirror = settings.mirror == "always" or (settings.mirror == "auto" and dataset.mirror)
    epoch_seed = derived_seed(seed, state.epochs_done)
    generator = Generator().manual_seed(epoch_seed)
    batches = _batches(len(split), settings.batch_size, generator)
    losses: list[Tensor] = []
    learning_rate = 0.0
    state.network.train()
    with seeded(epoch_seed, device):
        for number, indices in enumerate(batches):
            learning_rate = learning_rate_at(state.epochs_done + (number + 0.5) / len(batches), settings)
            set_learning_rate(state.optimiser, learning_rate)
            batch = augment(split.images, indices, padding=padding, mirror=mirror, generator=generator)
            inputs = normalised(batch.to(device, non_blocking=True), mean, std)
            labels = split.labels[indices].to(device, non_blocking=True)
            with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                outputs = state.network(inputs)
            loss = functional.cross_entropy(outputs.float(), labels, label_smoothing=settings.label_smoothing)
            state.optimiser.zero_grad(set_to_none=True)
            state.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            state.scaler.step(state.optimiser)
            state.scaler.update()
            losses.append(loss.detach())
            if (number + 1) % STEPS_BETWEEN_CHECKS == 0 or number + 1 == len(batches):
                check_losses(
                    losses[-STEPS_BETWEEN_CHECKS:],
                    epoch=state.epochs_done + 1,
                    epochs=settings.epochs,
                    learning_rate=learning_rate,
                    advice="lower training.learning_rate",
                )
    return Epoch(float(torch.stack(losses).mean()), learning_rate, time.perf_counter() - start)


def learning_rate_at(epochs_done: float, settings: TrainingSettings) -> float:
    """The learning rate after `epochs_done` epochs, which may be a fraction.

    It rises linearly from 0 during warm-up, then falls as half a cosine to 0. A step uses the rate at its middle, so no
    step has a rate of 0.
    """
    highest = scaled_learning_rate(settings.learning_rate, settings.batch_size)
    warmup = min(settings.warmup_epochs, settings.epochs / 2)
    if epochs_done < warmup:
        return highest * epochs_done / warmup
    return highest * 0.5 * (1 + math.cos(math.pi * (epochs_done - warmup) / (settings.epochs - warmup)))


def build_optimiser(network: nn.Module, settings: TrainingSettings) -> torch.optim.Optimizer:
    """SGD for the parameters of `network`, without weight decay of batch normalisation and biases."""
    decayed, undecayed = split_by_decay(network, _BATCHNORMS)
    groups = [
        {"params": decayed, "weight_decay": settings.weight_decay},
        {"params": undecayed, "weight_decay": 0.0},
    ]
    return torch.optim.SGD(
        groups,
        lr=settings.learning_rate,
        momentum=settings.momentum,
        nesterov=settings.nesterov and settings.momentum > 0,
        fused=True,
    )


def _batches(images: int, batch_size: int, generator: Generator) -> Sequence[Tensor]:
    """Indices of batches in random order, without a last batch of one image, which has no variance."""
    batches = torch.split(torch.randperm(images, generator=generator), batch_size)
    return batches[:-1] if len(batches) > 1 and len(batches[-1]) == 1 else batches
