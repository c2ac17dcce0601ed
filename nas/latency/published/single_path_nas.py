"""Single-path NAS's published latencies of its blocks on the Pixel 1."""

from __future__ import annotations

from pathlib import Path

from nas.latency.modelling.cost_model import PublishedSample
from nas.latency.published.files import read_published
from nas.networks.architecture import Block
from nas.networks.operators import Unit

SINGLE_PATH_NAS = "published_latency/spnas_pixel1/pixel1_runtime_model.csv"

# Single-path NAS (arXiv:1904.02877): input channels, output channels, stride and input size of the searched layers
# 1 to 20. Layer 0 is the same block for every choice. Layer 21 is left out, because it is unclear what its figures
# include: those for expansion 3 and 6 differ by 0.4 and 0.7 ms, where twice the hidden width must cost about 2.7 more.
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


def single_path_nas(folder: Path) -> list[PublishedSample]:
    """Blocks of the Single-path NAS space, summed from TensorFlow Lite's per-operator profile."""
    return read_published(folder / SINGLE_PATH_NAS, ("layer", "choice", "latency_ms"), _single_path_block)


def _single_path_block(row: dict[str, str]) -> PublishedSample | None:
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
    return PublishedSample(
        f"layer {layer} choice {choice}", "single_path_nas", family, (unit,), float(row["latency_ms"])
    )
