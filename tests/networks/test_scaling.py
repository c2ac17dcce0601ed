"""Are networks scaled as their families' own tables are, and stay they networks?"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import architectures

from nas.errors import NasError
from nas.networks.architecture import Architecture, Block
from nas.networks.build import build_network
from nas.networks.operators import estimate_costs, units
from nas.networks.references import REFERENCES, reference
from nas.networks.references.lcnet import lcnet
from nas.networks.references.mnasnet import mnasnet_a1
from nas.networks.references.mobilenet_v1 import mobilenet_v1
from nas.networks.references.mobilenet_v2 import mobilenet_v2
from nas.networks.references.mobilenet_v3 import mobilenet_v3_large, mobilenet_v3_small
from nas.networks.references.ofa import ofa_mobilenet_v3
from nas.networks.scaling import (
    EFFICIENTNET_SCALING,
    CompoundScaling,
    Head,
    compound_scale,
    make_divisible,
    scale_depth,
    scale_resolution,
    scale_width,
)

factors = st.floats(0.3, 2.5)
networks = st.one_of(architectures(), st.sampled_from(sorted(REFERENCES)).map(reference))

# Depth, width, resolution: the coefficients of the authors' code (tensorflow/tpu, efficientnet_builder.py).
EFFICIENTNETS = {
    "b0": (1.0, 1.0, 224),
    "b1": (1.1, 1.0, 240),
    "b2": (1.2, 1.1, 260),
    "b3": (1.4, 1.2, 300),
    "b4": (1.8, 1.4, 380),
    "b5": (2.2, 1.6, 456),
    "b6": (2.6, 1.8, 528),
    "b7": (3.1, 2.0, 600),
}


def of_op(architecture: Architecture, op: str) -> list[Block]:
    return [block for block in architecture.blocks if block.op == op]


@pytest.mark.parametrize("name", EFFICIENTNETS)
def test_efficientnet_b0_scales_to_all_others(name: str) -> None:
    """Block for block, although the scaling knows nothing of the family's table."""
    depth, width, resolution = EFFICIENTNETS[name]
    b0 = reference("efficientnet_b0")
    scaled = scale_resolution(scale_width(scale_depth(b0, depth), width), resolution / 224)
    assert scaled == scale_resolution(scale_depth(scale_width(b0, width), depth), resolution / 224)
    assert scaled == reference(f"efficientnet_{name}")


@pytest.mark.parametrize(
    ("build", "head"),
    [(mobilenet_v1, "scale"), (mobilenet_v2, "widen"), (mnasnet_a1, "keep"), (lcnet, "keep")],
)
@pytest.mark.parametrize("width", [0.25, 0.35, 0.5, 0.75, 1.0, 1.3, 1.4, 1.5, 2.0, 2.5])
def test_widths_are_those_of_the_families(build: Callable[..., Architecture], head: Head, width: float) -> None:
    """Each with its own rule for the layer before the classifier."""
    assert scale_width(build(), width, head=head) == build(width=width)


@pytest.mark.parametrize("build", [mobilenet_v3_large, mobilenet_v3_small])
@pytest.mark.parametrize("width", [0.35, 0.5, 0.75, 1.25, 1.3, 1.5, 2.0])
def test_widths_of_mobilenet_v3_are_the_authors(build: Callable[..., Architecture], width: float) -> None:
    """But for the last convolution, which the authors make six times as wide as its rounded input."""
    scaled, expected = scale_width(build(), width, head="keep"), build(width=width, slim=True)
    assert len(scaled.blocks) == len(expected.blocks)
    for block, other in zip(scaled.blocks, expected.blocks, strict=True):
        if block.op != "conv" or block.stride == 2:
            assert block == other


def test_the_width_of_once_for_all_is_the_published_one() -> None:
    """Its super-network of width 1.2 scales all layers."""
    assert scale_width(ofa_mobilenet_v3(), 1.2) == ofa_mobilenet_v3(width=1.2)


