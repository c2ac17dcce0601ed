"""Dropout and stochastic depth act with their probabilities, in training mode only."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nas.accuracy.full_training.regularise import add_drop_path, add_dropout
from tests.accuracy.helpers import small_network


def test_drop_path_leaves_out_whole_branches() -> None:
    """For some images, and scales the others up; nothing in evaluation mode; the mean stays."""
    network = small_network()
    assert add_drop_path(network, 0.5) == 1
    block, x = network[1], torch.randn(4000, 8, 4, 4)
    branch = block.layers(x) if block.eval() else x  # type: ignore[operator]
    torch.testing.assert_close(block(x), x + branch)
    block.layers.train()
    for layer in list(block.layers.modules())[1:]:
        layer.eval()
    added = block(x) - x
    gone = (added == 0).flatten(1).all(1)
    keep = 1 - 0.5 * 2 / 5
    assert float(gone.float().mean()) == pytest.approx(1 - keep, abs=0.03)
    torch.testing.assert_close(added[~gone], branch[~gone] / keep, atol=1e-4, rtol=1e-3)


@torch.no_grad()
def test_dropout_is_before_the_classifier() -> None:
    """In training mode alone."""
    network = nn.Sequential(nn.Identity(), nn.Linear(1000, 1, bias=False))
    nn.init.ones_(network[1].weight)
    add_dropout(network, 0.25)
    assert float(network.eval()(torch.ones(1, 1000))) == pytest.approx(1000)
    noisy = float(network.train()(torch.ones(1, 1000)))
    assert noisy != 1000
    assert noisy == pytest.approx(1000, rel=0.15)
