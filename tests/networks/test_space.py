"""Is a search space the set of networks that its file describes?"""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from strategies import tiny_spaces

from nas.errors import NasError
from nas.networks.architecture import Architecture
from nas.networks.operators import estimate_costs, units
from nas.networks.references.mobilenet import mobilenet_v3_large
from nas.networks.space import Parameters, SearchSpace, load_space, read_space

README = Path(__file__).parents[2] / "search_spaces" / "README.md"


def spellings(space: SearchSpace) -> list[Parameters]:
    """Every way to set the parameters."""
    names = [parameter.name for parameter in space.parameters]
    every = itertools.product(*(parameter.choices for parameter in space.parameters))
    return [dict(zip(names, values, strict=True)) for values in every]


@settings(max_examples=40)
@given(tiny_spaces())
def test_a_space_is_the_set_of_what_its_parameters_decode_to(space: SearchSpace) -> None:
    """By listing all: the size is exact, every member is found again, and the units are those of the members."""
    members = {space.decode(parameters) for parameters in spellings(space)}
    assert space.size == len(members)
    assert set(space.units()) == {unit for member in members for unit in units(member)}
    assert len(set(space.units())) == len(space.units())
    for member in itertools.islice(members, 50):
        assert space.contains(member)
        assert space.decode(space.encode(member)) == member


@settings(max_examples=20)
@given(tiny_spaces())
def test_neighbours_are_the_members_one_decision_away(space: SearchSpace) -> None:
    """Each is a member, none is the network itself, none comes twice."""
    member = space.sample(np.random.default_rng(0))
    neighbours = list(space.neighbours(member))
    assert len(set(neighbours)) == len(neighbours)
    assert member not in neighbours
    parameters = space.encode(member)
    changed = ({**parameters, p.name: choice} for p in space.parameters for choice in p.choices)
    assert set(neighbours) == {space.decode(other) for other in changed} - {member}


def test_widths_that_round_to_the_same_channels_are_one_network(tmp_path: Path) -> None:
    """4 spellings, 2 networks: at every depth, width 1.01 gives the channels of width 1."""
    space = read_space(write(tmp_path, "width: [1.0, 1.01]", "{op: mbconv, out: 16, depth: [1, 2], act: relu}"))
    assert (len(spellings(space)), space.size) == (4, 2)


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


def test_samples_of_mbv3_come_back_from_their_parameters() -> None:
    """decode(encode(a)) == a, and the units of each are among the space's."""
    space = load_space("mbv3")
    every = set(space.units())
    rng = np.random.default_rng(1)
    for _ in range(50):
        member = space.sample(rng)
        assert space.decode(space.encode(member)) == member
        assert set(units(member)) <= every


def test_the_parameters_of_mbv3_stay() -> None:
    """Stored studies hold these names; the first, a middle one and the count stand for all."""
    names = [parameter.name for parameter in load_space("mbv3").parameters]
    assert (len(names), len(set(names))) == (57, 57)
    assert names[:4] == ["resolution", "width", "stage2.depth", "stage2.se"]
    assert "stage2.block1.kernel" in names
    assert names[-1] == "stage6.block4.expand"


def test_equal_seeds_give_equal_samples() -> None:
    """Randomness is an argument."""
    space = load_space("mbv3")
    one, same, other = (space.sample(np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert one == same != other


def test_smallest_and_largest_bound_the_costs_of_samples() -> None:
    """No sample is cheaper or dearer in parameters and MACs."""
    space = load_space("mbv3")
    least = estimate_costs(space.decode(space.smallest_parameters()))
    most = estimate_costs(space.decode(space.largest_parameters()))
    rng = np.random.default_rng(2)
    for costs in (estimate_costs(space.sample(rng)) for _ in range(50)):
        assert least.params <= costs.params <= most.params
        assert least.macs <= costs.macs <= most.macs


def test_what_a_space_does_not_contain_is_refused() -> None:
    """Another resolution, another number of classes, another network."""
    space = load_space("mbv3")
    member = space.sample(np.random.default_rng(0))
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
    """Unknown, missing and impossible ones."""
    space = load_space("mbv3")
    parameters = space.smallest_parameters()
    del parameters["stage2.depth"]
    with pytest.raises(NasError) as caught:
        space.decode({**parameters, "widht": 1, "resolution": 97})
    unknown, missing, impossible = str(caught.value).splitlines()
    assert unknown.startswith("unknown parameter 'widht'. Known: width, ")
    assert missing == "the parameter stage2.depth is missing"
    assert impossible == "resolution must be one of 160, 192, 224, but got 97"


def test_the_readme_has_the_size_of_every_shipped_space() -> None:
    """The table of shipped spaces names each file, its parameters and its exact size."""
    rows = re.findall(r"^\| `([\w-]+)` \| ([\d,]+) \| ([\d,]+) \|", README.read_text(encoding="utf-8"), re.MULTILINE)
    told = {name: (int(parameters.replace(",", "")), int(size.replace(",", ""))) for name, parameters, size in rows}
    spaces = {path.stem: read_space(path) for path in README.parent.glob("*.yaml")}
    assert told == {name: (len(space.parameters), space.size) for name, space in spaces.items()}


def test_the_example_of_the_readme_is_a_space(tmp_path: Path) -> None:
    """Whoever copies it has something that works."""
    example = re.search(r"```yaml\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert example is not None
    path = tmp_path / "small.yaml"
    path.write_text(example[1], encoding="utf-8")
    assert read_space(path).size == 1920


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
