"""How is a network trained?

The one training loop: stochastic gradient descent with momentum, linear warm-up and cosine decay (arXiv:1608.03983,
without restarts), label smoothing, crops and mirrored images. Tensors are channels-last, because that is what makes
depthwise convolutions fast. The randomness of an epoch comes from (seed, epoch) alone, so weights, optimiser, scaler
and epoch are all that training can be continued from (`TrainingState`). A change here that makes the same settings and
seed train other weights raises RECIPE_VERSION of nas/accuracy/recipe.py.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Generator, Tensor, nn
from torch.nn import functional

from nas.accuracy.augment import augment, normalised
from nas.accuracy.batchnorm import recalibrate
from nas.accuracy.dataset import Dataset, Split
from nas.accuracy.memory import keep_freed_memory
from nas.config import Settings
from nas.errors import NasError, RunFailedError

Precision = Literal["auto", "float32", "bfloat16", "float16"]
Device = Literal["auto", "cpu", "cuda"]

# The batch size for which TrainingSettings.learning_rate is stated.
REFERENCE_BATCH = 256

# Reading a loss waits for an accelerator, so it is looked at once in a while.
_STEPS_BETWEEN_CHECKS = 20

# Images on an accelerator may take this share of its free memory; otherwise they stay and batches are sent.
_IMAGES_SHARE = 0.25

_BATCHNORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class TrainingFailedError(RunFailedError):
    """Training ended without a usable network; the text is the reason."""


class TrainingSettings(Settings):
    """How networks are trained.

    `learning_rate` is the highest, for a batch of 256 images: it grows in proportion to `batch_size`
    (arXiv:1706.02677, section 2.1). It rises in a line for `warmup_epochs`, or half of the training where that is
    shorter. `weight_decay` leaves biases and batch normalisation alone. `crop_padding` is a share of the image's side:
    0.125 moves an image of 32 pixels by up to 4. `mirror` auto mirrors images where that keeps their class.
    `precision` auto is bfloat16 where the device computes it fast (AMX, recent GPUs), float16 on other GPUs, else
    float32.
    """

    epochs: int = Field(strict=True, default=3, ge=1, le=10_000)
    batch_size: int = Field(strict=True, default=32, ge=2, le=65_536)
    learning_rate: float = Field(strict=True, default=0.4, gt=0, le=100, allow_inf_nan=False)
    momentum: float = Field(strict=True, default=0.9, ge=0, lt=1)
    nesterov: bool = True
    weight_decay: float = Field(strict=True, default=1e-4, ge=0, le=1)
    warmup_epochs: float = Field(strict=True, default=1.0, ge=0, le=1000)
    label_smoothing: float = Field(strict=True, default=0.1, ge=0, lt=1)
    crop_padding: float = Field(strict=True, default=0.125, ge=0, lt=0.5)
    mirror: Literal["auto", "always", "never"] = "auto"
    precision: Precision = "auto"
    device: Device = "auto"


@dataclass(frozen=True)
class Epoch:
    """What one epoch did: mean training loss, the last step's learning rate, and the seconds it took."""

    loss: float
    learning_rate: float
    seconds: float


@dataclass(frozen=True)
class TrainingResult:
    """`top1` in percent on the validation split; `seconds` and `images_per_second` are of training alone."""

    top1: float
    history: tuple[Epoch, ...]
    seconds: float
    images_per_second: float


