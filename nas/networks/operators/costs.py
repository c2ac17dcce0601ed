"""What does a network cost on any device?"""

from __future__ import annotations

from dataclasses import dataclass

from nas.networks.architecture import Architecture
from nas.networks.operators.unit import units

FLOAT_BYTES = 4


@dataclass(frozen=True)
class Costs:
    """What a network costs on any device.

    `macs` are those of convolutions and linear layers for one image, `peak_activation_bytes` is for one float32 image,
    run block after block in a good order.
    """

    params: int
    macs: int
    peak_activation_bytes: int


def estimate_costs(architecture: Architecture) -> Costs:
    """Parameters, MACs and peak activation memory of a network."""
    rows = units(architecture)
    return Costs(
        params=sum(unit.params for unit in rows),
        macs=sum(unit.macs for unit in rows),
        peak_activation_bytes=FLOAT_BYTES * max(unit.peak_elements for unit in rows),
    )
