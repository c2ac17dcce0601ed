"""nn-Meter's published latencies of blocks on several phones.

Its table of blocks (branch dev/hybrid-transformer) holds first convolutions and the blocks of the early stages of
hybrid transformers, with h-swish throughout. According to the script that built them (build_lut_modules.py at
a2e2e33d), two kinds are the same as units here: first convolutions, and blocks that keep their channels. A block that
changes its channels has a shortcut that no unit has: its input, averaged over 2×2 pixels for stride 2, through a 1×1
convolution. The figures confirm this: 16 to 24 channels take as long as 24 to 24, or longer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from nas.latency.modelling.cost_model import PublishedSample
from nas.latency.published.files import PublishedUnit, published_rows, read_published
from nas.latency.table import Citation, LatencyTable, TableFormat
from nas.networks.architecture import Block
from nas.networks.operators import Unit

NN_METER = "published_latency/nnmeter_tflite_block_lut/mbconv_block_lut.csv"
PIXEL_1 = "pixel1"
# The phones that get a table, by the table's name: the phone's name in the file, the phone, and its SoC.
PHONES = {
    "pixel4_early": ("pixel4", "Google Pixel 4", "Qualcomm Snapdragon 855"),
    "pixel6_early": ("pixel6", "Google Pixel 6", "Google Tensor"),
    "xiaomi11_early": ("xiaomi11", "Xiaomi 11", "Qualcomm Snapdragon 888"),
}
URL = "https://github.com/microsoft/nn-Meter"
VERSION = "9c31e190e78d6ac558213c68b41575fe545c0533"
LICENCE = "MIT"

_COLUMNS = ("device", "op", "hw", "in_c", "out_c", "expand_ratio", "stride", "kernel", "se", "latency_ms", "key")


def nn_meter(folder: Path) -> list[PublishedSample]:
    """The Pixel 1's first convolutions and MBConv blocks, with and without squeeze-and-excitation."""
    return read_published(folder / NN_METER, _COLUMNS, _sample)


def squeeze_excitation_pairs(blocks: Sequence[PublishedSample]) -> list[PublishedSample]:
    """The latency that squeeze-and-excitation adds, from pairs of nn-Meter's blocks that differ in nothing else."""
    by_unit = {sample.units[0]: sample for sample in blocks}
    samples = []
    for unit, sample in by_unit.items():
        plain = by_unit.get(replace(unit, block=replace(unit.block, se_channels=0, se_gate="")))
        if unit.block.se_channels and plain is not None:
            name, added_ms = f"{sample.name} less {plain.name}", sample.latency_ms - plain.latency_ms
            samples.append(
                PublishedSample(name, "nn_meter_se", sample.family, (unit,), added_ms, plain.units, sample.group)
            )
    return samples


def build_early_stages(name: str, folder: Path) -> LatencyTable:
    """Make the table called `name` (one of PHONES) from all published figures that are those of a unit."""
    device, title, soc = PHONES[name]
    figures = read_published(folder / NN_METER, _COLUMNS, partial(_published_unit, device))
    conditions = TableFormat(
        device=title,
        soc=soc,
        cores="CPU; which cores is not stated by the source",
        threads="not stated by the source",
        runtime="TensorFlow Lite",
        runtime_version="not stated by the source",
        execution_provider="CPU",
        precision="float32",
        date="not stated by the source",
        protocol="not measured by this project: published figures of nn-Meter's, without a model. Covers early stages "
        "only, so it cannot cost a whole network: first convolutions of stride 2 to 16 and 24 channels, and inverted "
        "residuals with h-swish that keep their 16 to 48 channels, at 16 to 128 pixels a side, kernels 3 and 5. Blocks "
        "that change their channels are left out, because nn-Meter's have a shortcut there that no unit has",
        sources={
            "published": (
                Citation(
                    title=f"nn-Meter, blocks on a {title} ({device}_lut_ln_v3.json, branch dev/hybrid-transformer)",
                    url=URL,
                    version=VERSION,
                    licence=LICENCE,
                    use="rows as published",
                ),
            )
        },
    )
    return LatencyTable(name, conditions, published_rows(figures))


def _sample(row: dict[str, str]) -> PublishedSample | None:
    figure = _published_unit(PIXEL_1, row)
    if figure is None:
        return None
    unit = figure.unit
    family = f"nn-meter {unit.height} {unit.in_channels} {unit.out_channels}"
    return PublishedSample(row["key"], "nn_meter", family, (unit,), figure.latency_ms)


def _published_unit(device: str, row: dict[str, str]) -> PublishedUnit | None:
    if row["device"] != device:
        return None
    side, in_channels, out_channels = int(row["hw"]), int(row["in_c"]), int(row["out_c"])
    kernel_size, stride = int(row["kernel"]), int(row["stride"])
    if row["op"] == "firstconv":
        block = Block("conv", out_channels, kernel_size, stride, activation="hswish")
    elif in_channels == out_channels:
        hidden = round(in_channels * float(row["expand_ratio"]))
        se = int(row["se"])
        block = Block(
            "mbconv",
            out_channels,
            kernel_size,
            stride,
            hidden_channels=hidden,
            se_channels=hidden // 4 if se else 0,
            se_gate="hsigmoid" if se else "",
            activation="hswish",
        )
    else:
        return None
    return PublishedUnit(Unit(block, in_channels, side, side), float(row["latency_ms"]))
