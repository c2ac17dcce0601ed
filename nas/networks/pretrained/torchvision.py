"""The layouts of torchvision's networks: its names for the layers of our blocks, as of torchvision 0.28."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nas.networks.operators import Unit
from nas.networks.pretrained.layout import (
    TORCH_EPSILON,
    Layout,
    Leaf,
    Leaves,
    misfit,
    parts,
    split,
    unknown_operator,
    usual_epsilon,
)

# EfficientNet-B5 has 39 inverted residuals, B4 has 32.
_B5_BLOCKS = 39


def _mobilenet_v2(units: Sequence[Unit], places: Sequence[str]) -> Iterator[Leaves]:
    """`features` numbers all blocks before the pooling; in a block only the projection is not nested in a pair."""
    body, linear = _split_at_pool(units, places)
    for unit, place in zip(body, places, strict=True):
        if unit.block.op == "conv":
            yield _pair(place)
        else:
            last = len(_parts(unit)) - 1
            pairs = [leaf for j in range(last) for leaf in _pair(f"{place}.conv.{j}")]
            yield [*pairs, f"{place}.conv.{last}", f"{place}.conv.{last + 1}"]
    yield []
    yield from (["classifier.1"] for _ in linear)


def _mobilenet_v3(units: Sequence[Unit], places: Sequence[str]) -> Iterator[Leaves]:
    """`features` numbers all blocks before the pooling."""
    body, linear = _split_at_pool(units, places)
    for unit, place in zip(body, places, strict=True):
        yield _pair(place) if unit.block.op == "conv" else _numbered(unit, f"{place}.block")
    yield []
    yield from (["classifier.3" if unit is linear[-1] else "classifier.0"] for unit in linear)


def _efficientnet(units: Sequence[Unit], places: Sequence[str]) -> Iterator[Leaves]:
    """`features` holds the stem, the stages (numbered from 1) and the last convolution."""
    body, end = split(units[1:], places)
    last_stage = int(places[-1].split(".")[1])
    yield _pair("features.0")
    for unit, place in zip(body, places, strict=True):
        yield _numbered(unit, place)
    for unit in end:
        of_op: dict[str, Leaves] = {
            "conv": _pair(f"features.{last_stage + 1}"),
            "pool": [],
            "linear": ["classifier.1"],
        }
        yield of_op[unit.block.op]


def _mnasnet(units: Sequence[Unit], places: Sequence[str]) -> Iterator[Leaves]:
    """`layers` has the layers of the stem and first block, then six stacks of blocks, then the last convolution's."""
    body, end = split(units[2:], places)
    last_stage = int(places[-1].split(".")[1])
    yield ["layers.0", "layers.1"]
    yield [f"layers.{j}" for j in (3, 4, 6, 7)]
    for unit, place in zip(body, places, strict=True):
        if len(_parts(unit)) != 3:
            raise unknown_operator(unit, "torchvision")
        yield [f"{place}.{j}" for j in (0, 1, 3, 4, 6, 7)]
    for unit in end:
        of_op: dict[str, Leaves] = {
            "conv": [f"layers.{last_stage + 1}", f"layers.{last_stage + 2}"],
            "pool": [],
            "linear": ["classifier.1"],
        }
        yield of_op[unit.block.op]


def _shufflenet_v2(units: Sequence[Unit], places: Sequence[str]) -> Iterator[Leaves]:
    """Numbers count activations too, so those of layers with weights have gaps."""
    body, end = split(units[2:], places)
    yield _pair("conv1")
    yield []
    for unit, place in zip(body, places, strict=True):
        if unit.block.op != "shuffle_v2":
            raise unknown_operator(unit, "torchvision")
        shortcut = range(4) if unit.block.stride == 2 or unit.in_channels != unit.out_channels else ()
        yield [
            *(f"{place}.branch1.{j}" for j in shortcut),
            *(f"{place}.branch2.{j}" for j in (0, 1, 3, 4, 5, 6)),
        ]
    for unit in end:
        of_op: dict[str, Leaves] = {"conv": _pair("conv5"), "pool": [], "linear": ["fc"]}
        yield of_op[unit.block.op]


def _split_at_pool(units: Sequence[Unit], places: Sequence[str]) -> tuple[Sequence[Unit], Sequence[Unit]]:
    """The units before and after the pooling. Raises NasError unless there are as many before it as places."""
    pool = [unit.block.op for unit in units].index("pool")
    if pool != len(places):
        raise misfit(places)
    return units[:pool], units[pool + 1 :]


def _numbered(unit: Unit, place: str) -> Leaves:
    """A block whose parts are numbered: a convolution with its normalisation, or squeeze-and-excitation."""
    leaves: list[Leaf] = []
    for j, part in enumerate(_parts(unit)):
        leaves += [f"{place}.{j}.fc1", f"{place}.{j}.fc2"] if part == "squeeze" else _pair(f"{place}.{j}")
    return leaves


def _pair(place: str) -> Leaves:
    """A convolution and its normalisation."""
    return [f"{place}.0", f"{place}.1"]


def _parts(unit: Unit) -> list[str]:
    if unit.block.op not in ("mbconv", "fused_mbconv"):
        raise unknown_operator(unit, "torchvision")
    return parts(unit)


def _mobilenet_v3_epsilon(_: Sequence[Unit]) -> float:
    """torchvision/models/mobilenetv3.py: 1e-3 for all."""
    return 1e-3


def _efficientnet_epsilon(units: Sequence[Unit]) -> float:
    """torchvision/models/efficientnet.py: 1e-3 for B5 to B7 and V2, torch's for B0 to B4."""
    operators = [unit.block.op for unit in units]
    large = "fused_mbconv" in operators or operators.count("mbconv") >= _B5_BLOCKS
    return 1e-3 if large else TORCH_EPSILON


LAYOUTS = (
    Layout("torchvision", "MobileNetV2", (r"features\.\d+\.conv\.",), "features.{}", _mobilenet_v2, usual_epsilon),
    Layout(
        "torchvision",
        "MobileNetV3",
        (r"features\.\d+\.block\.",),
        "features.{}",
        _mobilenet_v3,
        _mobilenet_v3_epsilon,
    ),
    Layout(
        "torchvision",
        "EfficientNet",
        (r"features\.\d+\.\d+\.block\.",),
        "features.{}.{}.block",
        _efficientnet,
        _efficientnet_epsilon,
    ),
    Layout("torchvision", "MnasNet", (r"layers\.\d+\.\d+\.layers\.",), "layers.{}.{}.layers", _mnasnet, usual_epsilon),
    Layout("torchvision", "ShuffleNetV2", (r"stage2\.\d+\.branch2\.",), "stage{}.{}", _shufflenet_v2, usual_epsilon),
)
