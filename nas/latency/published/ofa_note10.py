"""Published latencies of once-for-all's blocks on the Samsung Note 10.

All blocks of the MobileNetV3 space of width 1.2 (arXiv:1908.09791), at the resolutions 160, 164, …, 224.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from nas.latency.published.files import PublishedUnit, read_published
from nas.networks.architecture import Block
from nas.networks.operators import Unit
from nas.networks.scaling import make_divisible

OFA_NOTE10 = "published_latency/ofa_note10_lut/note10_lut.csv"
WIDTH = 1.2
RESOLUTIONS = tuple(range(160, 225, 4))

_COLUMNS = (
    "op",
    "in_h",
    "in_c",
    "out_c",
    "kernel",
    "stride",
    "idskip",
    "se",
    "hs",
    "hidden",
    "count",
    "mean_ms",
    "std_ms",
)
# The block of each layer that is not an inverted residual, from its output channels.
_LAYERS: Mapping[str, Callable[[int], Block]] = {
    "Conv": lambda channels: Block("conv", channels, kernel_size=3, stride=2, activation="hswish"),
    "Conv_1": lambda channels: Block("conv", channels, activation="hswish"),
    "AvgPool2D": lambda _: Block("pool"),
    "Conv_2": lambda channels: Block("linear", channels, activation="hswish", bias=False),
    "Logits": lambda channels: Block("linear", channels),
}


def ofa_note10(folder: Path) -> list[PublishedUnit]:
    """Read every published block and layer, with its standard deviation and number of runs; some occur repeatedly."""
    return read_published(folder / OFA_NOTE10, _COLUMNS, _published_unit)


def _published_unit(row: dict[str, str]) -> PublishedUnit:
    side, in_channels, out_channels = int(row["in_h"]), int(row["in_c"]), int(row["out_c"])
    if row["op"] == "expanded_conv":
        hidden = int(row["hidden"])
        se = int(row["se"])
        block = Block(
            "mbconv",
            out_channels,
            int(row["kernel"]),
            int(row["stride"]),
            hidden_channels=hidden,
            se_channels=make_divisible(hidden // 4) if se else 0,
            se_gate="hsigmoid" if se else "",
            activation="hswish" if int(row["hs"]) else "relu",
        )
    else:
        block = _LAYERS[row["op"]](out_channels)
    unit = Unit(block, in_channels, side, side)
    if row["idskip"] and unit.residual != bool(int(row["idskip"])):
        raise ValueError(f"idskip is {row['idskip']}, which {unit.key} is not")
    return PublishedUnit(unit, float(row["mean_ms"]), float(row["std_ms"]), int(row["count"]))
