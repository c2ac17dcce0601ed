"""Merge the branches of a trained network into one convolution each, with its weights.

`nas.networks.deployed` gives the architecture that results, and the papers.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from nas.networks.blocks.ghost import RepGhostModule
from nas.networks.blocks.layers import ConvBnAct
from nas.networks.blocks.mobile_one import MobileOne


def fused(network: nn.Sequential) -> nn.Sequential:
    """A network that computes the same as `network` in evaluation mode, each sum of branches as one convolution.

    It is in evaluation mode, and its state_dict has the names and shapes of `build_network(deployed(architecture))`.
    `network` is not changed. The outputs differ by rounding alone: weights are summed in float64.
    """
    plain = copy.deepcopy(network).eval()
    # Layers draw initial weights (overwritten here) from the global random state, which must stay as it was.
    with torch.random.fork_rng(devices=[]):
        for module in list(plain.modules()):
            if isinstance(module, MobileOne) and _has_norm(module.branches[-1]):
                module.branches = nn.ModuleList([_one_convolution(list(module.branches))])
            elif isinstance(module, RepGhostModule) and module.norm is not None:
                module.cheap = _one_convolution([module.norm, module.cheap])
                module.norm = None
    return plain


def _has_norm(branch: nn.Module) -> bool:
    return any(isinstance(layer, nn.BatchNorm2d) for layer in branch.modules())


@torch.no_grad()
def _one_convolution(branches: Sequence[nn.Module]) -> ConvBnAct:
    """One convolution with a bias that equals the sum of branches (each a normalisation, or a convolution with one)."""
    convolutions = [layer for branch in branches for layer in branch.modules() if isinstance(layer, nn.Conv2d)]
    largest = max(convolutions, key=lambda convolution: convolution.kernel_size)
    one = ConvBnAct(
        largest.in_channels,
        largest.out_channels,
        largest.kernel_size[0],
        largest.stride[0],
        largest.groups,
        norm=False,
    ).to(largest.weight)
    summands = [_weight_and_bias(branch, largest) for branch in branches]
    one.load_state_dict(
        {"0.weight": sum(weight for weight, _ in summands), "0.bias": sum(bias for _, bias in summands)}
    )
    return one.eval()


def _weight_and_bias(branch: nn.Module, like: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """Weight and bias of the branch as a convolution with `like`'s kernel size, in float64.

    A smaller kernel is padded with zeros: padding is half the kernel size, so both kernels have the same centre.
    """
    convolution, norm = (None, branch) if isinstance(branch, nn.BatchNorm2d) else branch.children()
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    weight = convolution.weight.double() if isinstance(convolution, nn.Conv2d) else _identity(like)
    margin = (like.kernel_size[0] - weight.shape[-1]) // 2
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    padded = functional.pad(weight, [margin] * 4)
    return padded * scale[:, None, None, None], norm.bias.double() - norm.running_mean.double() * scale


def _identity(like: nn.Conv2d) -> Tensor:
    """The weight of a 1×1 convolution with the groups of `like` whose output is its input."""
    channels, in_group = like.out_channels, like.in_channels // like.groups
    weight = torch.zeros(channels, in_group, 1, 1, dtype=torch.float64, device=like.weight.device)
    index = torch.arange(channels)
    weight[index, index % in_group] = 1
    return weight