@pytest.mark.parametrize("name", REFERENCES)
def test_every_reference_can_be_scaled(name: str) -> None:
    """Up and down, to a network whose blocks fit together."""
    base = reference(name)
    for phi in (-3.0, -0.7, 0.4, 1.0, 3.0):
        scaled = compound_scale(base, EFFICIENTNET_SCALING, phi)
        assert units(scaled)[-1].out_channels == base.classes
        assert Architecture.from_json(scaled.to_json()) == scaled


@given(networks)
def test_scaled_by_one_a_network_is_itself(network: Architecture) -> None:
    """However its channels are rounded."""
    assert scale_width(network, 1) == network
    assert scale_depth(network, 1) == network
    assert scale_resolution(network, 1) == network
    assert compound_scale(network, EFFICIENTNET_SCALING, 0) == network


@given(networks, factors, st.sampled_from([1, 2, 4, 8, 16]), st.sampled_from(["scale", "widen", "keep"]))
def test_a_wider_network_has_the_same_rows(network: Architecture, factor: float, divisor: int, head: Head) -> None:
    """Operators, kernels, strides, groups; residuals stay where they were; channels are multiples of the divisor."""
    scaled = scale_width(network, factor, divisor, head=head)
    assert len(scaled.blocks) == len(network.blocks)
    assert scaled.blocks[-1] == network.blocks[-1]
    kept = [block.out_channels for block in network.blocks]
    for unit, before in zip(units(scaled), units(network), strict=True):
        block, old = unit.block, before.block
        assert (block.op, block.kernel_size, block.stride) == (old.op, old.kernel_size, old.stride)
        assert (block.se_channels > 0, block.activation) == (old.se_channels > 0, old.activation)
        assert block.groups in (old.groups, unit.in_channels)
        # Rounding may make channels agree that did not, but never tears apart what could be added.
        assert unit.residual or not before.residual
        grouped = block.groups > 1
        assert factor == 1 or grouped or block.out_channels % divisor == 0 or block.out_channels in kept


@given(networks, st.floats(1 / 0.9, 3.0))
def test_no_channel_shrinks_in_a_wider_network(network: Architecture, factor: float) -> None:
    """Rounding takes away less than a tenth."""
    scaled = scale_width(network, factor)
    for block, old in zip(scaled.blocks, network.blocks, strict=True):
        assert block.out_channels >= old.out_channels
        assert block.transformer_channels >= old.transformer_channels


@given(networks, factors, factors)
def test_depth_only_adds_and_drops_blocks(network: Architecture, one: float, other: float) -> None:
    """Deeper is never shallower; strides, input and output stay."""
    shallow, deep = (scale_depth(network, factor) for factor in sorted((one, other)))
    assert len(shallow.blocks) <= len(deep.blocks)
    for scaled in (shallow, deep):
        assert scaled.blocks[0] == network.blocks[0]
        assert [b for b in scaled.blocks if b.stride == 2] == [b for b in network.blocks if b.stride == 2]
        assert units(scaled)[-1].in_channels == units(network)[-1].in_channels
        assert [b.op for b in scaled.blocks if b.op in ("conv", "pool", "linear")] == [
            b.op for b in network.blocks if b.op in ("conv", "pool", "linear")
        ]


def test_depth_is_rounded_up_by_stage() -> None:
    """MobileNetV2's seven stages have 1, 2, 3, 4, 3, 3, 1 blocks; copies are residual blocks of stride 1."""

    def repeats(network: Architecture) -> list[int]:
        counts: dict[int, int] = {}
        for block in of_op(network, "mbconv"):
            counts[block.out_channels] = counts.get(block.out_channels, 0) + 1
        return list(counts.values())

    assert repeats(scale_depth(mobilenet_v2(), 1.1)) == [2, 3, 4, 5, 4, 4, 2]
    assert repeats(scale_depth(mobilenet_v2(), 0.5)) == [1, 1, 2, 2, 2, 2, 1]
    # 1.1 times 10 is a little more than 11 in floating point.
    ten = Architecture(32, 2, (Block("conv", 8), *[Block("ds_conv", 8)] * 10, Block("pool"), Block("linear", 2)))
    assert len(of_op(scale_depth(ten, 1.1), "ds_conv")) == 11
    deep = scale_depth(mobilenet_v2(), 2)
    added = [unit for unit in units(deep) if unit.block.op == "mbconv" and unit.residual]
    assert len(added) == 10 + 17