@dataclass
class TrainingState:
    """All that training is continued from: with these restored, the next epoch is the same, bit for bit.

    `history` has the figures of each epoch that is done, `partial_top1` what was scored on the way, in percent, by the
    number of epochs.
    """

    network: nn.Module
    optimiser: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    history: list[Epoch] = field(default_factory=list)
    partial_top1: dict[int, float] = field(default_factory=dict)

    @property
    def epochs_done(self) -> int:
        """How many epochs were trained."""
        return len(self.history)

    @property
    def seconds(self) -> float:
        """What they took, of training alone."""
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

    The network, which its caller has initialised from the same seed, takes (n, 3, h, w) float images and returns (n,
    classes). It ends on the device it was trained on, in evaluation mode. `seed` decides order, crops and dropout: the
    same seed gives the same weights, bit for bit, on the same CPU with as many threads. The global random state stays
    as it was. `on_epoch` is called with the number of epochs done and the last one's figures.

    Raises TrainingFailedError where the loss or the outputs become NaN or infinite, NasError for a device that is not
    there.
    """
    state = begin_training(network, settings)
    advance(state, dataset, settings, seed=seed, until=settings.epochs, on_epoch=on_epoch)
    top1 = final_top1(state, dataset, settings, seed=seed)
    images = settings.epochs * len(dataset.train)
    return TrainingResult(top1, tuple(state.history), state.seconds, images / state.seconds)


def begin_training(network: nn.Module, settings: TrainingSettings) -> TrainingState:
    """`network` on the device that it is to be trained on, before its first epoch.

    Raises NasError for a device that is not there.
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
    """Train on until `until` of `settings.epochs` epochs are done; the learning rate is that of the whole training.

    In how many steps it gets to the end makes no difference to the weights. Raises as `train` does.
    """
    device = next(state.network.parameters()).device
    dtype = resolve_precision(settings.precision, device)
    split = Split(_placed(dataset.train.images, device), dataset.train.labels)
    keep_freed_memory()
    while state.epochs_done < until:
        state.history.append(train_epoch(state, split, dataset, settings, dtype=dtype, seed=seed))
        if on_epoch is not None:
            on_epoch(state.epochs_done, state.history[-1])


def top1_so_far(state: TrainingState, dataset: Dataset, settings: TrainingSettings, *, seed: int) -> float:
    """Top-1 on the validation images, in percent, of the network as it stands; `state` stays as it is.

    Batch normalisation is recalibrated, as it is before a final score, on a copy: what is trained on must not see it.
    """
    return final_top1(replace(state, network=copy.deepcopy(state.network)), dataset, settings, seed=seed)


def final_top1(state: TrainingState, dataset: Dataset, settings: TrainingSettings, *, seed: int) -> float:
    """Top-1 on the validation images, in percent. Batch normalisation is recalibrated: this ends a training."""
    recalibrate(state.network, dataset, seed=seed)
    return top1_percent(state.network, dataset.val, dataset, batch_size=4 * settings.batch_size)


def train_epoch(
    state: TrainingState,
    split: Split,
    dataset: Dataset,
    settings: TrainingSettings,
    *,
    dtype: torch.dtype,
    seed: int,
) -> Epoch:
    """One pass over `split`, in an order drawn from (`seed`, epoch); `dataset` says how images are normalised.

    `state` is trained; the epoch is its caller's to add to the history.
    """
    start = time.perf_counter()
    device = next(state.network.parameters()).device
    mean, std = dataset.mean.to(device), dataset.std.to(device)
    padding = round(settings.crop_padding * dataset.resolution)
    mirror = settings.mirror == "always" or (settings.mirror == "auto" and dataset.mirror)
    epoch_seed = _epoch_seed(seed, state.epochs_done)
    generator = Generator().manual_seed(epoch_seed)
    batches = _batches(len(split), settings.batch_size, generator)
    losses: list[Tensor] = []
    learning_rate = 0.0
    state.network.train()
    with torch.random.fork_rng(devices=_cuda_devices(device), device_type="cuda"):
        torch.manual_seed(epoch_seed)
        for number, indices in enumerate(batches):
            learning_rate = learning_rate_at(state.epochs_done + (number + 0.5) / len(batches), settings)
            _set_learning_rate(state.optimiser, learning_rate)
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
            if (number + 1) % _STEPS_BETWEEN_CHECKS == 0 or number + 1 == len(batches):
                _check_finite(losses[-_STEPS_BETWEEN_CHECKS:], state.epochs_done + 1, learning_rate, settings)
    return Epoch(float(torch.stack(losses).mean()), learning_rate, time.perf_counter() - start)


@torch.inference_mode()
def top1_percent(network: nn.Module, split: Split, dataset: Dataset, *, batch_size: int = 256) -> float:
    """Share of `split` that `network` puts into the right class, in percent; `dataset` says how to normalise.

    The network is left in evaluation mode. Computed in float32. Raises TrainingFailedError where an output is NaN or
    infinite: such outputs would pass for class 0.
    """
    network.eval()
    device = next(network.parameters()).device
    mean, std = dataset.mean.to(device), dataset.std.to(device)
    right = torch.zeros((), dtype=torch.int64, device=device)
    finite = torch.ones((), dtype=torch.bool, device=device)
    for images, labels in _in_batches(split, batch_size):
        outputs = network(normalised(images.to(device), mean, std))
        right += (outputs.argmax(1) == labels.to(device)).sum()
        finite &= outputs.isfinite().all()
    if not finite:
        raise TrainingFailedError(
            "the network's outputs are NaN or infinite after training; lower training.learning_rate"
        )
    return 100 * int(right) / len(split)


