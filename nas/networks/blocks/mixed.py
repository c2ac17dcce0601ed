"""The block of MixNet as a torch module.

`nas.networks.operators.mixed` cites the paper, under the same name.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nas.networks.blocks.layers import ACTIVATION_MODULES, ConvBnAct, convolution
from nas.networks.blocks.mobile import Residual, squeeze_excitation
from nas.networks.operators import Unit
from nas.networks.operators.mixed import kernel_parts


class MixedDepthwise(nn.Module):
    """Depthwise convolutions of several kernel sizes, each on its part of the channels, without normalisation."""

    def __init__(self, parts: tuple[tuple[int, int], ...], stride: int) -> None:
        super().__init__()
        self.channels = [channels for _, channels in parts]
        self.convolutions = nn.ModuleList(
            convolution(channels, channels, size, stride, groups=channels) for size, channels in parts
        )

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, h, w) to (n, channels, ceil(h / stride), ceil(w / stride))."""
        pairs = zip(self.convolutions, torch.split(x, self.channels, 1), strict=True)
        return torch.cat([convolution(part) for convolution, part in pairs], 1)


def mixconv(unit: Unit) -> nn.Module:
    """MixNet's block: expand 1×1, depthwise of several kernels, squeeze-and-excitation, project 1×1, add the input."""
    block = unit.block
    hidden = block.hidden_channels
    layers: list[nn.Module] = []
    if hidden != unit.in_channels:
        layers.append(ConvBnAct(unit.in_channels, hidden, groups=block.expand_groups, activation=block.activation))
    layers += [
        *_depthwise(unit),
        *squeeze_excitation(unit, hidden),
        ConvBnAct(hidden, block.out_channels, groups=block.groups),
    ]
    return Residual(unit, layers)


def _depthwise(unit: Unit) -> list[nn.Module]:
    block, parts = unit.block, kernel_parts(unit.block)
    hidden = block.hidden_channels
    if len(parts) == 1:
        return [ConvBnAct(hidden, hidden, block.kernel_size, block.stride, hidden, block.activation)]
    return [
        MixedDepthwise(parts, block.stride),
        nn.BatchNorm2d(hidden),
        ACTIVATION_MODULES[block.activation](),
    ]