def test_a_stage_of_one_block_is_repeated_for_its_own_output() -> None:
    """The copy takes the output's channels, hidden and squeezed ones in proportion."""
    first, copy = of_op(scale_depth(reference("efficientnet_b0"), 1.1), "mbconv")[:2]
    assert (first.hidden_channels, first.se_channels, first.out_channels) == (32, 8, 16)
    assert copy == replace(first, hidden_channels=16, se_channels=4)


def test_layers_inside_mobilevit_are_its_depth() -> None:
    """2, 4 and 3 transformer layers become 3, 6 and 5; the blocks around them stay three."""
    blocks = of_op(scale_depth(reference("mobilevit_s"), 1.5), "mobile_vit")
    assert [block.transformer_depth for block in blocks] == [3, 6, 5]


def test_attention_and_the_block_after_it_are_repeated_together() -> None:
    """EfficientViT's modules are pairs."""
    deep = scale_depth(reference("efficientvit_b0"), 2)
    body = [block.op for block in deep.blocks]
    assert body.count("lite_mla") == 2 * [b.op for b in reference("efficientvit_b0").blocks].count("lite_mla")
    assert all(after == "mbconv" for op, after in itertools.pairwise(body) if op == "lite_mla")


def test_depthwise_and_pointwise_blocks_of_mobileone_are_repeated_together() -> None:
    """They take turns after the stem, and the depthwise ones stay depthwise at any width."""
    base = reference("mobileone_s0")
    body = [unit for unit in units(scale_width(scale_depth(base, 1.5), 1.3)) if unit.block.op == "mobile_one"][1:]
    assert len(body) > len(of_op(base, "mobile_one")) - 1
    for depthwise, pointwise in zip(body[::2], body[1::2], strict=True):
        assert depthwise.block.groups == depthwise.in_channels == depthwise.out_channels
        assert (pointwise.block.groups, pointwise.block.kernel_size) == (1, 1)


