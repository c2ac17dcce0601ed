"""Prune a trained network: take channels out of it, or make single weights 0.

Structured pruning takes whole channels out, over all layers, beginning with those that matter least for what they cost.
The network is smaller and faster, and still an `Architecture`. Unstructured pruning makes the smallest single weights
0. Every runtime here computes with zeros as with other weights, so the network is no faster, but its file packs better.
"""

from __future__ import annotations

import heapq
import math
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from nas.deploy.inference.timing import Times, measure_interleaved, ratio_of
from nas.deploy.quantisation.compress import load_onnx, session_runner
from nas.errors import NasError, RunFailedError
from nas.networks.architecture import Architecture
from nas.networks.build import build_network
from nas.networks.channels import channel_sets, importance, same_kind, with_widths
from nas.networks.onnx_graph import onnx_bytes
from nas.networks.operators import estimate_costs

# The cost to reduce: a table's milliseconds, or multiply-accumulates.
Cost = Callable[[Architecture], float]
Proxy = Callable[[Architecture], Architecture]

# At least this share of each set of channels stays, so that no single layer becomes a bottleneck of a few channels.
LEAST_SHARE = 0.2


def count_macs(architecture: Architecture) -> float:
    """Multiply-accumulates, as a cost to prune by."""
    return float(estimate_costs(architecture).macs)


def pruned_architecture(
    architecture: Architecture,
    weights: Mapping[str, Tensor],
    cost: Cost,
    target: float,
    *,
    proxy: Proxy = lambda architecture: architecture,
    divisor: int = 8,
    least_share: float = LEAST_SHARE,
) -> Architecture:
    """`architecture` without the channels that matter least for what they cost, so that `cost` is at most `target`.

    `weights` are those of its proxy. Channels go in groups of `divisor`, and the group with the lowest loss / cost that
    it saves goes first. The loss is −log(share of the magnitude that stays), summed over all layers that have the
    channels (`nas.networks.channels.importance`): so a bottleneck of many blocks loses more than an expansion, and the
    last channels of a layer lose more than its first. assumption: this loss is comparable between layers. Raises
    RunFailedError where the target cannot be reached with `least_share` of each set left.
    """
    sets = channel_sets(architecture)
    trained_form = proxy(architecture)
    scores = importance(weights, trained_form, channel_sets(trained_form))
    layers = [float(score.mean()) for score in scores]
    # The share of a set's importance that its n + 1 most important channels have: cumulative[number][n].
    cumulative = [score.sort(descending=True).values.cumsum(0) / score.sum().clamp(min=1e-30) for score in scores]
    widths = {number: sets.sets[number].channels for number in sets.free}
    pruned = architecture

    def next_group(number: int) -> tuple[float, int, Architecture] | None:
        """Of the next group of a set: its loss / the cost that it saves, the width that stays, and the network.

        None where no group of the set can go.
        """
        full = sets.sets[number].channels
        width = (widths[number] - 1) // divisor * divisor
        while width >= max(1, least_share * full):
            candidate = with_widths(architecture, sets, {**widths, number: width})
            if candidate is not None and cost(candidate) < cost(pruned) and same_kind(trained_form, proxy(candidate)):
                loss = layers[number] * math.log(cumulative[number][widths[number] - 1] / cumulative[number][width - 1])
                return loss / (cost(pruned) - cost(candidate)), width, candidate
            width -= divisor
        return None

    # Lazily greedy: what a group saves changes only with its neighbours, so it is computed anew when its turn comes.
    queue = [(0.0, number) for number in sets.free]
    while cost(pruned) > target:
        if not queue:
            raise RunFailedError(
                f"{target / cost(architecture):.1%} of the cost cannot be reached with a share of {least_share:g} of "
                f"each set of channels left: the least is {cost(pruned) / cost(architecture):.1%}"
            )
        _, number = heapq.heappop(queue)
        group = next_group(number)
        if group is None:
            continue
        ratio, width, candidate = group
        if not queue or ratio <= queue[0][0]:
            widths[number], pruned = width, candidate
        heapq.heappush(queue, (ratio, number))
    return pruned


