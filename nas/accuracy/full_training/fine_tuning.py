"""Which parameters of a network does final training move, and how far each?

All of them alike, but for what `Tuning` says of a network that has weights already. (What trains a network on for a
few steps, after something was done to it, is `nas.accuracy.training.tuning`.)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from nas.accuracy.full_training.recipes import Recipe
from nas.accuracy.training.optimisation import split_by_decay
from nas.errors import NasError

_NORMALISATIONS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.LayerNorm, nn.GroupNorm)
# RMSprop's epsilon: the square root of TensorFlow's 0.001, which stands inside its root.
_RMSPROP_EPSILON = 0.0316


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


def freeze(network: nn.Sequential, tuning: Tuning) -> None:
    """Take from the optimiser and the gradients what is not to be trained."""
    if tuning.frozen_features:
        for block in _features(network):
            block.requires_grad_(False)


def to_training_mode(network: nn.Sequential, tuning: Tuning) -> None:
    """Batch normalisation of what is not trained goes on using the statistics that it has."""
    network.train()
    if tuning.frozen_features:
        for block in _features(network):
            block.eval()


def recipe_optimiser(network: nn.Sequential, recipe: Recipe, tuning: Tuning) -> torch.optim.Optimizer:
    """The recipe's optimiser for the parameters that are trained; child i of `network` is block i."""
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
        decayed, kept = split_by_decay(block, _NORMALISATIONS)
        factor = layer_decay ** (len(blocks) - 1 - index)
        for parameters, decay in ((decayed, weight_decay), (kept, 0.0)):
            if parameters:
                yield {"params": parameters, "weight_decay": decay, "rate_factor": factor}


def _features(network: nn.Sequential) -> list[nn.Module]:
    """The blocks before the first one whose first layer with weights is linear: the classifier begins there."""
    blocks = list(network.children())
    for index, block in enumerate(blocks):
        layers = [module for module in block.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
        if layers and isinstance(layers[0], nn.Linear):
            return blocks[:index]
    return blocks[:-1]
