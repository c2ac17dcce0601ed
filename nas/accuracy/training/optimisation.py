"""Learning rates and weight decay for every optimiser: scaling by batch size, and which parameters are decayed."""

from __future__ import annotations

import torch
from torch import nn

# Learning rates are stated for this batch size.
REFERENCE_BATCH = 256


def scaled_learning_rate(learning_rate: float, batch_size: int) -> float:
    """`learning_rate`, stated for 256 images, in proportion to `batch_size` (arXiv:1706.02677, section 2.1)."""
    return learning_rate * batch_size / REFERENCE_BATCH


def set_learning_rate(optimiser: torch.optim.Optimizer, learning_rate: float) -> None:
    """Set every parameter group's learning rate to `learning_rate` times its `rate_factor`, where it has one."""
    for group in optimiser.param_groups:
        group["lr"] = learning_rate * group.get("rate_factor", 1.0)


def split_by_decay(
    module: nn.Module, normalisations: tuple[type[nn.Module], ...]
) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """The trained parameters in two lists: those to decay, and those not to (biases and all of `normalisations`)."""
    norms = (layer for layer in module.modules() if isinstance(layer, normalisations))
    of_norms = {id(parameter) for layer in norms for parameter in layer.parameters(recurse=False)}
    decayed: list[nn.Parameter] = []
    undecayed: list[nn.Parameter] = []
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            exempt = id(parameter) in of_norms or name.rsplit(".", 1)[-1] == "bias"
            (undecayed if exempt else decayed).append(parameter)
    return decayed, undecayed
