"""A search space is the set of networks that its file describes."""

from __future__ import annotations

import itertools
import json
import math
import re
import time
from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.errors import NasError
from nas.networks.architecture import Architecture
from nas.networks.build import build_network
from nas.networks.deployed import deployed
from nas.networks.operators import estimate_costs, units
from nas.networks.references import REFERENCES, reference
from nas.networks.references.mobilenet_v3 import mobilenet_v3_large
from nas.networks.space.search_space import Parameters, SearchSpace, load_space, read_space
from tests.strategies import tiny_spaces

# Published networks that are members of the space of their family.
FAMILIES = {
    "mbv1": ["mobilenet_v1", "mobilenet_v1_025", "mobilenet_v1_050", "mobilenet_v1_075"],
    "mbv2": [
        "mobilenet_v2",
        "mobilenet_v2_035",
        "mobilenet_v2_050",
        "mobilenet_v2_075",
        "mobilenet_v2_130",
        "mobilenet_v2_140",
    ],
    "mbv3_small": ["mobilenet_v3_small", "mobilenet_v3_small_075"],
    "mbv4": ["mobilenet_v4_conv_small"],
    "shufflenetv1": [f"shufflenet_v1_g{groups}" for groups in (1, 2, 3, 4, 8)],
    "efficientnet": [f"efficientnet_b{number}" for number in range(8)],
    "mnasnet": [name for name in REFERENCES if name.startswith(("mnasnet_a1", "mnasnet_b1"))],
    "fbnet": ["fbnet_c"],
    "proxyless": ["proxyless_mobile"],
    "ofa_mbv3": [
        "ofa_mbv3_w10_largest",
        "ofa_mbv3_w10_smallest",
        "ofa_mbv3_w12_largest",
        "ofa_mbv3_w12_smallest",
    ],
}
SPACES = sorted(path.stem for path in (Path(__file__).parents[3] / "search_spaces").glob("*.yaml"))
README = Path(__file__).parents[3] / "search_spaces" / "README.md"


@cache
def loaded(name: str) -> SearchSpace:
    """A shipped space, with its cached properties."""
    return load_space(name)


def spellings(space: SearchSpace) -> list[Parameters]:
    """Every combination of parameters."""
    names = [parameter.name for parameter in space.parameters]
    every = itertools.product(*(parameter.choices for parameter in space.parameters))
    return [dict(zip(names, values, strict=True)) for values in every]


@settings(max_examples=40)
@given(tiny_spaces())
def test_a_space_is_the_set_of_what_its_parameters_decode_to(space: SearchSpace) -> None:
    """Checked by listing all: the size is exact, members are encoded and decoded, units are those members deploy."""
    members = {space.decode(parameters) for parameters in spellings(space)}
    assert space.size == len(members)
    assert set(space.units()) == {unit for member in members for unit in units(deployed(member))}
    assert len(set(space.units())) == len(space.units())
    for member in itertools.islice(members, 50):
        assert space.contains(member)
        assert space.decode(space.encode(member)) == member


@settings(max_examples=20)
@given(tiny_spaces())
def test_neighbours_are_the_members_one_decision_away(space: SearchSpace) -> None:
    """Each is another member, and none comes twice."""
    member = space.sample_member(np.random.default_rng(0))
    neighbours = list(space.neighbours(member))
    assert len(set(neighbours)) == len(neighbours)
    assert member not in neighbours
    parameters = space.encode(member)
    changed = ({**parameters, p.name: choice} for p in space.parameters for choice in p.choices)
    assert set(neighbours) == {space.decode(other) for other in changed} - {member}


@settings(max_examples=20)
@given(tiny_spaces())
def test_every_number_below_the_size_is_a_member_of_its_own(space: SearchSpace) -> None:
    """Uniform numbers make uniform samples; there is no member beyond them."""
    members = [space.member(number) for number in range(space.size)]
    assert len(set(members)) == space.size
    assert set(members) == {space.decode(parameters) for parameters in spellings(space)}
    for number in (-1, space.size):
        with pytest.raises(NasError, match=f"the space tiny has members 0 to {space.size - 1}, but got {number}"):
            space.member(number)


