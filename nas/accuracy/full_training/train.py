"""Train a network fully, for deployment rather than for a score.

One loop for every recipe of recipes.py: gradient accumulation, mixed precision, a moving average of the weights, a
teacher, several processes. The randomness of an epoch comes from (seed, epoch, process) alone, and a checkpoint is
written after each epoch. So a training that is stopped or killed resumes to the same weights, bit for bit on the same
CPU with as many threads and processes (a GPU's kernels may sum in another order each time). A change here after which
the same recipe and seed train other weights must raise LOOP_VERSION of checkpoint.py.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Generator, Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from nas.accuracy.data.augment import augment, normalised
from nas.accuracy.data.dataset import Dataset, Split
from nas.accuracy.data.mixing import erased, mixed, resized_crops
from nas.accuracy.data.rand_augment import rand_augment
from nas.accuracy.full_training.checkpoint import identity_of, load_final, save_final
from nas.accuracy.full_training.distillation import Teacher
from nas.accuracy.full_training.fine_tuning import Tuning, freeze, recipe_optimiser, to_training_mode
from nas.accuracy.full_training.recipes import Recipe, learning_rate_at
from nas.accuracy.full_training.regularise import add_drop_path, add_dropout
from nas.accuracy.full_training.state import FinalEpoch, FinalPlan, FinalTraining, WeightAverage
from nas.accuracy.training.devices import placed, resolve_device, resolve_precision
from nas.accuracy.training.failures import STEPS_BETWEEN_CHECKS, check_losses, memory_as_failure
from nas.accuracy.training.memory import keep_freed_memory
from nas.accuracy.training.optimisation import REFERENCE_BATCH, set_learning_rate
from nas.accuracy.training.processes import Processes
from nas.accuracy.training.randomness import derived_seed, seeded
from nas.accuracy.training.scores import score
from nas.errors import NasError


def train_to_the_end(
    network: nn.Sequential,
    dataset: Dataset,
    recipe: Recipe,
    *,
    seed: int,
    tuning: Tuning | None = None,
    teacher: Teacher | None = None,
    checkpoint: Path | None = None,
    processes: Processes | None = None,
    on_epoch: Callable[[FinalTraining], None] | None = None,
) -> FinalTraining:
    """Train `network`, in place, on the training images; choose the best weights by the validation images.

    `network` comes from `build_network` with the weights to start from; child i is block i. The training resumes from
    `checkpoint` where that exists, and writes it after each epoch. `on_epoch` is called after each epoch, in the first
    process only. The global random state is restored.

    Raises NasError for a batch that cannot be divided among parts and processes, a device that this machine does not
    have, and a checkpoint that is damaged or of another training (which stays as it is). Raises TrainingFailedError
    where the loss becomes NaN or infinite, and where memory runs out.
    """
    plan = FinalPlan(dataset, recipe, seed, tuning or Tuning(), teacher, processes or Processes())
    _check_batch(plan)
    identity = identity_of(network, plan)
    state, trained = _begin(network, plan)
    if checkpoint is not None and checkpoint.exists():
        load_final(checkpoint, state, identity)
    plan.processes.wait()  # until all have read the checkpoint, which the first process will overwrite
    keep_freed_memory()
    images = _Images.of(dataset, state.device)
    step = f"on {recipe.batch_size} images (accumulate: {recipe.accumulate}) at {dataset.resolution} pixels"
    while len(state.history) < recipe.epochs:
        with memory_as_failure(step, "raise accumulate, or lower batch_size"):
            epoch = _epoch(state, trained, images, plan)
        state.add(epoch)
        if plan.processes.first:
            if checkpoint is not None:
                save_final(checkpoint, state, identity)
            if on_epoch is not None:
                on_epoch(state)
    return state


@dataclass(frozen=True, eq=False)
class _Images:
    """The training images, on the training device if they fit there well; mean and std of their channels, there too."""

    split: Split
    mean: Tensor
    std: Tensor

    @classmethod
    def of(cls, dataset: Dataset, device: torch.device) -> _Images:
        split = Split(placed(dataset.train.images, device), dataset.train.labels)
        return cls(split, dataset.mean.to(device), dataset.std.to(device))


def _begin(network: nn.Sequential, plan: FinalPlan) -> tuple[FinalTraining, nn.Module]:
    """The state before the first epoch, and the module to call for training: the network, or its parallel wrapper."""
    recipe, processes = plan.recipe, plan.processes
    device = resolve_device(recipe.device)
    if device.type == "cuda":
        device = torch.device("cuda", processes.local_rank)
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    freeze(network, plan.tuning)
    add_dropout(network, recipe.dropout)
    add_drop_path(network, recipe.drop_path)
    average = WeightAverage(network) if recipe.ema_decay else None
    scaler = torch.amp.GradScaler(device.type, enabled=resolve_precision(recipe.precision, device) == torch.float16)
    state = FinalTraining(network, average, recipe_optimiser(network, recipe, plan.tuning), scaler)
    if processes.count == 1:
        return state, network
    return state, DistributedDataParallel(network, [device] if device.type == "cuda" else None)


def _epoch(state: FinalTraining, trained: nn.Module, images: _Images, plan: FinalPlan) -> FinalEpoch:
    """Train one pass over the training images and score the network after it."""
    start = time.perf_counter()
    loss, rate = _train_epoch(state, trained, images, plan)
    seconds = time.perf_counter() - start
    plan.processes.same_buffers(state.scored)
    scores = score(state.scored, plan.dataset.val, plan.dataset, processes=plan.processes)
    count = len(images.split)
    speed = _steps(count, plan.recipe) * min(plan.recipe.batch_size, count) / seconds
    return FinalEpoch(loss, scores.loss, scores.top1, scores.top5, rate, seconds, speed)


def _train_epoch(state: FinalTraining, trained: nn.Module, images: _Images, plan: FinalPlan) -> tuple[float, float]:
    """Train one pass over the training images; returns the mean loss and the last learning rate."""
    recipe, processes, epoch = plan.recipe, plan.processes, len(state.history)
    dtype = resolve_precision(recipe.precision, state.device)
    steps = _steps(len(images.split), recipe)
    # The order is the same in all processes; each draws its own augmentations.
    order = torch.randperm(len(images.split), generator=_generator(plan.seed, epoch))
    generator = _generator(plan.seed, epoch, processes.rank + 1)
    losses: list[Tensor] = []
    rate = 0.0
    to_training_mode(state.network, plan.tuning)
    with seeded(generator.initial_seed(), state.device):
        for step in range(steps):
            rate = learning_rate_at(epoch + (step + 0.5) / steps, recipe, images=len(images.split))
            set_learning_rate(state.optimiser, rate)
            parts = _parts(order[step * recipe.batch_size : (step + 1) * recipe.batch_size], plan)
            for number, indices in enumerate(parts):
                with _no_exchange(trained, number + 1 < len(parts)):
                    loss = _loss(trained, images, indices, plan, dtype, generator)
                    state.scaler.scale(loss / len(parts)).backward()  # type: ignore[no-untyped-call]
                losses.append(loss.detach())
            state.step(recipe)
            if (step + 1) % STEPS_BETWEEN_CHECKS == 0 or step + 1 == steps:
                _check(losses[-STEPS_BETWEEN_CHECKS * len(parts) :], epoch + 1, rate, recipe)
    total = processes.total(torch.stack(losses).double().mean())
    return float(total) / processes.count, rate


def _loss(
    trained: nn.Module, images: _Images, indices: Tensor, plan: FinalPlan, dtype: torch.dtype, generator: Generator
) -> Tensor:
    """The loss on the images at `indices`: of the labels, weighted with the teacher's where there is a teacher."""
    recipe, device = plan.recipe, images.mean.device
    pixels = _augmented(images.split, indices, plan, generator)
    inputs = normalised(pixels.to(device, non_blocking=True), images.mean, images.std)
    inputs = erased(inputs, probability=recipe.erasing, generator=generator)
    labels = images.split.labels[indices].to(device, non_blocking=True)
    batch = mixed(inputs, labels, mixup=recipe.mixup, cutmix=recipe.cutmix, generator=generator)
    with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
        logits = trained(batch.images)
    loss = batch.loss(logits.float(), recipe.label_smoothing)
    return loss if plan.teacher is None else plan.teacher.loss(logits.float(), batch.images, loss)


