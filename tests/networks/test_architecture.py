"""A network is a value: immutable, hashable, and equal after a round trip through JSON."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from hypothesis import given

from nas.errors import NasError
from nas.networks.architecture import Architecture, Block
from nas.networks.references.mobilenet_v3 import mobilenet_v3_large
from tests.strategies import architectures

TINY = (Block("conv", 8), Block("pool"), Block("linear", 2))


@given(architectures())
def test_json_gives_the_same_architecture_back(architecture: Architecture) -> None:
    """Equal after a trip through JSON text, with the same hash and fingerprint."""
    again = Architecture.from_json(json.loads(json.dumps(architecture.to_json())))
    assert again == architecture
    assert hash(again) == hash(architecture)
    assert again.fingerprint == architecture.fingerprint


@given(architectures(), architectures())
def test_fingerprints_are_equal_exactly_for_equal_networks(one: Architecture, other: Architecture) -> None:
    """Different networks have different fingerprints."""
    assert (one == other) == (one.fingerprint == other.fingerprint)


def test_the_fingerprint_is_the_same_in_every_process() -> None:
    """It does not depend on Python's hash seed."""
    code = "from nas.networks.references import reference; print(reference('mobilenet_v3_large').fingerprint)"
    seen = {
        subprocess.run(
            [sys.executable, "-c", code], check=True, capture_output=True, text=True, env={"PYTHONHASHSEED": s}
        ).stdout.strip()
        for s in ("1", "2")
    }
    assert seen == {mobilenet_v3_large().fingerprint}


def test_a_default_that_is_spelled_out_is_the_same_network() -> None:
    """A field written with its default value changes neither the network nor its fingerprint."""
    data = {
        "resolution": 32,
        "classes": 2,
        "blocks": [
            {"op": "conv", "out_channels": 8, "kernel_size": 1, "stride": 1, "groups": 1, "activation": "none"},
            {"op": "pool", "out_channels": 0},
            {"op": "linear", "out_channels": 2, "se_gate": ""},
        ],
    }
    assert Architecture.from_json(data) == Architecture(32, 2, TINY)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"op": "mbcnv"}, "unknown operator 'mbcnv'. Known: mbconv"),
        ({"op": "conv", "out_channels": 8, "activation": "swish"}, "unknown activation 'swish'. Known: hswish"),
        ({"op": "conv", "out_channels": 8, "kernel_size": 4}, "kernel_size must be odd and at least 1, but got 4"),
        ({"op": "conv", "out_channels": 8, "stride": 3}, "stride must be 1 or 2, but got 3"),
        ({"op": "conv", "out_channels": 0}, "out_channels must be at least 1"),
        ({"op": "conv", "out_channels": 8.0}, "out_channels must be a whole number, but got 8.0"),
        ({"op": "conv", "out_channels": True}, "out_channels must be a whole number, but got True"),
        ({"op": "conv", "out_channels": 8, "groups": 3}, "groups must divide out_channels, but got 3 and 8"),
        ({"op": "conv", "out_channels": 8, "hidden_channels": 8}, "a conv block has no hidden_channels"),
        ({"op": "pool", "kernel_size": 3}, "a pool block has no kernel_size"),
        ({"op": "pool", "out_channels": 3}, "out_channels must be at least 1 (0 for pool and max_pool), but got 3"),
        ({"op": "mbconv", "out_channels": 8}, "hidden_channels of a mbconv must be at least 1, but got 0"),
        ({"op": "mbconv", "out_channels": 8, "hidden_channels": 8, "se_channels": -1}, "se_channels must be 0 or more"),
        ({"op": "mbconv", "out_channels": 8, "hidden_channels": 8, "se_channels": 8}, "se_gate must be one of"),
        ({"op": "mbconv", "out_channels": 8, "hidden_channels": 8, "se_gate": "sigmoid"}, "se_gate must be left out"),
    ],
)
def test_a_block_that_cannot_be_is_refused(fields: dict[str, object], said: str) -> None:
    """Every refusal names the field and what it got."""
    with pytest.raises(NasError) as caught:
        Block(**fields)  # type: ignore[arg-type]
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("block", "in_channels", "kept"),
    [
        (Block("conv", 8), 8, True),
        (Block("conv", 8), 4, False),
        (Block("conv", 8, stride=2), 8, False),
        (Block("pool"), 8, False),
    ],
)
def test_a_block_keeps_the_shape_of_as_many_channels_at_stride_1(block: Block, in_channels: int, kept: bool) -> None:
    """The shape stays for stride 1 and equal channels, which residuals and shortcuts depend on."""
    assert block.keeps_shape(in_channels) is kept


@pytest.mark.parametrize(
    ("resolution", "classes", "blocks", "said"),
    [
        (0, 2, TINY, "resolution must be a whole number, at least 1, but got 0"),
        (32.0, 2, TINY, "resolution must be a whole number, at least 1, but got 32.0"),
        (32, 0, TINY, "classes must be a whole number, at least 1, but got 0"),
        (32, 2, (), "at least one block"),
        (32, 3, TINY, "the last block must be a linear with 3 outputs"),
        (32, 2, TINY[:2], "the last block must be a linear with 2 outputs"),
        (32, 2, (TINY[0], TINY[2]), "a pool must stand before the first linear block"),
        (32, 2, list(TINY), "the blocks of an architecture must be a tuple of Blocks, but got [Block(op='conv'"),
        (32, 2, (TINY[0], "pool"), "the blocks of an architecture must be a tuple of Blocks"),
        (
            32,
            2,
            (*TINY, Block("conv", 4), TINY[2]),
            "only linear blocks can follow a linear block, but blocks[3] is a conv",
        ),
    ],
)
def test_a_network_that_cannot_be_is_refused(
    resolution: int, classes: int, blocks: tuple[Block, ...], said: str
) -> None:
    """A network ends in its classes, and linear layers see one pixel."""
    with pytest.raises(NasError) as caught:
        Architecture(resolution, classes, blocks)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ([], "must have the keys resolution, classes and blocks"),
        ({"resolution": 32}, "must have the keys resolution, classes and blocks"),
        ({"resolution": 32, "classes": 2, "blocks": "conv"}, "must have the keys resolution, classes and blocks"),
        ({"resolution": "32", "classes": 2, "blocks": [{"op": "pool"}]}, "resolution must be a whole number"),
        (
            {**Architecture(32, 2, TINY).to_json(), "blockz": []},
            "not an architecture: unknown key 'blockz'. Known: blocks, ",
        ),
        ({"resolution": 32, "classes": 2, "blocks": ["conv"]}, "blocks[0] must be a group of fields"),
        ({"resolution": 32, "classes": 2, "blocks": [{"out_channels": 2}]}, "blocks[0] must be a group of fields"),
        ({"resolution": 32, "classes": 2, "blocks": [{"op": "pool", "kernel": 3}]}, "unknown field 'kernel'"),
        ({"resolution": 32, "classes": 2, "blocks": [{"op": "pool"}, {"op": "conv"}]}, "blocks[1]: out_channels must"),
    ],
)
def test_json_that_is_no_architecture_is_refused(data: dict[str, object], said: str) -> None:
    """The message names the block."""
    with pytest.raises(NasError) as caught:
        Architecture.from_json(data)
    assert said in str(caught.value)