def test_attention_scales_as_its_papers_do() -> None:
    """MobileViT keeps four heads, which divide its channels; EfficientViT keeps 16 channels a head and adds heads."""
    for block in of_op(scale_width(reference("mobilevit_xxs"), 1.7), "mobile_vit"):
        assert block.heads == 4
        assert block.transformer_channels % 8 == 0
        assert block.hidden_channels == 2 * block.transformer_channels
    network = reference("efficientvit_b0")
    base, wide = of_op(network, "lite_mla"), of_op(scale_width(network, 2), "lite_mla")
    assert [b.heads for b in wide] == [2 * b.heads for b in base]
    assert {b.transformer_channels // b.heads for b in (*base, *wide)} == {16}


@pytest.mark.parametrize("name", ["shufflenet_v1_g3", "shufflenet_v1_g8", "mixnet_s", "mobilenet_edgetpu_v2_s"])
def test_groups_stay_and_channels_follow(name: str) -> None:
    """At widths which no group divides by chance."""
    base = reference(name)
    for factor in (0.55, 1.35, 1.85):
        scaled = scale_width(base, factor)
        assert [b.groups for b in scaled.blocks] == [b.groups for b in base.blocks]
        assert [b.expand_groups for b in scaled.blocks] == [b.expand_groups for b in base.blocks]


def test_halves_of_shufflenet_v2_stay_halves() -> None:
    """Where the hidden channels are half of the output they stay that."""
    for block in of_op(scale_width(reference("shufflenet_v2_100"), 1.3), "shuffle_v2"):
        assert 2 * block.hidden_channels == block.out_channels


def test_squeezed_channels_follow_the_networks_own_rule() -> None:
    """A quarter of the input rounded down, or of the hidden channels rounded to 8, or in proportion."""
    for unit in units(scale_width(reference("efficientnet_b0"), 1.3)):
        if unit.block.se_channels:
            assert unit.block.se_channels == int(unit.in_channels / 4)
    for block in scale_width(mobilenet_v3_large(), 1.3).blocks:
        if block.se_channels:
            assert block.se_channels == make_divisible(block.hidden_channels / 4)
    odd = Block("mbconv", 16, 3, 1, 30, se_channels=11, se_gate="sigmoid", activation="relu")
    network = Architecture(32, 2, (Block("conv", 8), odd, Block("pool"), Block("linear", 2)))
    (scaled,) = of_op(scale_width(network, 4), "mbconv")
    assert (scaled.hidden_channels, scaled.se_channels) == (120, 44)


@given(networks, factors, st.sampled_from([None, 1, 2, 7, 32]))
def test_resolution_is_the_nearest_multiple(network: Architecture, factor: float, multiple: int | None) -> None:
    """At least one of them."""
    scaled = scale_resolution(network, factor, multiple)
    assert scaled.blocks == network.blocks
    if multiple and factor != 1:
        assert scaled.resolution % multiple == 0
        wanted = network.resolution * factor
        assert abs(scaled.resolution - wanted) <= multiple / 2 or scaled.resolution == multiple


def test_default_multiples() -> None:
    """4, and for MobileViT what its smallest maps need to fold into patches of 2×2."""
    assert scale_resolution(mobilenet_v2(), 1.15).resolution == 256  # 257.6
    assert scale_resolution(reference("mobilevit_s"), 1.15).resolution == 320  # 294.4: between 256 and 320
    assert scale_resolution(reference("mobilevit_s"), 0.5).resolution == 128


def test_compound_scaling_is_its_equation() -> None:
    """Depth, width and resolution are powers of one number."""
    assert EFFICIENTNET_SCALING.factors(2) == pytest.approx((1.44, 1.21, 1.3225))
    assert CompoundScaling(2, 1, 1).factors(-1) == (0.5, 1, 1)
    base = mobilenet_v2()
    by_hand = scale_resolution(scale_width(scale_depth(base, 1.44), 1.21), 1.3225)
    assert compound_scale(base, EFFICIENTNET_SCALING, 2) == by_hand


@pytest.mark.parametrize("name", ["shufflenet_v2_050", "mixnet_s", "ghostnet_050", "mobilevit_xxs", "efficientvit_b0"])
def test_scaled_networks_are_built_as_they_are_costed(name: str) -> None:
    """The torch module has the parameters that are told of it."""
    scaled = compound_scale(reference(name), EFFICIENTNET_SCALING, 0.5)
    built = sum(parameter.numel() for parameter in build_network(scaled, seed=0).parameters())
    assert built == estimate_costs(scaled).params


@pytest.mark.parametrize(
    ("scale", "said"),
    [
        (lambda n: scale_width(n, 0), "a network can be scaled by a number above 0, but not by 0"),
        (lambda n: scale_depth(n, math.nan), "above 0, but not by nan"),
        (lambda n: scale_resolution(n, math.inf), "above 0, but not by inf"),
        (lambda n: scale_width(n, 2, 0), "the divisor of channels must be at least 1, but got 0"),
        (lambda n: scale_resolution(n, 2, 0), "the multiple of a resolution must be at least 1, but got 0"),
        (lambda n: compound_scale(n, EFFICIENTNET_SCALING, math.nan), "phi must be a finite number, but got nan"),
        (lambda _: CompoundScaling(1, 0.9, 1), r"beta must be a number of at least 1, but got 0\.9"),
        (lambda _: CompoundScaling(1, 1, math.inf), "gamma must be a number of at least 1, but got inf"),
    ],
)
def test_what_cannot_be_scaled_is_refused(scale: Callable[[Architecture], object], said: str) -> None:
    """With the number that was given."""
    with pytest.raises(NasError, match=said):
        scale(mobilenet_v2())
