"""The deployed form of a network with branches computes the same as the network."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nas.deploy.export.export import export_onnx
from nas.networks.architecture import Architecture, Block
from nas.networks.build import build_network
from nas.networks.deployed import deployed, deployed_unit
from nas.networks.operators import Unit, estimate_costs, units
from nas.networks.references import reference
from nas.networks.reparameterise import fused
from tests.strategies import branched_units

# Reparameterised in timm 1.0.31. MobileOne's paper rounds S2 to S4 to 7.8, 10.1 and 14.8 million parameters.
DEPLOYED_COSTS = [
    ("mobileone_s0", 2_078_504, 275_110_400),
    ("mobileone_s1", 4_764_840, 825_057_024),
    ("mobileone_s2", 7_808_168, 1_298_426_496),
    ("mobileone_s3", 10_078_312, 1_895_790_592),
    ("mobileone_s4", 14_838_352, 2_979_269_760),
    ("repghostnet_050", 2_306_528, 43_314_720),
    ("repghostnet_080", 3_267_112, 95_518_948),
    ("repghostnet_100", 4_058_772, 142_394_128),
    ("repghostnet_200", 9_766_460, 515_869_856),
]


@pytest.mark.parametrize(("name", "params", "macs"), DEPLOYED_COSTS)
def test_deployed_networks_cost_what_is_published(name: str, params: int, macs: int) -> None:
    """The costs are exact, and a network without branches stays unchanged."""
    architecture = deployed(reference(name))
    costs = estimate_costs(architecture)
    assert (costs.params, costs.macs) == (params, macs)
    assert deployed(architecture) == architecture


@given(branched_units())
def test_a_unit_is_deployed_as_in_its_network(unit: Unit) -> None:
    """The deployed unit has no branches; a unit without branches stays the same object."""
    square = Unit(unit.block, unit.in_channels, unit.height, unit.height)
    assert units(deployed(as_network(square)))[1] == deployed_unit(square)
    assert (deployed_unit(unit) is unit) == (unit.block.branches == 0)


def seen_images(network: nn.Sequential, images: torch.Tensor) -> nn.Sequential:
    """The network with normalisations that differ from channel to channel and from branch to branch."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(-1.5, 1.5, generator=generator)
                module.bias.uniform_(-0.5, 0.5, generator=generator)
                module.momentum = None
        network(images)
    return network


def as_network(unit: Unit) -> Architecture:
    """A network of a convolution that makes the unit's channels, the unit, and a classifier."""
    stem = Block("conv", unit.in_channels, activation="relu")
    return Architecture(unit.height, 5, (stem, unit.block, Block("pool"), Block("linear", 5)))


@pytest.mark.parametrize("op", ["mobile_one", "rep_ghost"])
@settings(max_examples=40)
@given(st.data())
def test_the_fused_network_computes_the_same(op: str, data: st.DataObject) -> None:
    """For any block, whatever its branches, groups, kernels and strides; in float64, so that only rounding is left."""
    unit = data.draw(branched_units(op, st.integers(1, 9)))
    architecture = as_network(unit)
    shape = (4, 3, unit.height, unit.height)
    images = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    network = seen_images(build_network(architecture).double(), images)
    plain = fused(network)
    assert network.training
    network.eval()
    with torch.no_grad():
        expected, out = network(images), plain(images)
    assert torch.allclose(out, expected, rtol=1e-9, atol=1e-9 * float(expected.abs().max()))
    # It has the deployed architecture's tensors, by name.
    rebuilt = build_network(deployed(architecture), seed=1).double().eval()
    rebuilt.load_state_dict(plain.state_dict())
    with torch.no_grad():
        assert torch.equal(rebuilt(images), out)


BRANCHED = Architecture(
    24,
    5,
    (
        Block("mobile_one", 8, 3, 2, activation="relu", branches=1),
        Block("mobile_one", 8, 3, activation="relu", groups=8, branches=4),
        Block("mobile_one", 8, 5, activation="relu", groups=2, branches=3),
        Block("mobile_one", 8, se_channels=4, se_gate="sigmoid", activation="relu", branches=2),
        Block("rep_ghost", 12, 3, 2, 8, activation="relu", branches=1),
        Block("rep_ghost", 12, 1, 1, 8, activation="relu", branches=1),
        Block("pool"),
        Block("linear", 5),
    ),
)


def test_the_fused_network_is_smaller_and_exports(tmp_path: Path) -> None:
    """No normalisation is left beside a convolution, and the file is the deployed network's."""
    images = torch.randn(4, 3, 24, 24, generator=torch.Generator().manual_seed(1))
    network = seen_images(build_network(BRANCHED), images)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    random_state = torch.random.get_rng_state()
    plain = fused(network)
    assert torch.equal(torch.random.get_rng_state(), random_state)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert sum(p.numel() for p in plain.parameters()) == estimate_costs(deployed(BRANCHED)).params
    network.eval()
    with torch.no_grad():
        assert torch.allclose(plain(images), network(images), rtol=1e-5, atol=1e-6)
    check = export_onnx(plain, deployed(BRANCHED), tmp_path / "network.onnx")
    assert check.top1_agreement == 1


def test_fusing_twice_changes_nothing() -> None:
    """A network without branches comes back as it is, in evaluation mode, and in its own precision."""
    once = fused(build_network(BRANCHED).double())
    twice = fused(once)
    assert not twice.training
    assert all(p.dtype == torch.float64 for p in twice.parameters())
    assert all(torch.equal(value, once.state_dict()[name]) for name, value in twice.state_dict().items())
