"""What is a final training told to do, and how far has it got?"""

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
    """All that decides what the weights come to, but for the network and its first weights."""

    dataset: Dataset
    recipe: Recipe
    seed: int
    tuning: Tuning
    teacher: Teacher | None
    processes: Processes


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

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.network.parameters()).device

    def step(self, recipe: Recipe) -> None:
        """Move the weights by the gradients that are there, and their average after them."""
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.optimiser.zero_grad(set_to_none=True)
        self.steps += 1
        if self.average is not None:
            self.average.update(min(recipe.ema_decay, (1 + self.steps) / (10 + self.steps)))

    def add(self, epoch: FinalEpoch) -> None:
        """Another epoch is done; its weights are the best where no epoch before had as high a top-1."""
        if not self.best or epoch.top1 > max(earlier.top1 for earlier in self.history):
            self.best, self.best_epoch = self.last, len(self.history) + 1
        self.history.append(epoch)


def _on_cpu(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: weight.detach().cpu().clone() for name, weight in weights.items()}
