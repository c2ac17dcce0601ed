"""How is a network trained to the end, for use rather than for a score?

One loop for every recipe of `nas.accuracy.recipes`: gradient accumulation, mixed precision, a moving average of the
weights, a teacher, several processes. The randomness of an epoch comes from (seed, epoch, process) alone, and a
checkpoint follows each epoch: stopped or killed, training goes on to the same weights, bit for bit, on the same machine
with as many processes.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from nas.accuracy.augment import augment, normalised
from nas.accuracy.dataset import Dataset, Split
from nas.accuracy.distillation import Teacher
from nas.accuracy.memory import keep_freed_memory
from nas.accuracy.mixing import erased, mixed, resized_crops
from nas.accuracy.processes import Processes
from nas.accuracy.rand_augment import rand_augment
from nas.accuracy.recipes import REFERENCE_BATCH, Recipe, learning_rate_at
from nas.accuracy.regularise import add_drop_path, add_dropout
from nas.accuracy.sealed_file import DamagedFileError, read_sealed, write_sealed
from nas.accuracy.train import TrainingFailedError, resolve_device, resolve_precision
from nas.accuracy.training_identity import data_identity
from nas.errors import NasError
from nas.files import shown

# To be raised with every change after which the same recipe and seed train other weights.
LOOP_VERSION = 1

_KIND = "final training"
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.LayerNorm, nn.GroupNorm)
# RMSprop's epsilon: the square root of TensorFlow's 0.001, which stands inside its root.
_RMSPROP_EPSILON = 0.0316
_STEPS_BETWEEN_CHECKS = 20
_SCORED_AT_ONCE = 256
# Images on an accelerator may take this share of its free memory; otherwise they stay and batches are sent.
_IMAGES_SHARE = 0.25


@dataclass(frozen=True)
class Tuning:
    """How much of a network that has weights already is trained on.

    `frozen_features` trains the classifier (from the first linear block on) alone; the statistics of batch
    normalisation stay too. With `layer_decay` below 1 each block's learning rate is that of the block after it, times
    `layer_decay` (discriminative fine-tuning, arXiv:1801.06146, section 3.2).
    """

    frozen_features: bool = False
    layer_decay: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.layer_decay <= 1:
            raise NasError(f"layer_decay must be above 0 and at most 1, but got {self.layer_decay}")


@dataclass(frozen=True)
class FinalEpoch:
    """What an epoch did: losses and top-1 and top-5 in percent, on the validation images where not said otherwise."""

    train_loss: float
    val_loss: float
    top1: float
    top5: float
    learning_rate: float
    seconds: float
    images_per_second: float


@dataclass(frozen=True)
class Scores:
    """How a network did on some images: `confusion[true, predicted]` counts them, int64 (classes, classes)."""

    confusion: Tensor
    within_top5: int
    loss: float

    @property
    def images(self) -> int:
        """How many there were."""
        return int(self.confusion.sum())

    @property
    def top1(self) -> float:
        """Percent that were put into the right class."""
        return 100 * int(self.confusion.diagonal().sum()) / self.images

    @property
    def top5(self) -> float:
        """Percent whose class was among the five (or as many as there are) with the highest logits."""
        return 100 * self.within_top5 / self.images


class WeightAverage:
    """The exponential moving average of a network's weights and statistics, as a network of its own."""

    def __init__(self, network: nn.Sequential) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        pairs = list(zip(self.network.state_dict().values(), network.state_dict().values(), strict=True))
        self._averages = [ours for ours, _ in pairs if ours.is_floating_point()]
        self._values = [theirs for ours, theirs in pairs if ours.is_floating_point()]
        self._counts = [(ours, theirs) for ours, theirs in pairs if not ours.is_floating_point()]

    @torch.no_grad()
    def update(self, decay: float) -> None:
        """Move towards the network as it is."""
        torch._foreach_lerp_(self._averages, self._values, 1 - decay)
        for ours, theirs in self._counts:
            ours.copy_(theirs)