@settings(max_examples=20)
@given(tiny_spaces())
def test_smallest_and_largest_are_those_of_all_members(space: SearchSpace) -> None:
    """In MACs when deployed, and among equals in parameters."""
    costs = [estimate_costs(deployed(space.decode(parameters))) for parameters in spellings(space)]
    sizes = [(cost.macs, cost.params) for cost in costs]
    for parameters, size in ((space.smallest_parameters(), min(sizes)), (space.largest_parameters(), max(sizes))):
        cost = estimate_costs(deployed(space.decode(parameters)))
        assert (cost.macs, cost.params) == size


@settings(max_examples=30)
@given(tiny_spaces(), st.integers(0, 2**32))
def test_a_child_has_every_decision_of_a_parent(space: SearchSpace, seed: int) -> None:
    """It is a member, and what both parents agree on stays; a parent with itself is its own child."""
    rng = np.random.default_rng(seed)
    first, second = space.sample_member(rng), space.sample_member(rng)
    child = space.crossover(first, second, rng)
    assert space.contains(child)
    assert child.resolution in (first.resolution, second.resolution)
    assert len(child.blocks) <= max_blocks(space, first, second)
    assert space.crossover(first, first, rng) == first


def max_blocks(space: SearchSpace, first: Architecture, second: Architecture) -> int:
    """The most blocks that a child can have: for each stage those of the deeper parent."""
    tied = {key.removesuffix(".depth") for group in space.format.tied for key in group.keys}
    one, other = space.encode(first), space.encode(second)
    rest = len(space.format.stem) + len(space.format.head)
    for number, stage in enumerate(space.format.stages, start=1):
        name = f"stage{number}.depth"
        if f"stage{number}" in tied:
            rest += max(stage.depth)
        else:
            rest += int(max(one.get(name, stage.depth[0]), other.get(name, stage.depth[0])))
    return rest


def test_samples_are_uniform_over_networks_not_over_parameters(tmp_path: Path) -> None:
    """12 networks, 9 of them of depth 2, in 6,000 samples: chi-squared below its 99.9 % point for 11 degrees."""
    space = read_space(write(tmp_path, "", "{op: mbconv, out: 16, depth: [1, 2], kernel: [3, 5, 7], act: relu}"))
    rng = np.random.default_rng(0)
    seen = Counter(space.sample_member(rng) for _ in range(6000))
    assert len(seen) == 12
    assert sum((count - 500) ** 2 / 500 for count in seen.values()) < 31.26


def test_widths_that_round_to_the_same_channels_are_one_network(tmp_path: Path) -> None:
    """4 spellings, 2 networks: at every depth, width 1.01 gives the channels of width 1."""
    space = read_space(write(tmp_path, "width: [1.0, 1.01]", "{op: mbconv, out: 16, depth: [1, 2], act: relu}"))
    assert (len(spellings(space)), space.size) == (4, 2)


@pytest.mark.parametrize("op", ["ghost", "rep_ghost"])
def test_a_kernel_that_a_ghost_block_does_not_have_makes_no_networks(op: str, tmp_path: Path) -> None:
    """Of two blocks only the first, which makes other channels, has one: 2 networks from 4 spellings."""
    space = read_space(write(tmp_path, "", f"{{op: {op}, out: 24, depth: 2, kernel: [3, 5], expand: 2, act: relu}}"))
    assert (len(spellings(space)), space.size) == (4, 2)
    for parameters in spellings(space):
        assert [block.kernel_size for block in space.decode(parameters).blocks[1:3]] == [
            parameters["stage1.block1.kernel"],
            1,
        ]


def test_two_decisions_to_one_network_are_one_neighbour(tmp_path: Path) -> None:
    """From width 0.5, both other widths lead to the same network."""
    space = read_space(write(tmp_path, "width: [0.5, 1.0, 1.01]", "{op: mbconv, out: 16, act: relu}"))
    narrow, wide = (space.decode({"width": width}) for width in (0.5, 1.0))
    assert list(space.neighbours(narrow)) == [wide]
    assert list(space.neighbours(wide)) == [narrow]


