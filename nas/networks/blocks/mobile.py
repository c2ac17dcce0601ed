"""The blocks of the MobileNets, MnasNet, FBNet and EfficientNet as torch modules.

`nas.networks.operators.mobile` cites the papers, under the same names.
"""

from __future__ import annotations

from torch import Tensor, nn

from nas.networks.blocks.layers import ChannelShuffle, ConvBnAct, SqueezeExcitation
from nas.networks.operators import Unit


class Residual(nn.Module):
    """`layers`, one after the other, plus the input if the unit is residual."""

    def __init__(self, unit: Unit, layers: list[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)
        self.residual = unit.residual

    def forward(self, x: Tensor) -> Tensor:
        """(n, in_channels, h, w) to (n, out_channels, ceil(h / stride), ceil(w / stride))."""
        out: Tensor = self.layers(x)
        return x + out if self.residual else out


def depthwise_separable(unit: Unit) -> nn.Module:
    """Depthwise k×k, squeeze-and-excitation, pointwise; both convolutions with activation."""
    block = unit.block
    inside = unit.in_channels
    return nn.Sequential(
        ConvBnAct(inside, inside, block.kernel_size, block.stride, inside, block.activation),
        *squeeze_excitation(unit, inside),
        ConvBnAct(inside, block.out_channels, activation=block.activation),
    )


def inverted_residual(unit: Unit) -> nn.Module:
    """MBConv: expand 1×1, depthwise k×k, squeeze-and-excitation, project 1×1, add the input where shapes allow."""
    block = unit.block
    hidden, norm = block.hidden_channels, block.norm != "last"
    layers: list[nn.Module] = []
    if hidden != unit.in_channels:
        layers.append(ConvBnAct(unit.in_channels, hidden, activation=block.activation, norm=norm))
    layers += [
        ConvBnAct(hidden, hidden, block.kernel_size, block.stride, hidden, block.activation, norm),
        *squeeze_excitation(unit, hidden),
        ConvBnAct(hidden, block.out_channels),
    ]
    return Residual(unit, layers)


def fused_inverted_residual(unit: Unit) -> nn.Module:
    """Fused-MBConv: expand k×k, squeeze-and-excitation, project 1×1; or one k×k convolution without expansion."""
    block = unit.block
    kernel, stride, groups, act = block.kernel_size, block.stride, block.groups, block.activation
    if block.hidden_channels == unit.in_channels and not block.se_channels:
        return Residual(unit, [ConvBnAct(unit.in_channels, block.out_channels, kernel, stride, groups, act)])
    return Residual(
        unit,
        [
            ConvBnAct(unit.in_channels, block.hidden_channels, kernel, stride, groups, act),
            *squeeze_excitation(unit, block.hidden_channels),
            ConvBnAct(block.hidden_channels, block.out_channels),
        ],
    )


def fbnet_block(unit: Unit) -> nn.Module:
    """FBNet's block: an inverted residual with an expansion always, and groups in its 1×1s."""
    block = unit.block
    hidden, groups = block.hidden_channels, block.groups
    return Residual(
        unit,
        [
            ConvBnAct(unit.in_channels, hidden, groups=groups, activation=block.activation),
            *([ChannelShuffle(groups)] if groups > 1 else []),
            ConvBnAct(hidden, hidden, block.kernel_size, block.stride, hidden, block.activation),
            ConvBnAct(hidden, block.out_channels, groups=groups),
        ],
    )


def universal_inverted_bottleneck(unit: Unit) -> nn.Module:
    """MobileNetV4's UIB: depthwise (or none), expand, depthwise (or none), project."""
    block = unit.block
    inside, hidden = unit.in_channels, block.hidden_channels
    layers: list[nn.Module] = []
    if block.start_kernel_size:
        start_stride = 1 if block.kernel_size else block.stride
        layers.append(ConvBnAct(inside, inside, block.start_kernel_size, start_stride, inside))
    layers.append(ConvBnAct(inside, hidden, activation=block.activation))
    if block.kernel_size:
        layers.append(ConvBnAct(hidden, hidden, block.kernel_size, block.stride, hidden, block.activation))
    layers.append(ConvBnAct(hidden, block.out_channels))
    return Residual(unit, layers)


def squeeze_excitation(unit: Unit, channels: int) -> list[nn.Module]:
    """The unit's squeeze-and-excitation in a list, or an empty list."""
    block = unit.block
    if not block.se_channels:
        return []
    return [SqueezeExcitation(channels, block.se_channels, block.se_gate, block.se_activation or "relu")]
