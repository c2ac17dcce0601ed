"""The published networks have the parameters, MACs and layers that their papers publish."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from nas.errors import NasError
from nas.networks.architecture import Block
from nas.networks.operators import estimate_costs, units
from nas.networks.references import REFERENCES, find_network, reference
from nas.networks.references.mobilenet_v1 import mobilenet_v1
from nas.networks.references.mobilenet_v3 import mobilenet_v3_large, mobilenet_v3_small
from nas.networks.references.ofa import ofa_mobilenet_v3
from nas.networks.scaling import make_divisible
from tests.networks.published_costs import PUBLISHED_COSTS, PublishedCosts
from tests.networks.weightless import weightless


@pytest.mark.parametrize("published", PUBLISHED_COSTS, ids=str)
def test_params_and_macs_are_exactly_the_published_ones(published: PublishedCosts) -> None:
    """Counted from the blocks, they are exact."""
    architecture = published.build()
    costs = estimate_costs(architecture)
    assert (architecture.resolution, costs.params, costs.macs) == published[1:]


@pytest.mark.parametrize("name", REFERENCES)
def test_references_build_in_torch_with_the_parameters_estimated(name: str) -> None:
    """It is built without memory for the weights: only shapes are needed."""
    architecture = reference(name)
    network = weightless(architecture)
    trained = sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
    assert trained == estimate_costs(architecture).params


def test_all_references_are_costed_within_two_seconds_and_without_torch() -> None:
    """Seconds of this process alone, imports included, so that a busy machine does not matter."""
    code = (
        "import sys, time\n"
        "from nas.networks.operators import estimate_costs\n"
        "from nas.networks.references import REFERENCES\n"
        "assert all(estimate_costs(build()).params > 0 for build in REFERENCES.values())\n"
        "assert 'torch' not in sys.modules\n"
        "print(time.process_time())"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert float(done.stdout) < 2


# MobileNetV1, tables 6 and 7: width, resolution, million multiply-adds, million parameters.
@pytest.mark.parametrize(
    ("width", "resolution", "million_macs", "million_params"),
    [
        (1.0, 224, 569, 4.2),
        (0.75, 224, 325, 2.6),
        (0.5, 224, 149, 1.3),
        (0.25, 224, 41, 0.5),
        (1.0, 192, 418, 4.2),
        (1.0, 160, 290, 4.2),
        (1.0, 128, 186, 4.2),
    ],
)
def test_mobilenet_v1_has_the_costs_of_the_paper(
    width: float, resolution: int, million_macs: int, million_params: float
) -> None:
    """To the last digit printed (the paper rounds some figures and truncates others)."""
    costs = estimate_costs(mobilenet_v1(width=width, resolution=resolution))
    assert costs.macs / 1e6 == pytest.approx(million_macs, abs=1)
    assert round(costs.params / 1e6, 1) == million_params


@pytest.mark.parametrize(
    ("name", "million_params"),
    [
        ("lcnet_025", 1.5),
        ("lcnet_035", 1.6),
        ("lcnet_050", 1.9),
        ("lcnet_075", 2.4),
        ("lcnet_100", 3.0),
        ("lcnet_150", 4.5),
        ("lcnet_200", 6.5),
        ("lcnet_250", 9.0),
    ],
)
def test_lcnets_have_the_parameters_of_the_paper(name: str, million_params: float) -> None:
    """And squeeze-and-excitation in the last two, 5×5 kernels in the last seven of its 13 blocks (section 3)."""
    architecture = reference(name)
    assert round(estimate_costs(architecture).params / 1e6, 1) == million_params
    blocks = [block for block in architecture.blocks if block.op == "ds_conv"]
    assert [block.se_channels > 0 for block in blocks] == [False] * 11 + [True] * 2
    assert [block.kernel_size for block in blocks] == [3] * 6 + [5] * 7


def test_the_slim_reading_of_width_has_the_published_costs() -> None:
    """155 million MACs and 4.0 million parameters at 0.75, as the authors say; at width 1 both readings agree."""
    costs = estimate_costs(reference("mobilenet_v3_large_075"))
    assert (round(costs.macs / 1e6), round(costs.params / 1e6, 1)) == (155, 4.0)
    for build in (mobilenet_v3_large, mobilenet_v3_small):
        assert build(slim=True) == build()


def test_mobilenet_v3_rw_departs_from_mobilenet_v3_in_three_places() -> None:
    """All else is the same: undoing the three gives MobileNetV3-Large back."""
    stem, depthwise, pointwise, *blocks, last, classifier = reference("mobilenet_v3_rw").blocks
    assert (depthwise.groups, pointwise.activation, last.bias) == (16, "none", False)
    squeezing = [block for block in blocks if block.se_channels]
    assert [block.se_activation for block in squeezing] == [""] * 3 + ["hswish"] * 5
    assert all(4 * block.se_channels == block.hidden_channels for block in squeezing)
    first = Block("mbconv", 16, kernel_size=3, hidden_channels=16, activation="relu")
    undone = [
        replace(block, se_channels=make_divisible(block.se_channels), se_activation="") if block.se_channels else block
        for block in blocks
    ]
    assert (stem, first, *undone, replace(last, bias=True), classifier) == mobilenet_v3_large().blocks


@pytest.mark.parametrize("size", ["small", "medium", "large"])
def test_mobilenet_v4_is_relu_alone_and_pools_before_its_last_convolution(size: str) -> None:
    """A 32nd of the resolution, 960 channels, is pooled; 1280 channels follow; no squeeze-and-excitation."""
    architecture = reference(f"mobilenet_v4_conv_{size}")
    *body, pool, last, classifier = units(architecture)
    assert (pool.block.op, pool.in_channels, pool.height) == ("pool", 960, architecture.resolution // 32)
    assert (last.block.op, last.out_channels, classifier.block.op) == ("conv", 1280, "linear")
    assert {unit.block.activation for unit in (*body, last)} == {"relu"}
    assert not any(unit.block.se_channels for unit in body)
    kernels = {unit.block.kernel_size for unit in body} | {unit.block.start_kernel_size for unit in body}
    assert kernels == {0, 1, 3, 5}


@pytest.mark.parametrize("size", ["xs", "s", "m", "l"])
def test_grouped_convolutions_of_edgetpu_networks_have_groups_of_one_size(size: str) -> None:
    """Of 64 channels, of 128 in the largest network."""
    blocks = reference(f"mobilenet_edgetpu_v2_{size}").blocks
    sizes = [
        block.hidden_channels / block.groups for block in blocks if block.op == "fused_mbconv" and block.groups > 1
    ]
    assert sizes == [128 if size == "l" else 64] * 3


@pytest.mark.parametrize("width", [1.0, 1.2])
def test_members_of_once_for_all_lie_between_the_smallest_and_the_largest(width: float) -> None:
    """Every choice that grows makes a network that costs more."""
    costs = [
        estimate_costs(ofa_mobilenet_v3(depth=depth, kernel_size=kernel_size, expand_ratio=ratio, width=width))
        for depth, kernel_size, ratio in [(2, 3, 3), (3, 3, 3), (3, 5, 3), (3, 5, 4), (4, 5, 4), (4, 7, 4), (4, 7, 6)]
    ]
    for attribute in ("params", "macs"):
        grown = [getattr(cost, attribute) for cost in costs]
        assert grown == sorted(set(grown))


@pytest.mark.parametrize("name", REFERENCES)
def test_references_are_found_by_name_and_in_json_files(name: str, tmp_path: Path) -> None:
    """A file holds the architecture itself, or something that has it, such as a search's pick."""
    architecture = reference(name)
    having = {"name": "x", "architecture": architecture.to_json()}
    for number, data in enumerate([architecture.to_json(), having, {"reason": "knee", "trial": {"network": having}}]):
        path = tmp_path / f"{number}.json"
        path.write_text(json.dumps(data), encoding="utf-8")
        assert find_network(str(path)) == architecture
    assert find_network(name) == architecture


def test_an_unknown_name_gives_the_nearest_and_the_command_that_lists_all() -> None:
    """The message has the eight nearest names, not all of them."""
    with pytest.raises(
        NasError, match=r"unknown reference network 'mobilenet_v4'\. Nearest: mobilenet_v1, mobilenet_v2, "
    ) as caught:
        reference("mobilenet_v4")
    assert str(caught.value).count(",") == 7
    assert str(caught.value).endswith("`python -m nas.networks list` shows all networks.")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "malformed JSON"),
        (b"\xff\xfe", "cannot read"),
        (b"[1]", "not an architecture"),
        (b'{"architecture": {"resolution": 32, "classes": 2, "blocks": []}}', "at least one block"),
    ],
)
def test_a_file_that_holds_no_network_is_refused(content: bytes, said: str, tmp_path: Path) -> None:
    """The message names the file."""
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(NasError, match=said) as caught:
        find_network(str(path))
    assert str(path) in str(caught.value)
