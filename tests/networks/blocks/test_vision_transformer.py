"""The blocks with attention compute what their papers say, with the costs counted by hand."""

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
from nas.networks.build import build_network
from nas.networks.operators import Unit, estimate_costs, parse_unit, primitives, units
from nas.networks.references import reference
from tests.strategies import lite_mlas, mobile_vits

sides = st.integers(1, 7)
ACTIVATIONS = {"relu": lambda x: x.clamp(min=0), "silu": lambda x: x / (1 + (-x).exp()), "none": lambda x: x}


def prepared(unit: Unit) -> tuple[nn.Module, Iterator[nn.Module]]:
    """The unit's module in float64 with random weights, and its layers but batch normalisation, now the identity."""
    module = build_block(unit).eval().double()
    generator = torch.Generator().manual_seed(0)
    layers = []
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.eps = 0.0
        elif isinstance(layer, (nn.Conv2d, nn.Linear, nn.LayerNorm)):
            layers.append(layer)
            for parameter in layer.parameters():
                with torch.no_grad():
                    parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return module, iter(layers)


def image(unit: Unit) -> Tensor:
    """Two images that the unit takes."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, unit.in_channels, unit.height, unit.width, generator=generator, dtype=torch.float64)


def resized(x: Tensor, height: int, width: int) -> Tensor:
    """Bilinear interpolation, pixels as squares: a matrix for the rows and one for the columns."""
    rows, columns = interpolation(x.shape[2], height), interpolation(x.shape[3], width)
    return torch.einsum("yh,nchw,xw->ncyx", rows, x, columns)


def interpolation(before: int, after: int) -> Tensor:
    """Which pixels of a line of `before` make up each of `after`."""
    matrix = torch.zeros(after, before, dtype=torch.float64)
    for i in range(after):
        place = min(max((i + 0.5) * before / after - 0.5, 0), before - 1)
        low = int(place)
        matrix[i, low] += 1 - (place - low)
        matrix[i, min(low + 1, before - 1)] += place - low
    return matrix


def convolved(layers: Iterator[nn.Module], x: Tensor, groups: int = 1) -> Tensor:
    """The next layer, a convolution that keeps the size."""
    weight = next(layers).weight
    return functional.conv2d(x, weight, padding=weight.shape[2] // 2, groups=groups)


def normalised(layers: Iterator[nn.Module], x: Tensor) -> Tensor:
    """The next layer, a layer normalisation over the last axis."""
    layer = next(layers)
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt() * layer.weight + layer.bias


def multiplied(layers: Iterator[nn.Module], x: Tensor) -> Tensor:
    """The next layer, a linear one."""
    layer = next(layers)
    return x @ layer.weight.T + layer.bias


def transformed(layers: list[nn.Module], block: Block, x: Tensor) -> Tensor:
    """All transformer layers on one sequence (n, length, channels), head after head."""
    rest = iter(layers)
    width = block.transformer_channels // block.heads
    for _ in range(block.transformer_depth):
        query, key, value = multiplied(rest, normalised(rest, x)).split(block.transformer_channels, dim=-1)
        attended = []
        for head in range(block.heads):
            of = slice(head * width, (head + 1) * width)
            weights = (query[..., of] @ key[..., of].transpose(1, 2) / width**0.5).exp()
            attended.append(weights / weights.sum(-1, keepdim=True) @ value[..., of])
        x = x + multiplied(rest, torch.cat(attended, dim=-1))
        h = multiplied(rest, normalised(rest, x))
        x = x + multiplied(rest, ACTIVATIONS[block.activation](h))
    return normalised(rest, x)


def mobile_vit(unit: Unit, layers: Iterator[nn.Module], x: Tensor) -> Tensor:
    """MobileViT's block by its figure, one place of the 2×2 patches after the other."""
    block, act = unit.block, ACTIVATIONS[unit.block.activation]
    h = convolved(layers, act(convolved(layers, x)))
    h = resized(h, h.shape[2] + h.shape[2] % 2, h.shape[3] + h.shape[3] % 2)
    inner = [next(layers) for _ in range(6 * block.transformer_depth + 1)]
    out = torch.zeros_like(h)
    for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
        places = h[:, :, i::2, j::2]
        sequence = transformed(inner, block, places.flatten(2).transpose(1, 2))
        out[:, :, i::2, j::2] = sequence.transpose(1, 2).reshape(places.shape)
    out = act(convolved(layers, resized(out, unit.height, unit.width)))
    return act(convolved(layers, torch.cat((x, out), dim=1)))


def lite_mla(unit: Unit, layers: Iterator[nn.Module], x: Tensor) -> Tensor:
    """Linear attention the long way: the similarity of each pair of pixels, relu(q) · relu(k), as the weight."""
    block = unit.block
    width = block.transformer_channels // block.heads
    qkv = convolved(layers, x)
    near = convolved(layers, convolved(layers, qkv, qkv.shape[1]), 3 * block.heads)
    out = []
    for of_head in (*qkv.split(3 * width, dim=1), *near.split(3 * width, dim=1)):
        query, key, value = of_head.flatten(2).split(width, dim=1)
        weights = query.clamp(min=0).transpose(1, 2) @ key.clamp(min=0)
        weights = weights / (weights.sum(-1, keepdim=True) + 1e-5)
        out.append((weights @ value.transpose(1, 2)).transpose(1, 2).reshape(x.shape[0], width, *x.shape[2:]))
    h = convolved(layers, torch.cat(out, dim=1))
    return x + h if unit.in_channels == block.out_channels else h