@dataclass
class FinalTraining:
    """A training as far as it has got; all of it is in a checkpoint.

    `best` is the state_dict that had the highest top-1 on the validation images so far (of equals the first), after
    `best_epoch` epochs; it is of the moving average where there is one.
    """

    network: nn.Sequential
    average: WeightAverage | None
    optimiser: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    steps: int = 0
    history: list[FinalEpoch] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)
    best_epoch: int = 0

    @property
    def scored(self) -> nn.Sequential:
        """The network that is scored and kept."""
        return self.network if self.average is None else self.average.network

    @property
    def last(self) -> dict[str, Tensor]:
        """The state_dict of the scored network as it is, on the CPU."""
        return _on_cpu(self.scored.state_dict())


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

    `network` is what `build_network` gives, with the weights to start from; child i is block i. The training goes on
    from `checkpoint` where that exists, and keeps it up to date. `on_epoch` is called after each epoch, in the first
    process only. The global random state stays as it was.

    Raises NasError for a batch that cannot be divided, a device that is not there and a checkpoint that is damaged or
    of another training (it is left alone), TrainingFailedError where the loss becomes NaN or infinite.
    """
    tuning, processes = tuning or Tuning(), processes or Processes()
    _check_batch(recipe, len(dataset.train), processes)
    identity = _identity(network, dataset, recipe, seed, tuning, teacher, processes)
    state, trained = _begin(network, recipe, tuning, processes)
    if checkpoint is not None and checkpoint.exists():
        _restore(state, checkpoint, identity)
    processes.wait()  # until all have read what the first will write again
    keep_freed_memory()
    device = next(network.parameters()).device
    images = Split(_placed(dataset.train.images, device), dataset.train.labels)
    while len(state.history) < recipe.epochs:
        start = time.perf_counter()
        loss, rate = _train_epoch(state, trained, images, dataset, recipe, seed, tuning, teacher, processes)
        seconds = time.perf_counter() - start
        processes.same_buffers(state.scored)
        scores = score(state.scored, dataset.val, dataset, processes=processes)
        speed = _steps(len(images), recipe) * min(recipe.batch_size, len(images)) / seconds
        state.history.append(FinalEpoch(loss, scores.loss, scores.top1, scores.top5, rate, seconds, speed))
        if not state.best or scores.top1 > max(epoch.top1 for epoch in state.history[:-1]):
            state.best, state.best_epoch = state.last, len(state.history)
        if processes.first:
            if checkpoint is not None:
                _save(state, checkpoint, identity)
            if on_epoch is not None:
                on_epoch(state)
    return state


@torch.inference_mode()
def score(network: nn.Module, split: Split, dataset: Dataset, *, processes: Processes | None = None) -> Scores:
    """How `network`, left in evaluation mode, does on `split`; `dataset` says how images are normalised.

    Computed in float32; each process does its part. Raises TrainingFailedError where an output is NaN or infinite.
    """
    network.eval()
    processes = processes or Processes()
    device = next(network.parameters()).device
    mean, std = dataset.mean.to(device), dataset.std.to(device)
    classes = len(dataset.classes)
    confusion = torch.zeros(classes * classes, dtype=torch.int64, device=device)
    sums = torch.zeros(3, dtype=torch.float64, device=device)
    own = torch.arange(processes.rank, len(split), processes.count)
    for indices in torch.split(own, _SCORED_AT_ONCE):
        labels = split.labels[indices].to(device)
        logits = network(normalised(split.images[indices].to(device), mean, std)).float()
        confusion += torch.bincount(labels * classes + logits.argmax(1), minlength=classes * classes)
        within = (logits.topk(min(5, classes), 1).indices == labels[:, None]).any(1).sum()
        loss = functional.cross_entropy(logits, labels, reduction="sum")
        sums += torch.stack([within.double(), loss.double(), (~logits.isfinite()).sum().double()])
    processes.total(confusion)
    processes.total(sums)
    if sums[2] > 0:
        raise TrainingFailedError("the network's outputs are NaN or infinite; lower the recipe's learning_rate")
    return Scores(confusion.view(classes, classes).cpu(), int(sums[0]), float(sums[1]) / len(split))


def _begin(
    network: nn.Sequential, recipe: Recipe, tuning: Tuning, processes: Processes
) -> tuple[FinalTraining, nn.Module]:
    """The state before the first epoch, and the module that is called to train it."""
    device = resolve_device(recipe.device)
    if device.type == "cuda":
        device = torch.device("cuda", processes.local_rank)
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if tuning.frozen_features:
        for block in _features(network):
            block.requires_grad_(False)
    add_dropout(network, recipe.dropout)
    add_drop_path(network, recipe.drop_path)
    average = WeightAverage(network) if recipe.ema_decay else None
    scaler = torch.amp.GradScaler(device.type, enabled=resolve_precision(recipe.precision, device) == torch.float16)
    state = FinalTraining(network, average, _build_optimiser(network, recipe, tuning), scaler)
    if processes.count == 1:
        return state, network
    return state, DistributedDataParallel(network, [device] if device.type == "cuda" else None)


def _train_epoch(
    state: FinalTraining,
    trained: nn.Module,
    split: Split,
    dataset: Dataset,
    recipe: Recipe,
    seed: int,
    tuning: Tuning,
    teacher: Teacher | None,
    processes: Processes,
) -> tuple[float, float]:
    """One pass over `split`; the mean loss and the last learning rate."""
    epoch = len(state.history)
    device = next(state.network.parameters()).device
    dtype = resolve_precision(recipe.precision, device)
    mean, std = dataset.mean.to(device), dataset.std.to(device)
    steps = _steps(len(split), recipe)
    # All processes agree on the order, and each draws for its own images.
    order = torch.randperm(len(split), generator=_generator(seed, epoch))
    generator = _generator(seed, epoch, processes.rank + 1)
    losses: list[Tensor] = []
    rate = 0.0
    _train_mode(state.network, tuning)
    with torch.random.fork_rng(devices=_cuda_devices(device), device_type="cuda"):
        torch.manual_seed(generator.initial_seed())
        for step in range(steps):
            rate = learning_rate_at(epoch + (step + 0.5) / steps, recipe)
            _set_learning_rate(state.optimiser, rate)
            parts = order[step * recipe.batch_size : (step + 1) * recipe.batch_size].chunk(
                recipe.accumulate * processes.count
            )[processes.rank :: processes.count]
            for number, indices in enumerate(parts):
                pixels = _augmented(split, indices, dataset, recipe, generator)
                images = normalised(pixels.to(device, non_blocking=True), mean, std)
                images = erased(images, probability=recipe.erasing, generator=generator)
                labels = split.labels[indices].to(device, non_blocking=True)
                batch = mixed(images, labels, mixup=recipe.mixup, cutmix=recipe.cutmix, generator=generator)
                with _no_exchange(trained, number + 1 < len(parts)):
                    with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                        logits = trained(batch.images)
                    loss = batch.loss(logits.float(), recipe.label_smoothing)
                    if teacher is not None:
                        loss = teacher.loss(logits.float(), batch.images, loss)
                    state.scaler.scale(loss / len(parts)).backward()  # type: ignore[no-untyped-call]
                losses.append(loss.detach())
            state.scaler.step(state.optimiser)
            state.scaler.update()
            state.optimiser.zero_grad(set_to_none=True)
            state.steps += 1
            if state.average is not None:
                state.average.update(min(recipe.ema_decay, (1 + state.steps) / (10 + state.steps)))
            if (step + 1) % _STEPS_BETWEEN_CHECKS == 0 or step + 1 == steps:
                _check_finite(losses[-_STEPS_BETWEEN_CHECKS * len(parts) :], epoch + 1, rate, recipe)
    total = processes.total(torch.stack(losses).double().mean())
    return float(total) / processes.count, rate


def _augmented(split: Split, indices: Tensor, dataset: Dataset, recipe: Recipe, generator: Generator) -> Tensor:
    """The images at `indices`, (n, 3, h, w) in 0 to 255, cut out, mirrored and distorted as the recipe says."""
    mirror = recipe.mirror == "always" or (recipe.mirror == "auto" and dataset.mirror)
    if recipe.crop == "resized":
        pixels = resized_crops(
            split.images[indices.to(split.images.device)],
            least=recipe.crop_scale,
            mirror=mirror,
            generator=generator,
        )
    else:
        padding = round(recipe.crop_padding * dataset.resolution)
        pixels = augment(split.images, indices, padding=padding, mirror=mirror, generator=generator)
    if not recipe.rand_augment_layers:
        return pixels
    return rand_augment(
        pixels, layers=recipe.rand_augment_layers, magnitude=recipe.rand_augment_magnitude, generator=generator
    )


def _build_optimiser(network: nn.Sequential, recipe: Recipe, tuning: Tuning) -> torch.optim.Optimizer:
    groups = list(_parameter_groups(network, recipe.weight_decay, tuning.layer_decay))
    rate = recipe.learning_rate
    if recipe.optimiser == "adamw":
        return torch.optim.AdamW(groups, lr=rate, betas=(recipe.momentum, 0.999), fused=True)
    if recipe.optimiser == "rmsprop":
        return torch.optim.RMSprop(
            groups, lr=rate, alpha=recipe.squared_decay, eps=_RMSPROP_EPSILON, momentum=recipe.momentum, foreach=True
        )
    return torch.optim.SGD(groups, lr=rate, momentum=recipe.momentum, nesterov=recipe.momentum > 0, fused=True)


def _parameter_groups(network: nn.Sequential, weight_decay: float, layer_decay: float) -> Iterator[dict[str, Any]]:
    """The parameters by block (or all together, where rates are the same) and by whether they are decayed."""
    blocks = list(network.children()) if layer_decay < 1 else [network]
    for index, block in enumerate(blocks):
        norms = {id(p) for m in block.modules() if isinstance(m, _NORMS) for p in m.parameters(recurse=False)}
        named = [(name, p) for name, p in block.named_parameters() if p.requires_grad]
        kept = [p for name, p in named if id(p) in norms or name.rsplit(".", 1)[-1] == "bias"]
        decayed = [p for name, p in named if not (id(p) in norms or name.rsplit(".", 1)[-1] == "bias")]
        factor = layer_decay ** (len(blocks) - 1 - index)
        for parameters, decay in ((decayed, weight_decay), (kept, 0.0)):
            if parameters:
                yield {"params": parameters, "weight_decay": decay, "rate_factor": factor}


def _train_mode(network: nn.Sequential, tuning: Tuning) -> None:
    network.train()
    if tuning.frozen_features:
        for block in _features(network):
            block.eval()


def _features(network: nn.Sequential) -> list[nn.Module]:
    """The blocks before the first one whose first layer with weights is linear: the classifier begins there."""
    blocks = list(network.children())
    for index, block in enumerate(blocks):
        layers = [module for module in block.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
        if layers and isinstance(layers[0], nn.Linear):
            return blocks[:index]
    return blocks[:-1]


def _steps(images: int, recipe: Recipe) -> int:
    """Whole batches of an epoch; a rest that does not fill one has its turn in another epoch's order."""
    return max(1, images // recipe.batch_size)


def _check_batch(recipe: Recipe, images: int, processes: Processes) -> None:
    parts = recipe.accumulate * processes.count
    if recipe.batch_size % parts or recipe.batch_size // parts < 2:
        raise NasError(
            f"batch_size must be 2 or more times accumulate times the number of processes "
            f"({recipe.accumulate} * {processes.count} = {parts}) and divide by it, but is {recipe.batch_size}"
        )
    if images < recipe.batch_size and parts > 1:
        raise NasError(
            f"there are {images} training images, fewer than batch_size ({recipe.batch_size}), which then cannot be "
            f"divided into {parts} parts. Lower batch_size."
        )


def _identity(
    network: nn.Module,
    dataset: Dataset,
    recipe: Recipe,
    seed: int,
    tuning: Tuning,
    teacher: Teacher | None,
    processes: Processes,
) -> str:
    """All that the weights depend on, as JSON whose keys can be told to a user."""
    digest = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    device = resolve_device(recipe.device)
    facts = {
        "version": LOOP_VERSION,
        "network and first weights": digest.hexdigest()[:16],
        "data": data_identity(dataset),
        "recipe": recipe.model_dump(mode="json", exclude={"device", "precision"}),
        "seed": seed,
        "tuning": astuple(tuning),
        "teacher": teacher and [teacher.name, teacher.temperature, teacher.alpha],
        "processes": processes.count,
        "device": device.type,
        "precision": str(resolve_precision(recipe.precision, device)),
        "torch": str(torch.__version__),
    }
    return json.dumps(facts, sort_keys=True)


def _save(state: FinalTraining, path: Path, identity: str) -> None:
    content = {
        "identity": identity,
        "network": state.network.state_dict(),
        "average": None if state.average is None else state.average.network.state_dict(),
        "optimiser": state.optimiser.state_dict(),
        "scaler": state.scaler.state_dict(),
        "steps": state.steps,
        "history": [astuple(epoch) for epoch in state.history],
        "best": state.best,
        "best_epoch": state.best_epoch,
    }
    write_sealed(path, _KIND, content)


def _restore(state: FinalTraining, path: Path, identity: str) -> None:
    """Bring `state` to where the checkpoint stands. Raises NasError where it cannot be; the file stays."""
    advice = "Give another folder, or remove this one to train anew"
    try:
        content = read_sealed(path, _KIND)
    except DamagedFileError as error:
        raise DamagedFileError(f"{error}, and is left as it is. {advice}.") from error
    differing = _differences(json.loads(content["identity"]), json.loads(identity))
    if differing:
        raise NasError(f"{shown(path)} is of another training: it differs in {', '.join(differing)}. {advice}.")
    state.network.load_state_dict(content["network"])
    if state.average is not None:
        state.average.network.load_state_dict(content["average"])
    state.optimiser.load_state_dict(content["optimiser"])
    state.scaler.load_state_dict(content["scaler"])
    state.steps, state.best, state.best_epoch = content["steps"], content["best"], content["best_epoch"]
    state.history[:] = [FinalEpoch(*figures) for figures in content["history"]]


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs, in words."""
    found = []
    for key in now:
        if before.get(key) == now[key]:
            continue
        if isinstance(now[key], dict) and isinstance(before.get(key), dict):
            inner = [name for name in now[key] if before[key].get(name) != now[key][name]]
            found += [f"{key} ({', '.join(f'{n}: {before[key].get(n)} instead of {now[key][n]}' for n in inner)})"]
        else:
            found.append(f"{key} ({before.get(key)} instead of {now[key]})")
    return found


def _no_exchange(trained: nn.Module, more_parts: bool) -> Any:
    """While parts of a batch are still to come, processes need not exchange gradients."""
    if more_parts and isinstance(trained, DistributedDataParallel):
        return trained.no_sync()
    return nullcontext()


def _set_learning_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = rate * group["rate_factor"]


def _check_finite(losses: Sequence[Tensor], epoch: int, rate: float, recipe: Recipe) -> None:
    bad = next((value for value in torch.stack(list(losses)).tolist() if not math.isfinite(value)), None)
    if bad is not None:
        raise TrainingFailedError(
            f"loss became {bad} in epoch {epoch} of {recipe.epochs} at learning rate {rate:.3g}; lower the recipe's "
            f"learning_rate ({recipe.learning_rate:g} for {REFERENCE_BATCH} images)"
        )


def _generator(*seeds: int) -> Generator:
    return Generator().manual_seed(int(np.random.SeedSequence(seeds).generate_state(1, np.uint64)[0]))


def _placed(images: Tensor, device: torch.device) -> Tensor:
    images = images.contiguous(memory_format=torch.channels_last)
    if device.type != "cuda" or images.numel() > _IMAGES_SHARE * torch.cuda.mem_get_info(device)[0]:
        return images
    return images.to(device)


def _on_cpu(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: weight.detach().cpu().clone() for name, weight in weights.items()}


def _cuda_devices(device: torch.device) -> list[int]:
    return [torch.cuda.current_device()] if device.type == "cuda" else []
