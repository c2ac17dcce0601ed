"""The blocks with branches (ShuffleNets, GhostNets, MobileOne, MixNet) compute what the papers show.

The second implementation reads the module's layers one after the other, which also checks that they are registered in
the order in which they run.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from nas.deploy.export.export import export_onnx
from nas.errors import NasError
from nas.networks.architecture import Architecture, Block
from nas.networks.blocks import build_block
from nas.networks.blocks.layers import ChannelShuffle
from nas.networks.build import build_network
from nas.networks.operators import Unit, parse_unit, primitives
from tests.strategies import branched_units

# Written out from their definitions, not from torch's functions of the same name.
ACTIVATIONS = {
    "relu": lambda x: x.clamp(min=0),
    "relu6": lambda x: x.clamp(0, 6),
    "hswish": lambda x: x * (x + 3).clamp(0, 6) / 6,
    "hsigmoid": lambda x: (x + 3).clamp(0, 6) / 6,
    "silu": lambda x: x / (1 + (-x).exp()),
    "sigmoid": lambda x: 1 / (1 + (-x).exp()),
    "none": lambda x: x,
}
Layers = Iterator[nn.Module]
sides = st.integers(1, 7)


def prepared(unit: Unit) -> tuple[nn.Module, Layers]:
    """The unit's module in float64, its normalisations spread out, and its layers in their order."""
    module = build_block(unit).double().eval()
    generator = torch.Generator().manual_seed(0)
    layers = [layer for layer in module.modules() if isinstance(layer, (nn.Conv2d, nn.BatchNorm2d))]
    for layer in layers:
        if isinstance(layer, nn.BatchNorm2d):
            for values, low, high in (
                (layer.running_mean, -1, 1),
                (layer.running_var, 0.5, 2),
                (layer.weight.data, -1, 1),
                (layer.bias.data, -1, 1),
            ):
                values.uniform_(low, high, generator=generator)
    return module, iter(layers)


def image(unit: Unit) -> Tensor:
    """Two random inputs of the unit."""
    shape = (2, unit.in_channels, unit.height, unit.width)
    return torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def normalised(layers: Layers, x: Tensor) -> Tensor:
    """The next layer, a batch normalisation."""
    layer = next(layers)
    scale = layer.weight / (layer.running_var + layer.eps).sqrt()
    return (x - layer.running_mean[:, None, None]) * scale[:, None, None] + layer.bias[:, None, None]


