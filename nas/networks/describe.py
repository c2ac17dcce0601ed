"""Describe a network in one readable line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from nas.networks.architecture import Architecture, Block
from nas.networks.operators import Unit, units
from nas.networks.operators.mixed import kernel_parts

# Single layers; blocks of all other operators are grouped into stages.
_SINGLE = frozenset({"conv", "max_pool", "mobile_vit", "lite_mla", "pool", "linear"})
# Blocks with an expansion ratio to show. ShuffleNets' hidden channels follow from the split into halves instead.
_EXPANDING = frozenset({"mbconv", "fused_mbconv", "fbnet", "uib", "mixconv", "ghost", "rep_ghost"})


def describe(architecture: Architecture) -> str:
    """The resolution, then the stages, such as `224px · conv16 k3 s2 hswish | 16 ×1 k3 e1 relu | … | fc1000`.

    A stage `40 ×2 s2 k5-7 e6 SE hswish` is two inverted residuals of 40 channels, the first of stride 2, with kernels 5
    and 7, both expanded 6 times, both with squeeze-and-excitation. Stages of other blocks begin with their operator's
    name. A kernel `5+3` is a depthwise 5×5 before the expansion and a 3×3 after it (0: none), `3..7` are kernels 3, 5
    and 7 side by side. `g` are groups, `b` the branches of the training form. A depthwise and a pointwise block of
    MobileOne count as one. `t144×4` are four transformer layers of 144 channels. Details are left out, so two
    different networks may have the same line; their fingerprints differ.
    """
    return f"{architecture.resolution}px · " + " | ".join(_stage(stage) for stage in _stages(architecture))


class _Row(NamedTuple):
    """One repetition in a stage: a block, or a depthwise block of MobileOne (first) and its pointwise one (last)."""

    first: Unit
    last: Unit


def _stages(architecture: Architecture) -> list[list[_Row]]:
    """Runs of blocks with one operator and equal channels, split at strides of 2; single layers are runs of one."""
    stages: list[list[_Row]] = []
    for row in _rows(units(architecture)):
        block = row.first.block
        before = stages[-1][-1].last if stages else None
        together = before and (before.block.op, before.out_channels) == (block.op, row.last.out_channels)
        if together and block.stride == 1 and block.op not in _SINGLE:
            stages[-1].append(row)
        else:
            stages.append([row])
    return stages


def _rows(rows: Sequence[Unit]) -> list[_Row]:
    paired: list[_Row] = []
    for unit in rows:
        block = unit.block
        before = paired[-1].first.block if paired else None
        depthwise = before and before.op == "mobile_one" and 1 < before.groups == before.out_channels
        if depthwise and block.op == "mobile_one" and block.kernel_size == 1 and paired[-1].first is paired[-1].last:
            paired[-1] = _Row(paired[-1].first, unit)
        else:
            paired.append(_Row(unit, unit))
    return paired


def _stage(stage: Sequence[_Row]) -> str:
    block, rows = stage[0].first.block, [row.first for row in stage]
    stride = f"s{block.stride}" if block.stride > 1 else ""
    if block.op == "pool":
        return "pool"
    if block.op == "linear":
        return _words([f"fc{block.out_channels}", _activations(rows)])
    if block.op in _SINGLE:
        name = f"{block.op}{block.out_channels or ''}"
        return _words([name, _single_kernel(block), stride, _groups(rows), _transformer(block), _activations(rows)])
    name = "" if block.op == "mbconv" else block.op
    repeats = f"{stage[0].last.out_channels} ×{len(stage)}"
    shape = [stride, _kernels(rows), _expansions(rows), _groups(rows)]
    branches = f"b{block.branches}" if block.branches else ""
    return _words([name, repeats, *shape, branches, _squeezed(rows), _activations(rows)])


def _single_kernel(block: Block) -> str:
    return f"k{block.kernel_size}" if block.kernel_size > 1 else ""


def _kernels(rows: Sequence[Unit]) -> str:
    """The kernels of all blocks that have one of their own, as most of GhostNet's have not."""
    having = [unit.block for unit in rows if "ghost" not in unit.block.op or unit.block.kernel_size > 1]
    return _joined("k", [_kernel(block) for block in having])


def _kernel(block: Block) -> str:
    if block.op == "mixconv":
        sizes = [size for size, _ in kernel_parts(block)]
        return f"{sizes[0]}..{sizes[-1]}" if len(sizes) > 1 else f"{sizes[0]}"
    return f"{block.start_kernel_size}+{block.kernel_size}" if block.start_kernel_size else f"{block.kernel_size}"


def _expansions(rows: Sequence[Unit]) -> str:
    if rows[0].block.op not in _EXPANDING:
        return ""
    return _joined("e", [f"{unit.block.hidden_channels / unit.in_channels:.3g}" for unit in rows])


def _groups(rows: Sequence[Unit]) -> str:
    """The groups of convolutions, 1×1 or k×k; those of MobileOne's depthwise blocks are not written."""
    groups = [
        unit.block.groups if unit.block.groups > 1 and unit.block.op != "mobile_one" else unit.block.expand_groups
        for unit in rows
    ]
    return _joined("g", [str(count) for count in groups]) if max(groups) > 1 else ""


def _transformer(block: Block) -> str:
    if block.op == "lite_mla":
        return f"t{block.transformer_channels}"
    return f"t{block.transformer_channels}×{block.transformer_depth}" if block.op == "mobile_vit" else ""


def _squeezed(rows: Sequence[Unit]) -> str:
    """`SE` where every block has it, `SE(2,3)` where only the second and third have."""
    having = [number for number, unit in enumerate(rows, start=1) if unit.block.se_channels]
    if len(having) == len(rows):
        return "SE"
    return f"SE({','.join(map(str, having))})" if having else ""


def _activations(rows: Sequence[Unit]) -> str:
    return _joined("", [unit.block.activation for unit in rows if unit.block.activation != "none"])


def _joined(prefix: str, values: Sequence[str]) -> str:
    """`k3` when all values are 3, else `k3-5-3`."""
    return prefix + (values[0] if len(set(values)) == 1 else "-".join(values)) if values else ""


def _words(words: Sequence[str]) -> str:
    return " ".join(word for word in words if word)
