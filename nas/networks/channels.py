"""Remove channels of a network: the sets that must be narrowed together, and the weights that remain.

Layers share channels: a convolution's outputs are the next one's inputs, and tensors that are added must have the same
channels throughout a stage. Such a set of channels has one width, and is narrowed in all of its layers at once. The
result is an ordinary `Architecture`, smaller and faster, with the weights of the channels that remain.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from nas.errors import NasError
from nas.networks.architecture import Architecture, Block
from nas.networks.build import build_network
from nas.networks.operators import INPUT_CHANNELS, Unit, primitives, units
from nas.networks.scaling import make_divisible

Kind = Literal["image", "bottleneck", "expansion", "squeeze", "classes"]

# Operators whose channels can be narrowed. The channels that all others read and write stay.
_SUPPORTED = frozenset({"conv", "ds_conv", "mbconv", "fused_mbconv", "fbnet", "uib", "linear", "pool", "max_pool"})
_SQUEEZE_DIVISOR = 8


@dataclass(frozen=True)
class ChannelSet:
    """Channels that are narrowed together; block number `block` is the first to make them.

    `fixed` sets keep their width: the image's, the classes, and those of blocks that are not supported. The width of a
    squeeze stays in proportion to that of set number `follows`.
    """

    kind: Kind
    block: int
    channels: int
    fixed: bool = False
    follows: int | None = None

    def __str__(self) -> str:
        return f"{self.kind} of block {self.block}"


class BlockSets(NamedTuple):
    """The numbers of the sets that a block's channels belong to; None for channels that it does not have."""

    inside: int
    hidden: int | None
    squeeze: int | None
    out: int


@dataclass(frozen=True)
class ChannelSets:
    """All sets of an architecture, and the sets of each block."""

    sets: tuple[ChannelSet, ...]
    blocks: tuple[BlockSets, ...]

    @property
    def free(self) -> tuple[int, ...]:
        """The numbers of the sets whose width can be chosen."""
        return tuple(n for n, one in enumerate(self.sets) if not one.fixed and one.follows is None)


def channel_sets(architecture: Architecture) -> ChannelSets:
    """The sets of `architecture`. Raises NasError, naming its operators, where none can be narrowed."""
    sets = [ChannelSet("image", 0, INPUT_CHANNELS, fixed=True)]
    blocks: list[BlockSets] = []

    def new(kind: Kind, channels: int, *, fixed: bool = False, follows: int | None = None) -> int:
        sets.append(ChannelSet(kind, len(blocks), channels, fixed, follows))
        return len(sets) - 1

    inside = 0
    for unit in units(architecture):
        block = unit.block
        supported = _is_supported(block, unit.in_channels)
        if not supported:
            sets[inside] = replace(sets[inside], fixed=True)
        hidden = squeeze = None
        if supported and _expands(block, unit.in_channels):
            hidden = new("expansion", block.hidden_channels)
        if supported and block.se_channels:
            follows = inside if hidden is None else hidden
            squeeze = new("squeeze", block.se_channels, follows=follows)
        depthwise = block.op == "conv" and block.groups > 1
        if block.op in ("pool", "max_pool") or (supported and (unit.residual or depthwise)):
            out = inside
        else:
            last = len(blocks) == len(architecture.blocks) - 1
            out = new("classes" if last else "bottleneck", unit.out_channels, fixed=last or not supported)
        blocks.append(BlockSets(inside, hidden, squeeze, out))
        inside = out
    result = ChannelSets(tuple(sets), tuple(blocks))
    if not result.free:
        operators = ", ".join(sorted({block.op for block in architecture.blocks} - _SUPPORTED))
        raise NasError(
            f"no channels of this network can be removed, because that is not supported for {operators}. "
            f"Supported: {', '.join(sorted(_SUPPORTED))}, without groups."
        )
    return result