def convolved(layers: Layers, x: Tensor, kernel: int = 1, stride: int = 1, groups: int = 1) -> Tensor:
    """The next layer, a convolution of this kernel."""
    layer = next(layers)
    assert layer.weight.shape[2:] == (kernel, kernel)
    return functional.conv2d(x, layer.weight, layer.bias, stride, kernel // 2, groups=groups)


def conv_bn(layers: Layers, x: Tensor, kernel: int = 1, stride: int = 1, groups: int = 1) -> Tensor:
    """The next two layers, a convolution and its normalisation."""
    return normalised(layers, convolved(layers, x, kernel, stride, groups))


def depthwise(layers: Layers, x: Tensor, kernel: int, stride: int = 1) -> Tensor:
    """The next two layers, a depthwise convolution and its normalisation."""
    return conv_bn(layers, x, kernel, stride, x.shape[1])


def squeezed(layers: Layers, x: Tensor, block: Block) -> Tensor:
    """Squeeze-and-excitation, where the block has it."""
    if not block.se_channels:
        return x
    h = ACTIVATIONS[block.se_activation or "relu"](convolved(layers, x.mean((2, 3), keepdim=True)))
    return x * ACTIVATIONS[block.se_gate](convolved(layers, h))


def shuffled(x: Tensor, groups: int) -> Tensor:
    """One channel of each group in turn."""
    share = x.shape[1] // groups
    return x[:, [group * share + index for index in range(share) for group in range(groups)]]


def pooled(x: Tensor) -> Tensor:
    """The average over 3×3, the zeros around the image included, at every second pixel."""
    n, channels, height, width = x.shape
    padded = torch.zeros(n, channels, height + 3, width + 3, dtype=x.dtype)
    padded[:, :, 1 : height + 1, 1 : width + 1] = x
    shifts = [padded[:, :, i : i + height : 2, j : j + width : 2] for i in range(3) for j in range(3)]
    return torch.stack(shifts).sum(0) / 9


def shuffle_v1(unit: Unit, layers: Layers, x: Tensor) -> Tensor:
    """ShuffleNetV1's figure 2b and c."""
    block, act = unit.block, ACTIVATIONS[unit.block.activation]
    h = act(conv_bn(layers, x, groups=block.expand_groups))
    h = depthwise(layers, shuffled(h, block.groups), block.kernel_size, block.stride)
    h = conv_bn(layers, h, groups=block.groups)
    if block.stride == 2:
        return act(torch.cat((pooled(x), h), 1))
    return act(x + h if unit.in_channels == block.out_channels else torch.cat((x, h), 1))


def shuffle_v2(unit: Unit, layers: Layers, x: Tensor) -> Tensor:
    """ShuffleNetV2's figure 3c and d, and Single Path One-Shot's branch of three depthwise convolutions."""
    block, act = unit.block, ACTIVATIONS[unit.block.activation]
    kernel, stride = block.kernel_size, block.stride
    if stride == 1 and unit.in_channels == block.out_channels:
        shortcut, h = x[:, : unit.in_channels // 2], x[:, unit.in_channels // 2 :]
    else:
        shortcut, h = act(conv_bn(layers, depthwise(layers, x, kernel, stride))), x
    if block.op == "shuffle_v2":
        h = depthwise(layers, act(conv_bn(layers, h)), kernel, stride)
        h = act(conv_bn(layers, h))
    else:
        for stride_here in (stride, 1, 1):
            h = act(conv_bn(layers, depthwise(layers, h, kernel, stride_here)))
    return shuffled(torch.cat((shortcut, h), 1), 2)


def ghost_module(layers: Layers, x: Tensor, activation: str, block: Block) -> Tensor:
    """GhostNet's figure 2b, and RepGhost's module in training and deployed."""
    act = ACTIVATIONS[activation]
    primary = act(conv_bn(layers, x))
    if block.op == "ghost":
        return torch.cat((primary, act(depthwise(layers, primary, 3))), 1)
    if block.branches:
        return act(normalised(layers, primary) + depthwise(layers, primary, 3))
    return act(convolved(layers, primary, 3, groups=primary.shape[1]))


def ghost(unit: Unit, layers: Layers, x: Tensor) -> Tensor:
    """GhostNet's figure 3."""
    block = unit.block
    h = ghost_module(layers, x, block.activation, block)
    if block.stride == 2:
        h = depthwise(layers, h, block.kernel_size, 2)
    h = ghost_module(layers, squeezed(layers, h, block), "none", block)
    if block.stride == 1 and unit.in_channels == block.out_channels:
        return x + h
    return conv_bn(layers, depthwise(layers, x, block.kernel_size, block.stride)) + h


def mobile_one(unit: Unit, layers: Layers, x: Tensor) -> Tensor:
    """MobileOne's figure 3, in training and deployed."""
    block = unit.block
    kernel, stride, groups = block.kernel_size, block.stride, block.groups
    outputs = []
    if block.branches and stride == 1 and unit.in_channels == block.out_channels:
        outputs.append(normalised(layers, x))
    outputs += [conv_bn(layers, x, kernel, stride, groups) for _ in range(block.branches)]
    if block.branches and kernel > 1:
        outputs.append(conv_bn(layers, x, 1, stride, groups))
    if not block.branches:
        outputs.append(convolved(layers, x, kernel, stride, groups))
    return ACTIVATIONS[block.activation](squeezed(layers, torch.stack(outputs).sum(0), block))


def mixconv(unit: Unit, layers: Layers, x: Tensor) -> Tensor:
    """MixNet's block: kernel sizes 3, 5, .. on equal parts, the first of which takes what is left over."""
    block, act = unit.block, ACTIVATIONS[unit.block.activation]
    h = x
    if block.hidden_channels != unit.in_channels:
        h = act(conv_bn(layers, h, groups=block.expand_groups))
    kernels = [kernel for kernel in (3, 5, 7, 9, 11) if kernel <= block.kernel_size] or [1]
    share = block.hidden_channels // len(kernels)
    parts, start = [], 0
    for kernel in kernels:
        end = start + share + (block.hidden_channels - share * len(kernels) if start == 0 else 0)
        parts.append(convolved(layers, h[:, start:end], kernel, block.stride, end - start))
        start = end
    h = squeezed(layers, act(normalised(layers, torch.cat(parts, 1))), block)
    h = conv_bn(layers, h, groups=block.groups)
    return x + h if block.stride == 1 and unit.in_channels == block.out_channels else h


FIGURES = {
    "shuffle_v1": shuffle_v1,
    "shuffle_v2": shuffle_v2,
    "shuffle_xception": shuffle_v2,
    "ghost": ghost,
    "rep_ghost": ghost,
    "mobile_one": mobile_one,
    "mixconv": mixconv,
}


@pytest.mark.parametrize("op", FIGURES)
@settings(max_examples=40)
@given(st.data())
def test_blocks_with_branches_compute_what_the_papers_show(op: str, data: st.DataObject) -> None:
    """Two implementations agree, on maps of odd and even sides down to a single pixel."""
    unit = data.draw(branched_units(op, sides))
    module, layers = prepared(unit)
    x = image(unit)
    with torch.no_grad():
        out = module(x.clone())
        expected = FIGURES[unit.block.op](unit, layers, x)
    assert next(layers, None) is None
    assert out.shape == (2, unit.out_channels, unit.out_height, unit.out_width)
    assert torch.allclose(out, expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("op", FIGURES)
@settings(max_examples=30)
@given(st.data())
def test_their_params_and_macs_are_those_of_the_torch_module(op: str, data: st.DataObject) -> None:
    """Counted by hooks while one image goes through it."""
    unit = data.draw(branched_units(op, sides))
    module = build_block(unit).eval()
    macs = 0

    def count(layer: nn.Module, _: object, out: Tensor) -> None:
        nonlocal macs
        macs += out.numel() * layer.weight[0].numel()

    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(count)
    with torch.no_grad():
        module(torch.zeros(1, unit.in_channels, unit.height, unit.width))
    assert (unit.params, unit.macs) == (sum(p.numel() for p in module.parameters()), macs)


@given(branched_units())
def test_they_are_read_back_from_their_keys(unit: Unit) -> None:
    """Groups of both 1×1s, branches and squeeze-and-excitation are all in the key."""
    assert parse_unit(unit.key) == unit


BLOCKS = (
    Block("shuffle_v1", 24, 3, 2, 12, activation="relu", groups=3),
    Block("shuffle_v1", 24, 3, 1, 12, activation="relu", groups=3, expand_groups=3),
    Block("shuffle_v2", 16, 5, 2, 8, activation="relu"),
    Block("shuffle_v2", 16, 3, 1, 8, activation="relu"),
    Block("shuffle_xception", 16, 3, 1, 8, activation="relu"),
    Block("ghost", 16, 3, 2, 24, se_channels=8, se_gate="hsigmoid", activation="relu"),
    Block("rep_ghost", 16, 1, 1, 12, activation="relu", branches=1),
    Block("mobile_one", 16, 3, 1, activation="relu", groups=16, branches=4),
    Block("mobile_one", 24, 1, 1, se_channels=4, se_gate="sigmoid", activation="relu", branches=2),
    Block("mixconv", 24, 9, 2, 48, activation="silu", groups=2, expand_groups=2),
)


@pytest.mark.parametrize("resolution", [1, 27])
def test_they_survive_export(resolution: int, tmp_path: Path) -> None:
    """The ONNX file gives torch's logits, whatever the batch; on odd maps and single pixels too."""
    blocks = (Block("conv", 12, 3, activation="relu"), *BLOCKS, Block("pool"), Block("linear", 5))
    architecture = Architecture(resolution, 5, blocks)
    check = export_onnx(build_network(architecture), architecture, tmp_path / "network.onnx")
    assert check.top1_agreement == 1


def test_they_learn_in_channels_last() -> None:
    """Every parameter gets a gradient, and no block falls back to the other memory format."""
    blocks = (Block("conv", 12, 3, activation="relu"), *BLOCKS, Block("pool"), Block("linear", 5))
    network = build_network(Architecture(32, 5, blocks)).to(memory_format=torch.channels_last)
    x = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0)).contiguous(
        memory_format=torch.channels_last
    )
    for child in network[:-2]:
        x = child(x)
        assert x.is_contiguous(memory_format=torch.channels_last), child
    network[-2:](x).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_channels_are_dealt_out_in_turn(memory_format: torch.memory_format) -> None:
    """ShuffleNet's figure 1: three groups of two channels; the memory format stays."""
    x = torch.arange(6.0)[None, :, None, None].expand(2, 6, 3, 3).contiguous(memory_format=memory_format)
    out = ChannelShuffle(3)(x)
    assert out[0, :, 1, 1].tolist() == [0, 2, 4, 1, 3, 5]
    assert out.is_contiguous(memory_format=memory_format)


def test_memory_of_a_mobile_one_block_does_not_grow_with_its_branches() -> None:
    """By hand: the input, the sum so far and one branch more, of 4 channels on 6×6 each."""
    units = [Unit(Block("mobile_one", 4, 3, branches=branches), 4, 6, 6) for branches in (1, 4, 8)]
    assert [unit.peak_elements for unit in units] == [3 * 4 * 36] * 3


def test_memory_of_a_shuffle_v2_block_by_hand() -> None:
    """8 channels on 5×5, while halves are joined: the input, of which one half waits, the branch's half, the result."""
    unit = Unit(Block("shuffle_v2", 8, 3, hidden_channels=4, activation="relu"), 8, 5, 5)
    assert unit.peak_elements == (8 + 4 + 8) * 25
    assert [p.kind for p in primitives(unit)][-2:] == ["concat", "shuffle"]


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("shuffle_v1_8x8_i8_o8_h4_k3_s2_relu", "out_channels must be more than the input's, but got 8 and 8"),
        ("shuffle_v1_8x8_i9_o9_h4_k3_s1_g3_relu", "groups must divide the input's channels, but got 3 and 4"),
        ("shuffle_v2_8x8_i8_o9_h4_k3_s2_relu", "out_channels of a shuffle_v2 block must be even, but got 9"),
        ("shuffle_xception_8x8_i8_o9_h4_k3_s2_relu", "out_channels of a shuffle_xception block must be even"),
        ("ghost_8x8_i8_o8_h5_k1_s1_se0_relu", "hidden_channels of a ghost block must be even, but got 5"),
        ("ghost_8x8_i8_o9_h4_k3_s1_se0_relu", "out_channels of a ghost block must be even, but got 9"),
        ("ghost_8x8_i8_o8_h4_k3_s1_se0_relu", "kernel_size of a ghost block that keeps stride and channels must be 1"),
        ("rep_ghost_8x8_i8_o8_h4_k5_s1_n1_se0_relu", "because nothing in it has that kernel, but got 5"),
        ("rep_ghost_8x8_i8_o8_h4_k3_s1_n2_se0_relu", "branches of a rep_ghost block must be 0 or 1, but got 2"),
        ("mixconv_8x8_i2_o8_h3_k9_s1_se0_relu", "hidden_channels of a mixconv block must be at least 4"),
        ("mixconv_8x8_i8_o8_h8_k5_s1_eg2_se0_relu", "a mixconv block that does not expand must have expand_groups 1"),
    ],
)
def test_blocks_that_their_input_does_not_fit_are_refused(key: str, said: str) -> None:
    """The message says what must hold, and what was given."""
    with pytest.raises(NasError) as caught:
        parse_unit(key)
    assert said in str(caught.value)


def test_branches_are_not_negative() -> None:
    """0 is the deployed form."""
    with pytest.raises(NasError, match="branches must be 0 or more, but got -1"):
        Block("mobile_one", 8, 3, branches=-1)
