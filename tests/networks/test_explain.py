"""The arithmetic of depthwise separable convolutions is that of the papers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.errors import NasError
from nas.networks.architecture import Architecture, Block
from nas.networks.explain import compare_convolutions, count_activations, find_separables, find_shares
from nas.networks.operators import total_costs, unit_costs, units
from nas.networks.references import REFERENCES, reference
from tests.strategies import architectures


def test_the_example_of_mobilenet_v1() -> None:
    """Its table 3: 462 million mult-adds and 2.36 million parameters become 52.3 and 0.27."""
    costs = compare_convolutions(3, 512, 512, 14)
    assert round(costs["standard"].macs / 1e6) == 462
    assert round(costs["standard"].params / 1e6, 2) == 2.36
    assert round(costs["depthwise separable"].macs / 1e6, 1) == 52.3
    assert round(costs["depthwise separable"].params / 1e6, 2) == 0.27


@given(st.sampled_from([1, 3, 5, 7]), st.integers(1, 600), st.integers(1, 600), st.integers(1, 120))
def test_the_share_that_remains_is_the_papers(kernel: int, in_channels: int, out_channels: int, size: int) -> None:
    """1/N + 1/k² of weights and of MACs, whatever the input's channels and the image."""
    costs = compare_convolutions(kernel, in_channels, out_channels, size)
    standard, separable = costs["standard"], costs["depthwise separable"]
    for ratio in (separable.macs / standard.macs, separable.weights / standard.weights):
        assert ratio == pytest.approx(1 / out_channels + 1 / kernel**2)


@given(st.integers(64, 4096))
def test_of_3x3_eight_to_nine_times_less_remains(out_channels: int) -> None:
    """From 72 output channels on, as section 3.1 of MobileNetV1 says; never nine times."""
    costs = compare_convolutions(3, 16, out_channels, 4)
    ratio = costs["standard"].macs / costs["depthwise separable"].macs
    assert (ratio >= 8) == (out_channels >= 72)
    assert ratio < 9


def test_the_shares_of_mobilenet_v1() -> None:
    """Its table 2, which swaps two digits of the first convolution's MACs (1.19% there: its rows sum to 99.3%)."""
    shares = find_shares(reference("mobilenet_v1"))
    macs, weights = sum(row.macs for row in shares), sum(row.weights for row in shares)
    percent = {row.kind: (round(100 * row.macs / macs, 2), round(100 * row.weights / weights, 2)) for row in shares}
    assert percent == {
        "1x1 convolution": (94.86, 74.59),
        "depthwise convolution": (3.06, 1.06),
        "other convolution": (1.91, 0.02),
        "linear": (0.18, 24.33),
    }


def test_mobilenet_v1_with_standard_convolutions() -> None:
    """Its table 4: 4866 million mult-adds and 29.3 million parameters instead of 569 and 4.2."""
    network = reference("mobilenet_v1")
    separables, shares = find_separables(network), find_shares(network)
    assert len(separables) == 13
    macs = sum(row.macs for row in shares) + sum(row.standard_macs - row.macs for row in separables)
    weights = sum(row.weights for row in shares) + sum(row.standard_weights - row.weights for row in separables)
    assert macs / 1e6 == pytest.approx(4866, rel=5e-4)
    assert round(weights / 1e6, 1) == 29.3


def test_a_pair_of_an_inverted_residual_by_hand() -> None:
    """Depthwise 5×5 of 12 channels and projection to 4, squeeze-and-excitation between them left out."""
    mbconv = Block("mbconv", 4, 5, 2, 12, se_channels=3, se_gate="sigmoid", activation="relu")
    (pair,) = find_separables(Architecture(8, 2, (Block("conv", 4), mbconv, Block("pool"), Block("linear", 2))))
    assert (pair.number, pair.kernel_sizes, pair.in_channels, pair.out_channels) == (2, (5,), 12, 4)
    assert pair.weights == 12 * 25 + 12 * 4
    assert pair.standard_weights == 12 * 4 * 25
    assert (pair.macs, pair.standard_macs) == (16 * pair.weights, 16 * pair.standard_weights)
    assert pair.ratio == pytest.approx(1 / (1 / 4 + 1 / 25))


def test_pairs_are_found_across_blocks_shuffles_and_kernels() -> None:
    """Two plain convolutions, ShuffleNetV1's grouped pointwise one, MixConv's many kernels."""
    blocks = (
        Block("conv", 8, 3, 2),
        Block("conv", 8, 3, groups=8),
        Block("conv", 16),
        Block("mixconv", 16, 5, 1, 32, activation="relu"),
        Block("shuffle_v1", 16, 3, 1, 8, groups=2, expand_groups=2, activation="relu"),
        Block("pool"),
        Block("linear", 2),
    )
    pairs = find_separables(Architecture(16, 2, blocks))
    assert [(pair.number, pair.kernel_sizes) for pair in pairs] == [(3, (3,)), (4, (3, 5)), (5, (3,))]
    assert pairs[0].ratio == pytest.approx(1 / (1 / 16 + 1 / 9))
    assert pairs[1].standard_weights == 16 * 9 * 16 + 16 * 25 * 16
    assert pairs[2].standard_weights == 8 * 8 * 9  # Each of 16 outputs reads its group's 4 channels.


@pytest.mark.parametrize("name", REFERENCES)
def test_the_shares_add_up_to_the_network(name: str) -> None:
    """MACs with attention's, weights without biases; pairs are no more than the whole."""
    network = reference(name)
    total = total_costs(unit_costs(unit) for unit in units(network))
    shares, pairs = find_shares(network), find_separables(network)
    assert sum(row.macs for row in shares) == total.macs + total.product_macs
    assert sum(row.weights for row in shares) == total.weights
    assert sum(pair.macs for pair in pairs) <= total.macs
    having_squeeze = any(block.se_channels for block in network.blocks)
    assert ("squeeze-and-excitation" in {row.kind for row in shares}) == having_squeeze


@given(architectures())
def test_every_inverted_residual_has_a_pair(architecture: Architecture) -> None:
    """Wherever its depthwise convolution is one: several channels, more than one pixel of kernel."""
    pairs = {(pair.number, pair.in_channels, pair.out_channels) for pair in find_separables(architecture)}
    for number, block in enumerate(architecture.blocks, start=1):
        if block.op == "mbconv" and block.hidden_channels > 1 and block.kernel_size > 1:
            assert (number, block.hidden_channels, block.out_channels) in pairs


def test_activations_are_counted_where_they_are_used() -> None:
    """A swish of 4 channels on 8×8, nothing after the classifier."""
    blocks = (Block("conv", 4, activation="hswish"), Block("conv", 2), Block("pool"), Block("linear", 2))
    assert count_activations(Architecture(8, 2, blocks)) == {"hswish": 4 * 64}


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ((2, 8, 8, 8), "kernel_size must be odd"),
        ((3, 0, 8, 8), "in_channels must be at least 1, but got 0"),
        ((3, 8, -1, 8), "out_channels must be at least 1, but got -1"),
        ((3, 8, 8, 0), "size must be at least 1, but got 0"),
    ],
)
def test_a_shape_that_is_none_is_refused(shape: tuple[int, int, int, int], said: str) -> None:
    """The message names the command's option."""
    with pytest.raises(NasError, match=said):
        compare_convolutions(*shape)
