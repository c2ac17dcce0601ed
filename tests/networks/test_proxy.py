"""The network that is trained instead of a candidate is the candidate for smaller images."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn

from nas.networks.architecture import OPERATORS, Architecture, Block
from nas.networks.build import build_network
from nas.networks.operators import Unit, estimate_costs, units
from nas.networks.proxy import ProxySettings, proxy_architecture
from nas.networks.references import REFERENCES, reference
from nas.networks.references.mobilenet_v2 import mobilenet_v2
from nas.networks.references.mobilenet_v3 import mobilenet_v3_large
from nas.networks.space.search_space import load_space
from tests.networks.weightless import weightless_blocks
from tests.strategies import architectures


def stride(architecture: Architecture) -> int:
    """The product of a network's strides."""
    return prod(block.stride for block in architecture.blocks)


@given(architectures(), st.integers(1, 64), st.integers(1, 20))
def test_the_stride_is_bounded_and_nothing_else_changes(
    architecture: Architecture, max_stride: int, classes: int
) -> None:
    """Strides become 1 from the front, until the product fits; the other fields of every block stay."""
    proxy = proxy_architecture(
        architecture, ProxySettings(resolution=16, max_stride=max_stride), largest_resolution=64, classes=classes
    )
    assert stride(proxy) <= max_stride or stride(architecture) <= max_stride
    assert len(proxy.blocks) == len(architecture.blocks)
    assert proxy.classes == proxy.blocks[-1].out_channels == classes
    changed = [new.stride != old.stride for new, old in zip(proxy.blocks, architecture.blocks, strict=True)]
    strided = [flag for flag, old in zip(changed, architecture.blocks, strict=True) if old.stride > 1]
    assert strided == sorted(strided, reverse=True), "the earliest strides go first"
    if sum(changed):
        assert stride(proxy) * 2 > max_stride, "no more strides go than must"
    for new, old in zip(proxy.blocks[:-1], architecture.blocks[:-1], strict=True):
        assert (new.op, new.out_channels, new.kernel_size) == (old.op, old.out_channels, old.kernel_size)
        assert (new.hidden_channels, new.se_channels, new.groups) == (old.hidden_channels, old.se_channels, old.groups)


@pytest.mark.parametrize(("resolution", "expected"), [(224, 32), (192, 28), (160, 22), (112, 16), (32, 4), (1, 2)])
def test_the_resolution_shrinks_in_proportion(resolution: int, expected: int) -> None:
    """To an even number: 160 / 224 × 32 is 22.9, and 22 is nearest of the even ones but one."""
    proxy = proxy_architecture(
        mobilenet_v2(resolution=resolution), ProxySettings(resolution=32), largest_resolution=224, classes=10
    )
    assert proxy.resolution == expected


def test_the_weights_are_the_candidates_but_for_the_classifier() -> None:
    """Every weight of the proxy fits the network that is deployed."""
    candidate = mobilenet_v3_large()
    proxy = proxy_architecture(candidate, ProxySettings(), largest_resolution=224, classes=10)
    deployed, trained = (
        {name: tuple(weight.shape) for name, weight in build_network(network).state_dict().items()}
        for network in (candidate, proxy)
    )
    assert deployed.keys() == trained.keys()
    differing = {name for name in deployed if deployed[name] != trained[name]}
    assert differing == {name for name in deployed if name.startswith(f"{len(candidate.blocks) - 1}.")}


def test_the_last_map_of_mbv3s_proxies_is_more_than_a_pixel() -> None:
    """At the settings of experiments/cifar10.yaml, for the smallest candidates too."""
    space = load_space("mbv3")
    rng = np.random.default_rng(0)
    for _ in range(20):
        proxy = proxy_architecture(
            space.sample_member(rng),
            ProxySettings(resolution=32, max_stride=8),
            largest_resolution=space.largest_resolution,
            classes=10,
        )
        pool = next(unit for unit in units(proxy) if unit.block.op == "pool")
        assert pool.height >= 2


