"""How do dropout and stochastic depth get into a network that is built without them?

They are hooks that do nothing in evaluation mode and have no weights, so that the state_dict and what is deployed stay
those of the architecture. Randomness is torch's own, which the training loop seeds.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from nas.networks.blocks.ghost import GhostBottleneck
from nas.networks.blocks.mobile import Residual


def add_dropout(network: nn.Sequential, probability: float) -> None:
    """Let the input of the last block, the classifier, lose that share of its numbers in training mode."""
    if not probability:
        return

    def dropped(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (functional.dropout(inputs[0], probability, module.training), *inputs[1:])

    network[-1].register_forward_pre_hook(dropped)


def add_drop_path(network: nn.Module, probability: float) -> int:
    """Let residual branches be left out for single images in training mode; returns how many branches may be.

    The probability grows in a line, over the depth of the network, to `probability` for the last block (stochastic
    depth, arXiv:1603.09382, section 3). What is kept is scaled so that its mean stays. Branches of the MobileNets',
    EfficientNet's, FBNet's, MixNet's and GhostNet's blocks are left out; those of other blocks never are.
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
    """A forward hook that leaves out the output for some images; an object, so that a network can be copied."""

    def __init__(self, probability: float) -> None:
        self.probability = probability

    def __call__(self, module: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> Tensor:
        if not module.training:
            return output
        keep = 1 - self.probability
        kept = torch.rand(len(output), 1, 1, 1, device=output.device) < keep
        return output * (kept.to(output.dtype) / keep)


def _residual_layers(block: nn.Module) -> nn.Module | None:
    """What of a block is added to its input, if it is."""
    if isinstance(block, Residual) and block.residual:
        return block.layers
    if isinstance(block, GhostBottleneck) and isinstance(block.shortcut, nn.Identity):
        return block.layers
    return None
