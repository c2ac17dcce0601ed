"""A small network that the tests of training and narrowing train."""

from __future__ import annotations

from dataclasses import replace

from nas.accuracy.data.load import load_dataset
from nas.accuracy.training.settings import TrainingSettings
from nas.accuracy.training.tuning import tune
from nas.deploy.trained import Preprocessing, TrainedNetwork
from nas.networks.architecture import Architecture, Block
from nas.networks.build import build_network

# Learns the digits in seconds, and has expansions, a residual stage and a squeeze to narrow.
SMALL = Architecture(
    16,
    10,
    (
        Block("conv", 32, 3, 2, activation="hswish"),
        Block("mbconv", 40, 3, 2, 96, activation="relu"),
        Block("mbconv", 40, 3, 1, 120, activation="hswish", se_channels=16, se_gate="hsigmoid"),
        Block("conv", 128, 1, activation="hswish"),
        Block("pool"),
        Block("linear", 10),
    ),
)


def trained_small(*, steps: int = 100, resolution: int = 16) -> TrainedNetwork:
    """Trained on the digits, at 16 pixels, for a few steps; it is said to be for images of `resolution`."""
    dataset = load_dataset("digits", image_size=16).at(16)
    network = build_network(SMALL, seed=0)
    settings = TrainingSettings(batch_size=32, learning_rate=0.8, device="cpu")
    tune(network, dataset, settings, steps=steps, seed=0)
    preprocessing = Preprocessing.of(dataset, resolution)
    architecture = replace(SMALL, resolution=resolution)
    return TrainedNetwork(architecture, network.state_dict(), dataset.classes, preprocessing, {"trained_on": "digits"})