def with_widths(architecture: Architecture, sets: ChannelSets, widths: Mapping[int, int]) -> Architecture | None:
    """`architecture` with the given widths (set number: channels); squeezes stay in proportion.

    None where the result would have other operations: an expansion that becomes as wide as its input would vanish, and
    a block whose output gets the shape of its input would add the two.
    """

    def width(number: int | None) -> int:
        if number is None:
            return 0
        one = sets.sets[number]
        if one.follows is not None and width(one.follows) != sets.sets[one.follows].channels:
            share = width(one.follows) / sets.sets[one.follows].channels
            return min(one.channels, make_divisible(one.channels * share, _SQUEEZE_DIVISOR))
        return widths.get(number, one.channels)

    blocks = []
    for block, own in zip(architecture.blocks, sets.blocks, strict=True):
        changes = {"out_channels": width(own.out)} if block.out_channels else {}
        if block.op == "conv" and block.groups > 1 and own.inside == own.out:
            changes["groups"] = width(own.out)
        if own.hidden is not None:
            changes["hidden_channels"] = width(own.hidden)
        elif block.hidden_channels == sets.sets[own.inside].channels:  # a block without an expansion
            changes["hidden_channels"] = width(own.inside)
        if own.squeeze is not None:
            changes["se_channels"] = width(own.squeeze)
        blocks.append(replace(block, **changes) if changes else block)  # type: ignore[arg-type] # all are numbers
    narrowed = replace(architecture, blocks=tuple(blocks))
    return narrowed if same_kind(architecture, narrowed) else None


def same_kind(before: Architecture, after: Architecture) -> bool:
    """Whether both run the same operations in the same order, whatever their channels."""
    ours, theirs = units(before), units(after)
    if len(ours) != len(theirs) or before.resolution != after.resolution:
        return False
    return all(_operations(a) == _operations(b) for a, b in zip(ours, theirs, strict=True))


def carried_weights(weights: Mapping[str, Tensor], before: Architecture, after: Architecture) -> dict[str, Tensor]:
    """A state_dict for `after`, a narrower `before`: `weights` without the least important channels.

    In each set the channels with the highest `importance` stay, in their order. Raises NasError where `after` is not a
    narrower `before`.
    """
    if not same_kind(before, after):
        raise NasError("weights can only be carried over to the same network with fewer channels")
    sets, narrower = channel_sets(before), channel_sets(after)
    scores = importance(weights, before, sets)
    remaining: dict[int, Tensor] = {}
    for number, (old, new) in enumerate(zip(sets.sets, narrower.sets, strict=True)):
        if new.channels > old.channels or (old.fixed and new.channels != old.channels):
            must = "stay" if old.fixed else "not get wider"
            raise NasError(f"the {old} must {must}, but has {new.channels} channels instead of {old.channels}")
        order = scores[number].argsort(descending=True, stable=True)
        remaining[number] = order[: new.channels].sort().values
    carried = {}
    for name, dimensions in tensor_sets(before, sets).items():
        tensor = weights[name]
        for dimension, set_number in enumerate(dimensions):
            if set_number is not None:
                tensor = tensor.index_select(dimension, remaining[set_number])
        carried[name] = tensor.clone()
    return carried


def importance(weights: Mapping[str, Tensor], architecture: Architecture, sets: ChannelSets) -> list[Tensor]:
    """The importance of each channel of each set, float64 (channels,); comparable only within a set.

    It is the sum, over all convolutions and linear layers that make or read the channel, of the magnitude (L1, as in
    arXiv:1608.08710) of its weights there. Batch normalisation is folded into the weights, and each layer's magnitudes
    are divided by their mean.
    """
    scores = [torch.zeros(one.channels, dtype=torch.float64) for one in sets.sets]
    for name, dimensions in tensor_sets(architecture, sets).items():
        tensor = weights[name]
        if tensor.ndim < 2:
            continue
        magnitude = tensor.double().abs() * _normalisation(weights, name).view(-1, *[1] * (tensor.ndim - 1))
        for dimension, number in enumerate(dimensions):
            if number is not None:
                total = magnitude.transpose(0, dimension).flatten(1).sum(1)
                scores[number] += total / total.mean().clamp(min=1e-30)
    return scores


