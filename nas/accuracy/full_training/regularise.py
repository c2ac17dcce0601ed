"""Add dropout and stochastic depth to a network that is built without them.

Both are forward hooks without weights that do nothing in evaluation mode, so the state_dict and the deployed network
stay those of the architecture. They draw from torch's own generator, which the training loop seeds.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from nas.networks.blocks.ghost import GhostBottleneck
from nas.networks.blocks.mobile import Residual


def add_dropout(network: nn.Sequential, probability: float) -> None:
    """Apply dropout to the input of the last block, which is the classifier, in training mode."""
    if not probability:
        return

    def dropped(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (functional.dropout(inputs[0], probability, module.training), *inputs[1:])

    network[-1].register_forward_pre_hook(dropped)


def add_drop_path(network: nn.Module, probability: float) -> int:
    """In training mode, drop residual branches for single images; returns the number of branches that this concerns.

    The probability grows linearly over the depth of the network, to `probability` for the last block (stochastic depth,
    arXiv:1603.09382, section 3). Outputs that are kept are scaled so that their mean stays. Branches of the blocks of
    the MobileNets, EfficientNet, FBNet, MixNet and GhostNet are dropped; those of other blocks never are.
    """
    blocks = list(network.children())
    branches = 0
    for index, block in enumerate(blocks):
        layers = _residual_layers(block)
        if layers is not None:
            branches += 1
            if probability:
                layers.register_forward_hook(_DropPath(probability * (index + 1) / len(blocks)))
    return branches


class _DropPath:
    """A forward hook that sets the output of some images to 0. An object, so that `deepcopy` copies the network."""

    def __init__(self, probability: float) -> None:
        self.probability = probability

    def __call__(self, module: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> Tensor:
        if not module.training:
            return output
        keep = 1 - self.probability
        mask = torch.rand(len(output), 1, 1, 1, device=output.device) < keep
        return output * (mask.to(output.dtype) / keep)


def _residual_layers(block: nn.Module) -> nn.Module | None:
    """The layers of a block whose output is added to its input; None for a block without such layers."""
    if isinstance(block, Residual) and block.residual:
        return block.layers
    if isinstance(block, GhostBottleneck) and isinstance(block.shortcut, nn.Identity):
        return block.layers
    return None
