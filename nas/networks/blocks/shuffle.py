"""The blocks of ShuffleNetV1 and V2 and of Single Path One-Shot as torch modules.

`nas.networks.operators.shuffle` cites the papers, under the same names.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nas.networks.blocks.layers import ACTIVATION_MODULES, ChannelShuffle, ConvBnAct
from nas.networks.operators import Unit


class ShuffleV1(nn.Module):
    """1×1 in groups, channel shuffle, depthwise k×k, 1×1 in groups; added or, in blocks of stride 2, concatenated."""

    def __init__(self, unit: Unit) -> None:
        super().__init__()
        block = unit.block
        inside, hidden = unit.in_channels, block.hidden_channels
        self.residual = unit.residual
        branch_channels = block.out_channels - (0 if self.residual else inside)
        self.branch = nn.Sequential(
            ConvBnAct(inside, hidden, groups=block.expand_groups, activation=block.activation),
            *([ChannelShuffle(block.groups)] if block.groups > 1 else []),
            ConvBnAct(hidden, hidden, block.kernel_size, block.stride, hidden),
            ConvBnAct(hidden, branch_channels, groups=block.groups),
        )
        self.shortcut = nn.AvgPool2d(3, block.stride, 1) if block.stride > 1 else nn.Identity()
        self.activation = ACTIVATION_MODULES[block.activation]()

    def forward(self, x: Tensor) -> Tensor:
        """(n, in_channels, h, w) to (n, out_channels, ceil(h / stride), ceil(w / stride))."""
        shortcut, h = self.shortcut(x), self.branch(x)
        out: Tensor = self.activation(shortcut + h if self.residual else torch.cat((shortcut, h), 1))
        return out


class ShuffleV2(nn.Module):
    """Half of the input (or the output of `shortcut`), then the output of `branch`; channels are shuffled."""

    def __init__(self, shortcut: nn.Module | None, branch: nn.Module) -> None:
        super().__init__()
        self.shortcut = shortcut
        self.branch = branch
        self.shuffle = ChannelShuffle(2)

    def forward(self, x: Tensor) -> Tensor:
        """(n, in_channels, h, w) to (n, out_channels, ceil(h / stride), ceil(w / stride))."""
        if self.shortcut is None:
            half, h = x.chunk(2, 1)
        else:
            half, h = self.shortcut(x), x
        out: Tensor = self.shuffle(torch.cat((half, self.branch(h)), 1))
        return out


def shuffle_v2(unit: Unit) -> nn.Module:
    """ShuffleNetV2's unit, with the branch 1×1, depthwise k×k, 1×1."""
    block = unit.block
    shortcut, branch_inside, half = _halves(unit)
    hidden = block.hidden_channels
    branch = nn.Sequential(
        ConvBnAct(branch_inside, hidden, activation=block.activation),
        ConvBnAct(hidden, hidden, block.kernel_size, block.stride, hidden),
        ConvBnAct(hidden, half, activation=block.activation),
    )
    return ShuffleV2(shortcut, branch)


def shuffle_xception(unit: Unit) -> nn.Module:
    """Single Path One-Shot's fourth choice: the branch is a depthwise k×k and a 1×1, three times."""
    block = unit.block
    shortcut, branch_inside, half = _halves(unit)
    widths = (branch_inside, block.hidden_channels, block.hidden_channels, half)
    layers: list[nn.Module] = []
    for index in range(3):
        inside, outside, stride = widths[index], widths[index + 1], block.stride if index == 0 else 1
        layers.append(ConvBnAct(inside, inside, block.kernel_size, stride, inside))
        layers.append(ConvBnAct(inside, outside, activation=block.activation))
    return ShuffleV2(shortcut, nn.Sequential(*layers))


def _halves(unit: Unit) -> tuple[nn.Module | None, int, int]:
    """The shortcut that makes half of the output (None: half of the input), and the branch's channels in and out."""
    block, inside = unit.block, unit.in_channels
    half = block.out_channels // 2
    if block.keeps_shape(inside):
        return None, half, half
    shortcut = nn.Sequential(
        ConvBnAct(inside, inside, block.kernel_size, block.stride, inside),
        ConvBnAct(inside, half, activation=block.activation),
    )
    return shortcut, inside, half