def test_kernels_of_blocks_that_are_not_there_make_no_networks(tmp_path: Path) -> None:
    """Depth 1 or 2 with 3 kernels a block: 3 + 9 networks from 2 × 9 spellings."""
    space = read_space(write(tmp_path, "", "{op: mbconv, out: 16, depth: [1, 2], kernel: [3, 5, 7], act: relu}"))
    assert (len(spellings(space)), space.size) == (18, 12)


def test_everything_can_be_decided_once_for_each_stage(tmp_path: Path) -> None:
    """With an empty per_block, depth 1 or 2 and 3 kernels make 2 × 3 networks."""
    stage = "{op: mbconv, out: 16, depth: [1, 2], kernel: [3, 5, 7], act: relu, per_block: []}"
    space = read_space(write(tmp_path, "", stage))
    assert [parameter.name for parameter in space.parameters] == ["stage1.depth", "stage1.kernel"]
    assert space.size == 6


def test_long_stages_are_counted(tmp_path: Path) -> None:
    """A hundred blocks: no recursion, and exact beyond any float."""
    space = read_space(write(tmp_path, "", "{op: mbconv, out: 16, depth: 100, kernel: [3, 5], act: relu}"))
    assert space.size == 2**100


@pytest.mark.parametrize("name", SPACES)
def test_samples_of_shipped_spaces_come_back(name: str) -> None:
    """From their parameters and from JSON; and the units of each are among the space's."""
    space = loaded(name)
    every = set(space.units())
    rng = np.random.default_rng(1)
    for _ in range(10):
        member = space.sample_member(rng)
        assert space.decode(space.encode(member)) == member
        assert Architecture.from_json(json.loads(json.dumps(member.to_json()))) == member
        assert set(units(member)) <= every
        assert space.contains(space.decode(space.sample_parameters(rng)))


@pytest.mark.parametrize("name", SPACES)
def test_the_smallest_of_a_shipped_space_can_be_built(name: str) -> None:
    """Its modules have as many parameters as its costs say."""
    space = loaded(name)
    smallest = space.decode(space.smallest_parameters())
    with torch.device("meta"):
        network = build_network(smallest)
    assert sum(parameter.numel() for parameter in network.parameters()) == estimate_costs(smallest).params


@pytest.mark.parametrize("name", SPACES)
def test_neighbours_and_children_in_shipped_spaces_are_members(name: str) -> None:
    """Each neighbour differs from the network, and each child is within the space."""
    space, rng = loaded(name), np.random.default_rng(2)
    first, second = space.sample_member(rng), space.sample_member(rng)
    neighbours = list(space.neighbours(first))
    assert len(neighbours) == len(set(neighbours)) > 0
    assert first not in neighbours
    for index in rng.choice(len(neighbours), 5):
        assert space.contains(neighbours[index])
    assert all(space.contains(space.crossover(first, second, rng)) for _ in range(5))


@pytest.mark.parametrize("name", SPACES)
def test_a_shipped_space_is_counted_and_sampled_at_once(name: str) -> None:
    """It takes a few seconds of CPU time, however many members the space has."""
    before = time.process_time()
    space = load_space(name)
    assert space.size >= 2
    for seed in range(20):
        space.sample_member(np.random.default_rng(seed))
    assert time.process_time() - before < 5


@pytest.mark.parametrize(
    ("space", "network"), [(space, network) for space, group in FAMILIES.items() for network in group]
)
def test_a_family_has_its_published_networks(space: str, network: str) -> None:
    """The networks that the paper's authors published are members."""
    assert loaded(space).contains(reference(network))


def test_published_sizes() -> None:
    """Once-for-all's 2×10^19 for each width and resolution, Single Path One-Shot's 4^20, FBNet's layers and skips."""
    stage = sum(9**depth for depth in (2, 3, 4))
    assert loaded("ofa_mbv3").size == stage**5 * 25 * 2
    assert round(stage**5 / 1e19) == 2
    assert loaded("shufflenetv2").size == 4**20
    assert loaded("fbnet").size == (1 + 8) * sum(8**depth for depth in (1, 2, 3, 4)) ** 5 * 8


