"""Which torch modules are the blocks made of?

Names and structure follow the papers; activations work in place, so that a training step moves less memory.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from nas.networks.operators import Unit

_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": lambda: nn.ReLU(inplace=True),
    "relu6": lambda: nn.ReLU6(inplace=True),
    "hswish": lambda: nn.Hardswish(inplace=True),
    "hsigmoid": lambda: nn.Hardsigmoid(inplace=True),
    "silu": lambda: nn.SiLU(inplace=True),
    "sigmoid": nn.Sigmoid,
    "none": nn.Identity,
}


class ConvBnAct(nn.Sequential):
    """Convolution without bias, batch normalisation, activation; stride 2 halves an odd size upwards."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 1,
        stride: int = 1,
        groups: int = 1,
        activation: str = "none",
    ) -> None:
        padding = kernel_size // 2
        layers: list[nn.Module] = [
            nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, groups=groups, bias=False),
            nn.BatchNorm2d(out_channels),
        ]
        if activation != "none":
            layers.append(_ACTIVATIONS[activation]())
        super().__init__(*layers)


class SqueezeExcitation(nn.Module):
    """Channel attention (arXiv:1709.01507, figure 2): pool, reduce, ReLU, expand, gate.

    In and out: (n, channels, h, w). The two products are 1×1 convolutions over the pooled image.
    """

    def __init__(self, channels: int, squeeze_channels: int, gate: str) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, squeeze_channels, 1)
        self.expand = nn.Conv2d(squeeze_channels, channels, 1)
        self.gate = _ACTIVATIONS[gate]()

    def forward(self, x: Tensor) -> Tensor:
        """Scale each channel of `x` by its gate."""
        pooled = functional.adaptive_avg_pool2d(x, 1)
        scale: Tensor = self.gate(self.expand(functional.relu(self.reduce(pooled), inplace=True)))
        return x * scale


class InvertedResidual(nn.Module):
    """MBConv: expand 1×1, depthwise k×k, squeeze-and-excitation, project 1×1, add the input where shapes allow."""

    def __init__(self, unit: Unit) -> None:
        super().__init__()
        block = unit.block
        hidden = block.hidden_channels
        layers: list[nn.Module] = []
        if hidden != unit.in_channels:
            layers.append(ConvBnAct(unit.in_channels, hidden, activation=block.activation))
        layers.append(ConvBnAct(hidden, hidden, block.kernel_size, block.stride, hidden, block.activation))
        if block.se_channels:
            layers.append(SqueezeExcitation(hidden, block.se_channels, block.se_gate))
        layers.append(ConvBnAct(hidden, block.out_channels))
        self.layers = nn.Sequential(*layers)
        self.residual = unit.residual

    def forward(self, x: Tensor) -> Tensor:
        """(n, in_channels, h, w) to (n, out_channels, ceil(h / stride), ceil(w / stride))."""
        out: Tensor = self.layers(x)
        return x + out if self.residual else out


class Linear(nn.Sequential):
    """A fully connected layer on (n, c, 1, 1) or (n, c), with an activation; out: (n, out_channels)."""

    def __init__(self, in_features: int, out_features: int, activation: str) -> None:
        layers: list[nn.Module] = [nn.Flatten(), nn.Linear(in_features, out_features)]
        if activation != "none":
            layers.append(_ACTIVATIONS[activation]())
        super().__init__(*layers)


def build_block(unit: Unit) -> nn.Module:
    """The module of one unit."""
    block = unit.block
    if block.op == "conv":
        return ConvBnAct(
            unit.in_channels, block.out_channels, block.kernel_size, block.stride, block.groups, block.activation
        )
    if block.op == "mbconv":
        return InvertedResidual(unit)
    if block.op == "pool":
        return nn.AdaptiveAvgPool2d(1)
    if block.op == "linear":
        return Linear(unit.in_channels, block.out_channels, block.activation)
    raise AssertionError(f"no module for {block.op}")


@torch.no_grad()
def initialise(network: nn.Module) -> None:
    """The MobileNets' initialisation: He normal over outputs for convolutions, deviation 0.01 for linear layers."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0, 0.01)
            nn.init.zeros_(module.bias)