def _augmented(split: Split, indices: Tensor, plan: FinalPlan, generator: Generator) -> Tensor:
    """The images at `indices`, (n, 3, h, w) in 0 to 255, after the recipe's crops, mirroring and RandAugment."""
    recipe = plan.recipe
    mirror = recipe.mirror == "always" or (recipe.mirror == "auto" and plan.dataset.mirror)
    if recipe.crop == "resized":
        whole = split.images[indices.to(split.images.device)]
        pixels = resized_crops(whole, least=recipe.crop_scale, mirror=mirror, generator=generator)
    else:
        padding = round(recipe.crop_padding * plan.dataset.resolution)
        pixels = augment(split.images, indices, padding=padding, mirror=mirror, generator=generator)
    if not recipe.rand_augment_layers:
        return pixels
    return rand_augment(
        pixels, layers=recipe.rand_augment_layers, magnitude=recipe.rand_augment_magnitude, generator=generator
    )


def _steps(images: int, recipe: Recipe) -> int:
    """Number of full batches in an epoch. Images that do not fill one are left out, others in each epoch."""
    return max(1, images // recipe.batch_size)


def _parts(batch: Tensor, plan: FinalPlan) -> tuple[Tensor, ...]:
    """Indices that this process computes in a step, in the parts whose gradients are accumulated."""
    parts = batch.chunk(plan.recipe.accumulate * plan.processes.count)
    return parts[plan.processes.rank :: plan.processes.count]


def _check_batch(plan: FinalPlan) -> None:
    recipe, images = plan.recipe, len(plan.dataset.train)
    parts = recipe.accumulate * plan.processes.count
    if recipe.batch_size % parts or recipe.batch_size // parts < 2:
        raise NasError(
            f"batch_size must be 2 or more times accumulate times the number of processes "
            f"({recipe.accumulate} * {plan.processes.count} = {parts}) and divide by it, but is {recipe.batch_size}"
        )
    if images < recipe.batch_size and parts > 1:
        raise NasError(
            f"there are {images} training images, fewer than batch_size ({recipe.batch_size}), which then cannot be "
            f"divided into {parts} parts. Lower batch_size."
        )


def _check(losses: list[Tensor], epoch: int, rate: float, recipe: Recipe) -> None:
    advice = f"lower the recipe's learning_rate ({recipe.learning_rate:g} for {REFERENCE_BATCH} images)"
    check_losses(losses, epoch=epoch, epochs=recipe.epochs, learning_rate=rate, advice=advice)


def _no_exchange(trained: nn.Module, more_parts: bool) -> AbstractContextManager[object]:
    """Skip the exchange of gradients between processes until the last part of a batch."""
    if more_parts and isinstance(trained, DistributedDataParallel):
        return trained.no_sync()
    return nullcontext()


def _generator(*numbers: int) -> Generator:
    return Generator().manual_seed(derived_seed(*numbers))
