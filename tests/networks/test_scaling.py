"""Networks are scaled as their families' own tables are, and the results are valid networks."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.errors import NasError
from nas.networks.architecture import Architecture, Block
from nas.networks.build import build_network
from nas.networks.operators import estimate_costs, units
from nas.networks.references import REFERENCES, reference
from nas.networks.references.efficientnet import EFFICIENTNET_SIZES
from nas.networks.references.ghostnet import ghostnet, repghostnet
from nas.networks.references.lcnet import lcnet
from nas.networks.references.mixnet import mixnet_m, mixnet_s
from nas.networks.references.mnasnet import mnasnet_a1
from nas.networks.references.mobilenet_v1 import mobilenet_v1
from nas.networks.references.mobilenet_v2 import mobilenet_v2
from nas.networks.references.mobilenet_v3 import mobilenet_v3_large, mobilenet_v3_rw, mobilenet_v3_small
from nas.networks.references.ofa import ofa_mobilenet_v3
from nas.networks.references.shufflenet import shufflenet_v1
from nas.networks.scaling import (
    EFFICIENTNET_SCALING,
    CompoundScaling,
    Head,
    compound_scale,
    make_divisible,
    scale_depth,
    scale_resolution,
    scale_to_size,
    scale_width,
)
from tests.strategies import architectures

factors = st.floats(0.3, 2.5)
networks = st.one_of(architectures(), st.sampled_from(sorted(REFERENCES)).map(reference))


def of_op(architecture: Architecture, op: str) -> list[Block]:
    return [block for block in architecture.blocks if block.op == op]


@pytest.mark.parametrize("name", EFFICIENTNET_SIZES)
def test_efficientnet_b0_scales_to_all_others(name: str) -> None:
    """Block for block, although the scaling knows nothing of the family's blocks; width and depth in either order."""
    b0, size = reference("efficientnet_b0"), EFFICIENTNET_SIZES[name]
    scaled = scale_to_size(b0, size)
    assert scaled == scale_resolution(scale_depth(scale_width(b0, size.width), size.depth), size.resolution / 224)
    assert scaled == reference(f"efficientnet_{name}")
    # To the pixel, also where it is no multiple of 4.
    assert scale_to_size(b0, size._replace(resolution=size.resolution + 1)).resolution == size.resolution + 1


def test_powers_of_the_constants_are_not_the_published_family() -> None:
    """Phi = 1 has B2's blocks for other images; phi = 3 is between two of them."""
    b0 = reference("efficientnet_b0")
    b2 = compound_scale(b0, EFFICIENTNET_SCALING, 1)
    assert (b2.blocks, b2.resolution) == (reference("efficientnet_b2").blocks, 256)
    assert compound_scale(b0, EFFICIENTNET_SCALING, 3).blocks not in [
        reference(f"efficientnet_{name}").blocks for name in EFFICIENTNET_SIZES
    ]


@pytest.mark.parametrize("build", [ghostnet, repghostnet])
@pytest.mark.parametrize("width", [0.5, 1.5, 2.0])
def test_widths_of_ghostnets_are_the_authors(build: Callable[..., Architecture], width: float) -> None:
    """With their divisor of 4, squeezed channels too."""
    assert scale_width(build(), width, 4, head="keep") == build(width=width)


@pytest.mark.parametrize("build", [ghostnet, repghostnet])
def test_ghostnets_differ_in_hidden_channels_where_others_are_rounded(build: Callable[..., Architecture]) -> None:
    """The authors scale them by themselves, and here they keep their ratio; nothing else differs."""
    scaled, expected = scale_width(build(), 1.3, 4, head="keep"), build(width=1.3)
    for block, other in zip(scaled.blocks, expected.blocks, strict=True):
        squeezed = {"hidden_channels": other.hidden_channels, "se_channels": other.se_channels}
        assert replace(block, **squeezed) == other
        assert abs(block.hidden_channels - other.hidden_channels) <= 0.07 * other.hidden_channels


