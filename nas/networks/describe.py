"""How is a network written in one line, for people?"""

from __future__ import annotations

from collections.abc import Sequence

from nas.networks.architecture import Architecture
from nas.networks.operators import Unit, units


def describe(architecture: Architecture) -> str:
    """The resolution and then stage after stage, such as `224px · conv16 k3 s2 hswish | 16 ×1 k3 e1 relu | … | fc1000`.

    A stage `40 ×2 s2 k5-7 e6 SE hswish` is two inverted residuals of 40 channels, the first of stride 2, with kernels 5
    and 7, both expanded 6 times, both with squeeze-and-excitation. Not every detail is written: two networks may share
    a line, and the fingerprint tells them apart.
    """
    return f"{architecture.resolution}px · " + " | ".join(_stage(stage) for stage in _stages(architecture))


def _stages(architecture: Architecture) -> list[list[Unit]]:
    """Inverted residuals of equal channels together, from each stride of 2 on anew; every other unit on its own."""
    stages: list[list[Unit]] = []
    for unit in units(architecture):
        block = unit.block
        last = stages[-1][-1].block if stages else None
        together = last and (last.op, last.out_channels) == ("mbconv", block.out_channels) and block.stride == 1
        if together and block.op == "mbconv":
            stages[-1].append(unit)
        else:
            stages.append([unit])
    return stages


def _stage(stage: Sequence[Unit]) -> str:
    block = stage[0].block
    if block.op == "pool":
        return "pool"
    if block.op == "linear":
        return _words([f"fc{block.out_channels}", _activations(stage)])
    stride = f"s{block.stride}" if block.stride > 1 else ""
    kernels = _joined("k", [str(unit.block.kernel_size) for unit in stage])
    if block.op == "mbconv":
        expansions = [f"{unit.block.hidden_channels / unit.in_channels:.3g}" for unit in stage]
        name = [f"{block.out_channels} ×{len(stage)}", stride, kernels, _joined("e", expansions), _squeezed(stage)]
        return _words([*name, _activations(stage)])
    groups = f"g{block.groups}" if block.groups > 1 else ""
    kernels = kernels if block.kernel_size > 1 else ""
    return _words([f"{block.op}{block.out_channels}", kernels, stride, groups, _activations(stage)])


def _squeezed(stage: Sequence[Unit]) -> str:
    """`SE` for a stage that has it throughout, `SE(2,3)` where only the second and third block do."""
    having = [number for number, unit in enumerate(stage, start=1) if unit.block.se_channels]
    if len(having) == len(stage):
        return "SE"
    return f"SE({','.join(map(str, having))})" if having else ""


def _activations(stage: Sequence[Unit]) -> str:
    return _joined("", [unit.block.activation for unit in stage if unit.block.activation != "none"])


def _joined(prefix: str, values: Sequence[str]) -> str:
    """`k3` when all are 3, `k3-5-3` else."""
    return prefix + (values[0] if len(set(values)) == 1 else "-".join(values)) if values else ""


def _words(words: Sequence[str]) -> str:
    return " ".join(word for word in words if word)