@pytest.mark.parametrize("settings", [ProxySettings(), ProxySettings(resolution=32, max_stride=8)], ids=["16", "32"])
@pytest.mark.parametrize("name", REFERENCES)
def test_every_published_network_has_a_proxy_with_its_weights(name: str, settings: ProxySettings) -> None:
    """All blocks but the classifier stay, and the last feature map has at least one pixel."""
    candidate = reference(name)
    proxy = proxy_architecture(candidate, settings, largest_resolution=candidate.resolution, classes=10)
    assert proxy.resolution == settings.resolution
    for new, old in zip(units(proxy)[:-1], units(candidate)[:-1], strict=True):
        assert new.in_channels == old.in_channels
        assert new.block == old.block or weight_shapes(new) == weight_shapes(old)
    assert stride(proxy) == max(settings.max_stride, 16 if name.startswith(STUCK) else 1)
    assert units(proxy)[-1].in_channels == units(candidate)[-1].in_channels


# Only their stems can lose their stride: a block of a GhostNet has a convolution more where it has one, a depthwise
# block of MobileOne a branch less.
STUCK = ("ghostnet", "repghostnet", "mobileone")


def weight_shapes(unit: Unit) -> dict[str, tuple[int, ...]]:
    """Of every tensor of the torch module, by name."""
    return {name: tuple(tensor.shape) for name, tensor in weightless_blocks([unit]).state_dict().items()}


@pytest.mark.parametrize(
    ("block", "kept"),
    [
        (Block("mbconv", 8, 3, 2, 16, activation="relu"), 1),
        (Block("shuffle_v2", 8, 3, 2, 4, activation="relu"), 2),
        (Block("shuffle_v2", 16, 3, 2, 8, activation="relu"), 1),
        (Block("shuffle_v1", 16, 3, 2, 4, activation="relu"), 1),
        (Block("ghost", 16, 5, 2, 24, activation="relu"), 2),
        (Block("ghost", 8, 5, 2, 24, activation="relu"), 2),
        (Block("rep_ghost", 8, 1, 2, 24, branches=1, activation="relu"), 2),
        (Block("mobile_one", 8, 3, 2, branches=1, activation="relu"), 2),
        (Block("mobile_one", 8, 3, 2, branches=0, activation="relu"), 1),
        (Block("uib", 16, 3, 2, 24, start_kernel_size=5, activation="relu"), 1),
        (Block("max_pool", kernel_size=3, stride=2), 1),
    ],
)
def test_a_stride_stays_where_other_weights_would_be_needed_without_it(block: Block, kept: int) -> None:
    """A proxy is trained for the weights of its candidate, so a block must remain that block."""
    candidate = Architecture(64, 5, (Block("conv", 8), block, Block("pool"), Block("linear", 5)))
    proxy = proxy_architecture(candidate, ProxySettings(max_stride=1), largest_resolution=64, classes=5)
    assert proxy.blocks[1].stride == kept


def smallest_with(op: str) -> Architecture:
    """The published network of fewest MACs that has a block of `op`, or a network with one block of ShuffleNet's."""
    having = [network for network in (build() for build in REFERENCES.values()) if op in {b.op for b in network.blocks}]
    if having:
        return min(having, key=lambda network: estimate_costs(network).macs)
    assert op == "shuffle_xception"
    blocks = (Block("conv", 8, 3, 2), Block(op, 16, 3, 2, 8, activation="relu"), Block("pool"), Block("linear", 9))
    return Architecture(64, 9, blocks)


@pytest.mark.parametrize("op", sorted(OPERATORS.keys() - {"conv", "pool", "linear"}))
def test_a_proxy_of_each_operator_learns(op: str) -> None:
    """One training step of two images at the default settings: every weight gets a gradient, and the loss is finite."""
    candidate = smallest_with(op)
    proxy = proxy_architecture(candidate, ProxySettings(), largest_resolution=candidate.resolution, classes=2)
    network = build_network(proxy)
    images = torch.randn(2, 3, proxy.resolution, proxy.resolution, generator=torch.Generator().manual_seed(0))
    loss = nn.functional.cross_entropy(network(images), torch.tensor([0, 1]))
    loss.backward()
    assert torch.isfinite(loss)
    assert [name for name, weight in network.named_parameters() if weight.grad is None] == []


@pytest.mark.parametrize("wrong", [True, "16", 16.0])
@pytest.mark.parametrize("key", ["resolution", "max_stride"])
def test_settings_are_whole_numbers(key: str, wrong: object) -> None:
    """Invalid settings of the proxy are refused."""
    with pytest.raises(ValidationError):
        ProxySettings.model_validate({key: wrong})
