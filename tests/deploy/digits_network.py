"""A small network with every kind of layer that quantising and converting must get right, and its trained weights."""

from __future__ import annotations

from functools import cache

from nas.accuracy.data.dataset import Dataset
from nas.accuracy.data.load import load_dataset
from nas.accuracy.training.settings import TrainingSettings
from nas.accuracy.training.train import train
from nas.deploy.trained import Preprocessing, TrainedNetwork
from nas.networks.architecture import Architecture, Block
from nas.networks.build import build_network

SIDE = 16

DIGITS = Architecture(
    SIDE,
    10,
    (
        Block("conv", 8, 3, 2, activation="hswish"),
        Block("mbconv", 8, 3, hidden_channels=16, activation="relu"),
        Block("mbconv", 16, 3, 2, 32, se_channels=8, se_gate="hsigmoid", activation="hswish"),
        Block("conv", 48, activation="hswish"),
        Block("pool"),
        Block("linear", 10),
    ),
)


@cache
def digits() -> Dataset:
    """The digits at 16 pixels."""
    return load_dataset("digits", image_size=SIDE).at(SIDE)


@cache
def trained_digits() -> TrainedNetwork:
    """`DIGITS`, trained for six epochs."""
    network = build_network(DIGITS)
    settings = TrainingSettings(epochs=6, learning_rate=1.0, precision="float32")
    result = train(network, digits(), settings, seed=0)
    return TrainedNetwork(
        architecture=DIGITS,
        weights=network.state_dict(),
        labels=digits().classes,
        preprocessing=Preprocessing.of(digits(), SIDE),
        record={"trained_on": "digits at 16 pixels for 6 epochs", "top1": result.top1},
    )
