"""Build an architecture as a torch network."""

from __future__ import annotations

import torch
from torch import nn

from nas.networks.architecture import Architecture
from nas.networks.blocks import build_block, initialise
from nas.networks.operators import units


def build_network(architecture: Architecture, *, seed: int = 0) -> nn.Sequential:
    """The network, freshly initialised from `seed`, in training mode: (n, 3, resolution, resolution) to (n, classes).

    Child i is the module of `architecture.blocks[i]`. The global random state stays as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = nn.Sequential(*(build_block(unit) for unit in units(architecture)))
        initialise(network)
    return network
