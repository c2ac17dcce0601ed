"""What is the same for every optimiser that a network is trained with?"""

from __future__ import annotations

import torch
from torch import nn

# The batch size for which learning rates are stated.
REFERENCE_BATCH = 256


def scaled_learning_rate(learning_rate: float, batch_size: int) -> float:
    """What `learning_rate`, stated for 256 images, is for `batch_size` of them (arXiv:1706.02677, section 2.1)."""
    return learning_rate * batch_size / REFERENCE_BATCH


def set_learning_rate(optimiser: torch.optim.Optimizer, learning_rate: float) -> None:
    """Take steps at `learning_rate` from now on; a group of parameters with a `rate_factor`, at so many times that."""
    for group in optimiser.param_groups:
        group["lr"] = learning_rate * group.get("rate_factor", 1.0)


def split_by_decay(
    module: nn.Module, normalisations: tuple[type[nn.Module], ...]
) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """The parameters that are trained: those to be decayed, and biases and all of `normalisations`, which are not."""
    norms = (layer for layer in module.modules() if isinstance(layer, normalisations))
    of_norms = {id(parameter) for layer in norms for parameter in layer.parameters(recurse=False)}
    decayed: list[nn.Parameter] = []
    kept: list[nn.Parameter] = []
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            stays = id(parameter) in of_norms or name.rsplit(".", 1)[-1] == "bias"
            (kept if stays else decayed).append(parameter)
    return decayed, kept
