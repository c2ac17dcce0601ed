"""The torch module of each unit.

There is a file for each family, named as in `nas.networks.operators`. Activations work in place, so that a training
step moves less memory. Every module registers its convolutions and normalisations in the order in which they run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import nn

from nas.networks.blocks import ghost, mixed, mobile, mobile_one, shuffle, vision_transformer
from nas.networks.blocks.layers import ConvBnAct, Linear
from nas.networks.operators import Unit


def build_block(unit: Unit) -> nn.Module:
    """The module of one unit: (n, in_channels, height, width) to (n, out_channels, out_height, out_width)."""
    return _MODULES[unit.block.op](unit)


def _conv(unit: Unit) -> nn.Module:
    block = unit.block
    return ConvBnAct(
        unit.in_channels, block.out_channels, block.kernel_size, block.stride, block.groups, block.activation
    )


def _max_pool(unit: Unit) -> nn.Module:
    block = unit.block
    return nn.MaxPool2d(block.kernel_size, block.stride, block.kernel_size // 2)


def _pool(_: Unit) -> nn.Module:
    return nn.AdaptiveAvgPool2d(1)


def _linear(unit: Unit) -> nn.Module:
    block = unit.block
    return Linear(unit.in_channels, block.out_channels, block.activation, bias=block.bias, norm=block.norm == "layer")


_MODULES: Mapping[str, Callable[[Unit], nn.Module]] = {
    "conv": _conv,
    "max_pool": _max_pool,
    "ds_conv": mobile.depthwise_separable,
    "mbconv": mobile.inverted_residual,
    "fused_mbconv": mobile.fused_inverted_residual,
    "fbnet": mobile.fbnet_block,
    "uib": mobile.universal_inverted_bottleneck,
    "shuffle_v1": shuffle.ShuffleV1,
    "shuffle_v2": shuffle.shuffle_v2,
    "shuffle_xception": shuffle.shuffle_xception,
    "mixconv": mixed.mixconv,
    "ghost": ghost.ghost,
    "rep_ghost": ghost.rep_ghost,
    "mobile_one": mobile_one.MobileOne,
    "mobile_vit": vision_transformer.MobileViT,
    "lite_mla": vision_transformer.LiteMLA,
    "pool": _pool,
    "linear": _linear,
}


@torch.no_grad()
def initialise(network: nn.Module) -> None:
    """Initialise as the MobileNets: He normal (fan out) for convolutions, standard deviation 0.01 for linear layers."""
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
            if module.bias is not None:
                nn.init.zeros_(module.bias)