@pytest.mark.parametrize("groups", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("width", [0.5, 1.5, 2.0])
def test_widths_of_shufflenet_v1_are_the_authors(groups: int, width: float) -> None:
    """With a divisor of 4, but for the stem at 1.5, which they leave as it is."""
    scaled, expected = scale_width(shufflenet_v1(groups), width, 4), shufflenet_v1(groups, width=width)
    assert scaled.blocks[1:] == expected.blocks[1:]
    assert (scaled.blocks[0] == expected.blocks[0]) == (width != 1.5)


@pytest.mark.parametrize(
    ("build", "head"),
    [
        (mobilenet_v1, "scale"),
        (mobilenet_v2, "widen"),
        (mnasnet_a1, "keep"),
        (lcnet, "keep"),
        (mixnet_s, "keep"),
        (mixnet_m, "keep"),
    ],
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
    for phi in (-3.0, 0.4, 1.5):
        scaled = compound_scale(base, EFFICIENTNET_SCALING, phi)
        assert units(scaled)[-1].out_channels == base.classes
        assert Architecture.from_json(scaled.to_json()) == scaled


@given(networks)
def test_scaled_by_one_a_network_is_itself(network: Architecture) -> None:
    """A factor of 1 changes nothing, however channels are rounded."""
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
    # The layer before the classifier is `head`'s matter.
    head_index = max(index for index, block in enumerate(network.blocks[:-1]) if block.op != "pool")
    for index, (unit, before) in enumerate(zip(units(scaled), units(network), strict=True)):
        block, old = unit.block, before.block
        assert (block.op, block.stride) == (old.op, old.stride)
        ghost_that_adds = block.op in ("ghost", "rep_ghost") and unit.residual
        assert block.kernel_size == (1 if ghost_that_adds else old.kernel_size)
        assert (block.se_channels > 0, block.activation) == (old.se_channels > 0, old.activation)
        assert block.groups in (old.groups, unit.in_channels)
        # Rounding may make channels agree that did not, but never tears apart what could be added.
        assert unit.residual or not before.residual
        if factor != 1 and index < head_index and block.groups == 1:
            assert block.out_channels % divisor == 0


@given(networks)
def test_twice_as_wide_is_twice_the_channels(network: Architecture) -> None:
    """Exactly, where nothing needs rounding: between blocks, inside them, and in transformers."""
    wide = scale_width(network, 2, 1)
    for block, old in zip(wide.blocks[:-1], network.blocks[:-1], strict=True):
        assert block.out_channels == 2 * old.out_channels
        assert block.hidden_channels == 2 * old.hidden_channels
        assert block.transformer_channels == 2 * old.transformer_channels


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


def test_squeezed_channels_of_ghostnet_are_multiples_of_four() -> None:
    """A quarter of what is squeezed; in proportion would be others."""
    squeezed = [b for b in scale_width(ghostnet(), 1.3).blocks if b.se_channels]
    assert [b.se_channels for b in squeezed] == [make_divisible(b.hidden_channels / 4, 4) for b in squeezed]
    assert any(b.se_channels % 8 for b in squeezed)
    assert any(b.se_channels != b.hidden_channels / 4 for b in squeezed)


def test_squeezed_channels_that_are_a_share_rounded_down_stay_that() -> None:
    """A quarter of the hidden channels; the nearest number would be one more for some of them."""
    squeezed = [b for b in scale_width(mobilenet_v3_rw(), 1.1, 1).blocks if b.se_channels]
    assert [b.se_channels for b in squeezed] == [b.hidden_channels // 4 for b in squeezed]
    assert any(b.hidden_channels % 4 >= 2 for b in squeezed)


def test_hidden_channels_are_multiples_of_the_groups() -> None:
    """Even where neither the divisor nor the ratio makes them so: 12 of 8 would be 18 of 12."""
    block = Block("fbnet", 8, 3, 1, 12, activation="relu", groups=4)
    network = Architecture(32, 2, (Block("conv", 8), block, Block("pool"), Block("linear", 2)))
    (scaled,) = of_op(scale_width(network, 1.5, 1), "fbnet")
    assert (scaled.hidden_channels, scaled.out_channels, scaled.groups) == (20, 12, 4)


def test_a_ghost_block_that_comes_to_add_its_input_has_no_kernel() -> None:
    """A copy of one that did not, and one whose channels round to those of its input."""
    rows = (Block("ghost", 24, 5, 2, 48, activation="relu"), Block("ghost", 40, 5, 1, 72, activation="relu"))
    network = Architecture(32, 2, (Block("conv", 24), *rows, Block("pool"), Block("linear", 2)))
    deep = of_op(scale_depth(network, 2), "ghost")
    assert [(b.kernel_size, b.stride) for b in deep] == [(5, 2), (1, 1), (5, 1), (1, 1)]
    assert [b.kernel_size for b in of_op(scale_width(network, 0.3, 16), "ghost")] == [5, 1]


def test_copies_are_rounded_to_the_divisor() -> None:
    """A stage of one block whose copy has half of its hidden channels."""
    block = Block("mbconv", 12, 3, 2, 40, activation="relu")
    network = Architecture(32, 2, (Block("conv", 24), block, Block("pool"), Block("linear", 2)))
    assert [of_op(scale_depth(network, 2, n), "mbconv")[1].hidden_channels for n in (8, 4, 1)] == [24, 20, 20]
    scaled = compound_scale(network, CompoundScaling(2, 1, 1), 1, divisor=4)
    assert of_op(scaled, "mbconv")[1].hidden_channels == 20


@given(networks, factors, st.sampled_from([None, 1, 2, 7, 32]))
def test_resolution_is_the_nearest_multiple(network: Architecture, factor: float, multiple: int | None) -> None:
    """At least one of them."""
    scaled = scale_resolution(network, factor, multiple)
    assert scaled.blocks == network.blocks
    if multiple and factor != 1:
        assert scaled.resolution % multiple == 0
        exact = network.resolution * factor
        assert abs(scaled.resolution - exact) <= multiple / 2 or scaled.resolution == multiple


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
        (lambda n: scale_width(n, 0), "a network can be scaled by a number from 0.0001 to 10000, but not by 0"),
        (lambda n: scale_depth(n, math.nan), "but not by nan"),
        (lambda n: scale_resolution(n, math.inf), "but not by inf"),
        (lambda n: scale_width(n, 1e308), r"but not by 1e\+308"),
        (lambda n: scale_resolution(n, 1e308), r"but not by 1e\+308"),
        (lambda n: scale_depth(n, -1), "but not by -1"),
        (lambda n: scale_width(n, 2, 0), "the divisor of channels must be at least 1, but got 0"),
        (lambda n: scale_depth(n, 2, 0), "the divisor of channels must be at least 1, but got 0"),
        (
            lambda n: scale_width(n, 2, head="bogus"),  # type: ignore[arg-type]
            "head must be one of scale, widen, keep, but got 'bogus'",
        ),
        (
            lambda n: compound_scale(n, EFFICIENTNET_SCALING, 1e6),
            r"phi = 1e\+06 is too large for alpha 1\.2, beta 1\.1",
        ),
        (lambda n: compound_scale(n, EFFICIENTNET_SCALING, -1e6), "but not by 0"),
        (lambda n: scale_resolution(n, 2, 0), "the multiple of a resolution must be at least 1, but got 0"),
        (lambda n: compound_scale(n, EFFICIENTNET_SCALING, math.nan), "phi must be a finite number, but got nan"),
        (lambda _: CompoundScaling(1, 0.9, 1), r"beta must be a number of at least 1, but got 0\.9"),
        (lambda _: CompoundScaling(1, 1, math.inf), "gamma must be a number of at least 1, but got inf"),
    ],
)
def test_what_cannot_be_scaled_is_refused(scale: Callable[[Architecture], object], said: str) -> None:
    """The message has the number that was passed."""
    with pytest.raises(NasError, match=said):
        scale(mobilenet_v2())
