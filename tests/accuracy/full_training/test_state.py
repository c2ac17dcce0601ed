"""The moving average of the weights follows its formula."""

from __future__ import annotations

import torch

from nas.accuracy.full_training.state import WeightAverage
from tests.accuracy.helpers import small_network


def test_the_average_is_written_out() -> None:
    """After each update the average is decay times itself and the rest the weights; counters are copied."""
    network = small_network()
    average = WeightAverage(network)
    was = average.network.state_dict()["0.0.weight"].clone()
    with torch.no_grad():
        network[0][0].weight += 1.0  # type: ignore[index]
        network[0][1].num_batches_tracked += 5  # type: ignore[index]
    average.update(0.75)
    torch.testing.assert_close(average.network.state_dict()["0.0.weight"], was + 0.25)
    assert int(average.network.state_dict()["0.1.num_batches_tracked"]) == 5
