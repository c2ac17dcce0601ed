"""Channels are removed in sets, and the remaining weights compute what they did before."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from nas.errors import NasError
from nas.networks.architecture import Architecture, Block
from nas.networks.build import build_network
from nas.networks.channels import carried_weights, channel_sets, importance, tensor_sets, with_widths
from nas.networks.operators import units
from nas.networks.references import reference
from nas.networks.scaling import scale_width

SE = {"se_channels": 8, "se_gate": "hsigmoid"}
# One of each operator whose channels can be narrowed, with and without sums and expansions.
MIXED = Architecture(
    32,
    5,
    (
        Block("conv", 16, 3, 2, activation="hswish"),
        Block("mbconv", 16, 3, 1, 16, activation="relu"),
        Block("mbconv", 24, 5, 2, 48, activation="hswish", **SE),
        Block("mbconv", 24, 3, 1, 64, activation="hswish", **SE),
        Block("fused_mbconv", 24, 3, 1, 48, activation="silu"),
        Block("fused_mbconv", 32, 3, 2, 24, activation="silu"),
        Block("uib", 32, 3, 1, 64, start_kernel_size=5, activation="relu"),
        Block("fbnet", 32, 3, 1, 96, activation="relu"),
        Block("conv", 32, 3, 1, activation="relu", groups=32),
        Block("ds_conv", 40, 3, 2, activation="relu", **SE),
        Block("max_pool", 0, 3, 2),
        Block("conv", 48, 1, activation="relu"),
        Block("pool"),
        Block("linear", 56, activation="hswish"),
        Block("linear", 5),
    ),
)


SQUEEZED = {one.follows for one in channel_sets(MIXED).sets}


def lived_in(architecture: Architecture, seed: int = 0) -> nn.Sequential:
    """The network in evaluation mode, with normalisations that are not the identity."""
    network = build_network(architecture, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            tensors = (module.weight, module.bias, module.running_mean, module.running_var)
            for tensor, low in zip(tensors, (0.5, -0.5, -0.5, 0.5), strict=True):
                assert isinstance(tensor, Tensor)
                tensor.data.copy_(low + torch.rand(len(tensor), generator=generator))
    return network.eval()


def free_of(architecture: Architecture) -> list[int]:
    return list(channel_sets(architecture).free)


@pytest.mark.parametrize("number", [n for n in free_of(MIXED) if n not in SQUEEZED])
@torch.no_grad()
def test_channels_that_say_nothing_can_go(number: int) -> None:
    """A quarter of a set has only zero weights, so that the network without these channels computes the same.

    Sets that a squeeze follows are not tested here, because the squeeze gets narrower too, which changes the network.
    """
    sets = channel_sets(MIXED)
    network = lived_in(MIXED)
    silent = torch.arange(sets.sets[number].channels // 4) * 3 + 1
    for name, dimensions in tensor_sets(MIXED, sets).items():
        tensor = network.state_dict()[name]
        for dimension, belongs in enumerate(dimensions):
            if belongs == number and tensor.ndim >= 2:
                tensor.index_fill_(dimension, silent, 0.0)
    width = sets.sets[number].channels - len(silent)
    narrower = with_widths(MIXED, sets, {number: width})
    assert narrower is not None
    after = build_network(narrower)
    after.load_state_dict(carried_weights(network.state_dict(), MIXED, narrower))
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(after.eval()(images), network(images), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("number", free_of(MIXED))
def test_one_set_narrows_all_its_layers(number: int) -> None:
    """Only blocks with these channels change, and the remaining weights load."""
    sets = channel_sets(MIXED)
    narrower = with_widths(MIXED, sets, {number: sets.sets[number].channels - 8})
    assert narrower is not None
    pairs = zip(sets.sets, channel_sets(narrower).sets, strict=True)
    changed = {n for n, (before, after) in enumerate(pairs) if before.channels != after.channels}
    assert changed - {n for n, one in enumerate(sets.sets) if one.follows == number} == {number}
    weights = carried_weights(build_network(MIXED).state_dict(), MIXED, narrower)
    build_network(narrower).load_state_dict(weights)


def test_a_residual_stage_has_one_width() -> None:
    """The blocks of MobileNetV3-Large's last stage, whose outputs are added, share one set."""
    architecture = reference("mobilenet_v3_large")
    sets = channel_sets(architecture)
    number = sets.blocks[15].out
    assert {sets.blocks[index].out for index in (13, 14, 15)} == {number}
    narrower = with_widths(architecture, sets, {number: 96})
    assert narrower is not None
    assert [narrower.blocks[index].out_channels for index in (12, 13, 14, 15)] == [112, 96, 96, 96]
    assert [u.residual for u in units(narrower)] == [u.residual for u in units(architecture)]


@pytest.mark.parametrize(
    "name",
    ["mobilenet_v1", "mobilenet_v2", "mobilenet_v3_small", "efficientnet_b0", "fbnet_c", "mobilenet_v4_conv_small"],
)
def test_published_networks_scale_with_their_weights(name: str) -> None:
    """Networks scaled in width load the remaining weights; without a change all weights remain."""
    architecture = reference(name)
    narrower = scale_width(architecture, 0.75)
    weights = build_network(architecture).state_dict()
    build_network(narrower).load_state_dict(carried_weights(weights, architecture, narrower))
    same = carried_weights(weights, architecture, architecture)
    assert all(torch.equal(same[key], tensor) for key, tensor in weights.items())


def test_what_would_be_another_network_is_none() -> None:
    """Widths at which an expansion would vanish, or an addition appear, give None."""
    sets = channel_sets(MIXED)
    expansion = sets.blocks[3].hidden
    assert expansion is not None
    assert with_widths(MIXED, sets, {expansion: 24}) is None
    assert with_widths(MIXED, sets, {expansion: 32}) is not None
    assert with_widths(MIXED, sets, {sets.blocks[9].out: 40}) == MIXED


@torch.no_grad()
def test_importance_sees_the_normalisation() -> None:
    """A channel whose normalisation has a small factor has little importance, whatever its weights."""
    network = lived_in(MIXED)
    sets = channel_sets(MIXED)
    number = sets.blocks[3].hidden
    assert number is not None
    before = importance(network.state_dict(), MIXED, sets)[number]
    for norm in (network[3].layers[0][1], network[3].layers[1][1]):  # type: ignore[index]
        norm.weight[5] *= 1e-4
    after = importance(network.state_dict(), MIXED, sets)[number]
    assert after.argmin() == 5
    assert after[5] < 0.7 * before[5]


def test_networks_whose_channels_cannot_be_removed() -> None:
    """The operators are named; a network with some of them keeps their channels."""
    with pytest.raises(NasError, match="not supported for mobile_one"):
        channel_sets(reference("mobileone_s0"))
    architecture = reference("shufflenet_v2_100")
    sets = channel_sets(architecture)
    assert {str(sets.sets[number]) for number in sets.free} == {"bottleneck of block 18"}
    with pytest.raises(NasError, match="must stay, but has"):
        carried_weights({**build_network(architecture).state_dict()}, architecture, scale_width(architecture, 0.5))


def test_wider_networks_cannot_be_filled() -> None:
    """Weights are carried over to narrower networks only, of the same kind."""
    weights = build_network(MIXED).state_dict()
    with pytest.raises(NasError, match="must not get wider"):
        carried_weights(weights, MIXED, scale_width(MIXED, 2))
    with pytest.raises(NasError, match="the same network with fewer channels"):
        carried_weights(weights, MIXED, reference("mobilenet_v2"))
