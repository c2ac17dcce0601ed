"""The blocks of GhostNet and RepGhostNet as torch modules.

`nas.networks.operators.ghost` cites the papers, under the same names.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nas.networks.blocks.layers import ACTIVATION_MODULES, ConvBnAct
from nas.networks.blocks.mobile import squeeze_excitation
from nas.networks.operators import Unit
from nas.networks.operators.ghost import CHEAP_KERNEL_SIZE


class GhostModule(nn.Module):
    """Half of the channels from a 1×1, the other half from a depthwise convolution of the first half."""

    def __init__(self, in_channels: int, out_channels: int, activation: str) -> None:
        super().__init__()
        half = out_channels // 2
        self.primary = ConvBnAct(in_channels, half, activation=activation)
        self.cheap = ConvBnAct(half, half, CHEAP_KERNEL_SIZE, groups=half, activation=activation)

    def forward(self, x: Tensor) -> Tensor:
        """(n, in_channels, h, w) to (n, out_channels, h, w)."""
        primary = self.primary(x)
        return torch.cat((primary, self.cheap(primary)), 1)


class RepGhostModule(nn.Module):
    """A 1×1, then the sum of a depthwise convolution and a normalisation; or, merged, one convolution with a bias."""

    def __init__(self, in_channels: int, out_channels: int, activation: str, branches: int) -> None:
        super().__init__()
        self.primary = ConvBnAct(in_channels, out_channels, activation=activation)
        self.norm = nn.BatchNorm2d(out_channels) if branches else None
        self.cheap = ConvBnAct(out_channels, out_channels, CHEAP_KERNEL_SIZE, groups=out_channels, norm=branches > 0)
        self.activation = ACTIVATION_MODULES[activation]()

    def forward(self, x: Tensor) -> Tensor:
        """(n, in_channels, h, w) to (n, out_channels, h, w)."""
        primary = self.primary(x)
        h = self.cheap(primary) if self.norm is None else self.norm(primary) + self.cheap(primary)
        out: Tensor = self.activation(h)
        return out


class GhostBottleneck(nn.Module):
    """The sum of `layers`, run one after the other, and of `shortcut`."""

    def __init__(self, unit: Unit, expand: nn.Module, reduce: nn.Module) -> None:
        super().__init__()
        block = unit.block
        inside, hidden = unit.in_channels, block.hidden_channels
        kernel, stride = block.kernel_size, block.stride
        self.layers = nn.Sequential(
            expand,
            *([ConvBnAct(hidden, hidden, kernel, stride, hidden)] if stride > 1 else []),
            *squeeze_excitation(unit, hidden),
            reduce,
        )
        self.shortcut: nn.Module = nn.Identity()
        if not unit.residual:
            self.shortcut = nn.Sequential(
                ConvBnAct(inside, inside, kernel, stride, inside), ConvBnAct(inside, block.out_channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        """(n, in_channels, h, w) to (n, out_channels, ceil(h / stride), ceil(w / stride))."""
        out: Tensor = self.layers(x) + self.shortcut(x)
        return out


def ghost(unit: Unit) -> nn.Module:
    """GhostNet's bottleneck: ghost modules expand and reduce."""
    block = unit.block
    return GhostBottleneck(
        unit,
        GhostModule(unit.in_channels, block.hidden_channels, block.activation),
        GhostModule(block.hidden_channels, block.out_channels, "none"),
    )


def rep_ghost(unit: Unit) -> nn.Module:
    """RepGhostNet's bottleneck: RepGhost modules expand and reduce."""
    block = unit.block
    return GhostBottleneck(
        unit,
        RepGhostModule(unit.in_channels, block.hidden_channels, block.activation, block.branches),
        RepGhostModule(block.hidden_channels, block.out_channels, "none", block.branches),
    )
