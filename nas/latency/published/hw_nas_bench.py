"""HW-NAS-Bench's published latencies of FBNet's blocks, for images of 32×32 pixels.

Four columns of HELP's figures for FBNet's space (arXiv:2103.10584, arXiv:2106.08630) are exact sums of HW-NAS-Bench's
tables. The tables can be solved for from the sums up to a constant: the latency of a block less that of skipping its
layer. In layers that keep their shape, skipping does nothing, so the difference is the latency of the block.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from nas.errors import NasError
from nas.latency.published.files import PublishedUnit, published_rows, read_published
from nas.latency.table import Citation, LatencyTable, TableFormat
from nas.networks.architecture import Block
from nas.networks.operators import Unit

HELP_FBNET = "published_latency/help_fbnet/recovered_additive_lut.csv"
# By the table's name: the device's name in the file, the device, its SoC, and how HW-NAS-Bench obtained the figures.
DEVICES = {
    "pixel3_fbnet32": ("pixel3", "Google Pixel 3", "Qualcomm Snapdragon 845", "measured block by block"),
    "raspi4_fbnet32": ("raspi4", "Raspberry Pi 4", "Broadcom BCM2711", "measured block by block"),
    "eyeriss_fbnet32": ("eyeriss", "Eyeriss (ASIC)", "Eyeriss", "estimated by a model of the chip, not measured"),
    "fpga_fbnet32": ("fpga", "FPGA", "FPGA", "measured or estimated (the files do not say which)"),
}

# The layers of FBNet's space for images of 32×32 that keep their shape: channels and sides, by the layer's number.
_LAYERS = {
    0: (16, 32),
    **dict.fromkeys((2, 3, 4), (24, 32)),
    **dict.fromkeys((6, 7, 8), (32, 16)),
    **dict.fromkeys((10, 11, 12), (64, 8)),
    **dict.fromkeys((14, 15, 16), (112, 8)),
    **dict.fromkeys((18, 19, 20), (184, 4)),
}
# Kernel size, expansion ratio and groups of FBNet's eight blocks (arXiv:1812.03443, table 2).
_BLOCKS = {
    "k3_e1": (3, 1, 1),
    "k3_e1_g2": (3, 1, 2),
    "k3_e3": (3, 3, 1),
    "k3_e6": (3, 6, 1),
    "k5_e1": (5, 1, 1),
    "k5_e1_g2": (5, 1, 2),
    "k5_e3": (5, 3, 1),
    "k5_e6": (5, 6, 1),
}
_NOT_BLOCKS = ("skip", "all_skip_constant")


def build_fbnet32(name: str, folder: Path) -> LatencyTable:
    """Make the table called `name` (one of DEVICES) from the published latencies of blocks that keep their shape."""
    device, title, soc, origin = DEVICES[name]
    columns = ("device", "layer", "op", "delta_ms_vs_skip")
    figures = read_published(folder / HELP_FBNET, columns, partial(_published_unit, device))
    conditions = TableFormat(
        device=title,
        soc=soc,
        cores="not stated in the files",
        threads="not stated in the files",
        runtime="as HW-NAS-Bench had it (arXiv:2103.10584)",
        runtime_version="not stated in the files",
        execution_provider="not stated in the files",
        precision="not stated in the files",
        date="published 2021",
        protocol=f"not measured by this project: published figures, {origin} by HW-NAS-Bench, solved for from HELP's "
        "sums (which they give back to 1e-12 ms), without a model. Covers FBNet's blocks at an input of 32x32 pixels "
        "(CIFAR) in layers that keep their shape; assumption: skipping such a layer costs nothing. Layers that change "
        "the shape, stem and head are published as sums and differences only and have no rows, so no whole network can "
        "be costed; runs is the number of layers with a block, all alike",
        sources={
            "published": (
                Citation(
                    title="HELP, latencies of 5,000 networks of FBNet's space (data/fbnet/latency), from HW-NAS-Bench",
                    url="https://github.com/HayeonLee/HELP",
                    version="45f70eb92d0d735970a33b608d1544ad3c52f285",
                    licence="MIT",
                    use="rows, solved for by least squares from sums that are exact",
                ),
            )
        },
    )
    return LatencyTable(name, conditions, published_rows(figures))


def _published_unit(device: str, row: dict[str, str]) -> PublishedUnit | None:
    if row["device"] != device or row["op"] in _NOT_BLOCKS or int(row["layer"]) not in _LAYERS:
        return None
    if row["op"] not in _BLOCKS:
        raise NasError(f"{row['op']!r} is none of FBNet's blocks")
    channels, side = _LAYERS[int(row["layer"])]
    kernel_size, expand_ratio, groups = _BLOCKS[row["op"]]
    hidden = channels * expand_ratio
    block = Block("fbnet", channels, kernel_size, hidden_channels=hidden, groups=groups, activation="relu")
    return PublishedUnit(Unit(block, channels, side, side), float(row["delta_ms_vs_skip"]))
