"""NetAdapt: narrow a network step by step until it is fast enough for a device.

The algorithm is that of arXiv:1804.03230 (algorithm 1), as it made MobileNetV3 (arXiv:1905.02244, section 4.2). Each
step has to save a share of the latency by the device's table. Every set of channels that must change together (an
expansion, or a bottleneck with all that is added to it) makes a proposal: the widest width that saves as much. Weights
are carried over, proposals are trained for a few steps, and the one that loses least accuracy for each millisecond is
the next network.

Two departures, for speed: with a `shortlist`, only the proposals that lose least before any training are trained; and
accuracy is compared by the loss on validation images, which tells networks apart on fewer images than top-1 does.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from nas.accuracy.data.augment import normalised
from nas.accuracy.data.dataset import Dataset, subset
from nas.accuracy.training.batchnorm import recalibrate
from nas.accuracy.training.failures import TrainingFailedError
from nas.accuracy.training.scores import score
from nas.accuracy.training.sealed_file import read_sealed, write_sealed
from nas.accuracy.training.settings import TrainingSettings
from nas.accuracy.training.training_identity import data_identity
from nas.accuracy.training.tuning import tune
from nas.config import Settings
from nas.deploy.weights import weights_digest
from nas.differences import replaced_values
from nas.errors import NasError, RunFailedError
from nas.files import shown
from nas.networks.architecture import Architecture
from nas.networks.build import build_network
from nas.networks.channels import ChannelSet, carried_weights, channel_sets, same_kind, with_widths

Latency = Callable[[Architecture], float]
# The network that is trained in the place of the one that is deployed: of the same weights, for smaller images.
Proxy = Callable[[Architecture], Architecture]

_KIND = "NetAdapt path"
# Proposals are compared on so many images before any training.
_GLANCE_IMAGES = 256


def _itself(architecture: Architecture) -> Architecture:
    return architecture


class NetAdaptSettings(Settings):
    """How the latency is reduced.

    Each step saves at least `step_share` of the start's latency, but for the last one, which only goes to the target.
    The `shortlist` best of all proposals (0: all) are trained for `short_steps` steps. Widths are multiples of
    `divisor`. Networks are compared on `val_images` validation images.
    """

    step_share: float = Field(strict=True, default=0.05, gt=0, lt=1)
    shortlist: int = Field(strict=True, default=4, ge=0)
    short_steps: int = Field(strict=True, default=20, ge=0)
    divisor: int = Field(strict=True, default=8, ge=1)
    val_images: int = Field(strict=True, default=1000, ge=1)


@dataclass(frozen=True)
class Point:
    """A network on the path: its latency by the table, its scores on the validation images, and what was changed.

    `top1` is in percent; `proposals` is the number of proposals that it was chosen from. The start has no change.
    """

    architecture: Architecture
    latency_ms: float
    top1: float
    loss: float
    change: str = ""
    proposals: int = 0

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self), "architecture": self.architecture.to_json()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Point:
        """The inverse of `to_json`."""
        return cls(**{**data, "architecture": Architecture.from_json(data["architecture"])})


@dataclass(frozen=True, eq=False)
class NetAdaptPath:
    """The networks from the start to the fastest so far, and the weights of the last."""

    points: tuple[Point, ...]
    weights: Mapping[str, Tensor]


@dataclass(frozen=True)
class WidthProposal:
    """A narrower network, its latency by the table, and what was changed."""

    architecture: Architecture
    latency_ms: float
    change: str


def netadapt(
    architecture: Architecture,
    weights: Mapping[str, Tensor],
    latency_ms: Latency,
    target_ms: float,
    dataset: Dataset,
    training: TrainingSettings,
    settings: NetAdaptSettings,
    *,
    seed: int,
    proxy: Proxy = _itself,
    device: str = "",
    checkpoint: Path | None = None,
    on_point: Callable[[Point], None] = lambda _: None,
) -> NetAdaptPath:
    """The path from `architecture`, whose trained `weights` are its proxy's, to at most `target_ms`.

    `dataset` has the proxy's resolution. The path resumes from `checkpoint` where that exists, and keeps it up to date.
    `on_point` is called with each point, those of the checkpoint included. Raises NasError where the network is fast
    enough already, and for a checkpoint of another path (`device` says which latencies `latency_ms` gives);
    RunFailedError where nothing is left to narrow.
    """
    if latency_ms(architecture) <= target_ms:
        raise NasError(f"the network takes {latency_ms(architecture):.4g} ms already, which is within {target_ms:g} ms")
    channel_sets(architecture)  # there must be some
    judged = _judged(dataset, settings)
    identity = _identity(
        architecture, proxy(architecture), weights, device, target_ms, dataset, training, settings, seed
    )
    path = _restored(checkpoint, identity, weights) if checkpoint and checkpoint.exists() else None
    if path is None:
        first = build_network(proxy(architecture))
        first.load_state_dict(dict(weights))
        start = _point(architecture, latency_ms(architecture), first, judged)
        path = NetAdaptPath((start,), weights)
    for point in path.points:
        on_point(point)
    delta_ms = settings.step_share * path.points[0].latency_ms
    while path.points[-1].latency_ms > target_ms:
        aim_ms = max(target_ms, path.points[-1].latency_ms - delta_ms)
        path = _step(path, latency_ms, aim_ms, judged, training, settings, seed, proxy)
        if checkpoint:
            points = json.dumps([point.to_json() for point in path.points])
            write_sealed(checkpoint, _KIND, {"identity": identity, "points": points, "weights": dict(path.weights)})
        on_point(path.points[-1])
    return path


def proposals(
    architecture: Architecture, latency_ms: Latency, aim_ms: float, *, divisor: int = 8, proxy: Proxy = _itself
) -> list[WidthProposal]:
    """For each set of channels the widest network that takes at most `aim_ms` when that set alone is narrowed.

    Sets that cannot save as much make no proposal.
    """
    sets = channel_sets(architecture)
    trained_form = proxy(architecture)

    def candidate(number: int, width: int) -> Architecture | None:
        narrower = with_widths(architecture, sets, {number: width})
        return narrower if narrower is not None and same_kind(trained_form, proxy(narrower)) else None

    by_set = (_proposal(number, sets.sets[number], candidate, latency_ms, aim_ms, divisor) for number in sets.free)
    return [proposal for proposal in by_set if proposal is not None]


def _proposal(
    number: int,
    channels: ChannelSet,
    candidate: Callable[[int, int], Architecture | None],
    latency_ms: Latency,
    aim_ms: float,
    divisor: int,
) -> WidthProposal | None:
    """The proposal of one set of channels; `candidate` gives the network with a set at a width."""
    widths = range((channels.channels - 1) // divisor * divisor, 0, -divisor)

    def fast(width: int) -> Architecture | None:
        narrower = candidate(number, width)
        return narrower if narrower is not None and latency_ms(narrower) <= aim_ms else None

    # Latency falls with width, except between rows of a table that come from different sources: so bisection finds
    # about where to begin, and a linear search goes on from there.
    low, high = 0, len(widths)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if fast(widths[middle]) is not None else (middle + 1, high)
    for width in widths[low:]:
        narrower = fast(width)
        if narrower is not None:
            return WidthProposal(narrower, latency_ms(narrower), f"{channels}: {channels.channels} to {width} channels")
    return None


def _step(
    path: NetAdaptPath,
    latency_ms: Latency,
    aim_ms: float,
    dataset: Dataset,
    training: TrainingSettings,
    settings: NetAdaptSettings,
    seed: int,
    proxy: Proxy,
) -> NetAdaptPath:
    """The path with one more point, which takes at most `aim_ms`."""
    before = path.points[-1]
    proposed = proposals(before.architecture, latency_ms, aim_ms, divisor=settings.divisor, proxy=proxy)
    if not proposed:
        raise RunFailedError(
            f"no set of channels can be narrowed to save {before.latency_ms - aim_ms:.3g} of {before.latency_ms:.4g} "
            f"ms: give a smaller step, or a target that is not below {before.latency_ms:.4g} ms"
        )
    trained_form = proxy(before.architecture)

    def narrowed(proposal: WidthProposal) -> nn.Module:
        narrower_form = proxy(proposal.architecture)
        network = build_network(narrower_form)
        network.load_state_dict(carried_weights(path.weights, trained_form, narrower_form))
        return network

    if settings.shortlist and len(proposed) > settings.shortlist:
        current = build_network(trained_form)
        current.load_state_dict(dict(path.weights))
        loss = _loss_at_a_glance(current, dataset)
        gains = [
            (loss - _loss_at_a_glance(narrowed(proposal), dataset)) / (before.latency_ms - proposal.latency_ms)
            for proposal in proposed
        ]
        best = sorted(range(len(proposed)), key=lambda index: -gains[index])[: settings.shortlist]
        shortlist = [proposed[index] for index in sorted(best)]
    else:
        shortlist = proposed
    tried: list[tuple[float, Point, Mapping[str, Tensor]]] = []
    for number, proposal in enumerate(shortlist):
        network = narrowed(proposal)
        own_seed = int(np.random.SeedSequence([seed, len(path.points), number]).generate_state(1)[0])
        try:
            tune(network, dataset, training, steps=settings.short_steps, seed=own_seed, decay=False)
            recalibrate(
                network, dataset, seed=own_seed
            )  # after a few steps, statistics are still those of the wider network
            point = _point(proposal.architecture, proposal.latency_ms, network, dataset)
        except TrainingFailedError:
            continue
        gain = (before.loss - point.loss) / (before.latency_ms - point.latency_ms)
        weights = {name: tensor.cpu().clone() for name, tensor in network.state_dict().items()}
        tried.append((gain, replace(point, change=proposal.change, proposals=len(proposed)), weights))
    if not tried:
        raise RunFailedError(f"no proposal of {len(shortlist)} could be trained: lower the learning rate")
    _, point, carried = max(tried, key=lambda one: one[0])
    return NetAdaptPath((*path.points, point), carried)


@torch.no_grad()
def _loss_at_a_glance(network: nn.Module, dataset: Dataset) -> float:
    """The loss on a few validation images, whose own statistics batch normalisation uses; nothing is trained."""
    network.train()
    images = dataset.val.images[:_GLANCE_IMAGES]
    outputs = network(normalised(images, dataset.mean, dataset.std))
    return float(functional.cross_entropy(outputs, dataset.val.labels[:_GLANCE_IMAGES]))


def _point(architecture: Architecture, latency_ms: float, network: nn.Module, dataset: Dataset) -> Point:
    """The point of `architecture`, with the scores of its trained form, `network`."""
    scores = score(network, dataset.val, dataset)
    return Point(architecture, latency_ms, scores.top1, scores.loss)


def _judged(dataset: Dataset, settings: NetAdaptSettings) -> Dataset:
    """`dataset` with only those validation images that networks are compared on, in a random order."""
    most = max(settings.val_images, len(dataset.classes))
    indices = subset(dataset.val.labels, most, len(dataset.classes), seed=0)
    order = torch.randperm(len(indices), generator=torch.Generator().manual_seed(0))
    return replace(dataset, val=dataset.val.pick(indices[order]))


def _identity(
    architecture: Architecture,
    trained: Architecture,
    weights: Mapping[str, Tensor],
    device: str,
    target_ms: float,
    dataset: Dataset,
    training: TrainingSettings,
    settings: NetAdaptSettings,
    seed: int,
) -> str:
    """All that a path depends on, as JSON with keys that a user understands; `trained` is the proxy."""
    facts = {
        "network": architecture.fingerprint,
        "proxy": trained.fingerprint,
        "weights": weights_digest(weights),
        "latency table": device,
        "target": target_ms,
        "data": dataset.name,
        "pixels": dataset.resolution,
        **{f"data {name}": value for name, value in data_identity(dataset).items()},
        **training.model_dump(mode="json"),
        **settings.model_dump(mode="json"),
        "seed": seed,
    }
    return json.dumps(facts, sort_keys=True)


def _restored(checkpoint: Path, identity: str, weights: Mapping[str, Tensor]) -> NetAdaptPath:
    """The path in `checkpoint`. Raises NasError, which names what differs, where it is another path."""
    content = read_sealed(checkpoint, _KIND)
    before, now = json.loads(content["identity"]), json.loads(identity)
    if isinstance(before.get("weights"), float):
        # Checkpoints of earlier versions hold the sum of the weights' magnitudes instead of their hash.
        now["weights"] = float(sum(tensor.double().abs().sum() for tensor in weights.values()))
    differing = replaced_values(before, now)
    if differing:
        raise NasError(
            f"{shown(checkpoint)} is of another path: it differs in {', '.join(differing)}. Give another folder."
        )
    points = tuple(Point.from_json(point) for point in json.loads(content["points"]))
    return NetAdaptPath(points, content["weights"])
