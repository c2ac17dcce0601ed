"""Build the optimiser of a full training, with frozen features or a learning rate for each block when fine-tuning.

By default all parameters are trained at the same rate; `Tuning` changes this for a network that has trained weights.
(`nas.accuracy.training.tuning` trains a network for a few more steps after pruning or quantising it.)
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
# RMSprop's epsilon: PyTorch adds it outside the square root, TensorFlow adds 0.001 inside. sqrt(0.001) = 0.0316.
_RMSPROP_EPSILON = 0.0316


@dataclass(frozen=True)
class Tuning:
    """How to fine-tune a network that has trained weights.

    `frozen_features` trains only the classifier, which begins at the first linear block; weights and statistics of
    batch normalisation before it stay. With `layer_decay` below 1, learning rate of block i = `layer_decay` · learning
    rate of block i + 1 (discriminative fine-tuning, arXiv:1801.06146, section 3.2).
    """

    frozen_features: bool = False
    layer_decay: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.layer_decay <= 1:
            raise NasError(f"layer_decay must be above 0 and at most 1, but got {self.layer_decay}")


def freeze(network: nn.Sequential, tuning: Tuning) -> None:
    """Stop the gradients of frozen features, which also keeps them out of the optimiser."""
    if tuning.frozen_features:
        for block in _features(network):
            block.requires_grad_(False)


def to_training_mode(network: nn.Sequential, tuning: Tuning) -> None:
    """Set training mode, except for frozen features: their batch normalisation keeps its statistics."""
    network.train()
    if tuning.frozen_features:
        for block in _features(network):
            block.eval()


def recipe_optimiser(network: nn.Sequential, recipe: Recipe, tuning: Tuning) -> torch.optim.Optimizer:
    """The recipe's optimiser for the parameters that are not frozen; child i of `network` is block i."""
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
    """Parameter groups: one for each block (one for all where rates are the same), decayed and not decayed apart."""
    blocks = list(network.children()) if layer_decay < 1 else [network]
    for index, block in enumerate(blocks):
        decayed, undecayed = split_by_decay(block, _NORMALISATIONS)
        factor = layer_decay ** (len(blocks) - 1 - index)
        for parameters, decay in ((decayed, weight_decay), (undecayed, 0.0)):
            if parameters:
                yield {"params": parameters, "weight_decay": decay, "rate_factor": factor}


def _features(network: nn.Sequential) -> list[nn.Module]:
    """The blocks before the classifier, which begins with the first block whose first layer with weights is linear."""
    blocks = list(network.children())
    for index, block in enumerate(blocks):
        layers = [module for module in block.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
        if layers and isinstance(layers[0], nn.Linear):
            return blocks[:index]
    return blocks[:-1]
