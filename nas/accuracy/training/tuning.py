"""Train a network for a few more steps, after pruning or quantising it."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from nas.accuracy.data.augment import augment, normalised
from nas.accuracy.data.dataset import Dataset
from nas.accuracy.training.devices import resolve_device, resolve_precision
from nas.accuracy.training.failures import TrainingFailedError
from nas.accuracy.training.memory import keep_freed_memory
from nas.accuracy.training.optimisation import scaled_learning_rate, set_learning_rate
from nas.accuracy.training.randomness import seeded
from nas.accuracy.training.settings import TrainingSettings
from nas.accuracy.training.train import build_optimiser


def tune(
    network: nn.Module,
    dataset: Dataset,
    settings: TrainingSettings,
    *,
    steps: int,
    seed: int,
    decay: bool = True,
    after_step: Callable[[], None] = lambda: None,
) -> None:
    """Train `network`, in place, for `steps` steps of `settings.batch_size` images; it ends in evaluation mode.

    A step has all images where there are fewer. The learning rate begins at `settings.learning_rate` (for 256 images);
    with `decay` it falls as half a cosine to 0, else it stays. Epochs and warm-up of `settings` are ignored. `seed`
    decides the order of images, crops and dropout; the global random state is restored. `after_step` is called after
    each step, for example to set pruned weights back to 0.

    Raises TrainingFailedError where the loss becomes NaN or infinite, NasError for a device that this machine does not
    have.
    """
    device = resolve_device(settings.device)
    dtype = resolve_precision(settings.precision, device)
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
    optimiser = build_optimiser(network, settings)
    mean, std = dataset.mean.to(device), dataset.std.to(device)
    padding = round(settings.crop_padding * dataset.resolution)
    mirror = settings.mirror == "always" or (settings.mirror == "auto" and dataset.mirror)
    size = min(settings.batch_size, len(dataset.train))
    highest = scaled_learning_rate(settings.learning_rate, size)
    generator = torch.Generator().manual_seed(seed)
    order = torch.empty(0, dtype=torch.int64)
    keep_freed_memory()
    network.train()
    total = torch.zeros((), device=device)
    with seeded(seed, device):
        for step in range(steps):
            if len(order) < size:
                order = torch.randperm(len(dataset.train), generator=generator)
            indices, order = order[:size], order[size:]
            share = 0.5 * (1 + math.cos(math.pi * (step + 0.5) / steps)) if decay else 1.0
            set_learning_rate(optimiser, highest * share)
            batch = augment(dataset.train.images, indices, padding=padding, mirror=mirror, generator=generator)
            labels = dataset.train.labels[indices].to(device)
            with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                outputs = network(normalised(batch.to(device), mean, std))
            loss = functional.cross_entropy(outputs.float(), labels, label_smoothing=settings.label_smoothing)
            optimiser.zero_grad(set_to_none=True)
            scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            scaler.step(optimiser)
            scaler.update()
            after_step()
            total += loss.detach()
    if not total.isfinite():
        raise TrainingFailedError(f"loss became NaN or infinite in {steps} steps of fine-tuning; lower learning_rate")
    network.eval()
