"""Frozen features stay, and each block has its learning rate."""

from __future__ import annotations

import pytest
import torch

from nas.accuracy.full_training.fine_tuning import Tuning
from nas.accuracy.full_training.recipes import learning_rate_at
from nas.accuracy.full_training.train import train_to_the_end
from nas.accuracy.training.settings import TrainingSettings
from nas.accuracy.training.tuning import tune
from nas.errors import NasError
from tests.accuracy.helpers import BARE, random_dataset, small_network


def test_frozen_features_stay() -> None:
    """Weights and statistics of all blocks before the first linear one; the classifier learns."""
    network = small_network()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    train_to_the_end(network, random_dataset(), BARE, seed=0, tuning=Tuning(frozen_features=True))
    changed = {
        name.split(".")[0] for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])
    }
    assert changed == {"3", "4"}


def test_a_step_of_few_images_is_one_of_so_many() -> None:
    """A batch larger than the data set changes nothing, the learning rate included."""
    dataset, weights = random_dataset(), []
    for size in (len(dataset.train), 16 * len(dataset.train)):
        network = small_network()
        tune(network, dataset, TrainingSettings(batch_size=size, device="cpu"), steps=2, seed=0)
        weights.append(network.state_dict())
    assert all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())


def test_layer_wise_rates_are_powers() -> None:
    """Each block's rate is the next one's times the decay, the last one's being the schedule's."""
    state = train_to_the_end(small_network(), random_dataset(), BARE, seed=0, tuning=Tuning(layer_decay=0.5))
    rate = learning_rate_at(2 - 0.5 / 2, BARE)
    by_group = {group["lr"] / rate for group in state.optimiser.param_groups}
    assert by_group == {0.5**4, 0.5**3, 0.5, 1.0}
    with pytest.raises(NasError, match="layer_decay must be above 0"):
        Tuning(layer_decay=0)
