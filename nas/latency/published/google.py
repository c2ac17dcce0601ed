"""Google's published latencies of whole networks on the Pixel 1."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from nas.latency.modelling.cost_model import PublishedSample
from nas.latency.published.files import read_published
from nas.networks.architecture import Architecture
from nas.networks.operators import units
from nas.networks.references.mnasnet import mnasnet_a1
from nas.networks.references.mobilenet_v2 import mobilenet_v2
from nas.networks.references.mobilenet_v3 import mobilenet_v3_large, mobilenet_v3_small

GOOGLE_NETWORKS = "published_pixel_networks/mobilenet_v2_mnasnet_a1_pixel1.csv"
GOOGLE_MOBILENET_V3 = "published_pixel_networks/mobilenet_v3_pixel.csv"

# The float networks of the MobileNetV3 file, by the names they have there ("dm" is the width).
_MOBILENET_V3 = {
    "mobilenet_v3 Large dm=1 (float)": mobilenet_v3_large(),
    "mobilenet_v3 Large dm=0.75 (float)": mobilenet_v3_large(width=0.75, slim=True),
    "mobilenet_v3 Small dm=1 (float)": mobilenet_v3_small(),
    "mobilenet_v3 Small dm=0.75 (float)": mobilenet_v3_small(width=0.75, slim=True),
    "mobilenet_v3 Large minimalistic (float)": mobilenet_v3_large(minimalistic=True),
    "mobilenet_v3 Small minimalistic (float)": mobilenet_v3_small(minimalistic=True),
}


def google_networks(folder: Path) -> list[PublishedSample]:
    """Whole MobileNetV2 and MnasNet-A1 networks of several widths and resolutions (TensorFlow's model READMEs)."""
    return read_published(folder / GOOGLE_NETWORKS, ("family", "width", "res", "pixel1_ms"), _google_network)


def google_mobilenet_v3(folder: Path) -> list[PublishedSample]:
    """Whole MobileNetV3 networks in float (TensorFlow's model README)."""
    return read_published(folder / GOOGLE_MOBILENET_V3, ("model", "pixel1_ms"), _google_mobilenet_v3)


def hswish_ablation() -> list[PublishedSample]:
    """The latency that h-swish adds to MobileNetV3-Large (arXiv:1905.02244, "Effect of non-linearities").

    With optimised kernels: 50.5 ms with ReLU alone; 51.4 ms as published; 53.4 ms with h-swish in every layer of 16
    channels or more.
    """
    plain = _with_activation(mobilenet_v3_large(), "hswish", "relu")
    everywhere = _with_activation(mobilenet_v3_large(), "relu", "hswish")
    cases = [("as published", mobilenet_v3_large(), 51.4), ("everywhere", everywhere, 53.4)]
    return [
        PublishedSample(f"h-swish {name}", "hswish", f"h-swish {name}", units(network), latency_ms - 50.5, units(plain))
        for name, network, latency_ms in cases
    ]


def _google_network(row: dict[str, str]) -> PublishedSample:
    builders = {"mobilenet_v2": mobilenet_v2, "mnasnet_a1": mnasnet_a1}
    family, width, resolution = row["family"], float(row["width"]), int(float(row["res"]))
    architecture = builders[family](width=width, resolution=resolution)
    name = f"{family} {width:g} at {resolution}"
    return PublishedSample(name, family, f"{family} {width:g}", units(architecture), float(row["pixel1_ms"]))


def _google_mobilenet_v3(row: dict[str, str]) -> PublishedSample | None:
    name = row["model"]
    if name not in _MOBILENET_V3:
        return None
    return PublishedSample(name, "mobilenet_v3", name, units(_MOBILENET_V3[name]), float(row["pixel1_ms"]))


def _with_activation(architecture: Architecture, old: str, new: str) -> Architecture:
    blocks = (replace(b, activation=new) if b.activation == old else b for b in architecture.blocks)
    return replace(architecture, blocks=tuple(blocks))