def learning_rate_at(epochs_done: float, settings: TrainingSettings) -> float:
    """The learning rate when `epochs_done` epochs (a fraction within one) have been trained.

    A line from 0 to the highest during warm-up, then half a cosine down to 0 at the end. A step takes the rate at its
    middle, so that none is trained with 0.
    """
    highest = settings.learning_rate * settings.batch_size / REFERENCE_BATCH
    warmup = min(settings.warmup_epochs, settings.epochs / 2)
    if epochs_done < warmup:
        return highest * epochs_done / warmup
    return highest * 0.5 * (1 + math.cos(math.pi * (epochs_done - warmup) / (settings.epochs - warmup)))


def build_optimiser(network: nn.Module, settings: TrainingSettings) -> torch.optim.Optimizer:
    """SGD for the parameters of `network`: those of batch normalisation and biases are not decayed."""
    kept = {id(p) for m in network.modules() if isinstance(m, _BATCHNORMS) for p in m.parameters(recurse=False)}
    kept |= {id(p) for name, p in network.named_parameters() if name.rsplit(".", 1)[-1] == "bias"}
    parameters = [p for p in network.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if id(p) not in kept], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if id(p) in kept], "weight_decay": 0.0},
    ]
    return torch.optim.SGD(
        groups,
        lr=settings.learning_rate,
        momentum=settings.momentum,
        nesterov=settings.nesterov and settings.momentum > 0,
        fused=True,
    )


def resolve_device(device: Device) -> torch.device:
    """The torch device that a setting means. Raises NasError for one that this machine does not have."""
    if device == "cuda" and not torch.cuda.is_available():
        raise NasError("training.device is cuda, but torch sees no CUDA device here. Choices: auto, cpu.")
    return torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")


def resolve_precision(precision: Precision, device: torch.device) -> torch.dtype:
    """The type that forward passes compute in. Raises NasError for float16 on a CPU, which has no fast float16."""
    if precision == "float16" and device.type == "cpu":
        raise NasError("training.precision float16 needs a CUDA device. Choices on a CPU: auto, float32, bfloat16.")
    if precision != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[precision]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    # Without AMX, bfloat16 took almost twice as long as float32 (AMD EPYC with avx512_bf16, MobileNetV3 at 16 pixels).
    return torch.bfloat16 if torch.cpu.get_capabilities().get("amx_bf16") else torch.float32


def _epoch_seed(seed: int, epoch: int) -> int:
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)[0])


def _batches(images: int, batch_size: int, generator: Generator) -> Sequence[Tensor]:
    """A random order, cut into batches; a last batch of one image, which has no variance, is left out."""
    batches = torch.split(torch.randperm(images, generator=generator), batch_size)
    return batches[:-1] if len(batches) > 1 and len(batches[-1]) == 1 else batches


def _in_batches(split: Split, batch_size: int) -> Iterable[tuple[Tensor, Tensor]]:
    for start in range(0, len(split), batch_size):
        yield split.images[start : start + batch_size], split.labels[start : start + batch_size]


def _placed(images: Tensor, device: torch.device) -> Tensor:
    """`images` in channels-last memory, on the accelerator if they fit there well."""
    images = images.contiguous(memory_format=torch.channels_last)
    if device.type != "cuda" or images.numel() > _IMAGES_SHARE * torch.cuda.mem_get_info(device)[0]:
        return images
    return images.to(device)


def _set_learning_rate(optimiser: torch.optim.Optimizer, learning_rate: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = learning_rate


def _check_finite(losses: Iterable[Tensor], epoch: int, learning_rate: float, settings: TrainingSettings) -> None:
    values = torch.stack(list(losses)).tolist()
    bad = next((value for value in values if not math.isfinite(value)), None)
    if bad is not None:
        raise TrainingFailedError(
            f"loss became {bad} in epoch {epoch} of {settings.epochs} at learning rate {learning_rate:.3g}; "
            "lower training.learning_rate"
        )


def _cuda_devices(device: torch.device) -> list[int]:
    return [torch.cuda.current_device()] if device.type == "cuda" else []
