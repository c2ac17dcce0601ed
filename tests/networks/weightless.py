"""Build a network for the names and shapes of its weights alone, without memory for them."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from unittest import mock

import torch
from torch import nn

from nas.networks.architecture import Architecture
from nas.networks.blocks import build_block
from nas.networks.operators import Unit, units

_LAYERS = (nn.Conv2d, nn.Linear, nn.BatchNorm2d, nn.LayerNorm)


def weightless(architecture: Architecture) -> nn.Sequential:
    """As build_network, but on torch's meta device."""
    return weightless_blocks(units(architecture))


def weightless_blocks(rows: Iterable[Unit]) -> nn.Sequential:
    """The modules of units. Nothing is drawn for their weights: it takes most of the time even where there are none."""
    with ExitStack() as stack:
        stack.enter_context(torch.device("meta"))
        for layer in _LAYERS:
            stack.enter_context(mock.patch.object(layer, "reset_parameters", _nothing))
        return nn.Sequential(*map(build_block, rows))


def _nothing(_: nn.Module) -> None:
    """In the place of a layer's own initialisation."""
