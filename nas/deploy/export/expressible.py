"""Find the blocks of a network that a format cannot express, before hours go into training it.

One block of each kind is converted, on few pixels, and run. That takes seconds.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from nas.deploy.export.agreement import check_agreement, random_images
from nas.deploy.export.formats import cannot_run, format_called, open_file, write_file
from nas.errors import NasError, RunFailedError
from nas.networks.architecture import Architecture, Block
from nas.networks.blocks import build_block
from nas.networks.deployed import deployed
from nas.networks.operators import Unit, units

# Side of a block's input in a trial, in pixels: a multiple of the patches that transformers cut images into.
_SIDE = 16


@dataclass(frozen=True)
class Refusal:
    """Blocks of one kind that a format cannot express, by their numbers in the network, and the converter's words."""

    format: str
    block: Block
    blocks: tuple[int, ...]
    reason: str

    def __str__(self) -> str:
        places = ", ".join(map(str, self.blocks))
        title = format_called(self.format).TITLE
        return f"{title} cannot express {self.block.op} with {_settings(self.block)} (blocks {places}): {self.reason}"


def refusals(
    architecture: Architecture,
    formats: Sequence[str],
    *,
    on_trial: Callable[[str, Block], None] | None = None,
) -> list[Refusal]:
    """The kinds of block of `architecture`, as it is deployed, that any of `formats` cannot express.

    A block that is converted must also agree with torch, where its format runs here. `on_trial` is called before each
    trial with the format and the block. Nothing is left on disk.
    """
    refused = []
    for name in formats:
        for unit, numbers in _kinds(architecture).items():
            if on_trial is not None:
                on_trial(name, unit.block)
            reason = _reason(unit, name)
            if reason:
                refused.append(Refusal(name, unit.block, numbers, reason))
    return refused


def check_expressible(architecture: Architecture, formats: Sequence[str]) -> None:
    """Raise NasError that names every operator of `architecture` that one of `formats` cannot express."""
    refused = refusals(architecture, formats)
    if refused:
        raise NasError("\n".join(map(str, refused)))


def _kinds(architecture: Architecture) -> Mapping[Unit, tuple[int, ...]]:
    """One block of each kind, on few pixels, with the numbers of all blocks of that kind."""
    examples: dict[tuple[object, ...], Unit] = {}
    numbers: dict[tuple[object, ...], list[int]] = {}
    for index, unit in enumerate(units(deployed(architecture))):
        kind = _kind(unit)
        examples.setdefault(kind, _small(unit))
        numbers.setdefault(kind, []).append(index)
    return {examples[kind]: tuple(indices) for kind, indices in numbers.items()}


def _kind(unit: Unit) -> tuple[object, ...]:
    """All that decides which operators a unit is made of, which is all but its channels and pixels."""
    block = unit.block
    return (
        *(block.op, block.stride, block.activation, block.norm, block.bias, block.heads, block.transformer_depth),
        *(block.se_gate, block.se_activation, block.groups > 1, block.expand_groups > 1),
        *(block.start_kernel_size > 1, block.kernel_size > 1, block.keeps_shape(unit.in_channels)),
    )


def _small(unit: Unit) -> Unit:
    """The unit on fewer pixels, where it has more."""
    return replace(unit, height=min(unit.height, _SIDE), width=min(unit.width, _SIDE))


def _reason(unit: Unit, name: str) -> str:
    """Why a unit cannot be converted and run, or an empty text."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(build_block(unit)).eval()
    generator = torch.Generator().manual_seed(0)
    example = torch.cat([random_images(1, unit.height, generator) for _ in range(-(-unit.in_channels // 3))], dim=1)
    example = example[:, : unit.in_channels].contiguous()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"trial{format_called(name).SUFFIX}"
        try:
            write_file(name, network, example, path)
            if not cannot_run(name):
                check_agreement(open_file(name, path), network, [example], name=path.name)
        except RunFailedError as error:
            return str(error)
    return ""


def _settings(block: Block) -> str:
    """The settings of a block that are not sizes, in words."""
    parts = [f"activation {block.activation}", f"stride {block.stride}"]
    parts += [f"gate {block.se_gate}"] * bool(block.se_gate) + [f"{block.heads} heads"] * bool(block.heads)
    return ", ".join(parts)
