"""The layers that the blocks share: convolution with normalisation, squeeze-and-excitation, shuffle, linear.

Names and structure follow the papers. Activations work in place, so that a training step moves less memory.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

ACTIVATION_MODULES: dict[str, Callable[[], nn.Module]] = {
    "relu": lambda: nn.ReLU(inplace=True),
    "relu6": lambda: nn.ReLU6(inplace=True),
    "hswish": lambda: nn.Hardswish(inplace=True),
    "hsigmoid": lambda: nn.Hardsigmoid(inplace=True),
    "silu": lambda: nn.SiLU(inplace=True),
    "sigmoid": nn.Sigmoid,
    "none": nn.Identity,
}


class StridedDepthwise(nn.Conv2d):
    """A depthwise convolution with a stride, which computes maps of width 1 in float32.

    In bfloat16 on a CPU with AMX, oneDNN (torch 2.13) leaves the weight gradient of such a convolution unset where the
    map is one pixel wide: the outer taps, which see padding alone, get whatever the memory held, up to 1e26 and NaN.
    """

    def forward(self, x: Tensor) -> Tensor:
        """As a convolution: (n, channels, h, w) to (n, channels, ceil(h / stride), ceil(w / stride))."""
        # In this order: the width is not asked for while the network is exported.
        if torch.is_autocast_enabled("cpu") and x.shape[-1] == 1:
            with torch.autocast("cpu", enabled=False):
                return super().forward(x.float())
        return super().forward(x)

    def _get_name(self) -> str:
        """The name in the network's text, by which checkpoints of full trainings know it."""
        return "Conv2d"


def convolution(
    in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, *, groups: int = 1, bias: bool = False
) -> nn.Conv2d:
    """A convolution whose output has ceil(size / stride) pixels a side."""
    is_depthwise = groups == in_channels == out_channels
    kind = StridedDepthwise if is_depthwise and stride > 1 else nn.Conv2d
    return kind(in_channels, out_channels, kernel_size, stride, kernel_size // 2, groups=groups, bias=bias)


class ConvBnAct(nn.Sequential):
    """Convolution, batch normalisation (else a bias), activation. The output has ceil(size / stride) pixels a side."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 1,
        stride: int = 1,
        groups: int = 1,
        activation: str = "none",
        norm: bool = True,
    ) -> None:
        layers: list[nn.Module] = [
            convolution(in_channels, out_channels, kernel_size, stride, groups=groups, bias=not norm)
        ]
        if norm:
            layers.append(nn.BatchNorm2d(out_channels))
        if activation != "none":
            layers.append(ACTIVATION_MODULES[activation]())
        super().__init__(*layers)


class ChannelShuffle(nn.Module):
    """Channel shuffle: one channel of each of `groups` groups in turn (ShuffleNet, arXiv:1707.01083, figure 1)."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        """Same shape and memory format: (n, channels, h, w)."""
        n, channels, h, w = x.shape
        if x.is_contiguous(memory_format=torch.channels_last):
            # In channels-last memory the shuffle takes one copy, and the next convolution needs none.
            pixels = x.permute(0, 2, 3, 1).reshape(n, h, w, self.groups, channels // self.groups)
            return pixels.transpose(3, 4).reshape(n, h, w, channels).permute(0, 3, 1, 2)
        return x.reshape(n, self.groups, channels // self.groups, h, w).transpose(1, 2).reshape(n, channels, h, w)


class SqueezeExcitation(nn.Module):
    """Channel attention (arXiv:1709.01507, figure 2): pool, reduce, activation, expand, gate.

    In and out: (n, channels, h, w). Its two linear layers are 1×1 convolutions of the pooled image.
    """

    def __init__(self, channels: int, squeeze_channels: int, gate: str, activation: str = "relu") -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, squeeze_channels, 1)
        self.activation = ACTIVATION_MODULES[activation]()
        self.expand = nn.Conv2d(squeeze_channels, channels, 1)
        self.gate = ACTIVATION_MODULES[gate]()

    def forward(self, x: Tensor) -> Tensor:
        """Scale each channel of `x` by its gate."""
        pooled = functional.adaptive_avg_pool2d(x, 1)
        scale: Tensor = self.gate(self.expand(self.activation(self.reduce(pooled))))
        return x * scale


class Linear(nn.Sequential):
    """A fully connected layer on (n, c, 1, 1) or (n, c), with an activation; out: (n, out_channels)."""

    def __init__(
        self, in_features: int, out_features: int, activation: str, *, bias: bool = True, norm: bool = False
    ) -> None:
        layers: list[nn.Module] = [nn.Flatten(), nn.Linear(in_features, out_features, bias)]
        if norm:
            layers.append(nn.LayerNorm(out_features))
        if activation != "none":
            layers.append(ACTIVATION_MODULES[activation]())
        super().__init__(*layers)