def sparse_weights(weights: Mapping[str, Tensor], sparsity: float) -> dict[str, Tensor]:
    """`weights` with the share `sparsity` of the weights of convolutions and linear layers made 0.

    They are the smallest in magnitude over all layers together (global magnitude pruning, arXiv:1803.03635, section 2).
    Biases and normalisations stay.
    """
    if not 0 < sparsity < 1:
        raise NasError(f"the sparsity must be between 0 and 1, but got {sparsity:g}")
    prunable = {name: tensor for name, tensor in weights.items() if tensor.ndim >= 2}
    magnitudes = torch.cat([tensor.detach().abs().flatten() for tensor in prunable.values()])
    count = round(sparsity * len(magnitudes))
    smallest = torch.zeros(len(magnitudes), dtype=torch.bool)
    smallest[magnitudes.argsort(stable=True)[:count]] = True
    masks = torch.split(smallest, [tensor.numel() for tensor in prunable.values()])
    zeroed = {
        name: tensor.masked_fill(mask.view(tensor.shape), 0.0)
        for (name, tensor), mask in zip(prunable.items(), masks, strict=True)
    }
    return {name: zeroed.get(name, tensor).clone() for name, tensor in weights.items()}


def keep_zeros(network: nn.Module) -> Callable[[], None]:
    """A function that sets the weights of `network` that are 0 now to 0 again."""
    masks = [(parameter, parameter.detach() == 0) for parameter in network.parameters() if parameter.ndim >= 2]

    @torch.no_grad()
    def restore() -> None:
        # Through the parameter: moving a network to a device or a memory format replaces the tensor inside it.
        for parameter, zero in masks:
            parameter.masked_fill_(zero.to(parameter.device), 0.0)

    return restore


def sparsity_of(weights: Mapping[str, Tensor]) -> float:
    """The share, 0 to 1, of the weights of convolutions and linear layers that are 0."""
    prunable = [tensor for tensor in weights.values() if tensor.ndim >= 2]
    return sum(int((tensor == 0).sum()) for tensor in prunable) / sum(tensor.numel() for tensor in prunable)


@dataclass(frozen=True)
class NetworkFacts:
    """A network's accuracy, size and latency, before or after pruning.

    `top1` is in percent, `table_ms` the latency by the table, and `measured` that in ONNX Runtime here (one image),
    None where it was not measured. `packed_bytes` is the size of the ONNX file compressed by zlib.
    """

    top1: float
    params: int
    macs: int
    size_bytes: int
    packed_bytes: int
    sparsity: float
    table_ms: float
    measured: Times | None

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {**vars(self), "measured": self.measured.to_json() if self.measured else None}


def compare_networks(
    before: tuple[Architecture, Mapping[str, Tensor], float],
    after: tuple[Architecture, Mapping[str, Tensor], float],
    latency_ms: Cost,
    *,
    runs: int,
    threads: int,
) -> tuple[NetworkFacts, NetworkFacts, float | None]:
    """The facts of both networks, and the measured latency of `after` / that of `before`.

    A network is (architecture, weights, top-1); its weights may be those of a proxy, as strides have none. Both are
    timed in the same rounds, `runs` times (0: not at all), in ONNX Runtime on `threads` threads.
    """
    files = {name: _onnx(one[0], one[1], name) for name, one in (("before", before), ("after", after))}
    times: dict[str, Times] = {}
    if runs:
        calls = {}
        for name, one in (("before", before), ("after", after)):
            image = torch.zeros(1, 3, one[0].resolution, one[0].resolution).numpy()
            calls[name] = partial(session_runner(load_onnx(files[name], name), threads), image)
        times = measure_interleaved(calls, runs=runs)
    facts = [
        NetworkFacts(
            top1=top1,
            params=estimate_costs(architecture).params,
            macs=estimate_costs(architecture).macs,
            size_bytes=len(files[name]),
            packed_bytes=len(zlib.compress(files[name], 6)),
            sparsity=sparsity_of(weights),
            table_ms=latency_ms(architecture),
            measured=times.get(name),
        )
        for name, (architecture, weights, top1) in (("before", before), ("after", after))
    ]
    return facts[0], facts[1], ratio_of(times["after"], times["before"]) if times else None


def check_drop(before: NetworkFacts, after: NetworkFacts, most: float) -> None:
    """Raise RunFailedError where more than `most` percentage points of top-1 are lost."""
    # Written this way round, NaN is refused too.
    if not before.top1 - after.top1 <= most:
        raise RunFailedError(
            f"top-1 fell by {before.top1 - after.top1:.2f} points, from {before.top1:.2f} to {after.top1:.2f} %, but "
            f"may fall by {most:g} at most; nothing was written. Take away less, train for more --epochs, or keep the "
            "network all the same with --allow."
        )


def _onnx(architecture: Architecture, weights: Mapping[str, Tensor], name: str) -> bytes:
    network = build_network(architecture)
    network.load_state_dict(dict(weights))
    example = torch.zeros(1, 3, architecture.resolution, architecture.resolution)
    return onnx_bytes(network.eval(), example, name=name, any_batch_size=False)
