"""What pruning and NetAdapt start from and leave: a trained network, its proxy, its images, and the narrower network.

Latency is always that of the network that will be deployed. That network is trained itself, or, with a resolution or a
largest stride, by a proxy for smaller images, which has the same weights (`nas.networks.proxy`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from nas.accuracy.data.dataset import Split
from nas.accuracy.training.batchnorm import recalibrate
from nas.accuracy.training.scores import score
from nas.accuracy.training.settings import TrainingSettings
from nas.accuracy.training.tuning import tune
from nas.deploy.find import FoundNetwork
from nas.deploy.finish.finish import (
    TrainingData,
    check_classes,
    finished_architecture,
    load_training_data,
    start_network,
)
from nas.deploy.pruning.prune import keep_zeros
from nas.deploy.trained import Preprocessing, TrainedNetwork
from nas.errors import NasError
from nas.networks.architecture import Architecture
from nas.networks.build import build_network
from nas.networks.deployed import has_branches
from nas.networks.proxy import ProxySettings, proxy_architecture


@dataclass(frozen=True)
class ProxyOf:
    """Makes the proxy that is trained in the place of a network: at `resolution` pixels, with early strides made 1.

    Where both are None, the proxy is the network itself.
    """

    resolution: int | None
    max_stride: int | None

    def __call__(self, architecture: Architecture) -> Architecture:
        """The proxy of `architecture`."""
        if self.resolution is None and self.max_stride is None:
            return architecture
        return proxy_architecture(
            architecture,
            ProxySettings(resolution=self.resolution or architecture.resolution, max_stride=self.max_stride or 64),
            largest_resolution=architecture.resolution,
            classes=architecture.classes,
        )


@dataclass(frozen=True, eq=False)
class NarrowingStart:
    """A trained network to make narrower: its architecture as deployed, its proxy's weights, and the images."""

    name: str
    architecture: Architecture
    proxy: ProxyOf
    weights: Mapping[str, Tensor]
    images: TrainingData

    @property
    def splits(self) -> Mapping[str, Split]:
        """The images to score on: validation images, which alone decide anything, and test images, if there are any."""
        test = {"test": self.images.test} if self.images.test else {}
        return {"validation": self.images.dataset.val, **test}

    def build(self, architecture: Architecture, weights: Mapping[str, Tensor]) -> nn.Sequential:
        """The proxy of `architecture` with these weights."""
        network = build_network(self.proxy(architecture))
        network.load_state_dict(dict(weights))
        return network

    def top1(self, architecture: Architecture, weights: Mapping[str, Tensor]) -> dict[str, float]:
        """Top-1 of the proxy of `architecture` with these weights, in percent, on each of `splits`."""
        network = self.build(architecture, weights)
        return {name: score(network, split, self.images.dataset).top1 for name, split in self.splits.items()}


def load_start(
    source: FoundNetwork, data: str, *, resolution: int | None, max_stride: int | None, progress: bool = False
) -> NarrowingStart:
    """The start from the network `source`, which must be trained, on the images of `data`.

    Raises NasError for a network without trained weights, with branches, or trained for other classes.
    """
    if source.weights is None:
        raise NasError(f"{source.name} has no trained weights. Train it first: python -m nas.deploy finish.")
    if has_branches(source.architecture):
        raise NasError(
            f"{source.name} is trained with branches side by side, whose channels cannot be taken away alone"
        )
    if not source.fully_trained and resolution is None:
        raise NasError(
            f"the weights of {source.name} are those of the search's proxy ({source.trained_on}), not of the network "
            f"for {source.architecture.resolution} pixels: finish it first, or give the proxy's --resolution and "
            "--max-stride"
        )
    proxy = ProxyOf(resolution, max_stride)
    images = load_training_data(data, proxy(source.architecture).resolution, progress=progress)
    check_classes(source, images.dataset, new_classes=False)
    architecture = finished_architecture(source.architecture, len(images.dataset.classes))
    network = start_network(proxy(architecture), source.weights, new_classifier=False, seed=0)
    return NarrowingStart(source.name, architecture, proxy, network.state_dict(), images)


def train_longer(
    start: NarrowingStart,
    architecture: Architecture,
    weights: Mapping[str, Tensor],
    training: TrainingSettings,
    *,
    seed: int,
    hold_zeros: bool = False,
) -> dict[str, Tensor]:
    """The weights after `training.epochs` more epochs, with the statistics of batch normalisation measured again.

    With `hold_zeros`, weights that are 0 stay 0.
    """
    network, dataset = start.build(architecture, weights), start.images.dataset
    steps = training.epochs * max(1, len(dataset.train) // training.batch_size)
    after_step = keep_zeros(network) if hold_zeros else lambda: None
    tune(network, dataset, training, steps=steps, seed=seed, after_step=after_step)
    recalibrate(network, dataset, seed=seed)
    return {name: tensor.cpu() for name, tensor in network.state_dict().items()}


def narrowed_network(
    start: NarrowingStart, architecture: Architecture, weights: Mapping[str, Tensor], record: Mapping[str, Any]
) -> TrainedNetwork:
    """The trained network that a command writes; its record says so where its weights are those of a proxy."""
    dataset = start.images.dataset
    trained_on = f"{dataset.name} at {dataset.resolution} pixels"
    if start.proxy(architecture) != architecture:
        trained_on += f", in the place of {architecture.resolution}: to be finished"
    preprocessing = replace(Preprocessing.of(dataset, dataset.resolution), resolution=architecture.resolution)
    facts = {"trained_on": trained_on, "data": start.images.source, "from": start.name, **record}
    return TrainedNetwork(architecture, weights, dataset.classes, preprocessing, facts)