@settings(max_examples=30)
@given(st.one_of(mobile_vits(), lite_mlas()), st.integers(1, 8), st.booleans(), sides, sides)
def test_blocks_with_attention_compute_what_the_papers_show(
    block: Block, in_channels: int, same: bool, height: int, width: int
) -> None:
    """Two implementations agree, on maps of odd and even sides down to a single pixel."""
    unit = Unit(block, block.out_channels if same else in_channels, height, width)
    module, layers = prepared(unit)
    x = image(unit)
    with torch.no_grad():
        out = module(x.clone())
        expected = {"mobile_vit": mobile_vit, "lite_mla": lite_mla}[block.op](unit, layers, x)
    assert next(layers, None) is None
    assert out.shape[1:] == (unit.out_channels, unit.out_height, unit.out_width)
    assert torch.allclose(out, expected, rtol=1e-6, atol=1e-8)


@settings(max_examples=30)
@given(st.one_of(mobile_vits(), lite_mlas()), st.integers(1, 8), sides, sides)
def test_their_params_and_macs_are_those_of_the_torch_module(
    block: Block, in_channels: int, height: int, width: int
) -> None:
    """MACs of convolutions and linear layers alone; on even sides, which no resizing makes larger."""
    unit = Unit(block, in_channels, 2 * height, 2 * width)
    module = build_block(unit).eval()
    macs = 0

    def count(layer: nn.Module, _: object, out: Tensor) -> None:
        nonlocal macs
        macs += out.numel() * (layer.in_features if isinstance(layer, nn.Linear) else layer.weight[0].numel())

    for layer in module.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            layer.register_forward_hook(count)
    with torch.no_grad():
        module(torch.zeros(1, in_channels, unit.height, unit.width))
    assert (unit.params, unit.macs) == (sum(p.numel() for p in module.parameters()), macs)
    assert parse_unit(unit.key) == unit


def test_products_of_attention_are_counted_apart() -> None:
    """A counter that counts matrix products too finds 100,233,216 MACs in EfficientViT-B0 (timm 1.0.31, at 224)."""
    architecture = reference("efficientvit_b0")
    products = sum(p.product_macs for unit in units(architecture) for p in primitives(unit))
    assert estimate_costs(architecture).macs + products == 100_233_216


def test_the_products_of_a_transformer_layer_by_hand() -> None:
    """4 sequences of 6 tokens in 2 heads of 5 channels: 4·6·6·10 for the scores, as many for the values."""
    block = Block(
        "mobile_vit", 8, 3, hidden_channels=16, transformer_channels=10, transformer_depth=1, heads=2, activation="silu"
    )
    products = [p.product_macs for p in primitives(Unit(block, 8, 4, 6)) if p.kind == "product"]
    assert products == [1440, 1440]


def test_an_odd_map_is_resized_there_and_back() -> None:
    """3×5 to 4×6 before the transformer."""
    block = Block("mobile_vit", 8, 3, hidden_channels=16, transformer_channels=8, transformer_depth=1, heads=2)
    resizes = [p for p in primitives(Unit(block, 8, 3, 5)) if p.kind == "resize"]
    assert [(p.out_height, p.out_width) for p in resizes] == [(4, 6), (3, 5)]


@pytest.mark.parametrize("op", ["mobile_vit", "lite_mla"])
def test_heads_must_divide_the_width(op: str) -> None:
    """Both numbers are named."""
    depth = {"transformer_depth": 1, "hidden_channels": 4} if op == "mobile_vit" else {}
    with pytest.raises(NasError, match="heads must divide transformer_channels, but got 3 and 8"):
        Block(op, 8, 3, transformer_channels=8, heads=3, **depth)


@pytest.mark.parametrize("resolution", [1, 24])
def test_both_survive_export(resolution: int, tmp_path: Path) -> None:
    """The ONNX file gives torch's logits, whatever the batch; on odd maps and single pixels too."""
    blocks = (
        Block("conv", 8, 3, 2, activation="hswish"),
        Block("lite_mla", 8, 5, transformer_channels=8, heads=2),
        Block("mbconv", 8, 3, 2, 16, activation="hswish", norm="last"),
        Block("mobile_vit", 8, 3, hidden_channels=16, transformer_channels=12, transformer_depth=2, heads=3),
        Block("mbconv", 8, 3, 2, 16, activation="silu"),
        Block("mobile_vit", 8, 3, hidden_channels=8, transformer_channels=8, transformer_depth=1, heads=2),
        Block("pool"),
        Block("linear", 12, activation="hswish", bias=False, norm="layer"),
        Block("linear", 5),
    )
    architecture = Architecture(resolution, 5, blocks)
    check = export_onnx(build_network(architecture), architecture, tmp_path / "network.onnx")
    assert check.top1_agreement == 1


def test_linear_attention_does_not_overflow_in_half_precision() -> None:
    """Its sums over pixels run in float32 inside autocast."""
    unit = Unit(Block("lite_mla", 4, 5, transformer_channels=4, heads=1), 4, 64, 64)
    module = build_block(unit)
    with torch.no_grad(), torch.autocast("cpu", torch.float16):
        out = module(torch.full((1, 4, 64, 64), 300.0))
    assert torch.isfinite(out).all()
