"""Which latencies of the Pixel 1 have others published, and for which blocks and networks?

Reads files in the layouts that latency_tables/README.md describes; the files themselves are not part of the project.
Every function returns samples: figures as published, with the units that they are the latency of.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from nas.errors import NasError
from nas.latency.cost_model import Sample
from nas.networks.architecture import Architecture, Block
from nas.networks.operators import Unit, units
from nas.networks.references import mnasnet_a1, mobilenet_v2, mobilenet_v3_large, mobilenet_v3_small
from nas.networks.scaling import make_divisible

GOOGLE_NETWORKS = "published_pixel_networks/mobilenet_v2_mnasnet_a1_pixel1.csv"
GOOGLE_MOBILENET_V3 = "published_pixel_networks/mobilenet_v3_pixel.csv"
SINGLE_PATH_NAS = "published_latency/spnas_pixel1/pixel1_runtime_model.csv"
NN_METER = "published_latency/nnmeter_tflite_block_lut/mbconv_block_lut.csv"

# The float networks of the MobileNetV3 file, by the names they have there.
_MOBILENET_V3 = {
    "mobilenet_v3 Large dm=1 (float)": mobilenet_v3_large(),
    "mobilenet_v3 Large dm=0.75 (float)": mobilenet_v3_large(width=0.75),
    "mobilenet_v3 Small dm=1 (float)": mobilenet_v3_small(),
    "mobilenet_v3 Small dm=0.75 (float)": mobilenet_v3_small(width=0.75),
    "mobilenet_v3 Large minimalistic (float)": mobilenet_v3_large(minimalistic=True),
    "mobilenet_v3 Small minimalistic (float)": mobilenet_v3_small(minimalistic=True),
}

# Single-path NAS (arXiv:1904.02877): input channels, output channels, stride and input size of the searched layers
# 1 to 20. Layer 0 is the same block for every choice; layer 21 is left out, because its four figures differ by less
# than the expansion alone must cost: they seem to include the head.
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
    samples = []
    builders = {"mobilenet_v2": mobilenet_v2, "mnasnet_a1": mnasnet_a1}
    for row in _read(folder / GOOGLE_NETWORKS, ("family", "width", "res", "pixel1_ms")):
        width, resolution = float(row["width"]), int(float(row["res"]))
        architecture = builders[row["family"]](width=width, resolution=resolution)
        name = f"{row['family']} {width:g} at {resolution}"
        samples.append(_network(name, row["family"], f"{row['family']} {width:g}", architecture, row["pixel1_ms"]))
    return samples


def google_mobilenet_v3(folder: Path) -> list[Sample]:
    """Whole MobileNetV3 networks in float (TensorFlow's model README)."""
    rows = _read(folder / GOOGLE_MOBILENET_V3, ("model", "pixel1_ms"))
    return [
        _network(row["model"], "mobilenet_v3", row["model"], _MOBILENET_V3[row["model"]], row["pixel1_ms"])
        for row in rows
        if row["model"] in _MOBILENET_V3
    ]


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
    samples = []
    for row in _read(folder / SINGLE_PATH_NAS, ("layer", "choice", "latency_ms")):
        layer, choice = int(row["layer"]), int(row["choice"])
        if not 1 <= layer <= len(_SINGLE_PATH_LAYERS):
            continue
        in_channels, out_channels, stride, side = _SINGLE_PATH_LAYERS[layer - 1]
        kernel_size, expand_ratio = _SINGLE_PATH_CHOICES[choice]
        block = Block(
            "mbconv",
            out_channels,
            kernel_size,
            stride,
            hidden_channels=in_channels * expand_ratio,
            activation="relu",
        )
        unit = Unit(block, in_channels, side, side)
        name = f"layer {layer} choice {choice}"
        samples.append(Sample(name, "single_path_nas", f"spnas {layer}", (unit,), float(row["latency_ms"])))
    return samples


def nn_meter(folder: Path, device: str = "pixel1") -> list[Sample]:
    """First convolutions and MBConv blocks with h-swish, with and without squeeze-and-excitation (nn-Meter)."""
    columns = ("device", "op", "hw", "in_c", "out_c", "expand_ratio", "stride", "kernel", "se", "latency_ms", "key")
    samples = []
    for row in _read(folder / NN_METER, columns):
        if row["device"] != device:
            continue
        side, in_channels, out_channels = int(row["hw"]), int(row["in_c"]), int(row["out_c"])
        if row["op"] == "firstconv":
            block = Block("conv", out_channels, int(row["kernel"]), int(row["stride"]), activation="hswish")
        else:
            hidden = round(in_channels * float(row["expand_ratio"]))
            se = int(row["se"])
            block = Block(
                "mbconv",
                out_channels,
                int(row["kernel"]),
                int(row["stride"]),
                hidden_channels=hidden,
                se_channels=make_divisible(hidden / 4) if se else 0,  # assumption: as in MobileNetV3
                se_gate="hsigmoid" if se else "",
                activation="hswish",
            )
        unit = Unit(block, in_channels, side, side)
        family = f"nn-meter {side} {in_channels} {out_channels}"
        samples.append(Sample(row["key"], "nn_meter", family, (unit,), float(row["latency_ms"])))
    return samples


def _network(name: str, group: str, family: str, architecture: Architecture, latency_ms: str) -> Sample:
    return Sample(name, group, family, units(architecture), float(latency_ms))


def _with_activation(architecture: Architecture, old: str, new: str) -> Architecture:
    data = architecture.to_json()
    for block in data["blocks"]:
        if block.get("activation") == old:
            block["activation"] = new
    return Architecture.from_json(data)


def _read(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """The rows of a CSV, as text. Raises NasError for a file or a column that is not there."""
    try:
        frame = pd.read_csv(path, dtype=str)
    except (OSError, ValueError) as error:
        raise NasError(
            f"cannot read the published latencies in {path}: {error}. "
            "latency_tables/README.md says where to get them and how to lay them out."
        ) from error
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise NasError(f"{path} has no column {', '.join(missing)}; it has {', '.join(frame.columns)}")
    return [{str(column): text for column, text in row.items()} for row in frame.to_dict("records")]