def test_the_parameters_of_mbv3_stay() -> None:
    """Stored studies hold these names; the first, a middle one and the count stand for all."""
    names = [parameter.name for parameter in load_space("mbv3").parameters]
    assert (len(names), len(set(names))) == (57, 57)
    assert names[:4] == ["resolution", "width", "stage2.depth", "stage2.se"]
    assert "stage2.block1.kernel" in names
    assert names[-1] == "stage6.block4.expand"


def test_equal_seeds_give_equal_samples() -> None:
    """Equal seeds give equal samples."""
    space = load_space("mbv3")
    one, same, other = (space.sample_member(np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert one == same != other


def test_smallest_and_largest_bound_the_costs_of_samples() -> None:
    """No sample is cheaper or dearer in parameters and MACs."""
    space = load_space("mbv3")
    least = estimate_costs(space.decode(space.smallest_parameters()))
    most = estimate_costs(space.decode(space.largest_parameters()))
    rng = np.random.default_rng(2)
    for costs in (estimate_costs(space.sample_member(rng)) for _ in range(50)):
        assert least.params <= costs.params <= most.params
        assert least.macs <= costs.macs <= most.macs


def test_what_a_space_does_not_contain_is_refused() -> None:
    """Networks with another resolution, other classes or other blocks are refused."""
    space = load_space("mbv3")
    member = space.sample_member(np.random.default_rng(0))
    classes = replace(member.blocks[-1], out_channels=7)
    strangers: list[Architecture] = [
        replace(member, resolution=97),
        Architecture(member.resolution, 7, (*member.blocks[:-1], classes)),
        mobilenet_v3_large(),
    ]
    for stranger in strangers:
        assert not space.contains(stranger)
        with pytest.raises(NasError, match="the search space mbv3 does not contain"):
            space.encode(stranger)


def test_every_problem_of_parameters_is_named_at_once() -> None:
    """Unknown, missing and impossible parameters are each a line of the message."""
    space = load_space("mbv3")
    parameters = space.smallest_parameters()
    del parameters["stage2.depth"]
    with pytest.raises(NasError) as caught:
        space.decode({**parameters, "widht": 1, "resolution": 97})
    unknown, missing, impossible = str(caught.value).splitlines()
    assert unknown.startswith("unknown parameter 'widht'. Known: width, ")
    assert missing == "the parameter stage2.depth is missing"
    assert impossible == "resolution must be one of 160, 192, 224, but got 97"


@pytest.mark.parametrize("name", SPACES)
def test_counting_from_the_stems_gives_the_size_of_a_shipped_space(name: str) -> None:
    """The size counts from the heads back; it equals the sum of paths counted from the stems on."""
    space = loaded(name)
    paths = Counter(start.node for start in space.automaton.starts)
    networks = 0
    for node in space.automaton.nodes:
        networks += paths[node] * len(space.automaton.ends(node))
        for follower in space.automaton.followers(node).values():
            paths[follower] += paths[node]
    assert space.size == networks
    assert space.size <= math.prod(len(parameter.choices) for parameter in space.parameters)


def test_the_readme_lists_every_shipped_space() -> None:
    """Its first table has a row for each file in the folder, and no other."""
    rows = re.findall(r"^\| `([\w-]+)` \| [\d,]+ \| [\d,]+ \|", README.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(rows) == SPACES


def test_the_example_of_the_readme_is_a_space(tmp_path: Path) -> None:
    """It loads, and has as many members as its parameters spell different networks."""
    example = re.search(r"```yaml\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert example is not None
    path = tmp_path / "small.yaml"
    path.write_text(example[1], encoding="utf-8")
    space = read_space(path)
    assert space.size == len({space.decode(parameters) for parameters in spellings(space)})


def write(folder: Path, top: str, stage: str) -> Path:
    """A small space with one more top-level line and one stage."""
    path = folder / "space.yaml"
    path.write_text(
        f"""name: small
classes: 3
resolution: 32
{top}
stem: {{op: conv, out: 16, kernel: 3, stride: 2, act: relu}}
stages:
  - {stage}
head:
  - {{op: pool}}
  - {{op: linear, out: classes}}
""",
        encoding="utf-8",
    )
    return path
