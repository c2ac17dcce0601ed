"""Which latencies of the Pixel 1 have others published, and for which blocks and networks?

Reads files in the layouts that latency_tables/README.md describes; the files themselves are not part of the project.
Every function returns samples: figures as published, with the units that they are the latency of.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from nas.errors import NasError
from nas.latency.cost_model import Sample
from nas.networks.architecture import Architecture, Block
from nas.networks.operators import Unit, units
from nas.networks.references.mnasnet import mnasnet_a1
from nas.networks.references.mobilenet_v2 import mobilenet_v2
from nas.networks.references.mobilenet_v3 import mobilenet_v3_large, mobilenet_v3_small
from nas.networks.scaling import make_divisible

GOOGLE_NETWORKS = "published_pixel_networks/mobilenet_v2_mnasnet_a1_pixel1.csv"
GOOGLE_MOBILENET_V3 = "published_pixel_networks/mobilenet_v3_pixel.csv"
SINGLE_PATH_NAS = "published_latency/spnas_pixel1/pixel1_runtime_model.csv"
NN_METER = "published_latency/nnmeter_tflite_block_lut/mbconv_block_lut.csv"
NN_METER_DEVICE = "pixel1"

# The float networks of the MobileNetV3 file, by the names they have there ("dm" is the width).
_MOBILENET_V3 = {
    "mobilenet_v3 Large dm=1 (float)": mobilenet_v3_large(),
    "mobilenet_v3 Large dm=0.75 (float)": mobilenet_v3_large(width=0.75, slim=True),
    "mobilenet_v3 Small dm=1 (float)": mobilenet_v3_small(),
    "mobilenet_v3 Small dm=0.75 (float)": mobilenet_v3_small(width=0.75, slim=True),
    "mobilenet_v3 Large minimalistic (float)": mobilenet_v3_large(minimalistic=True),
    "mobilenet_v3 Small minimalistic (float)": mobilenet_v3_small(minimalistic=True),
}

# Single-path NAS (arXiv:1904.02877): input channels, output channels, stride and input size of the searched layers
# 1 to 20. Layer 0 is the same block for every choice; layer 21 is left out, because its figures for expansion 3 and 6
# differ by 0.4 and 0.7 ms, where twice the hidden width must cost about 2.7 more: what they include is unclear.
_SINGLE_PATH_LAYERS = (
    (16, 24, 2, 112),
    *[(24, 24, 1, 56)] * 3,
    (24, 40, 2, 56),
    *[(40, 40, 1, 28)] * 3,
    (40, 80, 2, 28),
    *[(80, 80, 1, 14)] * 3,
    (80, 96, 1, 14),
    *[(96, 96, 1, 14)] * 3,
    (96, 192, 2, 14),
    *[(192, 192, 1, 7)] * 3,
)
# Kernel size and expansion ratio of its four choices.
_SINGLE_PATH_CHOICES = ((3, 3), (3, 6), (5, 3), (5, 6))


def google_networks(folder: Path) -> list[Sample]:
    """Whole MobileNetV2 and MnasNet-A1 networks of several widths and resolutions (TensorFlow's model READMEs)."""
    return _read(folder / GOOGLE_NETWORKS, ("family", "width", "res", "pixel1_ms"), _google_network)


def google_mobilenet_v3(folder: Path) -> list[Sample]:
    """Whole MobileNetV3 networks in float (TensorFlow's model README)."""
    return _read(folder / GOOGLE_MOBILENET_V3, ("model", "pixel1_ms"), _google_mobilenet_v3)


def hswish_ablation() -> list[Sample]:
    """What h-swish adds to MobileNetV3-Large (arXiv:1905.02244, "Effect of non-linearities", optimised kernels).

    50.5 ms with ReLU alone; 51.4 ms as published; 53.4 ms with h-swish in every layer of 16 channels or more.
    """
    plain = _with_activation(mobilenet_v3_large(), "hswish", "relu")
    everywhere = _with_activation(mobilenet_v3_large(), "relu", "hswish")
    cases = [("as published", mobilenet_v3_large(), 51.4), ("everywhere", everywhere, 53.4)]
    return [
        Sample(f"h-swish {name}", "hswish", f"h-swish {name}", units(network), latency_ms - 50.5, units(plain))
        for name, network, latency_ms in cases
    ]


def single_path_nas(folder: Path) -> list[Sample]:
    """Blocks of the Single-path NAS space, summed from TensorFlow Lite's per-operator profile."""
    return _read(folder / SINGLE_PATH_NAS, ("layer", "choice", "latency_ms"), _single_path_block)


def nn_meter(folder: Path) -> list[Sample]:
    """First convolutions and MBConv blocks with h-swish, with and without squeeze-and-excitation (nn-Meter)."""
    columns = ("device", "op", "hw", "in_c", "out_c", "expand_ratio", "stride", "kernel", "se", "latency_ms", "key")
    return _read(folder / NN_METER, columns, _nn_meter_block)


def squeeze_excitation_pairs(blocks: Sequence[Sample]) -> list[Sample]:
    """What squeeze-and-excitation adds, by those of nn-Meter's blocks that differ in nothing else."""
    by_unit = {sample.units[0]: sample for sample in blocks}
    samples = []
    for unit, sample in by_unit.items():
        plain = by_unit.get(replace(unit, block=replace(unit.block, se_channels=0, se_gate="")))
        if unit.block.se_channels and plain is not None:
            name, added_ms = f"{sample.name} less {plain.name}", sample.latency_ms - plain.latency_ms
            samples.append(Sample(name, "nn_meter_se", sample.family, (unit,), added_ms, plain.units, sample.group))
    return samples


def _google_network(row: dict[str, str]) -> Sample:
    builders = {"mobilenet_v2": mobilenet_v2, "mnasnet_a1": mnasnet_a1}
    family, width, resolution = row["family"], float(row["width"]), int(float(row["res"]))
    architecture = builders[family](width=width, resolution=resolution)
    name = f"{family} {width:g} at {resolution}"
    return Sample(name, family, f"{family} {width:g}", units(architecture), float(row["pixel1_ms"]))


def _google_mobilenet_v3(row: dict[str, str]) -> Sample | None:
    name = row["model"]
    if name not in _MOBILENET_V3:
        return None
    return Sample(name, "mobilenet_v3", name, units(_MOBILENET_V3[name]), float(row["pixel1_ms"]))


def _single_path_block(row: dict[str, str]) -> Sample | None:
    layer, choice = int(row["layer"]), int(row["choice"])
    if not 1 <= layer <= len(_SINGLE_PATH_LAYERS):
        return None
    in_channels, out_channels, stride, side = _SINGLE_PATH_LAYERS[layer - 1]
    kernel_size, expand_ratio = _SINGLE_PATH_CHOICES[choice]
    hidden = in_channels * expand_ratio
    block = Block("mbconv", out_channels, kernel_size, stride, hidden_channels=hidden, activation="relu")
    # Layers of one shape are one family: their figures are for the very same units.
    family = f"single-path {side} {in_channels} {out_channels} {stride}"
    unit = Unit(block, in_channels, side, side)
    return Sample(f"layer {layer} choice {choice}", "single_path_nas", family, (unit,), float(row["latency_ms"]))


def _nn_meter_block(row: dict[str, str]) -> Sample | None:
    if row["device"] != NN_METER_DEVICE:
        return None
    side, in_channels, out_channels = int(row["hw"]), int(row["in_c"]), int(row["out_c"])
    kernel_size, stride = int(row["kernel"]), int(row["stride"])
    if row["op"] == "firstconv":
        block = Block("conv", out_channels, kernel_size, stride, activation="hswish")
    else:
        hidden = round(in_channels * float(row["expand_ratio"]))
        se = int(row["se"])
        block = Block(
            "mbconv",
            out_channels,
            kernel_size,
            stride,
            hidden_channels=hidden,
            se_channels=make_divisible(hidden / 4) if se else 0,  # assumption: as in MobileNetV3
            se_gate="hsigmoid" if se else "",
            activation="hswish",
        )
    unit = Unit(block, in_channels, side, side)
    family = f"nn-meter {side} {in_channels} {out_channels}"
    return Sample(row["key"], "nn_meter", family, (unit,), float(row["latency_ms"]))


def _with_activation(architecture: Architecture, old: str, new: str) -> Architecture:
    blocks = (replace(b, activation=new) if b.activation == old else b for b in architecture.blocks)
    return replace(architecture, blocks=tuple(blocks))


def _read(path: Path, columns: Sequence[str], parse: Callable[[dict[str, str]], Sample | None]) -> list[Sample]:
    """What `parse` makes of the rows of a CSV; it returns None for rows that are not wanted.

    Raises NasError for a file or a column that is not there, and for a row that makes no sense, naming its line.
    """
    samples = []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            missing = [column for column in columns if column not in (reader.fieldnames or ())]
            if missing:
                has = ", ".join(reader.fieldnames or ()) or "none"
                raise NasError(f"{path} must have the columns {', '.join(missing)} too, but has {has}")
            for row in reader:
                samples.append(_sample(row, parse, f"{path}:{reader.line_num}"))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise NasError(
            f"cannot read the published latencies in {path}: {error}. "
            "latency_tables/README.md says where to get them and how to lay them out."
        ) from error
    return [sample for sample in samples if sample is not None]


def _sample(row: dict[str, str], parse: Callable[[dict[str, str]], Sample | None], place: str) -> Sample | None:
    try:
        sample = parse(row)
    except (LookupError, TypeError, ValueError, NasError) as error:
        raise NasError(f"not a published latency: {error} ({place})") from error
    if sample is not None and not (math.isfinite(sample.latency_ms) and sample.latency_ms > 0):
        raise NasError(f"a latency must be a number above 0, but is {sample.latency_ms:g} ({place})")
    return sample