def tensor_sets(architecture: Architecture, sets: ChannelSets) -> dict[str, tuple[int | None, ...]]:
    """For each tensor of the state_dict, the number of the set that each of its dimensions belongs to, or None."""
    with torch.device("meta"):
        network = build_network(architecture)
    labels_by_name: dict[str, tuple[int | None, ...]] = {}
    for index, (block, own) in enumerate(zip(network.children(), sets.blocks, strict=True)):
        supported = _is_supported(architecture.blocks[index], sets.sets[own.inside].channels)
        for name, tensor, labels in _labelled(block, own) if supported else ():
            labels_by_name[f"{index}.{name}"] = labels if tensor.ndim == len(labels) else ()
        for name, tensor in block.state_dict().items():
            labels_by_name.setdefault(f"{index}.{name}", (None,) * tensor.ndim)
    return labels_by_name


def _labelled(block: nn.Module, own: BlockSets) -> Iterator[tuple[str, Tensor, tuple[int | None, ...]]]:
    """Name, tensor and set numbers of each tensor of a block, layer by layer in the order in which they run."""
    layers = [
        (path, module)
        for path, module in block.named_modules()
        if next(module.parameters(recurse=False), None) is not None
    ]
    convolutions = [module for path, module in layers if _is_layer(module) and not _squeezes(path)]
    current: int | None = own.inside
    made: int | None
    weight: tuple[int | None, ...]
    for path, module in layers:
        if isinstance(module, nn.Conv2d) and _squeezes(path):
            made, read = (own.squeeze, current) if path.endswith("reduce") else (current, own.squeeze)
            weight = (made, read, None, None)
        elif isinstance(module, nn.Conv2d) and module.groups > 1:
            made, weight = current, (current, None, None, None)
        elif _is_layer(module):
            made = own.out if module is convolutions[-1] else own.hidden
            weight = (made, current, None, None)
            current = made
        else:  # a normalisation
            made, weight = current, (current,)
        for name, tensor in module.state_dict().items():
            key = f"{path}.{name}" if path else name
            yield key, tensor, weight[: tensor.ndim] if name == "weight" else (made,)[: tensor.ndim]


def _normalisation(weights: Mapping[str, Tensor], name: str) -> Tensor:
    """The factor (channels,) of the batch normalisation after the layer with the weight `name`; ones without it."""
    path, _, last = name.removesuffix(".weight").rpartition(".")
    norm = f"{path}.{int(last) + 1}" if last.isdigit() else ""
    if f"{norm}.running_var" not in weights:
        return torch.ones(len(weights[name]), dtype=torch.float64)
    variance = weights[f"{norm}.running_var"].double()
    return weights[f"{norm}.weight"].double().abs() / (variance + 1e-5).sqrt()


def _is_layer(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d | nn.Linear)


def _squeezes(path: str) -> bool:
    return path.rsplit(".", 1)[-1] in ("reduce", "expand")


def _is_supported(block: Block, in_channels: int) -> bool:
    depthwise = block.op == "conv" and block.groups == block.out_channels == in_channels
    return block.op in _SUPPORTED and ((block.groups == 1 and block.expand_groups == 1) or depthwise)


def _expands(block: Block, in_channels: int) -> bool:
    """Whether the hidden channels are made by a convolution of their own."""
    if block.op in ("fbnet", "uib"):
        return True
    if block.op == "fused_mbconv":
        return block.hidden_channels != in_channels or block.se_channels > 0
    return block.op == "mbconv" and block.hidden_channels != in_channels


def _operations(unit: Unit) -> list[tuple[object, ...]]:
    return [(p.kind, p.kernel_size, p.activation, p.inputs, p.out_height) for p in primitives(unit)]
