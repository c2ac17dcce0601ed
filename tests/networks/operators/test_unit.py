"""Parameters, MACs and peak memory of the operators are those of their torch modules."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from torch import nn

from nas.errors import NasError
from nas.networks.architecture import Architecture, Block
from nas.networks.build import build_network
from nas.networks.operators import FLOAT_BYTES, Unit, estimate_costs, parse_unit, units
from nas.networks.proxy import ProxySettings, proxy_architecture
from nas.networks.space.search_space import load_space
from tests.strategies import architectures
from tests.strategies import units as any_unit


def count_torch(architecture: Architecture) -> tuple[int, int]:
    """Parameters and MACs of the torch network, counted by hooks while one image goes through it."""
    network = build_network(architecture).eval()
    macs = 0

    def count(module: nn.Module, _: object, output: torch.Tensor) -> None:
        nonlocal macs
        if isinstance(module, nn.Conv2d):
            macs += output[0].numel() * module.weight[0].numel()
        elif isinstance(module, nn.Linear):
            macs += module.weight.numel()

    for module in network.modules():
        module.register_forward_hook(count)
    with torch.no_grad():
        out = network(torch.zeros(1, 3, architecture.resolution, architecture.resolution))
    assert out.shape == (1, architecture.classes)
    return sum(p.numel() for p in network.parameters()), macs


@settings(max_examples=25)
@given(architectures())
def test_params_and_macs_are_those_of_the_torch_network(architecture: Architecture) -> None:
    """Two implementations agree on any network."""
    costs = estimate_costs(architecture)
    assert (costs.params, costs.macs) == count_torch(architecture)


def test_params_and_macs_of_samples_of_mbv3_are_those_of_the_torch_network() -> None:
    """The implementations agree on members of search spaces too."""
    space = load_space("mbv3")
    rng = np.random.default_rng(0)
    for _ in range(3):
        small = proxy_architecture(
            space.sample_member(rng),
            ProxySettings(resolution=32),
            largest_resolution=space.largest_resolution,
            classes=10,
        )
        costs = estimate_costs(small)
        assert (costs.params, costs.macs) == count_torch(small)


def simulate_peak_bytes(architecture: Architecture) -> int:
    """Run the network on paper: allocate each tensor, free it after its last reader, note the most that was held."""
    peak, channels, side = 0, 3, architecture.resolution

    def hold(*sizes: int) -> None:
        nonlocal peak
        peak = max(peak, sum(sizes))

    for block in architecture.blocks:
        out_side = (side + block.stride - 1) // block.stride
        size = channels * side * side
        if block.op == "pool":
            hold(size, channels)
            side = 1
        elif block.op == "linear":
            hold(size, block.out_channels)
            channels = block.out_channels
        elif block.op == "conv":
            hold(size, block.out_channels * out_side**2)
            channels, side = block.out_channels, out_side
        else:
            adds = block.stride == 1 and channels == block.out_channels
            waiting = size if adds else 0
            wide, deep = block.hidden_channels * side**2, block.hidden_channels * out_side**2
            result = block.out_channels * out_side**2
            if block.hidden_channels == channels:
                hold(size, deep)  # the depthwise convolution reads the input itself
            else:
                hold(size, wide)
                hold(waiting, wide, deep)
            if block.se_channels:
                hold(waiting, deep, block.hidden_channels, block.se_channels)
            hold(waiting, deep, result)  # the gate in between works in place
            channels, side = block.out_channels, out_side
    return 4 * peak


@given(architectures())
def test_peak_activation_bytes_are_those_of_a_run_on_paper(architecture: Architecture) -> None:
    """Each operation holds its input, its output, and what waits to be added."""
    assert estimate_costs(architecture).peak_activation_bytes == simulate_peak_bytes(architecture)


def test_peak_activation_bytes_of_one_block_by_hand() -> None:
    """A residual block of 4 channels, expanded to 12, on 8×8: 4 waiting, 12 read and 12 written."""
    blocks = (Block("conv", 4), Block("mbconv", 4, 3, 1, 12, activation="relu"), Block("pool"), Block("linear", 2))
    assert estimate_costs(Architecture(8, 2, blocks)).peak_activation_bytes == (4 + 12 + 12) * 64 * FLOAT_BYTES


@given(any_unit())
def test_a_unit_is_read_back_from_its_key(unit: Unit) -> None:
    """The key of a latency table names exactly one unit."""
    assert parse_unit(unit.key) == unit
    assert unit.key.replace("_", "").isalnum()


@given(architectures(max_blocks=2))
def test_units_are_chained(architecture: Architecture) -> None:
    """Each unit's input is the output of the one before it."""
    rows = units(architecture)
    assert (rows[0].in_channels, rows[0].height) == (3, architecture.resolution)
    for before, after in itertools.pairwise(rows):
        assert (before.out_channels, before.out_height, before.out_width) == (
            after.in_channels,
            after.height,
            after.width,
        )


def test_the_key_is_the_one_that_the_documents_show() -> None:
    """Existing latency tables hold these keys, so they must not change."""
    unit = Unit(Block("mbconv", 24, 3, 2, 64, activation="relu"), 16, 112, 112)
    assert unit.key == "mbconv_112x112_i16_o24_h64_k3_s2_se0_relu"
    assert Unit(Block("mbconv", 40, 5, 1, 120, 32, "sigmoid", "silu"), 40, 28, 28).key.endswith("_se32_silu_sigmoid")
    assert Unit(Block("conv", 16, 3, 2, activation="hswish"), 3, 224, 224).key == "conv_224x224_i3_o16_k3_s2_hswish"


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("", "not a unit: ''"),
        ("mbconv", "not a unit: 'mbconv'"),
        ("foo_1x1_i1", "unknown operator 'foo'"),
        ("conv_8x8_i3_o8_k2_s1_relu", "kernel_size must be odd"),
        ("conv_0x8_i3_o8_k3_s1_relu", "at least 1 channel and 1 pixel"),
        ("conv_8x8_i3_o8_k3_s1_g2_relu", "groups must divide the input's channels, but got 2 and 3"),
        ("linear_7x7_i3_o8_none", "a linear unit needs a pooled input (1x1), but gets 7x7"),
        ("mbconv_8x8_i3_o8_h016_k3_s1_se0_relu", "It would be written 'mbconv_8x8_i3_o8_h16_k3_s1_se0_relu'"),
        ("mbconv_8x8_i3_o8_h16_k3_s1_se8_relu_hsigmoid", "It would be written"),
        ("conv_8x8_i3_o8_k3_s1_g1_relu", "It would be written"),
        ("pool_٣x3_i8", "It would be written"),
        ("pool_3x3_i8\n", "not a unit"),
        ("pool_3x3_i" + 5000 * "8", "not a unit: 'pool_3x3_i888888888888888888888888888888' and so on, 5010 letters"),
        ("conv_8x8_i3_o" + 5000 * "1" + "_k1_s1_relu", "not a unit: 'conv_8x8_i3_o111"),
    ],
)
def test_a_word_that_is_no_key_is_refused(key: str, said: str) -> None:
    """A latency table cannot have a row whose key is no unit's."""
    with pytest.raises(NasError) as caught:
        parse_unit(key)
    assert said in str(caught.value)
