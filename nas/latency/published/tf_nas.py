"""TF-NAS's published latencies of blocks on a Titan RTX and a Xeon.

They are of inverted residuals (arXiv:2008.05314) with every number of hidden channels, timed in PyTorch 1.1; the
authors' script is latency_pkl/make_lat_lut_example.py. It builds a block with at most as many hidden as input channels
without expansion, with as many hidden as input channels. Figures for fewer hidden channels were therefore never timed
(172 of them are negative), and are left out.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

from nas.latency.published.files import PublishedUnit, published_rows, read_published
from nas.latency.table import Citation, LatencyTable, TableFormat
from nas.networks.architecture import Block
from nas.networks.operators import Unit

TF_NAS = "published_latency/tfnas_titanrtx_xeon/tfnas_lut.csv.gz"
# By the table's name: the device's name in the file, the device, cores, threads, execution provider, batch size.
DEVICES = {
    "titan_rtx_tfnas": ("titan_rtx_bs32", "NVIDIA Titan RTX", "GPU", "1 (OpenMP)", "CUDA, cuDNN 7.6.0", 32),
    "xeon_6130_tfnas": ("xeon_gold6130_bs1", "Intel Xeon Gold 6130", "one core at 2.1 GHz", "1 (MKL)", "CPU", 1),
}

# Only multiples of this many hidden channels occur in search spaces; the other seven eighths are left out.
_DIVISOR = 8
_KEY = re.compile(
    r"MBInvertedResBlock_(?P<side>\d+)_(?P<inputs>\d+)_(?P<se>\d+)_(?P<outputs>\d+)_k(?P<kernel>\d+)_s(?P<stride>\d+)"
    r"_(?P<activation>relu|swish)"
)
# The activation of the block, and the one between the two convolutions of squeeze-and-excitation.
_ACTIVATIONS = {"relu": ("relu", ""), "swish": ("silu", "silu")}


def build_tf_nas(name: str, folder: Path) -> LatencyTable:
    """Make the table called `name` (one of DEVICES) from the published figures of blocks that were timed."""
    device, title, cores, threads, provider, batch = DEVICES[name]
    figures = read_published(
        folder / TF_NAS, ("device", "key", "mid_c", "latency_ms"), partial(_published_unit, device)
    )
    images = "one image" if batch == 1 else f"a batch of {batch} images together, not of one"
    conditions = TableFormat(
        device=title,
        soc=title,
        cores=cores,
        threads=threads,
        runtime="PyTorch",
        runtime_version="1.1",
        execution_provider=provider,
        precision="float32",
        date="published 2020",
        protocol=f"not measured by this project: published by TF-NAS, without a model. A row is for {images}. "
        "Figures are smoothed over the hidden channels by the source. Covers the inverted residuals of TF-NAS's space "
        "at 224 pixels (from 112x112 and 16 channels to 7x7 and 320; kernels 3 and 5; squeeze-and-excitation to once "
        "or twice the input channels), of which hidden channels in multiples of 8 are kept. Stem, first block, last "
        "convolution and classifier are published as one sum only and have no rows, so no whole network can be costed",
        sources={
            "published": (
                Citation(
                    title="TF-NAS, latency tables (latency_pkl/latency_gpu.pkl and latency_cpu.pkl)",
                    url="https://github.com/AberHu/TF-NAS",
                    version="08b31a2e6dc2386ae72890369847c2206745006a",
                    licence="MIT",
                    use="rows as published",
                ),
            )
        },
    )
    return LatencyTable(name, conditions, published_rows(figures))


def _published_unit(device: str, row: dict[str, str]) -> PublishedUnit | None:
    if row["device"] != device or row["key"] == "base":
        return None
    match = _KEY.fullmatch(row["key"])
    if match is None:
        raise ValueError(f"the key {row['key']!r} is not one of TF-NAS's")
    hidden = int(float(row["mid_c"]))
    side, in_channels, se_channels = int(match["side"]), int(match["inputs"]), int(match["se"])
    if hidden < in_channels or hidden % _DIVISOR:
        return None
    activation, se_activation = _ACTIVATIONS[match["activation"]]
    block = Block(
        "mbconv",
        int(match["outputs"]),
        int(match["kernel"]),
        int(match["stride"]),
        hidden_channels=hidden,
        se_channels=se_channels,
        se_gate="sigmoid" if se_channels else "",
        se_activation=se_activation if se_channels else "",
        activation=activation,
    )
    return PublishedUnit(Unit(block, in_channels, side, side), float(row["latency_ms"]))
