"""Model bytes, moved activations and arithmetic intensity agree with counts by hand."""

from __future__ import annotations

import pytest
from hypothesis import given

from nas.errors import NasError
from nas.networks.architecture import Architecture, Block
from nas.networks.operators import (
    DetailedCosts,
    Unit,
    estimate_costs,
    parse_unit,
    total_costs,
    unit_costs,
    units,
)
from nas.networks.references import REFERENCES, reference
from tests.strategies import architectures


def costs(architecture: Architecture) -> DetailedCosts:
    """The detailed costs of a whole network."""
    return total_costs(unit_costs(unit) for unit in units(architecture))


@given(architectures())
def test_both_ways_to_cost_a_network_agree(architecture: Architecture) -> None:
    """The three numbers of `Costs` are those of the details."""
    brief, detailed = estimate_costs(architecture), costs(architecture)
    assert (brief.params, brief.macs, brief.peak_activation_bytes) == (
        detailed.params,
        detailed.macs,
        detailed.peak_activation_bytes,
    )


def test_a_convolution_by_hand() -> None:
    """3×3 from 4 to 8 channels, normalised, on 6×6: 288 weights, and a bias for each channel once it is folded."""
    counted = unit_costs(Unit(Block("conv", 8, 3, activation="relu"), 4, 6, 6))
    assert (counted.params, counted.macs) == (288 + 2 * 8, 288 * 36)
    assert counted.model_bytes("float32") == 4 * (288 + 8)
    assert counted.model_bytes("float16") == 2 * (288 + 8)
    # A byte a weight, an int32 bias and a float32 scale for each output channel.
    assert counted.model_bytes("int8") == 288 + 8 * 4 + 8 * 4
    assert counted.activation_bytes("float32") == 4 * 36 * (4 + 8)
    assert counted.activation_bytes("int8") == 36 * (4 + 8)
    assert counted.intensity("float32") == 288 * 36 / (4 * (288 + 8) + 4 * 36 * (4 + 8))


def test_a_residual_with_squeeze_and_excitation_by_hand() -> None:
    """Every operation reads and writes: expand, depthwise, pool, reduce, expand, gate, project, add."""
    counted = unit_costs(parse_unit("mbconv_4x4_i2_o2_h6_k3_s1_se3_relu"))
    moved = [2 + 6, 6 + 6, 6 + 6 / 16, (6 + 3) / 16, (3 + 6) / 16, 6 + 6 / 16 + 6, 6 + 2, 2 + 2 + 2]
    assert counted.moved_elements == 16 * sum(moved)
    assert counted.weights == 12 + 54 + 18 + 18 + 12
    assert counted.biases == counted.channels == 6 + 6 + 3 + 6 + 2


def test_a_split_moves_nothing_and_mixconvs_one_normalisation_folds() -> None:
    """Four channels with two kernels: two convolutions without bias, concatenated, then normalised."""
    counted = unit_costs(Unit(Block("mixconv", 3, 5, 1, 4, activation="relu"), 4, 1, 1))
    assert counted.norms == 0
    assert counted.biases == 4 + 3
    # 3×3 and 5×5 of two channels each, the concatenation, norm and activation where they lie, the projection.
    assert counted.moved_elements == (2 + 2) + (2 + 2) + (4 + 4) + (4 + 4) + (4 + 4) + (4 + 3)


def test_what_cannot_be_folded_stays_float32_at_int8() -> None:
    """Layer normalisation: a scale and a shift for each output."""
    counted = unit_costs(Unit(Block("linear", 10, activation="hswish", bias=False, norm="layer"), 7, 1, 1))
    assert (counted.weights, counted.biases, counted.norms) == (70, 0, 20)
    assert counted.model_bytes("int8") == 70 + 4 * 10 + 4 * 20


def test_attention_counts_for_the_intensity_and_not_for_the_macs() -> None:
    """The papers count convolutions and linear layers; a device multiplies the rest as well."""
    counted = unit_costs(parse_unit("mobile_vit_4x4_i8_o8_h32_k3_t16_l1_a2_silu"))
    # Scores and their products with the values: 16 pixels in 4 sequences of 4, 16 channels.
    assert counted.product_macs == 2 * 16 * 4 * 16
    moved = counted.model_bytes() + counted.activation_bytes()
    assert counted.intensity() == (counted.macs + counted.product_macs) / moved


def test_a_larger_kernel_is_denser_and_int8_four_times_as_dense_as_float32() -> None:
    """A depthwise convolution does k² MACs with each number that it reads, whatever the channels."""
    dense = {
        kernel: unit_costs(Unit(Block("conv", 64, kernel, groups=64), 64, 112, 112)).intensity() for kernel in (3, 5)
    }
    assert dense[3] == pytest.approx(9 / 8, rel=0.01)
    assert dense[5] == pytest.approx(25 / 8, rel=0.01)
    whole = costs(reference("mobilenet_v2"))
    assert whole.intensity("int8") == pytest.approx(4 * whole.intensity("float32"), rel=0.03)


@pytest.mark.parametrize("name", REFERENCES)
def test_int8_models_take_little_more_than_a_byte_a_parameter(name: str) -> None:
    """Biases and scales are few; float16 takes half of float32, exactly."""
    counted = costs(reference(name))
    assert counted.weights < counted.model_bytes("int8") < 1.12 * counted.params
    assert 2 * counted.model_bytes("float16") == counted.model_bytes("float32") <= 4 * counted.params


def test_an_unknown_precision_is_refused() -> None:
    """The message lists the precisions that exist."""
    with pytest.raises(NasError, match=r"unknown precision 'int4'. Known: int8, float16, float32"):
        costs(reference("mobilenet_v2")).model_bytes("int4")
