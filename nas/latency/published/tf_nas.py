"""Which latencies of blocks has TF-NAS published, on a Titan RTX and a Xeon?

Inverted residuals (arXiv:2008.05314) for every number of hidden channels, timed in PyTorch 1.1; the authors'
script is latency_pkl/make_lat_lut_example.py. A block of at most as many hidden channels as it has input channels was
built without expansion, with as many as the input: what the file says of fewer was never timed (172 of those figures
are negative) and is left out.
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
# By the table's name: as the file calls the device, what it is, cores, threads, execution provider, batch.
DEVICES = {
    "titan_rtx_tfnas": ("titan_rtx_bs32", "NVIDIA Titan RTX", "GPU", "1 (OpenMP)", "CUDA, cuDNN 7.6.0", 32),
    "xeon_6130_tfnas": ("xeon_gold6130_bs1", "Intel Xeon Gold 6130", "one core at 2.1 GHz", "1 (MKL)", "CPU", 1),
}

# Hidden channels that a search space can have: the other seven eighths would only make the table long.
_DIVISOR = 8
_KEY = re.compile(
    r"MBInvertedResBlock_(?P<side>\d+)_(?P<inputs>\d+)_(?P<se>\d+)_(?P<outputs>\d+)_k(?P<kernel>\d+)_s(?P<stride>\d+)"
    r"_(?P<activation>relu|swish)"
)
# The activation, and that between the two convolutions of squeeze-and-excitation.
_ACTIVATIONS = {"relu": ("relu", ""), "swish": ("silu", "silu")}


def build_tf_nas(name: str, folder: Path) -> LatencyTable:
    """The table called `name` (one of DEVICES): the published figures of blocks that were timed, as published."""
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
        raise ValueError(f"the key {row['key']!r} is none of TF-NAS's")
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
