"""The torch modules compute what the papers say."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from nas.networks.architecture import ACTIVATIONS, Architecture, Block
from nas.networks.blocks import build_block
from nas.networks.blocks.layers import convolution
from nas.networks.build import build_network
from nas.networks.operators import Unit, units
from nas.networks.references.mobilenet_v3 import mobilenet_v3_small
from tests.strategies import mbconvs

# Written out from their definitions, not from torch's functions of the same name.
FORMULAS = {
    "relu": lambda x: x.clamp(min=0),
    "relu6": lambda x: x.clamp(0, 6),
    "hswish": lambda x: x * (x + 3).clamp(0, 6) / 6,
    "hsigmoid": lambda x: (x + 3).clamp(0, 6) / 6,
    "silu": lambda x: x / (1 + (-x).exp()),
    "sigmoid": lambda x: 1 / (1 + (-x).exp()),
    "none": lambda x: x,
}


def inverted_residual(unit: Unit, weights: list[Tensor], x: Tensor) -> Tensor:
    """MobileNetV3's block by its figure, on the weights of the module in the order in which they are used.

    Batch normalisation is the identity: its fresh running statistics are 0 and 1.
    """
    block = unit.block
    act = FORMULAS[block.activation]
    rest = iter(weights)
    h = x
    if block.hidden_channels != unit.in_channels:
        h = act(functional.conv2d(h, next(rest)))
    h = functional.conv2d(h, next(rest), stride=block.stride, padding=block.kernel_size // 2, groups=h.shape[1])
    h = act(h)
    if block.se_channels:
        squeezed = h.mean(dim=(2, 3), keepdim=True)
        reduced = functional.conv2d(squeezed, next(rest)).clamp(min=0)
        h = h * FORMULAS[block.se_gate](functional.conv2d(reduced, next(rest)))
    h = functional.conv2d(h, next(rest))
    assert next(rest, None) is None
    return x + h if block.stride == 1 and unit.in_channels == block.out_channels else h


@settings(max_examples=40)
@given(mbconvs(), st.integers(1, 12), st.booleans(), st.integers(1, 9))
def test_inverted_residuals_compute_what_the_figure_shows(
    block: Block, in_channels: int, residual: bool, side: int
) -> None:
    """Expansion, depthwise, squeeze-and-excitation, projection, addition; against a second implementation."""
    unit = Unit(block, block.out_channels if residual else in_channels, side, side)
    module = build_block(unit).eval()
    weights = [layer.weight.detach() for layer in module.modules() if isinstance(layer, nn.Conv2d)]
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.eps = 0.0
        elif isinstance(layer, nn.Conv2d) and layer.bias is not None:
            nn.init.zeros_(layer.bias)
    x = torch.randn(2, unit.in_channels, side, side, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        out = module(x.clone())
    assert out.shape == (2, unit.out_channels, unit.out_height, unit.out_width)
    assert torch.allclose(out, inverted_residual(unit, weights, x), atol=1e-5)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_are_their_formulas(activation: str) -> None:
    """In a convolution that passes its input on."""
    module = build_block(Unit(Block("conv", 1, activation=activation), 1, 1, 1)).eval()
    nn.init.ones_(module[0].weight)
    module[1].eps = 0.0
    x = torch.linspace(-8, 8, 33).reshape(-1, 1, 1, 1)
    with torch.no_grad():
        assert torch.allclose(module(x.clone()), FORMULAS[activation](x), atol=1e-6)


def test_child_i_is_block_i() -> None:
    """Every child takes and gives the shapes of its unit."""
    architecture = mobilenet_v3_small(resolution=33, classes=5)
    network = build_network(architecture).eval()
    x = torch.zeros(1, 3, 33, 33)
    for unit, child in zip(units(architecture), network, strict=True):
        assert x.shape[1:] == (unit.in_channels, unit.height, unit.width)
        with torch.no_grad():
            x = child(x)
        # A linear layer gives (n, channels), everything else (n, channels, height, width).
        x = x.reshape(1, unit.out_channels, unit.out_height, unit.out_width)
    assert x.shape == (1, 5, 1, 1)


def test_the_seed_alone_decides_the_weights() -> None:
    """Equal seeds give equal weights, others do not, and the global random state stays."""
    blocks = (Block("conv", 4, 3), Block("pool"), Block("linear", 2))
    architecture = Architecture(8, 2, blocks)
    before = torch.random.get_rng_state()
    one, same, other = (build_network(architecture, seed=seed)[0][0].weight for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("kernel_size", [3, 5])
@pytest.mark.parametrize("height", [1, 2])
def test_a_map_of_width_1_has_the_gradient_of_float32(kernel_size: int, height: int) -> None:
    """In bfloat16, too, whatever the memory held before: taps that see padding alone have a gradient of 0."""
    for seed in range(8):
        gradients = []
        for dtype in (torch.float32, torch.bfloat16):
            leftovers = [torch.full((size,), math.nan) for size in (64, 256, 512, 2048, 9216) for _ in range(4)]
            del leftovers
            torch.manual_seed(seed)
            layer = convolution(16, 16, kernel_size, 2, groups=16).to(memory_format=torch.channels_last)
            images = torch.randn(32, 16, height, 1).to(memory_format=torch.channels_last).requires_grad_()
            with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
                layer(images).float().square().sum().backward()
            assert layer.weight.grad is not None
            gradients.append(layer.weight.grad)
        torch.testing.assert_close(gradients[1], gradients[0], rtol=0.05, atol=0.05)
        assert not gradients[1][..., 0].any()
