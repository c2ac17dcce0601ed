"""The plan of a full training, and its state as far as it has got."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from nas.accuracy.data.dataset import Dataset
from nas.accuracy.full_training.distillation import Teacher
from nas.accuracy.full_training.fine_tuning import Tuning
from nas.accuracy.full_training.recipes import Recipe
from nas.accuracy.training.processes import Processes


@dataclass(frozen=True, eq=False)
class FinalPlan:
    """Everything that the trained weights depend on, apart from the network and its first weights."""

    dataset: Dataset
    recipe: Recipe
    seed: int
    tuning: Tuning
    teacher: Teacher | None
    processes: Processes


@dataclass(frozen=True)
class FinalEpoch:
    """Figures of one epoch; `val_loss`, `top1` and `top5` (percent) are of the validation images."""

    train_loss: float
    val_loss: float
    top1: float
    top5: float
    learning_rate: float
    seconds: float
    images_per_second: float


class WeightAverage:
    """The exponential moving average of a network's weights and statistics, kept as a copy of the network."""

    def __init__(self, network: nn.Sequential) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        pairs = list(zip(self.network.state_dict().values(), network.state_dict().values(), strict=True))
        self._averages = [ours for ours, _ in pairs if ours.is_floating_point()]
        self._values = [theirs for ours, theirs in pairs if ours.is_floating_point()]
        self._counts = [(ours, theirs) for ours, theirs in pairs if not ours.is_floating_point()]

    @torch.no_grad()
    def update(self, decay: float) -> None:
        """Set average = decay · average + (1 − decay) · current weights; counters are copied."""
        torch._foreach_lerp_(self._averages, self._values, 1 - decay)
        for ours, theirs in self._counts:
            ours.copy_(theirs)


@dataclass
class FinalTraining:
    """A training as far as it has got; a checkpoint holds all of it.

    `best` is the state_dict with the highest top-1 on the validation images so far (the first of equals), reached after
    `best_epoch` epochs. It is the moving average's where there is one.
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
        """The network that is scored and whose weights are kept: the moving average where there is one."""
        return self.network if self.average is None else self.average.network

    @property
    def last(self) -> dict[str, Tensor]:
        """The current state_dict of the scored network, on the CPU."""
        return _on_cpu(self.scored.state_dict())

    @property
    def device(self) -> torch.device:
        """The network's device."""
        return next(self.network.parameters()).device

    def step(self, recipe: Recipe) -> None:
        """Update the weights by the accumulated gradients, then their moving average."""
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.optimiser.zero_grad(set_to_none=True)
        self.steps += 1
        if self.average is not None:
            self.average.update(min(recipe.ema_decay, (1 + self.steps) / (10 + self.steps)))

    def add(self, epoch: FinalEpoch) -> None:
        """Add an epoch to the history; its weights become the best if their top-1 exceeds that of all before."""
        if not self.best or epoch.top1 > max(earlier.top1 for earlier in self.history):
            self.best, self.best_epoch = self.last, len(self.history) + 1
        self.history.append(epoch)


def _on_cpu(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: weight.detach().cpu().clone() for name, weight in weights.items()}
