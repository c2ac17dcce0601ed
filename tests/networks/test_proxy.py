"""Is the network that is trained the candidate, only smaller?"""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from strategies import architectures

from nas.networks.architecture import Architecture
from nas.networks.build import build_network
from nas.networks.operators import units
from nas.networks.proxy import ProxySettings, proxy_architecture
from nas.networks.references.mobilenet import mobilenet_v2, mobilenet_v3_large
from nas.networks.space import load_space


def stride(architecture: Architecture) -> int:
    """By how much a network shrinks its image."""
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
            space.sample(rng),
            ProxySettings(resolution=32, max_stride=8),
            largest_resolution=space.largest_resolution,
            classes=10,
        )
        pool = next(unit for unit in units(proxy) if unit.block.op == "pool")
        assert pool.height >= 2


@pytest.mark.parametrize("wrong", [True, "16", 16.0])
@pytest.mark.parametrize("key", ["resolution", "max_stride"])
def test_settings_are_whole_numbers(key: str, wrong: object) -> None:
    """Nothing else is taken for one."""
    with pytest.raises(ValidationError):
        ProxySettings.model_validate({key: wrong})
